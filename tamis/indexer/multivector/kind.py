"""Building multi-vector parts: plain vectors, or residual codes with the option ``bits``; `shards` has the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import Tick
from tamis.errors import IndexVersionError
from tamis.files import write_array
from tamis.indexer.dense.storage import storage_type, to_storage
from tamis.indexer.encoded.entry import EncodedEntry
from tamis.indexer.encoded.kinds import Texts
from tamis.indexer.multivector.codec import Codec, check_bits
from tamis.indexer.multivector.shards import OFFSETS, TOKENS, gather_coded, open_plain, write_coded, write_plain
from tamis.kernels.codes import widen

if TYPE_CHECKING:
    from tamis.indexer.documents import DocumentStore
    from tamis.indexer.multivector.part import MultiVectorPart

SAMPLE_ROWS = 1 << 15
CODEC = 2
"""Layout of codes: 1 had buckets of single dimensions."""


class MultiVectorKind:
    """A `tamis.indexer.encoded.kinds.PartKind`."""

    def __init__(self) -> None:
        self._rows = 0

    def facts(self, encoder: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the dimensions."""
        storage_type(options["store"])
        bits = options["bits"]
        if bits is None:
            return {"dimensions": encoder.dimensions}
        check_bits(bits, encoder.dimensions)
        return {"dimensions": encoder.dimensions, "codec": CODEC}

    def encode(self, entry: EncodedEntry, encoder: Any, texts: Texts, folder: Path, *, tick: Tick) -> int:
        """Encode a chunk."""
        blank, passages = texts.blank, texts.passages
        found = encoder.encode_passages([p for p, empty in zip(passages, blank, strict=True) if not empty], tick=tick)
        lengths = np.zeros(len(passages), np.int64)
        lengths[~blank] = found.lengths
        write_array(folder / TOKENS, to_storage(found.vectors, entry.options["store"]))
        write_array(folder / OFFSETS, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))
        return int(found.truncated)

    def training_rows(self, entry: EncodedEntry, rows: int) -> int:
        """Rows whose tokens a codec learns from."""
        self._rows = rows
        return 0 if entry.options["bits"] is None else min(rows, SAMPLE_ROWS)

    def prepare(self, entry: EncodedEntry, encoder: Any, chunks: Sequence[Path], shared: Path) -> dict[str, Any]:
        """Learn the codec."""
        if entry.options["bits"] is None:
            return {}
        dimensions, store = int(entry.facts["dimensions"]), entry.options["store"]
        opened = [open_plain(chunk, dimensions, store) for chunk in chunks]
        held = [np.zeros((0, dimensions), np.float32), *(widen(np.ascontiguousarray(one.tokens)) for one in opened)]
        tokens, rows = np.concatenate(held), sum(len(one.offsets) - 1 for one in opened)
        total = int(len(tokens) * max(self._rows, rows) / max(rows, 1))
        codec = Codec.train(tokens, entry.options["bits"], total)
        codec.save(shared)
        return {"centroids": len(codec.centroids)}

    def assemble(self, entry: EncodedEntry, chunks: Sequence[Path], shared: Path, shard: Path) -> None:
        """Put the chunks one after another, in codes if the part has a codec."""
        dimensions, store = int(entry.facts["dimensions"]), entry.options["store"]
        if entry.options["bits"] is None:
            write_plain([(chunk, None) for chunk in chunks], shard, dimensions, store)
        else:
            write_coded(chunks, shard, dimensions, store, _codec(entry, shared))

    def gather(
        self, entry: EncodedEntry, sources: Sequence[tuple[Path, NDArray[np.int64]]], shared: Path, shard: Path
    ) -> None:
        """Copy rows of older shards."""
        if entry.options["bits"] is None:
            write_plain(sources, shard, int(entry.facts["dimensions"]), entry.options["store"])
        else:
            gather_coded(sources, shard, _codec(entry, shared))

    def finish(self, entry: EncodedEntry, folder: Path, live: NDArray[np.bool_] | None) -> EncodedEntry:
        """Nothing spans the shards."""
        return entry

    def open(
        self, folder: Path, name: str, entry: EncodedEntry, documents: DocumentStore, threads: int
    ) -> MultiVectorPart:
        """Open the part.

        Raises:
            IndexVersionError: its codes are laid out in a way that this Tamis does not read.
        """
        _check_layout(entry)
        from tamis.indexer.multivector.part import MultiVectorPart

        return MultiVectorPart(folder, name, entry, documents, threads)


def _check_layout(entry: EncodedEntry) -> None:
    found = entry.facts.get("codec", 1)
    if entry.options.get("bits") is not None and found != CODEC:
        raise IndexVersionError(
            f"the codes of {entry.address} have layout {found}, this Tamis reads layout {CODEC}: drop the part "
            "(tamis drop-part) and add it again"
        )


def _codec(entry: EncodedEntry, shared: Path) -> Codec:
    _check_layout(entry)
    return Codec.open(shared)
