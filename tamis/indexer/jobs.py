"""Taking documents in: from a stream to document segments and Lucene chunks, in pieces that survive a kill.

The stream is read in order and cut into chunks. The driver writes a chunk's document segment straight to its final place and
leaves a receipt; a worker thread makes the chunk's Lucene index in the job's folder and leaves another. Nothing is visible
before the commit. A job over a corpus is named by the corpus's fingerprint and the index's state, so running the same
command again finds the receipts and does only what is missing.

One rule for duplicates: the first document with an id in a job is taken, later ones are counted and reported. A document whose
id the index holds already replaces it.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.data.document import Document
from tamis.data.passages import Chunker
from tamis.errors import DataError
from tamis.events import Advanced, Finished, Listener, Started, Warned
from tamis.executor import Executor, Receipts, run_chunks
from tamis.files import sha256_json, storage_errors, sync_folder, write_array
from tamis.indexer.collector import collect_all, collecting_young, paced_collection
from tamis.indexer.documents import DocumentStore
from tamis.indexer.layout import SEGMENTS, WORK, FileEntry, SegmentEntry, Settings
from tamis.indexer.segment import DOCS, Segment, SegmentWriter, hash_ids, size_of

CHUNK_DOCUMENTS = 25_000
CHUNK_CHARACTERS = 48 << 20
_EXAMPLES = 5


@dataclass(slots=True)
class Chunk:
    """One chunk of a job, as its receipt states it."""

    number: int
    segment: SegmentEntry
    files: dict[str, FileEntry]
    read: int
    duplicates: int
    replaced: int
    examples: list[str] = field(default_factory=list)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Chunk:
        """Build from a receipt."""
        files = {name: FileEntry(**entry) for name, entry in value["files"].items()}
        return cls(**{**value, "segment": SegmentEntry(**value["segment"]), "files": files})


class SeenIds:
    """The ids of a job so far, 8 bytes each: sorted runs of hashes that double in size, checked by binary search."""

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []

    def add(self, hashes: NDArray[np.uint64]) -> None:
        """Remember `hashes`."""
        run = np.sort(hashes)
        while self._runs and len(self._runs[-1]) <= len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        self._runs.append(run)

    def may_hold(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return true where a hash was seen before."""
        held = np.zeros(len(hashes), np.bool_)
        for run in self._runs:
            place = np.minimum(np.searchsorted(run, hashes), len(run) - 1)
            held |= run[place] == hashes
        return held


