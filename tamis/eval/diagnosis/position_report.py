"""The table and the chart of a moving-passage test."""

from __future__ import annotations

from tamis.eval.diagnosis.intervals import INTERVAL, Mean
from tamis.eval.diagnosis.position import DEPTH, PositionBias
from tamis.eval.tables import Cell, Table


def position_table(found: PositionBias) -> Table:
    """Return one row a place of the passage."""
    rows = []
    for place in found.places:
        name = "as it stood" if place.position is None else f"{place.position:.2f}"
        rows.append((Cell(name), *place.score.cells(), *place.rr.cells(), Cell(place.found.mean)))
    options = found.options
    ratio = "none, since it is 0 at the end" if found.ratio is None else f"{found.ratio:.2f}"
    cut = "" if options.words is None else f" Documents are {options.words} words at most, around the passage."
    notes = [
        (
            f"{found.model}: the relevant passage of one document a query, moved from the beginning (0) to the end (1); "
            f"{len(found.queries)} queries. By itself it stood at {found.share:.2f} on average.{cut}"
        ),
        (
            f"RR@{DEPTH}, slope from beginning to end: {found.slope.spelled()}; beginning / end: {ratio}. "
            f"Slope of the score: {found.score_slope.spelled()}."
        ),
        INTERVAL.format(unit="queries", seed=options.seed),
    ]
    notes += [f"Left out: {count} queries {reason}." for reason, count in found.left_out.items()]
    header = ("position", "score", "score low", "score high", f"RR@{DEPTH}", "RR low", "RR high", "found@10")
    return Table(header, tuple(rows), tuple(notes))


def position_chart(found: PositionBias) -> str:
    """Return the reciprocal rank by position as SVG, beside that of the unchanged documents."""
    from tamis.eval.charts import Series, line_chart

    still, *places = found.places
    x = [float(place.position or 0.0) for place in places]
    ends = [(_end(place.rr, "low"), _end(place.rr, "high")) for place in places]
    lines = [
        Series("moved", x, [place.rr.mean for place in places], [low for low, _ in ends], [high for _, high in ends]),
        Series("as it stood", [0.0, 1.0], [still.rr.mean] * 2),
    ]
    return line_chart(lines, x_label="position of the relevant passage", y_label=f"RR@{DEPTH}", title=found.model)


def _end(value: Mean, name: str) -> float:
    found = getattr(value, name)
    return value.mean if found is None else float(found)
