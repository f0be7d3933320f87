"""The tables and the chart of a test of input orders."""

from __future__ import annotations

from tamis.eval.diagnosis.intervals import INTERVAL
from tamis.eval.diagnosis.listwise import EXPECTED, OrderBias
from tamis.eval.tables import Cell, Table, format_p


def slots_table(found: OrderBias) -> Table:
    """Return one row a group of slots."""
    rows = []
    for slot in found.slots:
        name = str(slot.first) if slot.first == slot.last else f"{slot.first} to {slot.last}"
        rows.append((Cell(name), *slot.bias.cells(signed=True), Cell(slot.first_places), Cell(slot.expected)))
    if found.p is not None:
        test = f"Chi-squared test that first places come equally often from all slots: p = {format_p(found.p)}."
    elif found.way == "shuffle":
        test = (
            f"No chi-squared test of first places: chance must give each row {EXPECTED:g}; take more queries or orders."
        )
    else:
        test = "First places are counted over shuffles only."
    notes = (
        (
            f"{found.model}: ranks that a document loses (+) or wins (-) by the slot in which it is given; "
            f"{found.queries} queries, up to "
            f"{found.depth} candidates, {found.orders} orders ({found.way}, seed {found.seed}) beside the given one and "
            f"its reverse."
        ),
        INTERVAL.format(unit="queries", seed=found.seed),
        test,
        *((f"Left out: {found.left_out} queries with fewer than two candidates.",) if found.left_out else ()),
        *((f"{found.partial} lists were left unfinished by the model.",) if found.partial else ()),
    )
    return Table(("input slot", "bias", "bias low", "bias high", "first places", "by chance"), tuple(rows), notes)


def order_table(found: OrderBias) -> Table:
    """Return how the model fares under each order, and how consistent it is."""
    names = [measure.name for measure in found.measures]
    header = ["input order"]
    for name in names:
        header += [name, f"{name} low", f"{name} high"]
    rows = [(Cell(one.name), *(cell for value in one.values for cell in value.cells())) for one in found.conditions]
    verdict = "every order gave the same ranking" if found.invariant else "rankings depend on the order"
    spread = ", ".join(f"{name} {value:.4f}" for name, value in zip(names, found.spread, strict=True))
    notes = (
        (
            f"{verdict[0].upper()}{verdict[1:]}. Ranks lost a slot: {found.slope.spelled()}; 0: the order does not matter; 1: "
            "the input comes back."
        ),
        f"Between orders: tau {found.tau.mean:.4f}, RBO {found.rbo.mean:.4f}, overlap@10 {found.overlap.mean:.4f}.",
        f"Standard deviation over the {found.orders} orders ({found.way}): {spread}.",
    )
    return Table(tuple(header), tuple(rows), notes)


def slots_chart(found: OrderBias) -> str:
    """Return the bias by input slot as SVG."""
    from tamis.eval.charts import Series, line_chart

    x = [(slot.first + slot.last) / 2 for slot in found.slots]
    low = [slot.bias.mean if slot.bias.low is None else slot.bias.low for slot in found.slots]
    high = [slot.bias.mean if slot.bias.high is None else slot.bias.high for slot in found.slots]
    lines = [
        Series(found.model, x, [slot.bias.mean for slot in found.slots], low, high),
        Series("no bias", [x[0], x[-1]], [0.0, 0.0]),
    ]
    return line_chart(lines, x_label="input slot", y_label="ranks lost", title=found.model)