class Ingest:
    """One job: `run` it, then hand its chunks to the commit."""

    def __init__(
        self,
        folder: Path,
        name: str,
        store: DocumentStore,
        settings: Settings,
        *,
        executor: Executor,
        listener: Listener,
    ) -> None:
        self.folder = folder / WORK / name
        self._segments_folder = folder / SEGMENTS
        self._store, self._settings = store, settings
        self._executor, self._listener = executor, listener
        self._receipts = Receipts(self.folder / "receipts")
        self._chunker = Chunker.parse(settings.passages) if settings.passages else None
        self._seen = SeenIds()
        self._written: list[Segment] = []
        self.chunks: list[Chunk] = []
        self.duplicates = 0
        self.duplicate_ids: list[str] = []

    def lucene_folder(self, number: int) -> Path:
        """Return where the Lucene index of a chunk is made."""
        return self.folder / f"lucene-{number:05d}"

    def run(self, documents: Iterable[Document], *, total: int | None = None) -> None:
        """Read the whole stream and build every chunk that has no receipt."""
        with storage_errors(self.folder):
            (self.folder / "receipts").mkdir(parents=True, exist_ok=True)
        self._listener(Started("documents", total, "docs"))
        self._listener(Started("lucene", total, "docs"))
        work = run_chunks(
            self._executor,
            self._build_lucene,
            self._read_chunks(collecting_young(documents)),
            self._receipts,
            lambda chunk: f"lucene-{chunk.number:05d}",
        )
        with paced_collection():
            for chunk, _ in work:
                self._listener(Advanced("lucene", chunk.segment.documents))
        self._listener(Finished("lucene"))
        self.chunks.sort(key=lambda chunk: chunk.number)

    def replaced_rows(self) -> NDArray[np.int64]:
        """Return the rows of the older versions of documents that this job brings anew."""
        files = sorted(self.folder.glob("replaced-*.npy"))
        return np.concatenate([np.load(file) for file in files]) if files else np.zeros(0, np.int64)

    def clear(self) -> None:
        """Remove the job's folder, once its chunks are committed."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- reading ---------------------------------------------------------------------------------------------------

    def _read_chunks(self, documents: Iterator[Document]) -> Iterator[Chunk]:
        next_row, read = self._store.manifest.next_row, 0
        for number in itertools.count():
            receipt = self._receipts.get(f"documents-{number:05d}")
            if receipt is not None and (self._segments_folder / receipt["segment"]["id"]).is_dir():
                chunk = Chunk.from_json(receipt)
                skipped = sum(1 for _ in itertools.islice(documents, chunk.read - read))
                if skipped != chunk.read - read:
                    raise DataError(
                        f"the corpus ended after {read + skipped:,} documents, but {chunk.read:,} were read before the "
                        f"interruption: it changed; delete {self.folder} to start over"
                    )
            else:
                taken = list(_take(documents))
                if not taken:
                    break
                kept, repeated = self._first_of_each(taken)
                if not kept:
                    self._count_duplicates(len(repeated), repeated)
                    self._listener(Advanced("documents", len(taken)))
                    read += len(taken)
                    continue
                with storage_errors(self._segments_folder):
                    chunk = self._write_chunk(number, kept, next_row, read + len(taken), repeated)
            self._count_duplicates(chunk.duplicates, chunk.examples)
            self._listener(Advanced("documents", chunk.read - read))
            read, next_row = chunk.read, chunk.segment.last_row + 1
            self._written.append(Segment(self._segments_folder / chunk.segment.id))
            self._seen.add(np.asarray(self._written[-1].id_hashes))
            self.chunks.append(chunk)
            collect_all()
            yield chunk
        self._listener(Finished("documents"))

    def _count_duplicates(self, count: int, examples: list[str]) -> None:
        if count and not self.duplicates:
            self._listener(
                Warned(
                    "duplicate-ids", f"document ids occur more than once, first {examples[0]!r}: the first one is kept"
                )
            )
        self.duplicates += count
        self.duplicate_ids = [*self.duplicate_ids, *examples][:_EXAMPLES]

    def _write_chunk(self, number: int, kept: list[Document], next_row: int, read: int, repeated: list[str]) -> Chunk:
        replaced = self._replaced(kept)
        if len(replaced):
            write_array(self.folder / f"replaced-{number:05d}.npy", replaced)
        temporary = self._segments_folder / f"chunk-{self.folder.name}-{number:05d}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        writer = SegmentWriter(temporary, self._settings)
        row = next_row
        for document in kept:
            passages = self._chunker.split(document) if self._chunker else [document]
            writer.add(row, passages)
            row += len(passages)
        empty = sum(1 for document in kept if not document.text.strip() and not document.title.strip())
        files = writer.finish()
        identity = sha256_json([files[DOCS].sha256, next_row])[:32]
        final = self._segments_folder / identity
        if final.exists():
            shutil.rmtree(temporary)
        else:
            temporary.rename(final)
        sync_folder(self._segments_folder)
        entry = SegmentEntry(identity, next_row, row - 1, row - next_row, len(kept), empty)
        chunk = Chunk(number, entry, files, read, len(repeated), len(replaced), repeated[:_EXAMPLES])
        self._receipts.put(f"documents-{number:05d}", asdict(chunk))
        return chunk

    def _first_of_each(self, taken: list[Document]) -> tuple[list[Document], list[str]]:
        """Documents that this job has not taken yet, and the ids of the others."""
        unique: dict[str, Document] = {}
        repeated: list[str] = []
        for document in taken:
            if document.id in unique:
                repeated.append(document.id)
            else:
                unique[document.id] = document
        doc_ids = list(unique)
        hashes = hash_ids([f"{doc_id}#0" for doc_id in doc_ids] if self._chunker else doc_ids)
        suspects = np.flatnonzero(self._seen.may_hold(hashes))
        if len(suspects):
            chosen = [doc_ids[i] for i in suspects.tolist()]
            keys = [f"{doc_id}#0" for doc_id in chosen] if self._chunker else chosen
            held = np.zeros(len(chosen), np.bool_)
            for segment in self._written:
                held |= segment.find(keys, hashes[suspects]) >= 0
            for i in np.flatnonzero(held).tolist():
                repeated.append(chosen[i])
                del unique[chosen[i]]
        return list(unique.values()), repeated

    def _replaced(self, kept: list[Document]) -> NDArray[np.int64]:
        if not len(self._store):
            return np.zeros(0, np.int64)
        found = self._store.document_rows([document.id for document in kept])
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    # -- indexing --------------------------------------------------------------------------------------------------

    def _build_lucene(self, chunk: Chunk) -> dict[str, int]:
        from tamis.indexer.lucene.build import build_chunk
        from tamis.indexer.lucene.failures import java_errors
        from tamis.indexer.lucene.feed import lucene_fields, segment_batches

        folder = self.lucene_folder(chunk.number)
        segment = Segment(self._segments_folder / chunk.segment.id)
        fields = lucene_fields(self._settings)
        batches = segment_batches(segment, chunk.segment.first_row, fields)
        with storage_errors(folder), java_errors(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            built = build_chunk(folder, batches, fields, self._settings.analyzer)
            sync_folder(self.folder)  # before the receipt says that it is there
        return built


def _take(documents: Iterator[Document]) -> Iterator[Document]:
    """Take one chunk's worth off the stream."""
    characters = 0
    for count, document in enumerate(documents, 1):
        yield document
        characters += size_of(document)
        if count >= CHUNK_DOCUMENTS or characters >= CHUNK_CHARACTERS:
            return
