"""One ranking out of several of the same candidates: permutation self-consistency.

Tang et al., "Found in the Middle: Permutation Self-Consistency Improves Listwise Ranking in Large Language Models", 2024: a model
that is asked several times, with its candidates shuffled, errs by position each time otherwise; the ranking nearest to all of
its answers errs less. Nearest is the least total Kendall distance (Kemeny): the number of pairs that two rankings order
differently. Mean ranks (Borda) and reciprocal ranks are cheaper stand-ins.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

EXACT = 12
"""Candidates entangled with each other up to which the least distance is found for certain."""

RRF_K = 60
"""What is added to ranks, from 0, before their reciprocals are taken."""


def shuffle(count: int, seed: int, number: int, *texts: str) -> list[int]:
    """Return a permutation of 0 … count - 1: always the same for a seed, a number and texts, whatever was shuffled before."""
    digest = blake2b("\0".join(texts).encode(), digest_size=8).digest()
    rng = np.random.default_rng([seed, number, int.from_bytes(digest, "big")])
    found: list[int] = rng.permutation(count).tolist()
    return found


def kendall_distance(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many pairs of candidates two rankings order differently."""
    where = {candidate: i for i, candidate in enumerate(other)}
    places = [where[candidate] for candidate in one]
    return sum(places[i] > places[j] for i in range(len(places)) for j in range(i + 1, len(places)))


def consensus(rankings: Sequence[Sequence[int]], method: str) -> list[int]:
    """Return the ranking that stands for several.

    Args:
        rankings: one or more permutations of 0 … count - 1, best first.
        method: ``kemeny``, ``borda``, ``rrf``, or ``best``: by how often a candidate comes first.

    Returns:
        A permutation; what the rankings leave undecided stands by mean rank, and then by number.
    """
    places = np.argsort(np.array(rankings, np.int64), axis=1)  # of each candidate in each ranking
    mean = places.mean(0)
    if method == "kemeny":
        return _kemeny(places, np.lexsort((np.arange(len(mean)), mean)).tolist())
    score = {"borda": -mean, "rrf": (1 / (RRF_K + places)).mean(0), "best": (places == 0).sum(0)}[method]
    found: list[int] = np.lexsort((np.arange(len(mean)), mean, -score)).tolist()
    return found


def _kemeny(places: NDArray[np.int64], start: list[int]) -> list[int]:
    """Return a ranking of least total Kendall distance, exactly where no more than `EXACT` candidates are entangled."""
    before = (places[:, :, None] < places[:, None, :]).sum(0)  # how many rankings have i before j
    found = list[int]()
    for part in _parts(before, start):
        found += _exact(before, part) if len(part) <= EXACT else _settled(before, part)
    return found


def _parts(before: NDArray[np.int64], order: Sequence[int]) -> list[list[int]]:
    """Return the candidates in parts, each of which beats or ties with all of the later ones, candidate by candidate.

    A ranking of least distance that has the parts one after the other there always is: to move them apart costs nothing.
    """
    rank = {candidate: i for i, candidate in enumerate(order)}

    def beats(i: int, j: int) -> bool:
        return bool(before[i, j] > before[j, i] or (before[i, j] == before[j, i] and rank[i] < rank[j]))

    # of a tournament: the parts are where the first candidates, by wins, have won all that they can against the rest
    wins = {i: sum(beats(i, j) for j in order if j != i) for i in order}
    parts, part, total = list[list[int]](), list[int](), 0
    for done, i in enumerate(sorted(order, key=lambda i: (-wins[i], rank[i])), 1):
        part.append(i)
        total += wins[i]
        if total == done * (done - 1) // 2 + done * (len(order) - done):
            parts.append(sorted(part, key=rank.__getitem__))
            part = []
    return parts


def _exact(before: NDArray[np.int64], part: Sequence[int]) -> list[int]:
    """Return the best ranking of a few candidates, by the best of every subset that may come first."""
    count = len(part)
    own = before[np.ix_(part, part)]
    subsets = np.arange(1 << count)
    holds = (subsets[:, None] >> np.arange(count)) & 1
    added = (holds @ own.T).tolist()  # [subset][j]: rankings that have j before a member, which now stands before j
    least: list[float] = [0.0] + [np.inf] * (len(subsets) - 1)
    last = [0] * len(subsets)
    for subset in range(len(subsets)):
        for j in range(count):
            if not subset >> j & 1 and least[subset] + added[subset][j] < least[subset | 1 << j]:
                least[subset | 1 << j], last[subset | 1 << j] = least[subset] + added[subset][j], j
    found, subset = list[int](), len(subsets) - 1
    while subset:
        found.append(part[last[subset]])
        subset ^= 1 << last[subset]
    return found[::-1]


def _settled(before: NDArray[np.int64], part: Sequence[int]) -> list[int]:
    """Return a ranking that moving any one candidate elsewhere makes no better."""
    order = list(part)
    moved = True
    while moved:
        moved = False
        for candidate in part:
            at = order.index(candidate)
            rest = order[:at] + order[at + 1 :]
            # the distance with the candidate before rest[i], for every i and the end, less what does not change
            gains = before[rest, candidate] - before[candidate, rest]
            costs = np.concatenate([gains[::-1].cumsum()[::-1], [0]])
            best = int(costs.argmin())
            if costs[best] < costs[at]:
                order = [*rest[:best], candidate, *rest[best:]]
                moved = True
    return order
