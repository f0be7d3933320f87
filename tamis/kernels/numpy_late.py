"""MaxSim over codes in NumPy: the oracle of the compiled kernels, and what runs where there are none. The same bytes, slowly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 256


def decode(
    centroids: NDArray[np.int16],
    books: NDArray[np.int16],
    bounds: NDArray[np.int64],
    ids: NDArray[Any],
    codes: NDArray[np.uint8],
) -> NDArray[np.int16]:
    """The whole numbers of some tokens, int16 [tokens, dimensions]."""
    if len(ids) and int(ids.max()) >= len(centroids):
        raise IndexError(f"a token of centroid {int(ids.max())}, of {len(centroids)}")
    whole: NDArray[np.int16] = centroids[ids]
    for group, book in enumerate(books):
        first, last = int(bounds[group]), int(bounds[group + 1])
        whole[:, first:last] += book[codes[:, group], : last - first]
    wide = whole.astype(np.int32)
    longer = (codes[:, -1:].astype(np.int32) - 128) * 64
    wide += ((wide * longer >> 14) + 1) >> 1
    return wide.astype(np.int16)


def _spans(offsets: NDArray[np.int64], rows: NDArray[np.int64], tokens: int) -> Any:
    """Yield the places of some rows that have tokens, their tokens' places, and where each begins among these."""
    if len(rows) and (int(rows.min()) < 0 or int(rows.max()) + 1 >= len(offsets)):
        raise ValueError("a row is out of range")
    for at in range(0, len(rows), _BLOCK):
        own = rows[at : at + _BLOCK]
        lengths = offsets[own + 1] - offsets[own]
        if (lengths < 0).any() or (offsets[own] < 0).any() or (offsets[own + 1] > tokens).any():
            raise IndexError("tokens out of range")
        held = np.flatnonzero(lengths)
        if len(held):
            ends = np.cumsum(lengths[held])
            begins = ends - lengths[held]
            places = np.arange(ends[-1]) + np.repeat(offsets[own[held]] - begins, lengths[held])
            yield at + held, places, begins


def late_scan(
    table: NDArray[np.uint8],
    width: int,
    ids: NDArray[Any],
    id_bytes: int,
    offsets: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> bytes:
    """As the compiled function of this name."""
    sums = np.zeros(len(rows), np.int64)
    for held, places, begins in _spans(offsets, rows, len(ids)):
        own = ids[places]
        if int(own.max()) >= len(table):
            raise IndexError(f"a token of centroid {int(own.max())}, of {len(table)}")
        sums[held] = np.maximum.reduceat(table[own], begins, axis=0).sum(1, dtype=np.int64)
    return sums.tobytes()


def late_scores(
    pairs: NDArray[np.int16],
    lanes: int,
    centroids: NDArray[np.int16],
    books: NDArray[np.int16],
    bounds: NDArray[np.int64],
    ids: NDArray[Any],
    id_bytes: int,
    codes: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> bytes:
    """As the compiled function of this name."""
    query = pairs.transpose(1, 0, 2).reshape(lanes, -1)[:, : centroids.shape[1]].astype(np.float64)
    sums = np.zeros(len(rows), np.int64)
    for held, places, begins in _spans(offsets, rows, len(ids)):
        whole = decode(centroids, books, bounds, ids[places], codes[places])
        products = whole @ query.T  # in doubles, which hold these whole numbers exactly
        sums[held] = np.maximum.reduceat(products, begins, axis=0).sum(1).astype(np.int64)
    return sums.tobytes()
