"""Rows of a sparse matrix, gathered from batches; and which of a row's weights are kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import SparseVectors
from tamis.encoders.options import PruningOptions


@dataclass(frozen=True)
class Pruning:
    """Which weights of a text are kept: of those not below `least`, the `top` largest.

    Attributes:
        top: how many; None keeps all. Lower dimensions come first among equals.
        least: the least weight that is kept.
    """

    top: int | None = None
    least: float = 0.0

    @classmethod
    def of(cls, options: PruningOptions, top: tuple[int | None, int | None] = (None, None)) -> tuple[Pruning, Pruning]:
        """Return what the options say of documents and of queries; `top` holds where they say nothing."""
        return (
            cls(options.top or top[0], options.min_weight),
            cls(options.query_top or top[1], options.query_min_weight),
        )

    def __call__(self, vectors: SparseVectors) -> SparseVectors:
        """Return the vectors with only the weights that are kept."""
        keep = vectors.values >= self.least
        if self.top is not None:
            lengths = np.diff(vectors.offsets)
            owners = np.repeat(np.arange(len(lengths)), lengths)
            order = np.lexsort((vectors.indices, -vectors.values, owners))
            rank = np.empty(len(order), np.int64)
            rank[order] = np.arange(len(order)) - np.repeat(vectors.offsets[:-1], lengths)
            keep &= rank < self.top
        if keep.all():
            return vectors
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep)])[vectors.offsets]
        return SparseVectors(offsets, vectors.indices[keep], vectors.values[keep], vectors.truncated)


def sparse_rows(
    texts: int,
    owners: NDArray[np.int64],
    dimensions: NDArray[np.int64],
    weights: NDArray[np.float32],
    truncated: int = 0,
) -> SparseVectors:
    """Return entries in any order as rows; those of weight 0 are left out.

    Args:
        texts: how many rows.
        owners: int64 [entries], the row of each.
        dimensions: int64 [entries], distinct within a row.
        weights: float32 [entries], not below 0.
        truncated: of the result.
    """
    held = weights > 0
    owners, dimensions, weights = owners[held], dimensions[held], weights[held]
    order = np.lexsort((dimensions, owners))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(owners, minlength=texts))])
    return SparseVectors(offsets, dimensions[order].astype(np.int32), weights[order], truncated)


def stacked(texts: int, parts: list[tuple[NDArray[np.int64], SparseVectors]], truncated: int) -> SparseVectors:
    """Return rows that were computed in batches, in the order of their texts.

    Args:
        texts: how many there are.
        parts: of each batch the places of its texts, and their rows.
        truncated: of the result.
    """
    lengths = np.zeros(texts, np.int64)
    for places, rows in parts:
        lengths[places] = np.diff(rows.offsets)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    indices, values = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.float32)
    for places, rows in parts:
        own = np.diff(rows.offsets)
        goal = np.repeat(offsets[places] - rows.offsets[:-1], own) + np.arange(len(rows.indices))
        indices[goal], values[goal] = rows.indices, rows.values
    return SparseVectors(offsets, indices, values, truncated)
