"""`tamis explain`: how one document fares with one query, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamis.cli.options import FilterOption, IndexArgument
from tamis.cli.session import Session

if TYPE_CHECKING:
    from tamis.eval.tables import Cell, Table
    from tamis.pipeline.explain import Explanation, StageReport
    from tamis.stages import Evidence

SHOWN = 40
"""Lines of evidence that a stage shows people; ``--json`` holds all."""


def explain(
    session: Session,
    index: IndexArgument,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The query: plain text.", show_default=False)],
    doc: Annotated[str, typer.Argument(metavar="DOC", help="Id of a document or passage.", show_default=False)],
    pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", metavar="EXPR", help="How to search, as in tamis search; bm25 if not given."),
    ] = None,
    filter: FilterOption = None,  # noqa: A002 - the option's name
    k: Annotated[int, typer.Option("-k", metavar="K", help="Results of the search that is explained.")] = 1000,
) -> None:
    """Show where a document stands after each stage of a pipeline, and why.

    Example: tamis explain my-index "what is a drum sieve" doc-17

    Example: tamis explain my-index "what is a drum sieve" doc-17 --pipeline "rrf(bm25, ql) % 100"
    """
    from tamis.cli.search import parse_filter_option, parse_pipeline
    from tamis.data.sources import replace_surrogates
    from tamis.engine import Index
    from tamis.ranking import check_k

    check_k(k)
    chosen, allowed = parse_pipeline(pipeline), parse_filter_option(filter)
    session.resolved.update(pipeline=str(chosen), k=k, filter=None if allowed is None else str(allowed))
    with Index.open(index, listener=session.listener) as opened:
        found = opened.explain(replace_surrogates(query), doc, pipeline=chosen, k=k, filter=allowed)
        title = opened.document(doc).title
        session.resolved.update(space=opened.documents.key, generation=opened.generation, index_path=str(opened.path))
    session.results = found.to_dict()
    _write(session, found, title)
    session.note(outcome(found))


def outcome(found: Explanation) -> str:
    """Say in one line where the document ends."""
    if found.rank is not None:
        return f"{found.id}: rank {found.rank}, score {found.score:.4f} ({found.pipeline}, k={found.k})"
    return f"{found.id}: not among the {found.k} results of {found.pipeline}"


def _write(session: Session, found: Explanation, title: str) -> None:
    from tamis.cli.drawing import clean, write_pairs, write_tables
    from tamis.cli.explain_words import words_view

    pairs = [("query", clean(found.query)), ("document", clean(f"{found.id}  {title}")), ("pipeline", found.pipeline)]
    write_pairs(session, pairs)
    session.write("\n")
    write_tables(session, [_movement(found)], "table")
    for stage in found.stages:
        if stage.evidence is not None:
            session.write(f"\n[{stage.number}] {stage.name}: {clean(stage.id)}\n")
            write_tables(session, [_evidence(stage, stage.evidence)], "table")
            for node in _left_out(stage.evidence):
                session.write("\n" + words_view(node))


def _movement(found: Explanation) -> Table:
    """One line a step: where the document stands after it."""
    from tamis.eval.tables import Cell, Table

    rows = tuple(
        (
            Cell(f"[{stage.number}]"),
            Cell(stage.name),
            Cell(stage.rank),
            Cell(stage.results),
            Cell(stage.score),
            Cell("; ".join(stage.notes), text="; ".join(stage.notes) or " "),
        )
        for stage in found.stages
        if stage.kind != "query"
    )
    return Table(("step", "stage", "rank", "of", "score", "what happened"), rows)


def _evidence(stage: StageReport, root: Evidence) -> Table:
    """The tree of evidence, children indented, their details as columns; the sum stands last."""
    from tamis.eval.tables import Cell, Table

    lines = [(depth, node) for depth, node in _walk(root, 0) if depth > 0]
    hidden = len(lines) - SHOWN
    shown = lines[:SHOWN]
    names = list(dict.fromkeys(name for node in [*(node for _, node in shown), root] for name in node.details))
    rows = [_line(depth - 1, node, names) for depth, node in shown]
    value = stage.score if root.value is None else root.value
    if root.value is not None or not rows:
        own = [Cell(root.details[name]) if name in root.details else Cell(None, text=" ") for name in names]
        rows.append((Cell(root.name), Cell(value), *own))
    notes = [*(f"… and {hidden} lines more: --json shows all" for _ in range(hidden > 0)), *root.notes]
    return Table(("evidence", "value", *names), tuple(rows), tuple(notes))


def _line(depth: int, node: Evidence, names: list[str]) -> tuple[Cell, ...]:
    from tamis.cli.drawing import clean
    from tamis.eval.tables import Cell

    cells: list[Any] = [node.details.get(name) for name in names]
    return (Cell(node.name, text="  " * depth + clean(node.name)), Cell(node.value), *map(Cell, cells))


def _walk(node: Evidence, depth: int) -> Iterator[tuple[int, Evidence]]:
    """The nodes that a table shows: words that were left out have a view of their own."""
    from tamis.rerankers.attribution import OCCLUSION

    yield depth, node
    for child in node.children:
        if child.name != OCCLUSION:
            yield from _walk(child, depth + 1)


def _left_out(node: Evidence) -> Iterator[Evidence]:
    from tamis.rerankers.attribution import OCCLUSION

    if node.name == OCCLUSION:
        yield node
    for child in node.children:
        yield from _left_out(child)
