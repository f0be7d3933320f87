"""Checking an index: every byte that a generation names, and that its parts agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tamis.errors import IndexVersionError, TamisError
from tamis.events import Advanced, Finished, Listener, Started, ignore
from tamis.files import sha256_file
from tamis.indexer.documents import DocumentStore
from tamis.indexer.layout import Manifest, check_format, generations, manifest_path, parse_manifest


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The outcome: what was checked, and every fault as a sentence that names the file."""

    generation: int | None
    files: int
    bytes: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether no fault was found."""
        return not self.problems


def verify_index(folder: Path, *, quick: bool = False, listener: Listener = ignore) -> VerifyReport:
    """Check FORMAT, all manifests, and every file of the newest generation.

    Args:
        folder: the index.
        quick: compare sizes only, in place of hashing every byte.
        listener: is told of the progress.

    Raises:
        MissingResourceError: there is nothing at `folder`.
        IndexDataError: it is not an index at all.
        IndexVersionError: its layout is newer than what can be checked.
    """
    problems: list[str] = []
    try:
        check_format(folder)
    except IndexVersionError:
        raise
    except TamisError as error:
        if not generations(folder):
            raise
        problems.append(str(error))
    newest: Manifest | None = None
    for generation in generations(folder):
        path = manifest_path(folder, generation)
        try:
            newest = parse_manifest(path.read_bytes(), path)
            if newest.generation != generation:
                problems.append(f"{path} calls itself generation {newest.generation}")
        except TamisError as error:
            newest = None
            problems.append(str(error))
    if newest is None:
        return VerifyReport(None, 0, 0, tuple(problems) or (f"{folder} holds no generation",))
    listener(Started("verify", len(newest.files), "files"))
    size = 0
    for name, entry in sorted(newest.files.items()):
        problems += _check_file(folder / name, entry.bytes, None if quick else entry.sha256)
        size += entry.bytes
        listener(Advanced("verify"))
    if not problems:
        problems += _check_segments(folder, newest)
    listener(Finished("verify"))
    return VerifyReport(newest.generation, len(newest.files), size, tuple(problems))


def _check_file(path: Path, size: int, sha256: str | None) -> Iterator[str]:
    if not path.is_file():
        yield f"{path} is missing"
    elif path.stat().st_size != size:
        yield f"{path} has {path.stat().st_size:,} bytes, the manifest says {size:,}"
    elif sha256 is not None and sha256_file(path) != sha256:
        yield f"{path} is damaged: its SHA-256 differs from the manifest's"


def _check_segments(folder: Path, manifest: Manifest) -> Iterator[str]:
    store = DocumentStore(folder, manifest)
    last = -1
    for number, (entry, segment) in enumerate(zip(manifest.segments, store.segments(), strict=True)):
        if len(segment) != entry.rows:
            yield f"segment {entry.id} holds {len(segment)} rows, the manifest says {entry.rows}"
        if entry.first_row <= last:
            yield f"segment {entry.id} begins at row {entry.first_row}, which is not above {last}"
        if int(store.deleted_of(number).sum()) != entry.deleted:
            yield f"segment {entry.id}: its deletion bitmap does not hold {entry.deleted} rows"
        last = entry.last_row
