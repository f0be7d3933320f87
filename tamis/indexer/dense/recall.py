"""Recall of an approximate search against the exact one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from tamis.kernels.codes import widen
from tamis.kernels.dense import Masks, search_flat
from tamis.kernels.searching import Hits

Recall = TypedDict("Recall", {"recall@10": float, "recall@100": float, "queries": int})
"""What a manifest stores."""


def perturbed_queries(vectors: NDArray[Any], count: int, seed: int, noise: float = 0.5) -> NDArray[np.float32]:
    """Queries near documents: random vectors of the store plus Gaussian noise of `noise` times their length, at their length."""
    random = np.random.default_rng(seed)
    rows = np.sort(random.choice(len(vectors), min(count, len(vectors)), replace=False))
    chosen = widen(vectors[rows]).astype(np.float64)
    length = np.linalg.norm(chosen, axis=1, keepdims=True)
    moved = chosen + noise * length / np.sqrt(chosen.shape[1]) * random.standard_normal(chosen.shape)
    size = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(moved * np.divide(length, size, out=np.ones_like(size), where=size > 0), np.float32)


def recall_of(
    search: Callable[[NDArray[np.float32], int], Hits],
    vectors: Sequence[NDArray[Any]],
    queries: NDArray[np.float32],
    *,
    mask: Masks | None = None,
    threads: int = 1,
) -> Recall:
    """Mean share of the exact top 10 and top 100 that `search` returns in its own; 1 where no row is allowed."""
    wanted, found = search_flat(vectors, queries, 100, mask=mask, threads=threads), search(queries, 100)
    shares: dict[int, float] = {}
    for k in (10, 100):
        each = []
        for i in range(len(queries)):
            best = wanted[i][0][:k]
            each.append(float(np.isin(best, found[i][0][:k]).mean()) if len(best) else 1.0)
        shares[k] = float(np.mean(each)) if each else 1.0
    return {"recall@10": shares[10], "recall@100": shares[100], "queries": len(queries)}
