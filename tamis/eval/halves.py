"""Two halves of the topics: one chooses, the other confirms. Never the same queries for both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Halves = tuple[NDArray[np.int64], NDArray[np.int64]]


def halves(count: int, seed: int) -> Halves:
    """Return the places of the topics that choose and of those that confirm, ascending; of an odd number one more confirms."""
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[: count // 2]), np.sort(order[count // 2 :])
