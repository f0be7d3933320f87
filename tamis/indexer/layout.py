"""What an index folder holds, and the manifest that names it: DESIGN section 4 in code.

    FORMAT                          magic and layout version, written once
    manifests/000000000007.json     {"sha256": of the body, "body": …}: generation 7
    segments/<id>/                  documents (tamis.indexer.segment); immutable once named
    deletes/<segment>.<generation>.npy  bool of a segment's length: true where the row is deleted
    lucene/                         an ordinary Lucene index
    parts/<part>/<shard>/           impact parts (tamis.indexer.impact.shard); immutable once named
    pruned/                         ids of what was pruned (tamis.indexer.pruned); immutable once named
    work/                           unfinished jobs: receipts and chunks
    LOCK                            the writer's advisory lock

A manifest is the whole truth about a generation. Its ``files`` name every file that the generation needs with size and
SHA-256; what no manifest and no receipt names is garbage.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tamis.errors import (
    CorruptIndexError,
    IndexDataError,
    IndexLockedError,
    IndexVersionError,
    MissingResourceError,
    StorageError,
)
from tamis.files import atomic_write, canonical_json, sha256_json, storage_errors, sync_folder

LAYOUT = 1
FORMAT = "FORMAT"
MANIFESTS = "manifests"
SEGMENTS = "segments"
DELETES = "deletes"
LUCENE = "lucene"
PARTS = "parts"
WORK = "work"
PRUNED = "pruned"

TERMS_PART = "terms"
"""Name of the impact part that is exported from Lucene."""

_MAGIC = "tamis index\n"
_MANIFEST_NAME = re.compile(r"^(\d{12})\.json$")


def format_text(layout: int = LAYOUT) -> str:
    """Return the contents of FORMAT for a layout version."""
    return f"{_MAGIC}layout {layout}\n"


def check_format(folder: Path) -> None:
    """Check that `folder` is an index that this Tamis reads.

    Raises:
        MissingResourceError: nothing is there.
        IndexDataError: it is not a Tamis index.
        IndexVersionError: its layout is newer.
        CorruptIndexError: FORMAT is damaged.
    """
    if not folder.exists():
        raise MissingResourceError(f"no index at {folder}: build one with  tamis index CORPUS -o {folder}")
    try:
        text = (folder / FORMAT).read_bytes().decode("ascii", "replace")
    except (FileNotFoundError, NotADirectoryError):
        raise IndexDataError(f"{folder} is not a Tamis index (it holds no {FORMAT} file)") from None
    if text == format_text():
        return
    if match := re.fullmatch(re.escape(_MAGIC) + r"layout (\d+)\n", text):
        if int(match[1]) > LAYOUT:
            raise IndexVersionError(
                f"{folder} has index layout {match[1]}; this Tamis reads up to {LAYOUT}: upgrade with  pip install -U tamis"
            )
        raise CorruptIndexError(f"{folder / FORMAT} is damaged: there never was a layout {match[1]}")
    raise CorruptIndexError(f"{folder / FORMAT} is damaged: expected {format_text()!r}, found {text[:60]!r}")


@dataclass(frozen=True, slots=True)
class Settings:
    """What an index was told to be when it was created.

    Attributes:
        analyzer: name of the text analyser.
        fields: Lucene fields with their weights; ``contents`` is title and body in one.
        passages: how documents are cut into rows, e.g. ``tokens:200/100``; None keeps a document whole.
        filterable: metadata keys that are stored as typed columns.
    """

    analyzer: str = "english"
    fields: tuple[tuple[str, float], ...] = (("contents", 1.0),)
    passages: str | None = None
    filterable: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Build from a manifest's entry."""
        return cls(
            value["analyzer"],
            tuple((name, float(weight)) for name, weight in value["fields"]),
            value["passages"],
            tuple(value["filterable"]),
        )


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """One document segment in a manifest.

    Attributes:
        id: name of its folder.
        first_row: its lowest row.
        last_row: its highest row.
        rows: how many rows it holds; fewer than the span where compaction left gaps (then it has a row table).
        documents: how many documents they make.
        empty: how many documents are blank.
        deleted: how many of its rows are deleted.
        deletes: the bitmap's file name, None while nothing is deleted.
    """

    id: str
    first_row: int
    last_row: int
    rows: int
    documents: int
    empty: int
    deleted: int = 0
    deletes: str | None = None


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size and SHA-256 of a file that a generation needs."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything about one generation.

    Attributes:
        index: identity of the index, the same in all generations.
        generation: number of this one; 0 is the empty index.
        created: UTC time, ISO 8601.
        tamis: version that wrote it.
        settings: what the index is.
        changed: the generation that last changed the documents; those after it changed parts only.
        next_row: the row that the next document gets; rows are never reused.
        segments: document segments in row order.
        parts: what is built over them, by name; ``lucene`` holds the commit's file and its fields' statistics, ``terms`` the
            shards of its postings; the others are encoded by models (`tamis.indexer.encoded.entry`).
        counts: running totals: documents, rows, deleted, empty, duplicates, replaced, skipped lines.
        sources: what was added: one entry a finished job with its fingerprint.
        files: path within the index → size and hash.
        pruned: what was pruned and is kept out (`tamis.indexer.pruned`); empty where nothing was.
    """

    index: str
    generation: int
    created: str
    tamis: str
    settings: Settings
    changed: int = 0
    next_row: int = 0
    segments: tuple[SegmentEntry, ...] = ()
    parts: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    sources: tuple[Mapping[str, Any], ...] = ()
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    pruned: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows held, deleted ones included."""
        return sum(segment.rows for segment in self.segments)

    @property
    def deleted(self) -> int:
        """Rows that are deleted and not compacted away yet."""
        return sum(segment.deleted for segment in self.segments)

    def to_json(self) -> dict[str, Any]:
        """Return the body as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Build from a body."""
        return cls(
            **{
                **body,
                "settings": Settings.from_json(body["settings"]),
                "segments": tuple(SegmentEntry(**entry) for entry in body["segments"]),
                "sources": tuple(body["sources"]),
                "files": {name: FileEntry(**entry) for name, entry in body["files"].items()},
            }
        )


