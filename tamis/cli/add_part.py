"""`tamis add-part`: encode an index's documents with a model."""

from __future__ import annotations

from typing import Annotated

import typer

from tamis.cli.options import IndexArgument, ThreadsOption
from tamis.cli.session import Session

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="[NAME=]MODEL", help="Model that encodes, e.g. dense:minilm; see tamis models.", show_default=False
    ),
]


def add_part(session: Session, index: IndexArgument, model: ModelArgument, threads: ThreadsOption = None) -> None:
    """Encode an index's documents with a model, as a part of it.

    Documents that are added later are encoded as they come. The same command, run again after an interrupt, encodes only
    what is missing; over a finished part it does nothing, unless its model gained entities: documents that mention them are
    encoded anew.

    Example: tamis add-part my-index dense:minilm

    Example: tamis add-part my-index small=dense:minilm?store=float16
    """
    from tamis.cli.parts import add_parts, parse_part
    from tamis.engine import Index

    name, address = parse_part(model)
    session.resumable = True
    with Index.open(index, threads=threads, listener=session.listener) as opened:
        add_parts(session, opened, [(name, address)])
