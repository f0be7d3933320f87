"""Leaving a run behind: checked before the work, written with a manifest that says how it came about."""

from __future__ import annotations

import shlex
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.errors import MissingResourceError, OutputExistsError, UnknownNameError

if TYPE_CHECKING:
    from tamis.cli.session import Session
    from tamis.ranking import Ranking

FORMATS = ("trec", "msmarco")


def check_output(output: Path | None, form: str, *, force: bool) -> None:
    """Check that the run may be written, before any work is done for it.

    Raises:
        UnknownNameError: there is no such run format.
        OutputExistsError: it or its manifest is there, and `force` is false.
        MissingResourceError: its folder is not there.
    """
    from tamis.data.sidecar import sidecar_path

    if form not in FORMATS:
        raise UnknownNameError("run format", form, FORMATS)
    if output is None:
        return
    for path in (output, sidecar_path(output)):
        if path.is_dir():
            raise OutputExistsError(f"{path} is a folder: name a file for the run")
        if path.exists() and not force:
            raise OutputExistsError(f"{path} exists: choose another name, or pass --force to overwrite it")
    if not output.parent.is_dir():
        raise MissingResourceError(f"cannot write {output}: there is no folder {output.parent}; make it first")


def put_run(
    session: Session,
    ranking: Ranking,
    output: Path | None,
    *,
    tag: str,
    form: str,
    force: bool,
    manifest: dict[str, Any],
) -> None:
    """Write a run and its manifest to `output`; without one, the run alone to standard output."""
    from tamis.data.runs import write_run

    run_format: Any = form
    if output is not None:
        beside = write_run(ranking, output, tag=tag, format=run_format, manifest=manifest, overwrite=force)
        session.artifacts.update(run=str(output), manifest=str(beside))
    elif session.as_json:
        from tamis.cli.hits import hits_of_ranking

        session.results = hits_of_ranking(ranking)
    else:
        with tempfile.TemporaryDirectory(prefix="tamis-") as folder:
            path = Path(folder, "stdout.run")
            write_run(ranking, path, tag=tag, format=run_format)
            session.write_bytes(path.read_bytes())


def provenance(**entries: Any) -> dict[str, Any]:
    """Return the manifest of a run: command line, time, versions, and `entries`."""
    return {
        "command": shlex.join(["tamis", *sys.argv[1:]]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        **entries,
    }


def versions() -> dict[str, str]:
    """Return the versions of what decides the numbers; Lucene's only where it runs."""
    from importlib.metadata import PackageNotFoundError, version

    import numpy as np

    from tamis._version import __version__
    from tamis.indexer.lucene.jvm import java, started

    known = {"tamis": __version__, "python": sys.version.split()[0], "numpy": np.__version__}
    try:
        known["pyserini"] = version("pyserini")
    except PackageNotFoundError:
        known["pyserini"] = "not installed"
    if started():
        known["lucene"] = str(java("org.apache.lucene.util.Version").LATEST.toString())
    return known


def warn_partial(session: Session, ranking: Ranking) -> None:
    """Let the command end with exit code 7 where a deadline cut queries short."""
    cut = [query for query, partial in zip(ranking.query_ids, ranking.partial.tolist(), strict=True) if partial]
    if cut:
        shown = ", ".join(cut[:3]) + (" …" if len(cut) > 3 else "")
        session.partial(f"{len(cut)} of {len(ranking)} queries were cut short: {shown}")
