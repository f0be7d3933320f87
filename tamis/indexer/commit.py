"""The order of operations that makes a generation: a crash at any instruction leaves the one before it whole.

    segments    every new document segment is on the device under its final name
    deletes     the new deletion bitmaps are written
    lucene      Lucene has committed, with the new generation in its user data
    parts       the postings of its new segments are exported and on the device (encoded parts came with the change)
    hashed      size and hash of every new file are known
    published   the manifest is linked under its number: from here on the new generation is what readers open
    cleared     the job's folder is gone, and with it generations that nobody reads

Each name is emitted as a `CommitStep` event at that instant; the crash tests kill the process at every one.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis._version import __version__
from tamis.errors import CorruptIndexError
from tamis.events import CommitStep, Finished, Listener, Started, Warned
from tamis.files import storage_errors, sync_folder, write_array
from tamis.indexer.documents import DocumentStore
from tamis.indexer.encoded.entry import NOT_ENCODED, EncodedEntry, encoded_entries
from tamis.indexer.encoded.job import part_files
from tamis.indexer.garbage import collect
from tamis.indexer.impact.shard import shard_files
from tamis.indexer.layout import (
    DELETES,
    LUCENE,
    PARTS,
    SEGMENTS,
    TERMS_PART,
    FileEntry,
    Manifest,
    SegmentEntry,
    publish_manifest,
)
from tamis.indexer.pruned import pruned_files
from tamis.indexer.segment import describe_file

STEPS = ("segments", "deletes", "lucene", "parts", "hashed", "published", "cleared")


@dataclass(frozen=True, slots=True)
class Change:
    """What a commit adds to a generation.

    Attributes:
        segments: new document segments, in row order, with their files by name.
        chunks: folders of finished Lucene chunks, in the same order.
        deleted: rows of the base generation that go.
        counts: what is added to the running totals.
        source: an entry for the manifest's list of sources, or None.
        compacted: segments that replace all of the base's, when this is a compaction.
        parts: encoded parts by name, brought up to the segments, their files on the device.
        pruned: the manifest's entry of what was pruned, if it changes, its files on the device.
    """

    segments: Sequence[tuple[SegmentEntry, Mapping[str, FileEntry]]] = ()
    chunks: Sequence[Path] = ()
    deleted: NDArray[np.int64] | None = None
    counts: Mapping[str, int] | None = None
    source: Mapping[str, Any] | None = None
    compacted: bool = False
    parts: Mapping[str, EncodedEntry] = field(default_factory=dict)
    pruned: Mapping[str, Any] | None = None


def commit(folder: Path, base: Manifest, change: Change, *, listener: Listener) -> Manifest:
    """Make the next generation out of `base` and `change`, publish it, and return its manifest.

    The caller holds the writer's lock, and every file of the new segments is on the device already.

    Raises:
        StorageError: the disk is full or refuses a write; the generation before is whole.
    """
    with storage_errors(folder):
        return _commit(folder, base, change, listener)


def _commit(folder: Path, base: Manifest, change: Change, listener: Listener) -> Manifest:
    listener(Started("commit", len(STEPS), "steps"))
    listener(CommitStep("segments"))
    generation = base.generation + 1
    store = DocumentStore(folder, base)
    kept = () if change.compacted else _with_deletes(folder, store, generation, change.deleted)
    listener(CommitStep("deletes"))
    segments = (*kept, *(entry for entry, _ in change.segments))
    part, lucene_files = _commit_lucene(folder, base, store, change, generation)
    sync_folder(folder)  # deletes/ and lucene/ may be new in it
    listener(CommitStep("lucene"))
    terms, shard_files = _export_terms(folder, base, part, listener)
    listener(CommitStep("parts"))
    encoded_files = [name for entry in change.parts.values() for name in part_files(folder, entry)]
    lucene_names = [f"{LUCENE}/{file}" for file in lucene_files]
    pruned = base.pruned if change.pruned is None else change.pruned
    others = [*lucene_names, *shard_files, *encoded_files, *pruned_files(pruned)]
    files = _describe(folder, base, change, kept, others)
    listener(CommitStep("hashed"))
    counts = dict(base.counts)
    for name, value in (change.counts or {}).items():
        counts[name] = counts.get(name, 0) + value
    encoded = {name: entry.to_json() for name, entry in change.parts.items()}
    manifest = replace(
        _next(base),
        changed=generation,
        next_row=max([base.next_row, *(entry.last_row + 1 for entry in segments)]),
        segments=segments,
        parts={LUCENE: part, **terms, **encoded},
        counts=counts,
        sources=(*base.sources, change.source) if change.source is not None else base.sources,
        files=files,
        pruned=pruned,
    )
    check_counts(manifest, part)
    _warn_of_empty_fields(base, part, listener)
    _publish(folder, manifest, listener, change.chunks)
    return manifest


def commit_parts(folder: Path, base: Manifest, parts: Mapping[str, EncodedEntry], *, listener: Listener) -> Manifest:
    """Make the next generation out of the same documents with other encoded parts: `parts` are all that it will have.

    Raises:
        StorageError: the disk is full or refuses a write; the generation before is whole.
    """
    with storage_errors(folder):
        listener(Started("commit", len(STEPS), "steps"))
        for step in STEPS[:3]:  # documents, deletions and Lucene stay as they are
            listener(CommitStep(step))
        sync_folder(folder)
        listener(CommitStep("parts"))
        gone = {f"{PARTS}/{entry.id}/" for entry in encoded_entries(base.parts).values()}
        files = {name: known for name, known in base.files.items() if not name.startswith(tuple(gone))}
        for name in (name for entry in parts.values() for name in part_files(folder, entry)):
            files[name] = base.files.get(name) or describe_file(folder / name)
        listener(CommitStep("hashed"))
        own = {name: part for name, part in base.parts.items() if part["kind"] in NOT_ENCODED}
        entries = {**own, **{name: entry.to_json() for name, entry in parts.items()}}
        manifest = replace(_next(base), parts=entries, files=files)
        _publish(folder, manifest, listener)
        return manifest


def _next(base: Manifest) -> Manifest:
    """The generation after `base`, so far with the same contents."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return replace(base, generation=base.generation + 1, created=now, tamis=__version__)


