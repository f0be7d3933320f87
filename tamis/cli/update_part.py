"""`tamis update-part`: bring a part up to entities that came later."""

from __future__ import annotations

from typing import Annotated

import typer

from tamis.cli.options import IndexArgument, ThreadsOption
from tamis.cli.session import Session


def update_part(
    session: Session,
    index: IndexArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the part.", show_default=False)],
    threads: ThreadsOption = None,
) -> None:
    """Encode anew the documents that mention entities which a part's model has gained.

    Nothing else of the index changes: the rows of all other documents stay as they are.

    Example: tamis update-part my-index dyvo
    """
    from tamis.engine import Index

    with Index.open(index, threads=threads, listener=session.listener) as opened:
        before = opened.generation
        rows = opened.update_part(name)
        session.artifacts["index"] = str(index)
        session.resolved.update(part=name, generation=opened.generation)
        session.metrics["encoded"] = rows
        same = opened.generation == before
    told = "its model has gained no entities" if same else f"part {name}: {rows:,} rows encoded anew"
    session.note(f"{index}: generation {session.resolved['generation']}, {told}")
