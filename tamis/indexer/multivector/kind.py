"""Building multi-vector parts.

A shard is ``tokens.npy``, [tokens, dimensions] in the part's storage type, one row's tokens after another's, and ``offsets.npy``,
int64 [rows + 1]: where each row's begin. A row without text has none, and matches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import Tick
from tamis.errors import CorruptIndexError
from tamis.files import write_array
from tamis.indexer.dense.storage import open_vectors, storage_type, to_storage
from tamis.indexer.encoded.entry import EncodedEntry
from tamis.indexer.encoded.kinds import Texts

if TYPE_CHECKING:
    from tamis.indexer.documents import DocumentStore
    from tamis.indexer.multivector.part import MultiVectorPart

TOKENS, OFFSETS = "tokens.npy", "offsets.npy"


class MultiVectorKind:
    """A `tamis.indexer.encoded.kinds.PartKind`."""

    def facts(self, encoder: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the dimensions."""
        storage_type(options["store"])
        return {"dimensions": encoder.dimensions}

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
        """None: nothing is learned."""
        return 0

    def prepare(self, entry: EncodedEntry, encoder: Any, chunks: Sequence[Path], shared: Path) -> dict[str, Any]:
        """Shards share nothing."""
        return {}

    def assemble(self, entry: EncodedEntry, chunks: Sequence[Path], shared: Path, shard: Path) -> None:
        """Put the chunks one after another."""
        _write(entry, [(chunk, None) for chunk in chunks], shard)

    def gather(
        self, entry: EncodedEntry, sources: Sequence[tuple[Path, NDArray[np.int64]]], shared: Path, shard: Path
    ) -> None:
        """Copy rows of older shards."""
        _write(entry, sources, shard)

    def finish(self, entry: EncodedEntry, folder: Path, live: NDArray[np.bool_] | None) -> EncodedEntry:
        """Nothing spans the shards."""
        return entry

    def open(
        self, folder: Path, name: str, entry: EncodedEntry, documents: DocumentStore, threads: int
    ) -> MultiVectorPart:
        """Open the part."""
        from tamis.indexer.multivector.part import MultiVectorPart

        return MultiVectorPart(folder, name, entry, documents, threads)


def open_shard(folder: Path, dimensions: int, store: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Map the token vectors and the offsets of a shard or chunk.

    Raises:
        CorruptIndexError: a file is damaged, or they do not fit each other.
    """
    tokens = open_vectors(folder / TOKENS, dimensions, store)
    try:
        offsets: NDArray[np.int64] = np.load(folder / OFFSETS)
    except (OSError, ValueError) as error:
        raise CorruptIndexError(f"{folder / OFFSETS} is damaged: {error}; run tamis verify") from error
    fits = offsets.dtype == np.int64 and offsets.ndim == 1 and len(offsets) > 0
    if not fits or offsets[0] != 0 or offsets[-1] != len(tokens) or (np.diff(offsets) < 0).any():
        raise CorruptIndexError(f"{folder / OFFSETS} does not fit {TOKENS}: run tamis verify")
    return tokens, offsets


def _write(entry: EncodedEntry, sources: Sequence[tuple[Path, NDArray[np.int64] | None]], shard: Path) -> None:
    dimensions, store = int(entry.facts["dimensions"]), entry.options["store"]
    opened = [(*open_shard(folder, dimensions, store), places) for folder, places in sources]
    lengths = [np.diff(offsets) if places is None else np.diff(offsets)[places] for _, offsets, places in opened]
    offsets_out = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]))])
    shape = (int(offsets_out[-1]), dimensions)
    if not shape[0]:  # an empty file cannot be mapped
        write_array(shard / TOKENS, np.zeros(shape, storage_type(store)))
    else:
        out, at = np.lib.format.open_memmap(shard / TOKENS, "w+", storage_type(store), shape), 0
        for tokens, offsets, places in opened:
            for place in range(len(offsets) - 1) if places is None else places.tolist():
                part = tokens[offsets[place] : offsets[place + 1]]
                out[at : at + len(part)] = part
                at += len(part)
        out.flush()
    write_array(shard / OFFSETS, offsets_out)
