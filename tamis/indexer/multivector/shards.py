"""Shards of a multi-vector part on disk: plain vectors, or codes with inverted lists.

offsets.npy       int64 [rows + 1]: where each row's tokens begin
tokens.npy        plain: [tokens, dimensions] in the part's storage type
ids.npy           coded: uint16 or uint32 [tokens], the centroid of each
residuals.npy     coded: uint8 [tokens, dimensions × bits / 8 + 1], a codeword for each group of dimensions, and the length
lists.npy         coded: uint16 or uint32, the rows that have a token of a centroid, ascending, one centroid after another
list_starts.npy   coded: int64 [centroids + 1]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tamis.errors import CorruptIndexError
from tamis.files import write_array
from tamis.indexer.dense.storage import open_vectors, storage_type
from tamis.indexer.multivector.codec import Codec
from tamis.kernels.codes import widen
from tamis.kernels.late import WholeQuery, centroid_scores, maxsim_scores

TOKENS, OFFSETS = "tokens.npy", "offsets.npy"
IDS, RESIDUALS, LISTS, LIST_STARTS = "ids.npy", "residuals.npy", "lists.npy", "list_starts.npy"
_BLOCK_TOKENS = 1 << 16

Sources = Sequence[tuple[Path, NDArray[np.int64] | None]]
"""Folders, and which of their rows are meant; None means all."""


class TokenShard(Protocol):
    """Token vectors of some rows."""

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each row's tokens begin, int64 [rows + 1]."""

    def vectors(self, spans: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
        """Return the vectors of spans of tokens, one after another: float32 [tokens, dimensions]."""


@dataclass(frozen=True, eq=False)
class PlainShard:
    """A `TokenShard` of vectors as they are."""

    offsets: NDArray[np.int64]
    tokens: NDArray[Any]

    def vectors(self, spans: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
        """See `TokenShard`."""
        return widen(np.concatenate([self.tokens[first:last] for first, last in spans]))


@dataclass(frozen=True, eq=False)
class CodedShard:
    """A `TokenShard` of codes, with the rows of every centroid."""

    offsets: NDArray[np.int64]
    ids: NDArray[Any]
    residuals: NDArray[np.uint8]
    lists: NDArray[Any]
    list_starts: NDArray[np.int64]
    codec: Codec

    def vectors(self, spans: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
        """See `TokenShard`."""
        ids = np.concatenate([self.ids[first:last] for first, last in spans])
        return self.codec.decode(ids, np.concatenate([self.residuals[first:last] for first, last in spans]))

    def glance(self, table: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what the centroids of rows' tokens promise; see `tamis.kernels.late.centroid_scores`."""
        return centroid_scores(table, self.ids, self.offsets, rows)

    def scores(self, query: WholeQuery, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return MaxSim with rows; see `tamis.kernels.late.maxsim_scores`."""
        return maxsim_scores(query, self.codec.words, self.ids, self.residuals, self.offsets, rows)

    def rows_of(self, centroid: int) -> NDArray[Any]:
        """Return the rows that have a token of a centroid."""
        return self.lists[self.list_starts[centroid] : self.list_starts[centroid + 1]]


def open_offsets(folder: Path, tokens: int) -> NDArray[np.int64]:
    """Read where rows begin.

    Raises:
        CorruptIndexError: the file is damaged, or does not fit so many tokens.
    """
    offsets = _load(folder / OFFSETS)
    fits = offsets.dtype == np.int64 and offsets.ndim == 1 and len(offsets) > 0
    if not fits or offsets[0] != 0 or offsets[-1] != tokens or (np.diff(offsets) < 0).any():
        raise CorruptIndexError(f"{folder / OFFSETS} does not fit {tokens} tokens: run tamis verify")
    return offsets


def open_plain(folder: Path, dimensions: int, store: str) -> PlainShard:
    """Map a plain shard, or a chunk.

    Raises:
        CorruptIndexError: a file is damaged, or they do not fit each other.
    """
    tokens = open_vectors(folder / TOKENS, dimensions, store)
    return PlainShard(open_offsets(folder, len(tokens)), tokens)


def open_coded(folder: Path, codec: Codec) -> CodedShard:
    """Map a coded shard; errors as in `open_plain`."""
    ids, residuals, lists, starts = (_load(folder / name) for name in (IDS, RESIDUALS, LISTS, LIST_STARTS))
    good = ids.dtype in (np.uint16, np.uint32) and residuals.dtype == np.uint8
    good = good and residuals.shape == (len(ids), codec.width)
    good = good and starts.dtype == np.int64 and len(starts) == len(codec.centroids) + 1 and starts[-1] == len(lists)
    if not good:
        raise CorruptIndexError(f"{folder} holds no codes of this part's codec: run tamis verify")
    return CodedShard(open_offsets(folder, len(ids)), ids, residuals, lists, starts, codec)


def _load(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, mmap_mode="r" if path.stat().st_size > 4096 else None, allow_pickle=False))
    except Exception as error:  # numpy evaluates the header: damage shows as any kind of error
        raise CorruptIndexError(f"{path} is damaged: {error}; run tamis verify") from error


def write_plain(sources: Sources, shard: Path, dimensions: int, store: str) -> None:
    """Write a plain shard of rows of others, or of chunks."""
    opened = [(open_plain(folder, dimensions, store), places) for folder, places in sources]
    offsets = _offsets([(one.offsets, places) for one, places in opened])
    shape = (int(offsets[-1]), dimensions)
    if not shape[0]:  # an empty file cannot be mapped
        write_array(shard / TOKENS, np.zeros(shape, storage_type(store)))
    else:
        out, at = np.lib.format.open_memmap(shard / TOKENS, "w+", storage_type(store), shape), 0
        for one, places in opened:
            for first, last in _spans(one.offsets, places):
                out[at : at + last - first] = one.tokens[first:last]
                at += last - first
        out.flush()
    write_array(shard / OFFSETS, offsets)


def write_coded(chunks: Sequence[Path], shard: Path, dimensions: int, store: str, codec: Codec) -> None:
    """Encode chunks of plain vectors into a coded shard."""
    opened = [open_plain(chunk, dimensions, store) for chunk in chunks]
    ids, residuals = [np.zeros(0, np.uint32)], [np.zeros((0, codec.width), np.uint8)]
    for one in opened:
        for first in range(0, len(one.tokens), _BLOCK_TOKENS):
            own, packed = codec.encode(widen(np.ascontiguousarray(one.tokens[first : first + _BLOCK_TOKENS])))
            ids.append(own)
            residuals.append(packed)
    offsets = _offsets([(one.offsets, None) for one in opened])
    _finish(shard, offsets, np.concatenate(ids), np.concatenate(residuals), codec)


def gather_coded(sources: Sources, shard: Path, codec: Codec) -> None:
    """Write a coded shard of rows of others, without encoding anything again."""
    opened = [(open_coded(folder, codec), places) for folder, places in sources]
    ids, residuals = [np.zeros(0, np.uint32)], [np.zeros((0, codec.width), np.uint8)]
    for one, places in opened:
        for first, last in _spans(one.offsets, places):
            ids.append(one.ids[first:last].astype(np.uint32))
            residuals.append(one.residuals[first:last])
    offsets = _offsets([(one.offsets, places) for one, places in opened])
    _finish(shard, offsets, np.concatenate(ids), np.concatenate(residuals), codec)


def _finish(
    shard: Path, offsets: NDArray[np.int64], ids: NDArray[np.uint32], residuals: NDArray[np.uint8], codec: Codec
) -> None:
    rows, count = len(offsets) - 1, len(codec.centroids)
    owners = np.repeat(np.arange(rows, dtype=np.int64), np.diff(offsets))
    pairs = np.unique(ids.astype(np.int64) * max(rows, 1) + owners)
    starts = np.searchsorted(pairs, np.arange(count + 1) * max(rows, 1))
    write_array(shard / OFFSETS, offsets)
    write_array(shard / IDS, ids.astype(np.uint16 if count <= 1 << 16 else np.uint32))
    write_array(shard / RESIDUALS, residuals)
    write_array(shard / LISTS, (pairs % max(rows, 1)).astype(np.uint16 if rows <= 1 << 16 else np.uint32))
    write_array(shard / LIST_STARTS, starts.astype(np.int64))


def _offsets(parts: Sequence[tuple[NDArray[np.int64], NDArray[np.int64] | None]]) -> NDArray[np.int64]:
    lengths = [np.diff(offsets) if places is None else np.diff(offsets)[places] for offsets, places in parts]
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]))])


def _spans(offsets: NDArray[np.int64], places: NDArray[np.int64] | None) -> Iterator[tuple[int, int]]:
    for place in range(len(offsets) - 1) if places is None else places.tolist():
        yield int(offsets[place]), int(offsets[place + 1])
