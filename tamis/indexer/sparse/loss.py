"""What a sparse part loses by pruning and by codes, measured on the first rows that it sees.

Some of these rows are asked as queries, by their heaviest weights as the model gave them, and each finds the others twice: by the
weights that the model gave, and by those that the index keeps. The share of the first ten that stay is the loss where it matters,
and needs neither topics nor judgements. Documents are longer than queries, and a sample is smaller than a collection: it says how
much is lost, not what a measure on real topics becomes (`benchmarks.sparse_quality`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.indexer.sparse.storage import SparseRows

QUERIES, QUERY_WEIGHTS, DEPTH = 100, 32, 10
ENTRIES = 1 << 21
"""Rows are compared up to so many entries."""


def measure_loss(whole: SparseRows, kept: SparseRows) -> dict[str, Any]:
    """Compare rows as the model gave them with the same rows as the index keeps them.

    Args:
        whole: the model's; values are weights, or None where all are 1.
        kept: what pruning and codes leave of them; as many rows, and no other dimensions.

    Returns:
        ``rows`` and ``queries`` that were compared; ``dropped_entries`` and ``dropped_weight``, the shares that pruning took;
        ``overlap@10``, the mean share of the first ten that stay, None where no row finds another.
    """
    rows = int(np.searchsorted(whole.offsets, ENTRIES, "right")) - 1
    rows = min(max(rows, 1), len(whole))
    whole, kept = _first(whole, rows), _first(kept, rows)
    entries = len(whole.dimensions)
    found: dict[str, Any] = {
        "rows": rows,
        "queries": 0,
        "dropped_entries": round(1 - len(kept.dimensions) / max(entries, 1), 6) if entries else 0.0,
        "dropped_weight": round(_dropped_weight(whole, kept), 6) if entries else 0.0,
    }
    overlaps = _overlaps(whole, kept) if entries else []
    overlap = round(float(np.mean(overlaps)), 4) if overlaps else None
    return found | {"queries": len(overlaps), f"overlap@{DEPTH}": overlap}


def _first(rows: SparseRows, count: int) -> SparseRows:
    end = int(rows.offsets[count])
    values = None if rows.values is None else rows.values[:end]
    return SparseRows(rows.offsets[: count + 1], rows.dimensions[:end], values)


def _dropped_weight(whole: SparseRows, kept: SparseRows) -> float:
    """Return the share of the model's weight that stands at entries which were pruned."""
    if whole.values is None:
        return 1 - len(kept.dimensions) / len(whole.dimensions)
    held = np.isin(_keys(whole), _keys(kept), assume_unique=True)
    return 1 - float(whole.values[held].sum(dtype=np.float64) / whole.values.sum(dtype=np.float64))


def _keys(rows: SparseRows) -> NDArray[np.int64]:
    owners = np.repeat(np.arange(len(rows)), np.diff(rows.offsets))
    return (owners << 32) | rows.dimensions.astype(np.int64)


def _overlaps(whole: SparseRows, kept: SparseRows) -> list[float]:
    """Return of every row that is asked, and finds something, the share of its first results that stay."""
    known = np.unique(whole.dimensions)
    before, after = _Scores(whole, known), _Scores(kept, known)
    shares, query = list[float](), np.zeros(len(known), np.float32)
    for row in np.unique(np.linspace(0, len(whole) - 1, min(QUERIES, len(whole))).astype(np.int64)).tolist():
        span = slice(int(whole.offsets[row]), int(whole.offsets[row + 1]))
        dimensions, weights = before.dimensions[span], before.values[span]
        heaviest = np.lexsort((dimensions, -weights))[:QUERY_WEIGHTS]
        query[dimensions[heaviest]] = weights[heaviest]
        wanted, have = before.first(query, row), after.first(query, row)
        query[dimensions] = 0
        if len(wanted):
            shares.append(len(np.intersect1d(wanted, have, assume_unique=True)) / len(wanted))
    return shares


class _Scores:
    """Inner products of a query with every row.

    Args:
        rows: the rows.
        known: the dimensions of a query, ascending.
    """

    def __init__(self, rows: SparseRows, known: NDArray[np.int64]) -> None:
        self._count, self._filled = len(rows), np.flatnonzero(np.diff(rows.offsets))
        self._starts = rows.offsets[:-1][self._filled]
        self.dimensions = np.searchsorted(known, rows.dimensions)
        self.values = np.ones(len(rows.dimensions), np.float32) if rows.values is None else rows.values

    def first(self, query: NDArray[np.float32], itself: int) -> NDArray[np.int64]:
        """Return the first rows of a query but the row that it is, the lower row first among equals."""
        scores = np.zeros(self._count, np.float32)
        if len(self._filled):
            scores[self._filled] = np.add.reduceat(query[self.dimensions] * self.values, self._starts)
        scores[itself] = 0
        best = np.argsort(-scores, kind="stable")[:DEPTH]
        return best[scores[best] > 0]
