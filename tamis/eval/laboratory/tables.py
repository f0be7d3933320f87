"""The tables of an experiment: quality and cost of every system side by side, and the work that was done for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tamis.errors import UnknownNameError
from tamis.eval.compare import Comparison, compare
from tamis.eval.laboratory.costs import Cost
from tamis.eval.laboratory.results import Results
from tamis.eval.laboratory.running import ExperimentPlan
from tamis.eval.pareto import frontier
from tamis.eval.report import evaluation_table, summary_table
from tamis.eval.tables import Cell, Table

COSTS = ("p50 ms", "p95 ms", "q/s", "model ms", "tokens", "MB")


def comparison_of(results: Results, collection: str) -> Comparison | None:
    """Return every system of a collection against the baseline; None where there is only one system."""
    if collection not in results.collections:
        raise UnknownNameError("collection of these results", collection, results.collections)
    evaluation = results.evaluation(collection)
    return compare(evaluation, results.baseline) if len(evaluation.systems) > 1 else None


def quality_and_cost(results: Results, collection: str, comparison: Comparison | None) -> Table:
    """Return one row a system: measures, marked where they differ from the baseline, and costs; the frontier is starred."""
    one = results.collections[collection]
    costs = {name: system.cost for name, system in one.systems.items() if system.cost is not None}
    best = frontier_of(results, collection)
    quality = evaluation_table(results.evaluation(collection)) if comparison is None else summary_table(comparison)
    rows = []
    for row in quality.rows:
        system = str(row[0].value)
        star = "*" if system in best else ""
        first = Cell(row[0].value, text=f"{row[0].text}{star}")
        rows.append((first, *row[1:], *(_cost_cells(costs.get(system)) if costs else ())))
    notes = list(quality.notes)
    if costs:
        notes.append(_cost_note(list(costs.values())))
    if best:
        notes.append(f"*: no system is both faster (p50) and better ({one.measures[0]}).")
    return _without_empty(Table((*quality.header, *(COSTS if costs else ())), tuple(rows), tuple(notes)))


def _cost_note(costs: Sequence[Cost]) -> str:
    first = costs[0]
    rounds = f"{first.rounds} round{'s' if first.rounds > 1 else ''}"
    parts = [
        f"Costs of one query, median and 95th percentile of {first.topics} topics asked one by one, {rounds}",
        "q/s: the same in one batch",
    ]
    if any(cost.model_ms is not None for cost in costs):
        parts.append("model ms, tokens: of models, encoders of queries and rerankers, a query")
    if any(cost.index_bytes is not None for cost in costs):
        parts.append("MB: of the index, as far as it is read")
    return "; ".join(parts) + "."


def _without_empty(table: Table) -> Table:
    """The table without the columns that say nothing."""
    kept = [column for column in range(len(table.header)) if any(row[column].value is not None for row in table.rows)]
    rows = tuple(tuple(row[column] for column in kept) for row in table.rows)
    return replace(table, header=tuple(table.header[column] for column in kept), rows=rows)


def frontier_of(results: Results, collection: str) -> list[str]:
    """Return the systems that no other beats in the first measure and the median time of a query, fastest first."""
    points = {
        name: (
            system.cost.p50_ms,
            sum(system.values[results.measures[0]]) / max(1, len(system.values[results.measures[0]])),
        )
        for name, system in results.collections[collection].systems.items()
        if system.cost is not None
    }
    return frontier(points) if len(points) > 1 else []


def work_table(results: Results, collection: str) -> Table:
    """Return one row a piece of work: how many queries it was done for, how many were remembered."""
    rows = tuple(
        (Cell(step.step), Cell(step.computed), Cell(step.recalled), Cell(step.seconds, text=f"{step.seconds:.2f}"))
        for step in results.collections[collection].steps
    )
    return Table(("step", "run for", "remembered", "seconds"), rows)


def plan_table(plan: ExperimentPlan, collection: str) -> Table:
    """Return one row a piece of work that is planned."""
    one = plan.collections[collection]
    rows = tuple(
        (
            Cell(step.step),
            Cell(step.topics - step.recalled),
            Cell(step.recalled),
            Cell(step.seconds, text="not known" if step.seconds is None else f"{step.seconds:.1f}"),
        )
        for step in one.steps
    )
    return Table(("step", "to run", "remembered", "seconds"), rows)


def _cost_cells(cost: Cost | None) -> tuple[Cell, ...]:
    if cost is None:
        return tuple(Cell(None) for _ in COSTS)
    return (
        Cell(cost.p50_ms, text=_short(cost.p50_ms)),
        Cell(cost.p95_ms, text=_short(cost.p95_ms)),
        Cell(cost.queries_per_second, text=_short(cost.queries_per_second)),
        Cell(cost.model_ms, text="-" if cost.model_ms is None else _short(cost.model_ms)),
        Cell(cost.tokens, text="-" if cost.tokens is None else f"{cost.tokens:.0f}"),
        Cell(
            None if cost.index_bytes is None else cost.index_bytes / 1e6,
            text="-" if cost.index_bytes is None else _short(cost.index_bytes / 1e6),
        ),
    )


def _short(value: float) -> str:
    """Three figures that count."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
