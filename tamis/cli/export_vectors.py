"""`tamis export-vectors`: a sparse part as Anserini's JSON vector collection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tamis.cli.options import ForceOption, IndexArgument
from tamis.cli.session import Session


def export_vectors(
    session: Session,
    index: IndexArgument,
    name: Annotated[str, typer.Argument(metavar="PART", help="Name of a sparse part.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where the JSON lines go.")],
    factor: Annotated[
        float | None,
        typer.Option(
            "--factor", help="Weights times this, rounded; 256/5 as for SPLADE if they are not whole already."
        ),
    ] = None,
    rounding: Annotated[str, typer.Option("--rounding", help="half-up, half-even, or down.")] = "half-up",
    force: ForceOption = False,
) -> None:
    """Write a sparse part as a collection of JSON vectors that Anserini indexes.

    Example: tamis export-vectors my-index splade -o vectors/splade.jsonl
    """
    from tamis.engine import Index
    from tamis.errors import UsageError
    from tamis.indexer.sparse.export import export_vectors as export
    from tamis.indexer.sparse.part import SparsePart

    with Index.open(index, listener=session.listener) as opened:
        part = opened.part(name)
        if not isinstance(part, SparsePart):
            raise UsageError(
                f"part {name!r} is of kind {part.kind!r}: only sparse parts are vectors of weighted tokens"
            )
        session.metrics.update(export(part, output, factor=factor, rounding=rounding, overwrite=force))
    session.artifacts["vectors"] = str(output)
    lost = f", {session.metrics['lost']:,} too small to count" if session.metrics["lost"] else ""
    session.note(f"{output}: {session.metrics['rows']:,} rows, {session.metrics['weights']:,} weights{lost}")