def _publish(folder: Path, manifest: Manifest, listener: Listener, chunks: Sequence[Path] = ()) -> None:
    publish_manifest(folder, manifest)
    listener(CommitStep("published"))
    for chunk in chunks:
        shutil.rmtree(chunk, ignore_errors=True)
    collect(folder, manifest)
    listener(CommitStep("cleared"))
    listener(Finished("commit"))


def _with_deletes(
    folder: Path, store: DocumentStore, generation: int, deleted: NDArray[np.int64] | None
) -> tuple[SegmentEntry, ...]:
    segments = list(store.manifest.segments)
    if deleted is None or not len(deleted):
        return tuple(segments)
    (folder / DELETES).mkdir(exist_ok=True)
    for number, places in store.by_segment(np.unique(deleted)):
        entry, bitmap = segments[number], store.deleted_of(number).copy()
        bitmap[places] = True
        name = f"{entry.id}.{generation}.npy"
        write_array(folder / DELETES / name, bitmap)
        segments[number] = replace(entry, deleted=int(bitmap.sum()), deletes=name)
    return tuple(segments)


def _commit_lucene(
    folder: Path, base: Manifest, store: DocumentStore, change: Change, generation: int
) -> tuple[dict[str, Any], list[str]]:
    from tamis.indexer.lucene.commits import LuceneWriter, commit_files, field_statistics
    from tamis.indexer.lucene.failures import java_errors
    from tamis.indexer.lucene.feed import lucene_fields

    lucene = folder / LUCENE
    settings = base.settings
    previous = base.parts.get("lucene", {}).get("segments_file")
    deletes = change.deleted is not None and len(change.deleted) > 0
    may_merge = not base.deleted and not deletes
    with java_errors(lucene):
        with LuceneWriter(lucene, settings.analyzer, previous, may_merge=may_merge) as writer:
            if deletes:
                writer.delete(store.ids(np.asarray(change.deleted)))
            writer.take(change.chunks)
            if change.compacted:
                writer.merge_all()
            segments_file = writer.commit(generation)
        part = {
            "kind": "lucene",
            "segments_file": segments_file,
            "analyzer": settings.analyzer,
            "fields": field_statistics(lucene, segments_file, lucene_fields(settings)),
        }
        return part, commit_files(lucene, segments_file)


def _export_terms(
    folder: Path, base: Manifest, lucene: Mapping[str, Any], listener: Listener
) -> tuple[dict[str, Any], list[str]]:
    """Bring the impact part up to the Lucene commit: the manifest's entry, if it can be, and the names of its files."""
    from tamis.indexer.lucene.export import TooManyPairsError, export_commit
    from tamis.indexer.lucene.failures import java_errors

    fields = sorted(lucene["fields"])
    old = base.parts.get(TERMS_PART, {})
    identity = old["id"] if old.get("fields") == fields else uuid.uuid4().hex
    place = folder / PARTS / identity
    try:
        with java_errors(folder / LUCENE):
            shards = export_commit(folder / LUCENE, lucene["segments_file"], fields, place)
    except TooManyPairsError as error:
        listener(Warned("no-impact-part", f"{error}: searches of this index run in Lucene"))
        return {}, []
    sync_folder(folder / PARTS)
    sync_folder(folder)
    files = [f"{PARTS}/{identity}/{shard.id}/{file}" for shard in shards for file in shard_files(place / shard.id)]
    entry = {"kind": "impact", "id": identity, "fields": fields, "shards": [shard.to_json() for shard in shards]}
    return {TERMS_PART: entry}, files


def _warn_of_empty_fields(base: Manifest, part: Mapping[str, Any], listener: Listener) -> None:
    for name, _ in base.settings.fields:
        if not part["fields"][name]["docs"] and name not in ("contents", "title", "body"):
            message = f"no document has a field {name!r}, which --fields names: searches find nothing in it"
            listener(Warned("empty-field", message))


def check_counts(manifest: Manifest, part: Mapping[str, Any]) -> None:
    """Check that Lucene cannot hold more documents with text than the manifest has rows.

    Raises:
        CorruptIndexError: it does.
    """
    for name, known in part["fields"].items():
        if known["docs"] > manifest.rows:
            raise CorruptIndexError(
                f"Lucene field {name!r} holds {known['docs']} documents, the segments only {manifest.rows} rows"
            )


def _describe(
    folder: Path, base: Manifest, change: Change, kept: Sequence[SegmentEntry], part_files: Sequence[str]
) -> dict[str, FileEntry]:
    files: dict[str, FileEntry] = {}
    for entry in kept:
        prefix = f"{SEGMENTS}/{entry.id}/"
        files.update({name: known for name, known in base.files.items() if name.startswith(prefix)})
        if entry.deletes is not None:
            name = f"{DELETES}/{entry.deletes}"
            files[name] = base.files.get(name) or describe_file(folder / name)
    for entry, described in change.segments:
        files.update({f"{SEGMENTS}/{entry.id}/{name}": known for name, known in described.items()})
    for name in part_files:
        # a file of a Lucene commit or of a shard is never rewritten, so what was hashed once stays so
        files[name] = base.files.get(name) or describe_file(folder / name)
    return files
