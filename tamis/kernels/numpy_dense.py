"""Dense scans in NumPy: the oracle of the compiled ones, and what runs where there are none. The same bytes, slowly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.kernels.codes import widen

LANES = 16
_BLOCK = 4096


def dot(rows: NDArray[Any], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores of float rows [n, dim], in the order of sums that native/dense.h defines."""
    n, dim = rows.shape
    blocks = -(-dim // LANES)
    padded = np.zeros((n, blocks * LANES), np.float32)
    padded[:, :dim] = widen(rows)
    other = np.zeros(blocks * LANES, np.float32)
    other[:dim] = query
    sums = np.zeros((n, LANES), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for at in range(0, blocks * LANES, LANES):
            sums += padded[:, at : at + LANES] * other[at : at + LANES]
        half = LANES // 2
        while half:
            sums = sums[:, :half] + sums[:, half : 2 * half]
            half //= 2
    return np.ascontiguousarray(sums[:, 0])


def _sums(rows: NDArray[Any], values: NDArray[Any], correction: int) -> NDArray[np.int64]:
    """The integer sums of int8 or bit rows."""
    if rows.dtype == np.uint8:
        return rows.astype(np.int64) @ values.astype(np.int64) - correction
    total = np.zeros(len(rows), np.int64)
    for i, plane in enumerate(values):
        count = np.bitwise_count(rows & plane).sum(axis=1, dtype=np.int64)
        total = -count if i == 0 else 2 * total + count
    return 2 * total - correction


def _score(
    rows: NDArray[Any], factors: Any, query: NDArray[Any], scale: float, base: float, correction: int
) -> NDArray[np.float32]:
    if factors is None:
        return dot(rows, query)
    sums = _sums(rows, query, correction).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(factors * (np.float32(scale) * sums) + np.float32(base), np.float32)


def dense_scores(
    kind: int,
    dim: int,
    rows: NDArray[Any],
    factors: NDArray[np.float32] | None,
    query: NDArray[Any],
    scale: float,
    base: float,
    correction: int,
    numbers: NDArray[np.int64],
) -> bytes:
    """The scores of the rows of given numbers, as the compiled function of this name returns them."""
    chosen = None if factors is None else factors[numbers]
    return _score(rows[numbers], chosen, query, scale, base, correction).tobytes()


def dense_scan(
    kind: int,
    dim: int,
    rows: NDArray[Any],
    factors: NDArray[np.float32] | None,
    query: NDArray[Any],
    scale: float,
    base: float,
    correction: int,
    mask: NDArray[np.uint8] | None,
    first: int,
    last: int,
    k: int,
) -> tuple[bytes, bytes, int]:
    """Top-k of rows first to last - 1, as the compiled function of this name returns them."""
    numbers = np.arange(first, last)
    if mask is not None:
        numbers = numbers[(mask[numbers >> 3] >> (numbers & 7) & 1).astype(np.bool_)]
    scores = np.zeros(len(numbers), np.float32)
    for at in range(0, len(numbers), _BLOCK):
        part = numbers[at : at + _BLOCK]
        chosen = None if factors is None else factors[part]
        scores[at : at + _BLOCK] = _score(rows[part], chosen, query, scale, base, correction)
    if not np.isfinite(scores).all():
        return b"", b"", int(numbers[~np.isfinite(scores)][0])
    order = np.lexsort((numbers, -scores))[:k]
    return numbers[order].tobytes(), scores[order].tobytes(), -1
