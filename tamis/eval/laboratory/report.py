"""The report of an experiment: one HTML file that stands alone, or its tables as Markdown, LaTeX, CSV or text.

The page needs no network and no server: drawings are inline SVG, tables sort by a click, and all figures, unrounded, are in it as
JSON (``<script id="results">``). Equal results give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from tamis.errors import PrerequisiteError
from tamis.eval.charts import Point, bar_chart, scatter_chart
from tamis.eval.compare import Comparison
from tamis.eval.laboratory.results import CollectionResult, Results
from tamis.eval.laboratory.tables import comparison_of, frontier_of, quality_and_cost, work_table
from tamis.eval.report import comparison_table
from tamis.eval.tables import Cell, Table

TEMPLATE = "report.html.j2"


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing and what it shows."""

    label: str
    svg: str


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table as the page shows it."""

    label: str
    header: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, label: str, table: Table) -> PageTable:
        """Build from a table."""
        numeric = tuple(table.is_numeric(column) for column in range(len(table.header)))
        return cls(label, table.header, numeric, table.rows, table.notes)


def html_report(results: Results) -> str:
    """Return the page.

    Raises:
        PrerequisiteError: jinja2 or matplotlib is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise PrerequisiteError("a report needs jinja2, which is not installed: pip install 'tamis[report]'") from error
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(files(__package__).joinpath(TEMPLATE).read_text("utf-8"))
    overview = overview_table(results)
    first = next(iter(results.collections.values()))
    text = template.render(
        name=results.name,
        made=results.made,
        k=results.k,
        baseline=results.baseline,
        count=len(first.systems),
        overview=None if overview is None else PageTable.of("Overview", overview),
        systems={name: system.pipeline for name, system in first.systems.items()},
        sections=[_section(results, name) for name in results.collections],
        data=_embedded(results),
    )
    return text.rstrip() + "\n"


def report_tables(results: Results) -> Iterator[tuple[str, Table]]:
    """Yield every table of the report with its title, for forms that hold no drawings."""
    overview = overview_table(results)
    if overview is not None:
        yield "Overview", overview
    for name in results.collections:
        comparison = comparison_of(results, name)
        yield f"{name}: quality and cost", quality_and_cost(results, name, comparison)
        if comparison is not None:
            yield f"{name}: differences to {results.baseline}", comparison_table(comparison)


def overview_table(results: Results) -> Table | None:
    """Return the first measure of every system on every collection; None where there is only one collection."""
    if len(results.collections) < 2:
        return None
    comparisons = {name: comparison_of(results, name) for name in results.collections}
    systems = next(iter(results.collections.values())).systems
    rows = []
    for system in systems:
        cells = [_first_measure(results, name, comparison, system) for name, comparison in comparisons.items()]
        values = [float(cell.value) for cell in cells if isinstance(cell.value, float)]
        rows.append((Cell(system), *cells, Cell(sum(values) / len(values))))
    named = dict.fromkeys(one.measures[0] for one in results.collections.values())
    notes = (f"{', '.join(named)}; ↑ ↓: significantly above / below {results.baseline} on that collection.",)
    return Table(("system", *results.collections, "mean"), tuple(rows), notes)


def _first_measure(results: Results, collection: str, comparison: Comparison | None, system: str) -> Cell:
    measure = results.collections[collection].measures[0]
    mean = results.evaluation(collection).mean(system, measure)
    if comparison is None or system == comparison.baseline:
        return Cell(mean)
    difference = comparison.of(system, measure)
    if not difference.significant:
        return Cell(mean)
    return Cell(mean, "↑" if difference.difference > 0 else "↓")


def _section(results: Results, name: str) -> dict[str, Any]:
    one = results.collections[name]
    comparison = comparison_of(results, name)
    differences = None if comparison is None else comparison_table(comparison)
    return {
        "name": name,
        "facts": _facts(one),
        "quality": PageTable.of(f"{name}: quality and cost", quality_and_cost(results, name, comparison)),
        "differences": None
        if differences is None
        else PageTable.of(f"{name}: differences", _system_first(differences)),
        "figures": list(_figures(results, name)),
        "work": PageTable.of(f"{name}: work done", work_table(results, name)),
        "warnings": [message for _, message in one.warnings],
    }


def _system_first(table: Table) -> Table:
    """The table with the system in its first column, which stays in sight on a narrow screen."""
    place = table.header.index("system")
    order = [place, *(column for column in range(len(table.header)) if column != place)]
    rows = tuple(tuple(row[column] for column in order) for row in table.rows)
    return replace(table, header=tuple(table.header[column] for column in order), rows=rows)


def _facts(one: CollectionResult) -> str:
    unjudged = one.topics.get("unjudged", 0)
    left = f", {unjudged} more without judgements left out" if unjudged else ""
    generation = f", generation {one.index['generation']}" if "generation" in one.index else ""
    chosen = f", filter {one.index['filter']}" if one.index.get("filter") else ""
    return (
        f"{one.topics['queries']} topics of {one.topics['name']}{left}; figures over the {len(one.query_ids)} queries of "
        f"{one.qrels['name']} (sha256 {one.qrels['sha256'][:12]}); index of {one.index['rows']:,} rows{generation}{chosen}."
    )


def _figures(results: Results, name: str) -> Iterator[Figure]:
    one = results.collections[name]
    measure = one.measures[0]
    evaluation = results.evaluation(name)
    points = [
        Point(system, found.cost.p50_ms, evaluation.mean(system, measure))
        for system, found in one.systems.items()
        if found.cost is not None
    ]
    if len(points) > 1:
        log = min(point.x for point in points) > 0
        svg = scatter_chart(
            points,
            x_label="median milliseconds of a query" + (" (logarithmic)" if log else ""),
            y_label=measure,
            frontier=frontier_of(results, name),
            log_x=log,
        )
        yield Figure(f"{measure} by the time of a query; filled: no other system is both faster and better.", svg)
    means = {m: [evaluation.aggregate(system, m) for system in one.systems] for m in one.measures}
    bars: Mapping[str, list[float]] = {m: values for m, values in means.items() if max(values) <= 1}
    if bars:
        yield Figure("Means over the queries.", bar_chart(list(one.systems), bars, y_label="mean"))


def _embedded(results: Results) -> str:
    """The figures as JSON that can stand in a script element."""
    text = json.dumps(results.to_json(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
