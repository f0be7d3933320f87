"""The table and the chart of a test of word order."""

from __future__ import annotations

from collections.abc import Sequence

from tamis.eval.diagnosis.intervals import INTERVAL, Mean
from tamis.eval.diagnosis.perturb import PERTURBATIONS, WordOrder
from tamis.eval.tables import Cell, Table


def word_order_table(found: WordOrder) -> Table:
    """Return one row a perturbation, below the given order and the unperturbed model."""
    names = [measure.name for measure in found.measures]
    header = ["perturbation"]
    for name in names:
        header += [name, f"Δ {name}", f"Δ {name} low", f"Δ {name} high"]
    header += ["tau", "RBO", "overlap@10", "|Δ score|"]
    nothing = Cell(None)

    def plain(name: str, values: Sequence[Mean]) -> tuple[Cell, ...]:
        cells = [Cell(name)]
        for value in values:
            cells += [Cell(value.mean), nothing, nothing, nothing]
        return (*cells, nothing, nothing, nothing, nothing)

    rows = [plain("(candidates as given)", found.before), plain("(unperturbed)", found.plain)]
    for effect in found.effects:
        cells = [Cell(effect.name)]
        for value, difference in zip(effect.values, effect.differences, strict=True):
            cells += [Cell(value.mean), *difference.cells(signed=True)]
        marks = (effect.tau, effect.rbo, effect.overlap, effect.score_change)
        rows.append((*cells, *(Cell(mark.mean) for mark in marks)))
    notes = [
        (
            f"{found.model}: {found.queries} queries, {found.candidates} candidates; texts are changed at inference only. "
            f"Δ, tau, RBO, "
            "overlap and |Δ score| are to the unperturbed model."
        ),
        *(f"{effect.name}: {PERTURBATIONS[effect.name].says}." for effect in found.effects),
        f"Random orders are means over {found.repeats}. {INTERVAL.format(unit='queries', seed=found.seed)}",
        *(f"Not done: {name}: {reason}." for name, reason in found.not_done.items()),
    ]
    return Table(tuple(header), tuple(rows), tuple(notes))


def word_order_chart(found: WordOrder) -> str:
    """Return the first measure under each perturbation as SVG."""
    from tamis.eval.charts import bar_chart

    names = ["as given", "unperturbed", *(effect.name for effect in found.effects)]
    values = [found.before[0].mean, found.plain[0].mean, *(effect.values[0].mean for effect in found.effects)]
    measure = found.measures[0].name
    return bar_chart(names, {measure: values}, y_label=measure, title=found.model)
