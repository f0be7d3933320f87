"""Changing an index: create, add, delete, compact, and its encoded parts. One writer at a time; readers keep their generation.

Every change ends in one commit (`tamis.indexer.commit`). A kill before it costs nothing that has a receipt; the next writer
clears what a finished or abandoned job left.
"""

from __future__ import annotations

import itertools
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tamis._version import __version__
from tamis.data.document import Document
from tamis.errors import CorruptIndexError, DataError, MissingResourceError, OutputExistsError
from tamis.events import Listener, ignore
from tamis.executor import Executor, Threads
from tamis.families import open_encoder
from tamis.files import atomic_write, sha256_json, storage_errors, sync_folder
from tamis.indexer.commit import Change, commit, commit_parts
from tamis.indexer.compaction import compacted_segments
from tamis.indexer.documents import DocumentStore
from tamis.indexer.encoded.entry import EncodedEntry, check_name, encoded_entries
from tamis.indexer.encoded.job import EncodingJob, gather_shards
from tamis.indexer.encoded.kinds import model_opener, part_kind
from tamis.indexer.garbage import clear_jobs, collect
from tamis.indexer.jobs import Ingest
from tamis.indexer.layout import (
    FORMAT,
    MANIFESTS,
    SEGMENTS,
    WORK,
    Manifest,
    SegmentEntry,
    Settings,
    check_files,
    check_format,
    format_text,
    generations,
    manifest_path,
    parse_manifest,
    publish_manifest,
)
from tamis.indexer.lock import LOCK, WriterLock
from tamis.indexer.pruned import Blocklist, gone_documents, with_pruned, without_pruned
from tamis.ranking import Rows

DEFAULT_THREADS = 2


@dataclass(frozen=True, slots=True)
class AddReport:
    """What an add did.

    Attributes:
        generation: the generation that holds it.
        documents: documents taken in.
        rows: rows they make.
        empty: documents without title and text; they are stored and found by id, and match no query.
        duplicates: documents left out because an earlier one of the same job had their id.
        duplicate_ids: up to five of those ids.
        replaced: rows of older versions that were deleted.
        blocked: documents left out because they were pruned (`tamis.indexer.pruned`).
        unchanged: nothing was done, because this very corpus is in the index already.
    """

    generation: int
    documents: int = 0
    rows: int = 0
    empty: int = 0
    duplicates: int = 0
    duplicate_ids: tuple[str, ...] = ()
    replaced: int = 0
    blocked: int = 0
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class DeleteReport:
    """What a delete did: rows deleted, and the ids that the index did not hold."""

    generation: int
    rows: int
    missing: tuple[str, ...]


def create_index(folder: Path, settings: Settings, *, overwrite: bool = False) -> Manifest:
    """Make an empty index (generation 0) in `folder`.

    A kill at any instant leaves the old index, or a folder that the same call makes an index of.

    Raises:
        OutputExistsError: the folder holds something already.
        IndexLockedError: another process writes there.
        StorageError: the disk refuses a write.
    """
    _check_free(folder, overwrite=overwrite)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with WriterLock(folder):
            _check_free(folder, overwrite=overwrite)  # another process may have made one meanwhile
            _erase(folder)
            with atomic_write(folder / FORMAT, text=True) as handle:
                handle.write(format_text())
            for part in (MANIFESTS, SEGMENTS, WORK):
                (folder / part).mkdir(exist_ok=True)
            sync_folder(folder)
            sync_folder(folder.absolute().parent)
            created = datetime.now(UTC).isoformat(timespec="seconds")
            manifest = Manifest(uuid.uuid4().hex, 0, created, __version__, settings)
            publish_manifest(folder, manifest)
            return manifest


