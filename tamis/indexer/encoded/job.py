"""The work that brings encoded parts up to a set of document segments, in pieces that survive a kill.

The rows of a segment are cut into chunks. A chunk is encoded into a folder in the job's room and leaves a receipt; when all
of a segment's chunks are there they become the part's shard, under the segment's name, in one rename. A shard that stands is
its own receipt. What the shards share is made first, from chunks spread evenly over all segments.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import Passage
from tamis.errors import CorruptIndexError, FingerprintError
from tamis.events import Advanced, Finished, Listener, Started
from tamis.executor import Inline, Receipts, run_chunks
from tamis.files import storage_errors, sync_folder, sync_tree, write_json
from tamis.indexer.encoded.entry import SHARED, EncodedEntry, ShardRecord
from tamis.indexer.encoded.kinds import PartKind, part_kind
from tamis.indexer.layout import SEGMENTS, SegmentEntry
from tamis.indexer.segment import Segment

CHUNK_ROWS = 1024
SHARD_FILE = "shard.json"

EncoderOpener = Callable[[str], Any]
"""Opens the encoder of a model address."""


@dataclass(frozen=True)
class _Chunk:
    """Some rows of a segment; `Texts` of them."""

    segment: Segment
    name: str
    first: int
    last: int

    @property
    def positions(self) -> NDArray[np.int64]:
        return np.arange(self.first, self.last)

    @property
    def ids(self) -> list[str]:
        return self.segment.strings("id", self.positions)

    @cached_property
    def passages(self) -> list[Passage]:
        titles, texts = (self.segment.strings(column, self.positions) for column in ("title", "text"))
        return list(map(Passage, titles, texts))

    @property
    def blank(self) -> NDArray[np.bool_]:
        return np.array([not p.title.strip() and not p.text.strip() for p in self.passages], np.bool_)

    def forget(self) -> None:
        """Let go of the texts: all chunks of a segment are alive at once, and their texts are the corpus."""
        self.__dict__.pop("passages", None)


class EncodingJob:
    """Encodes what parts lack of some segments.

    Args:
        index: the index's folder.
        folder: the job's room; a job resumes in it.
        open_encoder: opens a model by its address.
        listener: hears of the progress.
    """

    def __init__(self, index: Path, folder: Path, *, open_encoder: EncoderOpener, listener: Listener) -> None:
        self._index, self._folder = index, folder
        self._open_encoder, self._listener = open_encoder, listener

    def run(
        self, name: str, entry: EncodedEntry, segments: Sequence[SegmentEntry], live: NDArray[np.bool_] | None
    ) -> EncodedEntry:
        """Encode what is missing, and return the entry with a shard for every segment.

        Args:
            name: of the part.
            entry: it; shards of other segments than these are dropped from it.
            segments: in row order.
            live: see `PartKind.finish`.

        Raises:
            FingerprintError: the model at the entry's address is another than the one that encoded the part so far.
        """
        kind, part = part_kind(entry.kind), entry.folder(self._index)
        missing = [segment for segment in segments if not (part / segment.id).is_dir()]
        if missing:
            with storage_errors(part):
                self._encode(name, entry, kind, missing)
        entry = _with_shared(entry, part)
        shards = tuple(_read_record(part / segment.id, segment) for segment in segments)
        if shards == entry.shards and not missing:
            return entry
        with storage_errors(part):
            return kind.finish(replace(entry, shards=shards), part, live)

    def _encode(self, name: str, entry: EncodedEntry, kind: PartKind, missing: Sequence[SegmentEntry]) -> None:
        encoder = self._open_encoder(entry.address)
        if encoder.identity.fingerprint != entry.fingerprint:
            raise FingerprintError(
                f"part {name!r} was encoded by {entry.address} with fingerprint {entry.fingerprint[:16]}, but the model that "
                f"is there now has {encoder.identity.fingerprint[:16]}: its files or settings changed; put them back, or build "
                f"the part anew with  tamis drop-part  and  tamis add-part"
            )
        part, room = entry.folder(self._index), self._folder / f"encode-{entry.id}"
        part.mkdir(parents=True, exist_ok=True)
        room.mkdir(parents=True, exist_ok=True)
        work = _Room(room, name, entry, kind, encoder, self._listener)
        chunks = {segment.id: _chunks_of(self._index, segment) for segment in missing}
        total = sum(segment.rows for segment in missing)
        self._listener(Started(work.stage, total, "rows"))
        if not (part / SHARED).is_dir():
            self._prepare(work, part, [chunk for segment in missing for chunk in chunks[segment.id]], total)
        work.entry = entry = _with_shared(entry, part)
        for segment in missing:
            answers = work.encode(chunks[segment.id])
            temporary = part / f"{segment.id}.tmp"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            kind.assemble(entry, [room / chunk.name for chunk in chunks[segment.id]], part / SHARED, temporary)
            _publish(temporary, part / segment.id, rows=segment.rows, truncated=sum(a["truncated"] for a in answers))
            work.clear(chunks[segment.id])
        self._listener(Finished(work.stage))

    def _prepare(self, work: _Room, part: Path, chunks: Sequence[_Chunk], rows: int) -> None:
        """Make what the shards share, from encoded chunks spread over all segments if the kind wants to see some."""
        wanted = min(work.kind.training_rows(work.entry, rows), rows)
        sample: Sequence[_Chunk] = ()
        if wanted:
            count = min(-(-wanted * len(chunks) // max(rows, 1)), len(chunks))
            sample = [chunks[i] for i in np.unique(np.linspace(0, len(chunks) - 1, count).astype(np.int64)).tolist()]
            work.encode(sample)
        temporary = part / f"{SHARED}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        facts = work.kind.prepare(work.entry, work.encoder, [work.folder / chunk.name for chunk in sample], temporary)
        _publish(temporary, part / SHARED, facts=facts)


class _Room:
    """A part's corner of a job: the chunks encoded so far."""

    def __init__(
        self, folder: Path, name: str, entry: EncodedEntry, kind: PartKind, encoder: Any, listener: Listener
    ) -> None:
        self.folder, self.entry, self.kind, self.encoder, self.listener = folder, entry, kind, encoder, listener
        self.stage = f"encode {name}"
        self._receipts = Receipts(folder / "receipts")
        self._told: set[str] = set()

    def encode(self, chunks: Sequence[_Chunk]) -> list[dict[str, Any]]:
        """Encode the chunks that have no receipt; return all receipts, in order."""
        for chunk in chunks:
            if chunk.name not in self._told and self._receipts.get(chunk.name) is not None:
                self._tell(chunk, chunk.last - chunk.first)
        work = run_chunks(Inline(), self._encode_one, chunks, self._receipts, lambda chunk: chunk.name)
        answers = {chunk.name: answer for chunk, answer in work}
        return [answers[chunk.name] for chunk in chunks]

    def _encode_one(self, chunk: _Chunk) -> dict[str, Any]:
        folder = self.folder / chunk.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        done = 0

        def tick(count: int) -> None:
            nonlocal done
            done += count
            self.listener(Advanced(self.stage, count))

        try:
            truncated = self.kind.encode(self.entry, self.encoder, chunk, folder, tick=tick)
        finally:
            chunk.forget()
        self._tell(chunk, chunk.last - chunk.first - done)
        sync_tree(folder)
        sync_folder(self.folder)
        return {"truncated": truncated}

    def _tell(self, chunk: _Chunk, count: int) -> None:
        self._told.add(chunk.name)
        if count:
            self.listener(Advanced(self.stage, count))

    def clear(self, chunks: Sequence[_Chunk]) -> None:
        """Remove chunks that are part of a shard now."""
        for chunk in chunks:
            shutil.rmtree(self.folder / chunk.name, ignore_errors=True)
            (self._receipts.folder / f"{chunk.name}.json").unlink(missing_ok=True)


