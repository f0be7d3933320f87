"""`tamis drop-part`: take an encoded part out of an index."""

from __future__ import annotations

from typing import Annotated

import typer

from tamis.cli.options import IndexArgument
from tamis.cli.session import Session


def drop_part(
    session: Session,
    index: IndexArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the part.", show_default=False)],
) -> None:
    """Take an encoded part out of an index.

    Its space is given back once no reader holds the generation that has it.

    Example: tamis drop-part my-index dense:minilm
    """
    from tamis.engine import Index

    with Index.open(index, listener=session.listener) as opened:
        opened.drop_part(name)
        session.artifacts["index"] = str(index)
        session.resolved.update(part=name, generation=opened.generation)
    session.note(f"{index}: generation {session.resolved['generation']}, without part {name}")
