"""`tamis verify`: is every byte of an index what its manifest says?"""

from __future__ import annotations

from typing import Annotated

import typer

from tamis.cli.options import IndexArgument
from tamis.cli.session import Session
from tamis.errors import EXIT_DATA


def verify(
    session: Session,
    index: IndexArgument,
    quick: Annotated[bool, typer.Option("--quick", help="Compare sizes only; hash nothing.")] = False,
) -> None:
    """Check every file of an index against its manifest.

    Every fault is a line of the output, and names its file; the exit code is then 5.

    Example: tamis verify my-index
    """
    from tamis.cli.drawing import format_bytes
    from tamis.indexer.verify import verify_index

    report = verify_index(index, quick=quick, listener=session.listener)
    session.resolved["generation"] = report.generation
    session.results = {"ok": report.ok, "problems": list(report.problems)}
    session.metrics.update(files=report.files, bytes=report.bytes, problems=len(report.problems))
    for problem in report.problems:
        session.write(f"{problem}\n")
    if report.ok:
        checked = "sizes checked" if quick else "every byte checked"
        session.write(
            f"{index}: generation {report.generation} is whole: {report.files:,} files, {format_bytes(report.bytes)}, {checked}\n"
        )
        return
    count = len(report.problems)
    session.fail(
        "CorruptIndexError",
        f"{index} is damaged: {count} fault{'' if count == 1 else 's'} found; restore the files from a copy, or build it again",
        EXIT_DATA,
    )
