"""`tamis run`: an experiment of many systems over many collections, from one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamis.cli.options import FormatOption, ThreadsOption
from tamis.cli.session import Session
from tamis.errors import UsageError

if TYPE_CHECKING:
    from tamis.eval.laboratory import ExperimentPlan, Results


def run(
    session: Session,
    experiment: Annotated[
        Path, typer.Argument(metavar="EXPERIMENT.toml", help="Systems, collections and measures.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="RESULTS", help="Folder of the results.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, show the plan, and stop.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that holds other things.")] = False,
    form: FormatOption = "table",
    threads: ThreadsOption = None,
) -> None:
    """Run an experiment: every system on every collection, what they share once.

    What was run before is remembered, by content: an interrupted experiment goes on, a changed topic or system runs alone.

    Example: tamis run first-stages.toml -o results
    """
    from tamis.cli.tables import check_format, write_outcome
    from tamis.eval.laboratory import Laboratory, default_store, read_experiment

    check_format(form)
    if output is None and not dry_run:
        raise UsageError("name the folder of the results with -o RESULTS, or look at the plan with --dry-run")
    described = read_experiment(experiment)
    session.resumable = True
    store = default_store(output or experiment.parent)
    with Laboratory(described, store, threads=threads, listener=session.listener) as laboratory:
        plan = laboratory.plan()
        session.resolved.update(experiment=described.to_json(), plan=plan.to_json())
        if dry_run:
            for text in _plan_lines(plan):
                session.write(text + "\n")
            return
        for text in _plan_lines(plan):
            session.note(text)
        assert output is not None  # noqa: S101 - checked above
        results = laboratory.run(output, force=force)
    session.artifacts.update(results=str(output))
    _warn(session, results)
    tables = tables_of(results)
    write_outcome(session, form, _values(results), {"*": [table for _, named in tables for table in named]})
    session.note(f"results: {output}    next: tamis report {output} -o report.html")


def tables_of(results: Results) -> list[tuple[str, list[Any]]]:
    """Return the tables of every collection, titled by a note."""
    from dataclasses import replace

    from tamis.eval.laboratory.tables import comparison_of, quality_and_cost

    named = []
    for name in results.collections:
        table = quality_and_cost(results, name, comparison_of(results, name))
        named.append((name, [replace(table, notes=(f"Collection: {name}.", *table.notes))]))
    return named


def _plan_lines(plan: ExperimentPlan) -> list[str]:
    from tamis.eval.laboratory.tables import plan_table

    lines = []
    for name, one in plan.collections.items():
        left_out = f", {one.unjudged} without judgements left out" if one.unjudged else ""
        lacking = f", {one.without_topic} judged ones lack a topic and count 0" if one.without_topic else ""
        lines += [f"{name}: {one.topics} topics{left_out}{lacking}", plan_table(plan, name).render("text").rstrip()]
    if plan.downloads:
        lines.append(f"to download from the Hugging Face hub: {', '.join(plan.downloads)}")
    seconds = plan.seconds
    known = "not known yet" if seconds is None else f"{seconds:.0f} s"
    lines.append(f"estimated time: {known}, costs not counted")
    return lines


def _warn(session: Session, results: Results) -> None:
    for name, one in results.collections.items():
        for code, message in one.warnings:
            session.warn(code, f"{name}: {message}")
        late = {system: result.partial for system, result in one.systems.items() if result.partial}
        if late:
            shown = ", ".join(f"{system} ({count} queries)" for system, count in late.items())
            session.partial(f"{name}: cut short by a deadline: {shown}")


def _values(results: Results) -> dict[str, Any]:
    from tamis.eval.laboratory.tables import comparison_of, frontier_of

    collections = {}
    for name, one in results.collections.items():
        evaluation, comparison = results.evaluation(name), comparison_of(results, name)
        collections[name] = {
            "evaluation": evaluation.to_dict(),
            "comparison": None if comparison is None else comparison.to_dict(),
            "costs": {n: None if s.cost is None else s.cost.to_json() for n, s in one.systems.items()},
            "frontier": frontier_of(results, name),
            "steps": [
                {"step": s.step, "computed": s.computed, "recalled": s.recalled, "seconds": round(s.seconds, 4)}
                for s in one.steps
            ],
        }
    return {"name": results.name, "baseline": results.baseline, "collections": collections}
