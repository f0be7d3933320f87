"""How alike two orders of the same documents are.

Kendall, 1938 (tau); Webber, Moffat, Zobel, "A Similarity Measure for Indefinite Rankings", TOIS 2010 (RBO, here the
extrapolated value of lists that hold the same documents).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.int64]
"""Rows in rank order."""

PERSISTENCE = 0.9
TOP = 10


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two orders; 1 each where they are the same.

    Attributes:
        tau: Kendall's tau, 1 to -1; 1 where there is one document only.
        rbo: rank-biased overlap, persistence 0.9.
        overlap: share of the first 10 that both have.
    """

    tau: float
    rbo: float
    overlap: float


def agreement(first: Order, second: Order) -> Agreement:
    """Compare two orders of the same, distinct rows."""
    if np.array_equal(first, second):
        return Agreement(1.0, 1.0, 1.0)
    return Agreement(kendall_tau(first, second), rank_biased_overlap(first, second), top_overlap(first, second))


def kendall_tau(first: Order, second: Order) -> float:
    """Return the share of pairs in the same order less that of pairs in opposite orders."""
    places = np.argsort(second)[np.searchsorted(np.sort(second), first)]  # of the first's rows in the second
    upper = np.triu_indices(len(places), 1)
    if not len(upper[0]):
        return 1.0
    return float(np.sign(places[upper[1]] - places[upper[0]]).mean())


def rank_biased_overlap(first: Order, second: Order, persistence: float = PERSISTENCE) -> float:
    """Return the extrapolated rank-biased overlap of two lists of equal length."""
    size = len(first)
    if not size:
        return 1.0
    seen: set[int] = set()
    common, total, share = 0, 0.0, 0.0
    for depth, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True), 1):
        for row in (a, b):
            common += row in seen
            seen ^= {row}  # a row is seen once in each list
        share = common / depth
        total += share * persistence**depth
    return share * persistence**size + (1 - persistence) / persistence * total


def top_overlap(first: Order, second: Order, top: int = TOP) -> float:
    """Return the share of the first `top` of one list that are among the first `top` of the other."""
    size = min(top, len(first))
    return len(set(first[:top].tolist()) & set(second[:top].tolist())) / size if size else 1.0
