"""`tamis restore`: pruned documents may come back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tamis.cli.options import IndexArgument
from tamis.cli.session import Session
from tamis.errors import UsageError


def restore(
    session: Session,
    index: IndexArgument,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Ids of documents; all if none.", show_default=False)
    ] = None,
    ids_file: Annotated[
        Path | None, typer.Option("--ids-file", metavar="FILE", help="File with one id a line.", show_default=False)
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="INDEX", help="Take them from this index, which holds them.", show_default=False
        ),
    ] = None,
    list_only: Annotated[bool, typer.Option("--list", help="Only print the ids that are kept out.")] = False,
) -> None:
    """Let pruned documents back into an index.

    With --from, they are taken from an index that still holds them, such as the one that was pruned; otherwise the next
    `tamis add` takes them in. Their texts are encoded again by the parts' models.

    Example: tamis restore smaller --from my-index
    """
    from tamis.cli.delete import read_ids
    from tamis.engine import Index
    from tamis.indexer.pruned import pruned_ids
    from tamis.pruning.restoring import restore_documents

    with Index.open(index, listener=session.listener) as opened:
        held = pruned_ids(opened.path, opened.manifest)
        if list_only:
            session.results = held
            session.write("".join(f"{doc_id}\n" for doc_id in held))
            return
        named = [*(ids or []), *(read_ids(ids_file) if ids_file else [])]
        if ids_file and not named:
            raise UsageError(f"{ids_file} names no document")
        found = restore_documents(opened, named or None, source)
        generation = opened.generation
    if found.unknown:
        shown = ", ".join(map(repr, found.unknown[:5])) + (" …" if len(found.unknown) > 5 else "")
        session.warn("unknown-ids", f"{len(found.unknown)} of the ids were not pruned from {index}: {shown}")
    session.artifacts["index"] = str(index)
    session.resolved["generation"] = generation
    session.metrics.update(restored=found.restored, added=found.added, unknown_ids=len(found.unknown))
    session.note(
        f"{index}: generation {generation}, {found.restored:,} documents are let in, {found.added:,} of them added"
    )
    if found.restored and source is None:
        session.note(f"next: tamis add {index} CORPUS")
