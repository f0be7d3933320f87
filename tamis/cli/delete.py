"""`tamis delete`: documents out of an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tamis.cli.options import IndexArgument
from tamis.cli.session import Session
from tamis.errors import DataError, MissingResourceError, UsageError

_SHOWN = 5


def delete(
    session: Session,
    index: IndexArgument,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of documents.", show_default=False)] = None,
    ids_file: Annotated[
        Path | None, typer.Option("--ids-file", metavar="FILE", help="File with one id a line.", show_default=False)
    ] = None,
) -> None:
    """Delete documents from an index by id.

    Ids that the index does not hold are reported and do no harm. The rows keep their place, and count in the statistics, until
    the index is compacted.

    Example: tamis delete my-index doc-17 doc-18
    """
    from tamis.engine import Index

    wanted = [*(ids or []), *(read_ids(ids_file) if ids_file else [])]
    if not wanted:
        raise UsageError("there is nothing to delete: give ids, or a file of them with --ids-file")
    with Index.open(index, listener=session.listener) as opened:
        report = opened.delete(wanted)
        live = opened.inspect()["live_rows"]
    if report.missing:
        shown = ", ".join(map(repr, report.missing[:_SHOWN])) + (" …" if len(report.missing) > _SHOWN else "")
        session.warn("unknown-ids", f"{len(report.missing)} of the ids are not in {index}: {shown}")
    session.artifacts["index"] = str(index)
    session.resolved["generation"] = report.generation
    session.metrics.update(deleted_rows=report.rows, unknown_ids=len(report.missing), live_rows=live)
    session.note(f"{index}: generation {report.generation}, {report.rows:,} rows deleted, {live:,} left")
    if report.rows:
        session.note(f"next: tamis compact {index}  (gives their space back)")


def read_ids(path: Path) -> list[str]:
    """Return the ids of a file, one a line.

    Raises:
        MissingResourceError: it cannot be read.
        DataError: it is not UTF-8.
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise MissingResourceError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: invalid UTF-8 at byte {error.start + 1}; convert the file to UTF-8") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
