"""`tamis compact`: give back the space of deleted rows."""

from __future__ import annotations

from tamis.cli.options import IndexArgument
from tamis.cli.session import Session


def compact(session: Session, index: IndexArgument) -> None:
    """Rewrite an index without its deleted rows.

    Statistics such as document frequencies forget the deleted rows from here on. Files that no generation needs any more, and
    that no reader holds, are removed.

    Example: tamis compact my-index
    """
    from tamis.cli.drawing import format_bytes
    from tamis.engine import Index

    session.resumable = True
    with Index.open(index, listener=session.listener) as opened:
        before = opened.inspect()
        opened.compact()
        removed = opened.gc()
        after = opened.inspect()
    sizes = before["bytes"]["total"], after["bytes"]["total"]
    session.artifacts["index"] = str(index)
    session.resolved["generation"] = after["generation"]
    session.metrics.update(
        deleted_rows=before["deleted_rows"],
        rows=after["rows"],
        bytes_before=sizes[0],
        bytes=sizes[1],
        removed_files=len(removed),
        seconds=round(session.seconds, 3),
    )
    if after["generation"] == before["generation"]:
        session.note(f"{index}: generation {after['generation']} is compact already")
        return
    session.note(
        f"{index}: generation {after['generation']}, {before['deleted_rows']:,} rows dropped, {after['rows']:,} kept, "
        f"{format_bytes(sizes[0])} before, {format_bytes(sizes[1])} now"
    )
