"""MaxSim over codes of token vectors (`tamis.indexer.multivector.codec`): by centroids alone for many rows, and in full for some.

Everything here is whole numbers: a turned query as int16, a decoded vector as the sum of its centroid and its codewords, inner
products as int32, their maxima and sums. Every kernel, NumPy included, therefore gives the same bytes, whatever the order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tamis.errors import CorruptIndexError, UsageError
from tamis.kernels import numpy_late
from tamis.kernels.backend import kernel_name, native

HIGHEST = 4095
"""A decoded dimension's size, at most: with a query's of as much, 128 products fit 32 bits."""
LENGTH_STEPS, LENGTH_ZERO = 512, 128
"""A token's last byte b makes it longer by (b - 128) / 512 of itself."""
LANES, TABLE_LANES = 16, 32
_LARGEST = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Words:
    """What codes stand for.

    Attributes:
        centroids: int16 [centroids, dimensions].
        books: int16 [groups, 256, 8]; see the codec.
        bounds: int64 [groups + 1].
    """

    centroids: NDArray[np.int16]
    books: NDArray[np.int16]
    bounds: NDArray[np.int64]

    def decode(self, ids: NDArray[Any], codes: NDArray[np.uint8]) -> NDArray[np.int16]:
        """Return whole numbers, int16 [tokens, dimensions]."""
        return numpy_late.decode(self.centroids, self.books, self.bounds, ids, codes)


class WholeQuery(NamedTuple):
    """A query in whole numbers.

    Attributes:
        values: int16 [tokens, dimensions].
        scale: what a step is worth.
    """

    values: NDArray[np.int16]
    scale: float

    @classmethod
    def of(cls, turned: NDArray[np.float64]) -> WholeQuery:
        """Round a turned query, float64 [tokens, dimensions], to steps small enough for sums of 32 bits and no smaller."""
        most = min(HIGHEST, _LARGEST // (HIGHEST * max(turned.shape[1], 1)))
        scale = float(np.abs(turned).max(initial=0)) / most or 1.0
        return cls(np.rint(turned / scale).astype(np.int16), scale)


def centroid_table(near: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return inner products of query tokens and centroids in a byte each, uint8 [centroids, tokens rounded up to 32].

    Args:
        near: float32 [query tokens, centroids].

    A byte's step is the same for all tokens; a token's zero is its mean, below which no row's best token lies.
    """
    lows = near.mean(1, keepdims=True)
    step = float((near.max(1, keepdims=True, initial=-np.inf) - lows).max(initial=0)) / 255 or 1.0
    table = np.zeros((near.shape[1], -(-max(len(near), 1) // TABLE_LANES) * TABLE_LANES), np.uint8)
    table[:, : len(near)] = np.clip(np.rint((near - lows) / np.float32(step)), 0, 255).T
    return table


def centroid_scores(
    table: NDArray[np.uint8], ids: NDArray[Any], offsets: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return for each row the sum over query tokens of its best centroid's entry: int64 [rows]; 0 without tokens.

    Args:
        table: of `centroid_table`.
        ids: uint16 or uint32 [tokens], the centroid of each.
        offsets: int64 [all rows + 1]: where each row's tokens begin.
        rows: int64, which.

    Raises:
        CorruptIndexError: a token names a centroid that there is not.
        UsageError: a row is out of range.
    """
    return _call("late_scan", table, table.shape[1], ids, ids.dtype.itemsize, offsets, rows)


def maxsim_scores(
    query: WholeQuery,
    words: Words,
    ids: NDArray[Any],
    codes: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return MaxSim of a query and each row in whole numbers, int64 [rows]; 0 for a row without tokens.

    Args:
        query: the turned query.
        words: what codes stand for.
        ids: uint16 or uint32 [tokens], the centroid of each.
        codes: uint8 [tokens, groups + 1], the last byte as native/late.h says.
        offsets: int64 [all rows + 1].
        rows: int64, which.

    Raises:
        CorruptIndexError: a token names a centroid that there is not.
        UsageError: arguments do not fit each other.
    """
    tokens, dimensions = query.values.shape
    pairs = np.zeros((-(-dimensions // 2), -(-max(tokens, 1) // LANES) * LANES, 2), np.int16)
    padded = np.zeros((tokens, 2 * len(pairs)), np.int16)
    padded[:, :dimensions] = query.values
    pairs[:, :tokens] = padded.reshape(tokens, len(pairs), 2).transpose(1, 0, 2)
    arrays = (words.centroids, words.books, words.bounds)
    return _call("late_scores", pairs, pairs.shape[1], *arrays, ids, ids.dtype.itemsize, codes, offsets, rows)


def _call(name: str, *arguments: Any) -> NDArray[np.int64]:
    kernel = kernel_name()
    extension = None if kernel == "numpy" else native()
    arguments = tuple(np.ascontiguousarray(one) if isinstance(one, np.ndarray) else one for one in arguments)
    try:
        if extension is None:
            return np.frombuffer(getattr(numpy_late, name)(*arguments), np.int64)
        return np.frombuffer(getattr(extension, name)(kernel, *arguments), np.int64)
    except IndexError as error:
        raise CorruptIndexError(f"codes are damaged: {error}; run tamis verify") from error
    except ValueError as error:
        raise UsageError(str(error)) from error