def gather_shards(
    index: Path,
    entry: EncodedEntry,
    segments: Sequence[tuple[SegmentEntry, Sequence[tuple[str, NDArray[np.int64]]]]],
    live: NDArray[np.bool_] | None = None,
) -> EncodedEntry:
    """Make the shards of rewritten segments out of the old ones, and return the entry that holds them.

    Args:
        index: the index's folder.
        entry: the part, with its old shards.
        segments: every new segment, with where its rows come from: (old segment's id, positions in it).
        live: see `PartKind.finish`.
    """
    kind, part = part_kind(entry.kind), entry.folder(index)
    with storage_errors(part):
        for segment, sources in segments:
            if (part / segment.id).is_dir():
                continue
            temporary = part / f"{segment.id}.tmp"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            places = [(part / old, positions) for old, positions in sources]
            kind.gather(entry, places, part / SHARED, temporary)
            _publish(temporary, part / segment.id, rows=segment.rows, truncated=None)
        shards = tuple(_read_record(part / segment.id, segment) for segment, _ in segments)
        return kind.finish(replace(entry, shards=shards), part, live)


def part_files(index: Path, entry: EncodedEntry) -> list[str]:
    """Return the paths within the index of all files that a part needs."""
    part = entry.folder(index)
    folders = [part / name for name in (*entry.folders, *(shard.segment for shard in entry.shards))]
    return [str(path.relative_to(index)) for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


def _chunks_of(index: Path, entry: SegmentEntry) -> list[_Chunk]:
    segment = Segment(index / SEGMENTS / entry.id)
    return [
        _Chunk(segment, f"{entry.id}-{first:06d}", first, min(first + CHUNK_ROWS, entry.rows))
        for first in range(0, entry.rows, CHUNK_ROWS)
    ]


def _publish(temporary: Path, final: Path, **record: Any) -> None:
    """Put a finished folder under its final name, with a record in it."""
    write_json(temporary / SHARD_FILE, record)
    sync_tree(temporary)
    temporary.rename(final)
    sync_folder(final.parent)


def _with_shared(entry: EncodedEntry, part: Path) -> EncodedEntry:
    """Return the entry with what its shards share, once that is made."""
    if not (part / SHARED).is_dir():
        return entry
    facts = _read_json(part / SHARED / SHARD_FILE)["facts"]
    return replace(entry, facts={**entry.facts, **facts}, folders=tuple(dict.fromkeys([*entry.folders, SHARED])))


def _read_record(folder: Path, segment: SegmentEntry) -> ShardRecord:
    record = _read_json(folder / SHARD_FILE)
    if record.get("rows") != segment.rows:
        raise CorruptIndexError(
            f"{folder} holds {record.get('rows')} rows, the segment {segment.rows}: run tamis verify"
        )
    return ShardRecord(segment.id, segment.rows, record["truncated"])


def _read_json(path: Path) -> Mapping[str, Any]:
    import json

    try:
        value: Mapping[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CorruptIndexError(f"{path} is damaged: {error}; run tamis verify") from error
    return value
