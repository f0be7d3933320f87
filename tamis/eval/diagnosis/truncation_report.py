"""The tables and the chart of what a model cuts."""

from __future__ import annotations

from collections.abc import Sequence

from tamis.eval.diagnosis.intervals import INTERVAL
from tamis.eval.diagnosis.truncation import BINS, Effectiveness, Truncation
from tamis.eval.tables import Cell, Table


def truncation_table(found: Truncation) -> Table:
    """Return one row a kind of input."""
    rows = []
    for one in found.inputs:
        share = one.cut / one.count
        lost = [Cell(value, text="" if value is None else f"{value:.0f}") for value in (one.median, one.p95)]
        rows.append(
            (
                Cell(one.what),
                Cell(one.count),
                Cell(one.cut),
                Cell(share),
                Cell(one.limit),
                Cell(one.longest),
                *lost,
                Cell(one.most),
                Cell(one.share_read),
            )
        )
    header = ("input", "count", "cut", "share", "read", "longest", "median lost", "p95 lost", "max lost", "share read")
    notes = [
        (
            f"{found.model}: tokens are the model's, special tokens included. Read: of one input at most. Lost (median, "
            f"95th percentile, "
            "maximum) and the median share read: of those cut. What is cut is the end."
        )
    ]
    if any(one.longest is None for one in found.inputs):
        notes.append("Lengths marked - are not known: the model fills these inputs to one length.")
    elif any(not one.cut for one in found.inputs):
        notes.append("-: nothing was cut.")
    return Table(header, tuple(rows), tuple(notes))


def effectiveness_table(found: Effectiveness) -> Table:
    """Return one row a group of topics."""
    header = ["relevant documents", "topics"]
    for measure in found.measures:
        header += [measure.name, f"{measure.name} low", f"{measure.name} high"]
    rows = []
    for group in found.groups:
        values = [Cell(None)] * (3 * len(found.measures))
        if group.values is not None:
            values = [cell for value in group.values for cell in value.cells()]
        rows.append((Cell(group.name), Cell(group.topics), *values))
    parts = [
        f"{one.name}: {one.found} of {one.documents}" + (f" ({one.found / one.documents:.4f})" if one.documents else "")
        for one in found.found
    ]
    notes = [
        f"Ranked by {found.pipeline}. Topics differ in more than length: a difference is no proof of a cost.",
        f"Relevant documents among the first {found.depth}: {'; '.join(parts)}.",
        INTERVAL.format(unit="topics", seed=found.seed),
    ]
    if any(group.topics < 2 for group in found.groups):
        notes.append("-: no such topics, or a single one, of which there is no interval.")
    return Table(tuple(header), tuple(rows), tuple(notes))


def truncation_chart(found: Truncation) -> str:
    """Return the lengths of inputs, in multiples of what the model reads, as SVG.

    Raises:
        UsageError: no lengths are known.
    """
    from tamis.eval.charts import bar_chart

    known = {one.what: _shares(one.by_length) for one in found.inputs if one.by_length is not None}
    names = ["read whole", *(f"up to {edge:g}x" for edge in BINS[1:]), f"over {BINS[-1]:g}x"]
    return bar_chart(names, known, y_label="share", x_label="length, in what the model reads", title=found.model)


def _shares(counts: Sequence[int]) -> list[float]:
    total = max(sum(counts), 1)
    return [count / total for count in counts]