def _check_free(folder: Path, *, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputExistsError(f"{folder} is a file: choose another folder")
    names = {path.name for path in folder.iterdir() if not path.name.startswith(f".{FORMAT}.")}
    if FORMAT in names:
        if generations(folder) and not overwrite:
            raise OutputExistsError(
                f"{folder} is an index already: choose another folder, or pass --force to replace it"
            )
    elif names - {LOCK}:
        raise OutputExistsError(
            f"{folder} is not empty and not a Tamis index, so it is not replaced: choose another folder"
        )


def _erase(folder: Path) -> None:
    """Empty an index folder; the newest manifest goes last of all manifests, and only then what it names."""
    for generation in generations(folder):
        manifest_path(folder, generation).unlink()
    for path in folder.iterdir():
        if path.name not in (FORMAT, LOCK):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def newest_manifest(folder: Path) -> Manifest:
    """Return the newest generation's manifest, without holding it."""
    check_format(folder)
    known = generations(folder)
    if not known:
        raise CorruptIndexError(f"{folder} holds no manifest: its creation was interrupted; run the same command again")
    path = manifest_path(folder, known[-1])
    return parse_manifest(path.read_bytes(), path)


class Writer:
    """The one writer of an index; a context manager that holds the lock.

    Args:
        folder: an existing index.
        threads: threads that build Lucene chunks.
        listener: is told of the progress.

    Raises:
        IndexLockedError: another writer holds the index.
        CorruptIndexError: the newest generation is damaged.
    """

    def __init__(self, folder: Path, *, threads: int = DEFAULT_THREADS, listener: Listener = ignore) -> None:
        check_format(folder)
        self.folder = folder
        self._executor: Executor = Threads(threads)
        self._listener = listener
        self._lock = WriterLock(folder)
        try:
            self.manifest = newest_manifest(folder)
            check_files(folder, self.manifest)
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Give up the writer's lock."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def add(
        self, documents: Iterable[Document], *, fingerprint: Mapping[str, Any] | None = None, total: int | None = None
    ) -> AddReport:
        """Take documents in; those whose id the index holds replace it.

        Args:
            documents: the stream, read once and in order.
            fingerprint: identity of the corpus. With it the job resumes after a kill, and adding the same corpus to the
                same generation again is recognised and does nothing.
            total: number of documents if known, for progress.

        Raises:
            DataError: there are no documents, or none that was not pruned.
        """
        identity = sha256_json(fingerprint)[:32] if fingerprint is not None else None
        if identity and self._holds_just(identity):
            self.collect()  # the kill may have come between the commit and the clearing up
            return AddReport(self.manifest.generation, unchanged=True)
        job = (
            f"{self.manifest.generation + 1}-{identity}"
            if identity
            else f"{self.manifest.generation + 1}-{uuid.uuid4().hex}"
        )
        clear_jobs(self.folder, keep=job if identity else None)
        blocklist = Blocklist(self.folder, self.manifest)
        stream = blocklist(_not_empty(documents))
        store = DocumentStore(self.folder, self.manifest)
        ingest = Ingest(
            self.folder, job, store, self.manifest.settings, executor=self._executor, listener=self._listener
        )
        try:
            ingest.run(stream, total=total)
            if blocklist.blocked and not ingest.chunks:
                raise DataError(
                    f"all {blocklist.blocked:,} documents were pruned from {self.folder} and are kept out: to take them back, "
                    f"run  tamis restore {self.folder}  first"
                )
            return replace(self._commit_ingest(ingest, store, fingerprint, identity), blocked=blocklist.blocked)
        except BaseException:
            if identity is None:  # nobody can resume it
                self.collect()
            raise

    def _commit_ingest(
        self, ingest: Ingest, store: DocumentStore, fingerprint: Mapping[str, Any] | None, identity: str | None
    ) -> AddReport:
        chunks, replaced = ingest.chunks, ingest.replaced_rows()
        totals = {
            "documents": sum(chunk.segment.documents for chunk in chunks),
            "rows": sum(chunk.segment.rows for chunk in chunks),
            "empty": sum(chunk.segment.empty for chunk in chunks),
            "duplicates": ingest.duplicates,
            "replaced": sum(chunk.replaced for chunk in chunks),
        }
        change = Change(
            segments=[(chunk.segment, chunk.files) for chunk in chunks],
            chunks=[ingest.lucene_folder(chunk.number) for chunk in chunks],
            deleted=replaced,
            counts=totals,
            parts=self._encoded(ingest.folder, store, replaced, [chunk.segment for chunk in chunks]),
            source={
                "identity": identity,
                "generation": self.manifest.generation + 1,
                "fingerprint": dict(fingerprint or {}),
                **totals,
            },
        )
        self.manifest = commit(self.folder, self.manifest, change, listener=self._listener)
        ingest.clear()
        return AddReport(
            self.manifest.generation,
            documents=totals["documents"],
            rows=totals["rows"],
            empty=totals["empty"],
            duplicates=totals["duplicates"],
            duplicate_ids=tuple(ingest.duplicate_ids),
            replaced=totals["replaced"],
        )

    # -- parts -----------------------------------------------------------------------------------------------------

    def add_part(self, name: str, kind: str, encoder: Any, options: Mapping[str, Any]) -> EncodedEntry:
        """Encode all documents with a model and keep what it makes as a part; later documents are encoded as they come.

        An interrupted call, made again, encodes what is missing; a part that is there is brought up to entities that its model
        gained.

        Args:
            name: of the part.
            kind: see `tamis.indexer.encoded.kinds`.
            encoder: the model.
            options: the part-scope options.

        Raises:
            OutputExistsError: the index has a part of that name that was made otherwise.
            UsageError: the name or the options cannot be.
        """
        entries = encoded_entries(self.manifest.parts)
        identity = encoder.identity
        if known := entries.get(check_name(name)):
            if (known.kind, known.fingerprint, dict(known.options)) == (kind, identity.fingerprint, dict(options)):
                if hasattr(encoder, "mentions"):
                    self.update_part(name, encoder)
                return encoded_entries(self.manifest.parts)[name]
            raise OutputExistsError(
                f"{self.folder} has a part {name!r} already ({known.address}): choose another name, as in  --part "
                f"NAME={identity.address} , or drop it first with  tamis drop-part {self.folder} {name}"
            )
        new = EncodedEntry.new(self.manifest.index, name, kind, identity, options, self.manifest.generation)
        new = new.with_facts(part_kind(kind).facts(encoder, options))
        job = f"part-{new.id}"
        clear_jobs(self.folder, keep=job)
        store = DocumentStore(self.folder, self.manifest)
        work = EncodingJob(
            self.folder, self.folder / WORK / job, open_encoder=lambda address: encoder, listener=self._listener
        )
        with storage_errors(self.folder):
            new = work.run(name, new, self.manifest.segments, store.live)
            parts = {**entries, name: new}
            self.manifest = commit_parts(self.folder, self.manifest, parts, listener=self._listener)
        shutil.rmtree(self.folder / WORK / job, ignore_errors=True)
        return new

    def update_part(self, name: str, encoder: Any) -> int:
        """Encode anew what the dimensions that a part's model has gained would change, and nothing else.

        Args:
            name: of a sparse part.
            encoder: its model, with `mentions` (see `tamis.indexer.sparse.revise`).

        Returns:
            How many rows were encoded.

        Raises:
            MissingResourceError: there is no such part.
            UsageError: its model does not gain dimensions.
            FingerprintError: the model is another than the one that encoded the part.
        """
        from tamis.indexer.sparse.revise import revise

        entries = encoded_entries(self.manifest.parts)
        if name not in entries:
            raise MissingResourceError(
                f"{self.folder} has no part {name!r}; encoded parts: {', '.join(entries) or 'none'}"
            )
        clear_jobs(self.folder)
        old = entries[name]
        with storage_errors(self.folder):
            new, rows = revise(self.folder, self.manifest, name, old, encoder, listener=self._listener)
            if new is not old:
                parts = {**entries, name: new}
                self.manifest = commit_parts(self.folder, self.manifest, parts, listener=self._listener)
        return rows

    def drop_part(self, name: str) -> None:
        """Take an encoded part out of the index.

        Raises:
            MissingResourceError: the index has none of that name.
            UsageError: it is one of the index's own parts.
        """
        entries = encoded_entries(self.manifest.parts)
        if check_name(name) not in entries:
            held = ", ".join(entries) or "none"
            raise MissingResourceError(f"{self.folder} has no part {name!r}; parts that can be dropped: {held}")
        del entries[name]
        self.manifest = commit_parts(self.folder, self.manifest, entries, listener=self._listener)

    def _encoded(
        self, job: Path, store: DocumentStore, deleted: NDArray[np.int64], added: Sequence[SegmentEntry]
    ) -> dict[str, EncodedEntry]:
        """Return all encoded parts, brought up to the segments of the next generation."""
        entries = encoded_entries(self.manifest.parts)
        if not entries:
            return {}
        live = np.ones(store.manifest.rows, np.bool_) if store.live is None else store.live.copy()
        live[store.positions_of(deleted)] = False
        live = np.concatenate([live, np.ones(sum(entry.rows for entry in added), np.bool_)])
        segments = (*self.manifest.segments, *added)
        brought = {}
        for name, entry in entries.items():
            opener = model_opener(entry.kind) or open_encoder
            work = EncodingJob(self.folder, job, open_encoder=opener, listener=self._listener)
            brought[name] = work.run(name, entry, segments, live)
        return brought

    def _holds_just(self, identity: str) -> bool:
        """Whether adding this very corpus was the last change of the documents."""
        last = self.manifest.sources[-1] if self.manifest.sources else {}
        return last.get("identity") == identity and last.get("generation") == self.manifest.changed

    def delete(self, ids: Sequence[str]) -> DeleteReport:
        """Delete documents by id, with all their rows; unknown ids are reported, not an error."""
        clear_jobs(self.folder)
        wanted = list(dict.fromkeys(ids))
        store = DocumentStore(self.folder, self.manifest)
        found = store.document_rows(wanted)
        missing = tuple(doc_id for doc_id, rows in zip(wanted, found, strict=True) if not len(rows))
        rows = np.concatenate([*found, np.zeros(0, np.int64)])
        if len(rows):
            parts = encoded_entries(self.manifest.parts)
            change = Change(deleted=rows, counts={"deleted": len(rows)}, parts=parts)
            self.manifest = commit(self.folder, self.manifest, change, listener=self._listener)
        return DeleteReport(self.manifest.generation, len(rows), missing)

    def prune(self, rows: Rows, record: Mapping[str, Any]) -> Manifest:
        """Take rows out for good and keep their ids; documents of which no row is left are kept out of later adds.

        Args:
            rows: live rows, distinct.
            record: how they were chosen, as JSON values.
        """
        clear_jobs(self.folder)
        store = DocumentStore(self.folder, self.manifest)
        parts = encoded_entries(self.manifest.parts)
        with storage_errors(self.folder):
            noted = {"rows": len(rows), **record}
            pruned = with_pruned(self.folder, self.manifest, store.ids(rows), gone_documents(store, rows), noted)
        change = Change(deleted=rows, counts={"pruned": len(rows)}, parts=parts, pruned=pruned)
        self.manifest = commit(self.folder, self.manifest, change, listener=self._listener)
        return self.compact()

    def unblock(self, ids: Collection[str] | None = None) -> Manifest:
        """Let pruned documents come again when they are added: `ids`, or all of them."""
        clear_jobs(self.folder)
        with storage_errors(self.folder):
            chunked = self.manifest.settings.passages is not None
            pruned = without_pruned(self.folder, self.manifest, ids, passages=chunked)
        change = Change(parts=encoded_entries(self.manifest.parts), pruned=pruned)
        self.manifest = commit(self.folder, self.manifest, change, listener=self._listener)
        return self.manifest

    def compact(self) -> Manifest:
        """Rewrite the index without deleted rows, in as few segments as may be. Rows keep their numbers."""
        clear_jobs(self.folder, keep=f"compact-{self.manifest.generation}")
        store = DocumentStore(self.folder, self.manifest)
        if not self.manifest.deleted and len(self.manifest.segments) <= 1:
            return self.manifest
        job = self.folder / WORK / f"compact-{self.manifest.generation}"
        with storage_errors(self.folder):
            compacted = list(compacted_segments(self.folder, store, job, self._listener))
            sources = [(entry, _sources(store, rows)) for entry, _, rows in compacted]
            entries = encoded_entries(self.manifest.parts)
            parts = {name: gather_shards(self.folder, entry, sources) for name, entry in entries.items()}
            segments = [(entry, files) for entry, files, _ in compacted]
            change = Change(segments=segments, compacted=True, parts=parts)
            self.manifest = commit(self.folder, self.manifest, change, listener=self._listener)
        shutil.rmtree(job, ignore_errors=True)
        return self.manifest

    def collect(self) -> list[str]:
        """Remove what no generation needs (`tamis.indexer.garbage`)."""
        clear_jobs(self.folder)
        return collect(self.folder, self.manifest)


def _sources(store: DocumentStore, rows: NDArray[np.int64]) -> list[tuple[str, NDArray[np.int64]]]:
    """Where ascending rows lie: (segment's id, positions in it)."""
    return [(store.manifest.segments[number].id, places) for number, places in store.by_segment(rows)]


def _not_empty(documents: Iterable[Document]) -> Iterator[Document]:
    stream = iter(documents)
    first = next(stream, None)
    if first is None:
        raise DataError("there are no documents to add: the corpus is empty")
    return itertools.chain([first], stream)