def manifest_path(folder: Path, generation: int) -> Path:
    """Return where the manifest of a generation lies."""
    return folder / MANIFESTS / f"{generation:012d}.json"


def generations(folder: Path) -> list[int]:
    """Return the generations that have a manifest, ascending."""
    try:
        names = os.listdir(folder / MANIFESTS)  # noqa: PTH208 - names are all that is needed
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(match[1]) for name in names if (match := _MANIFEST_NAME.match(name)))


def parse_manifest(data: bytes, path: Path) -> Manifest:
    """Read a manifest file's contents, checking its own hash.

    Raises:
        CorruptIndexError: the hash does not hold or the contents do not parse.
    """
    try:
        value = json.loads(data)
        body = value["body"]
        if value["sha256"] == sha256_json(body) and data == _manifest_text(body).encode():
            return Manifest.from_json(body)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptIndexError(f"{path} is damaged: {error}") from error
    raise CorruptIndexError(f"{path} is damaged: its checksum does not hold")


def check_files(folder: Path, manifest: Manifest) -> None:
    """Check cheaply, by sizes, that every file of a generation is there; `tamis verify` reads them.

    Raises:
        CorruptIndexError: one is missing or of another size.
    """
    for name, entry in manifest.files.items():
        try:
            size = os.stat(folder / name).st_size  # noqa: PTH116 - half the time of Path.stat
        except FileNotFoundError:
            raise CorruptIndexError(f"{folder / name} is missing; run tamis verify") from None
        if size != entry.bytes:
            raise CorruptIndexError(
                f"{folder / name} has {size:,} bytes, the manifest says {entry.bytes:,}; run tamis verify"
            )


def _manifest_text(body: Mapping[str, Any]) -> str:
    return f'{{"body":{canonical_json(body)},"sha256":"{sha256_json(body)}"}}\n'


def publish_manifest(folder: Path, manifest: Manifest) -> None:
    """Make `manifest` the newest generation, or refuse if that generation exists.

    The file appears under its final name whole and flushed, by a hard link that fails where the name is taken; on file
    systems without links, by an exclusive rename under the writer's lock.
    """
    final = manifest_path(folder, manifest.generation)
    text = _manifest_text(json.loads(json.dumps(manifest.to_json())))
    temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}")
    with storage_errors(final):
        final.parent.mkdir(exist_ok=True)
        try:
            with atomic_write(temporary, text=True) as handle:
                handle.write(text)
            try:
                os.link(temporary, final)
            except FileExistsError:
                raise IndexLockedError(
                    f"{final} exists: another writer published generation {manifest.generation}"
                ) from None
            except OSError as error:
                if isinstance(error, StorageError) or final.exists():
                    raise
                temporary.rename(final)
            sync_folder(final.parent)
        finally:
            temporary.unlink(missing_ok=True)
