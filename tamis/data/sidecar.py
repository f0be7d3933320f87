"""The JSON file beside a run: what made it, and what the run's own lines cannot say.

A run ``NAME.run``, ``NAME.run.gz`` or plain ``NAME`` has the sidecar ``NAME.run.json``; other endings stay, so that
``bm25.trec.gz`` has ``bm25.trec.run.json``. It is bound to the run by the run's SHA-256: where that does not hold, the run
was changed or replaced and the sidecar says nothing about it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tamis.errors import DataError
from tamis.files import atomic_write, sha256_file

RunFormat = Literal["trec", "msmarco"]

KIND = "tamis-run"
VERSION = 1
TIE_RULE = (
    "lines stand in rank order; scores descend strictly in float32 within a query: a score not below the one written before "
    "it is lowered to the next float32 below, and its exact value is kept here"
)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What stands beside a run.

    Attributes:
        sha256: of the run file's bytes, as stored (compressed where it is).
        lines: lines of the run.
        queries: queries of the ranking, those without results included.
        format: the run's format.
        tag: the run's last column.
        empty: (position among all queries, query id) of every query without results, by position.
        partial: ids of the queries that a deadline cut short.
        lowered: (first line from 0, number of lines, exact score) of every stretch of lines whose written score was lowered.
        manifest: what the writer stated: command, versions, index generation, pipeline, timings.
    """

    sha256: str
    lines: int
    queries: int
    format: RunFormat
    tag: str
    empty: tuple[tuple[int, str], ...] = ()
    partial: tuple[str, ...] = ()
    lowered: tuple[tuple[int, int, float], ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)


def sidecar_path(run: str | Path) -> Path:
    """Return the path of a run's sidecar."""
    path = Path(run)
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".run") + ".run.json")


def write_sidecar(run: Path, sidecar: Sidecar, *, overwrite: bool) -> None:
    """Write the sidecar of `run`, one line a top-level key (long lists would fill pages otherwise)."""
    content = {
        "kind": KIND,
        "version": VERSION,
        "run": run.name,
        "sha256": sidecar.sha256,
        "format": sidecar.format,
        "tag": sidecar.tag,
        "queries": sidecar.queries,
        "lines": sidecar.lines,
        "tie_rule": TIE_RULE,
        "manifest": dict(sidecar.manifest),
        "partial": sidecar.partial,
        "empty": sidecar.empty,
        "lowered": sidecar.lowered,
    }
    with atomic_write(sidecar_path(run), text=True, overwrite=overwrite) as handle:
        entries = (f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in content.items())
        handle.write("{\n" + ",\n".join(entries) + "\n}\n")


def read_sidecar(run: str | Path) -> Sidecar | None:
    """Return the sidecar that belongs to a run, or None: there is none, or it is bound to other contents.

    Raises:
        DataError: the sidecar belongs to the run's contents but cannot be read.
    """
    path, run = sidecar_path(run), Path(run)
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable JSON ({error}): delete it to read the run without it") from error
    if not isinstance(content, dict) or content.get("kind") != KIND or content.get("sha256") != sha256_file(run):
        return None
    if content["version"] != VERSION:
        raise DataError(
            f"{path} has version {content['version']}, this Tamis reads {VERSION}: upgrade, or delete the sidecar"
        )
    try:
        return Sidecar(
            sha256=content["sha256"],
            lines=int(content["lines"]),
            queries=int(content["queries"]),
            format=content["format"],
            tag=content["tag"],
            empty=tuple((int(position), str(query)) for position, query in content["empty"]),
            partial=tuple(map(str, content["partial"])),
            lowered=tuple((int(first), int(count), float(score)) for first, count, score in content["lowered"]),
            manifest=content["manifest"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error!r}): delete it to read the run without it") from error
