"""`tamis quality`: how likely any query at all wants each passage, kept as a part of the index."""

from __future__ import annotations

from typing import Annotated

import typer

from tamis.cli.options import IndexArgument
from tamis.cli.session import Session


def quality(
    session: Session,
    index: IndexArgument,
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="Quality model, e.g. qualt5:ID; the list if none.", show_default=False),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the part; quality:MODEL if not given.")
    ] = None,
) -> None:
    """Score the passages of an index with a quality model.

    The same command, run again after an interrupt, scores what is missing; passages that are added later are scored as they
    come. Without a model, the models are listed.

    Example: tamis quality my-index itn
    """
    from tamis.cli.drawing import format_bytes, write_pairs
    from tamis.engine import Index
    from tamis.pruning.registry import quality_families
    from tamis.pruning.scoring import QUANTILES, quality_part, quality_size, score_index, spread

    if model is None:
        session.results = quality_families()
        write_pairs(session, list(session.results.items()))
        return
    session.resumable = True
    with Index.open(index, listener=session.listener) as opened:
        before = opened.generation
        part = score_index(opened, model, name, listener=session.listener)
        found = spread(quality_part(opened, part))
        size, generation = quality_size(opened, part), opened.generation
    session.artifacts["index"] = str(index)
    session.resolved.update(generation=generation, part=part)
    quantiles = dict(zip(map(str, QUANTILES), found.quantiles, strict=False))
    session.results = {"part": part, "quantiles": quantiles}
    session.metrics.update(
        rows=found.rows, blank=found.blank, distinct=found.distinct, bytes=size, seconds=round(session.seconds, 3)
    )
    if generation == before:
        session.note(f"{index} has the part {part} already (generation {before})")
    else:
        session.note(
            f"{index}: generation {generation}, part {part}: {found.rows:,} rows, {found.distinct:,} different scores, "
            f"{format_bytes(size)}"
        )
    write_pairs(session, [(f"{level:>3} %", f"{value:.6g}") for level, value in quantiles.items()])
    session.note(f"next: tamis prune {index} -o SMALLER --quality {part} --drop 0.3")
