"""Central rankings: by hand, against all permutations, and stand-ins."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from tamis.rerankers.listwise import consensus as module
from tamis.rerankers.listwise.consensus import consensus, kendall_distance, shuffle


def total(one: list[int], rankings: list[list[int]]) -> int:
    return sum(kendall_distance(one, other) for other in rankings)


def test_distance_by_hand() -> None:
    assert kendall_distance([0, 1, 2, 3], [0, 1, 2, 3]) == 0
    assert kendall_distance([0, 1, 2, 3], [3, 2, 1, 0]) == 6
    assert kendall_distance([2, 0, 1], [0, 1, 2]) == 2


def test_the_published_example() -> None:
    rankings = [[1, 2, 0, 3], [1, 2, 3, 0], [1, 2, 0, 3]]
    assert consensus(rankings, "kemeny") == [1, 2, 0, 3]
    assert total([1, 2, 0, 3], rankings) == 1


@pytest.mark.parametrize("seed", range(60))
def test_no_ranking_is_nearer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, voters = int(rng.integers(1, 8)), int(rng.integers(1, 8))
    rankings = [rng.permutation(count).tolist() for _ in range(voters)]
    found = consensus(rankings, "kemeny")
    assert sorted(found) == list(range(count))
    assert total(found, rankings) == min(total(list(one), rankings) for one in permutations(range(count)))


@pytest.mark.parametrize("seed", range(10))
def test_many_candidates_come_as_near_as_the_exact_way(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    rankings = [rng.permutation(9).tolist() for _ in range(5)]
    exact = total(consensus(rankings, "kemeny"), rankings)
    monkeypatch.setattr(module, "EXACT", 2)
    near = consensus(rankings, "kemeny")
    assert exact <= total(near, rankings) <= total(consensus(rankings, "borda"), rankings)
    assert total(near, rankings) <= 1.05 * exact  # of rankings that have nothing in common


def test_a_noisy_truth_is_found_again() -> None:
    rng = np.random.default_rng(0)
    rankings = [np.argsort(np.arange(40) + rng.normal(0, 4, 40)).tolist() for _ in range(20)]
    worst = min(kendall_distance(one, range(40)) for one in rankings)
    for method in ("kemeny", "borda", "rrf"):
        assert kendall_distance(consensus(rankings, method), range(40)) < worst


def test_stand_ins_by_hand() -> None:
    rankings = [[0, 1, 2], [1, 2, 0], [0, 2, 1]]
    assert consensus(rankings, "borda") == [0, 1, 2]  # mean ranks 2/3, 1, 4/3
    # 1 / 60 and 1 / 62 against twice 1 / 61: the extremes win
    assert consensus([[0, 1, 2], [2, 1, 0]], "rrf") == [0, 2, 1]
    assert consensus([[2, 0, 1], [1, 0, 2], [2, 1, 0]], "best") == [2, 1, 0]


def test_a_tie_stays_as_it_was() -> None:
    for method in ("kemeny", "borda", "rrf", "best"):
        assert consensus([[0, 1], [1, 0]], method) == [0, 1]


def test_shuffles_are_told_apart_and_come_again() -> None:
    one = shuffle(20, 0, 0, "query", "a", "b")
    assert sorted(one) == list(range(20))
    assert one == shuffle(20, 0, 0, "query", "a", "b")
    others = [
        shuffle(20, 1, 0, "query", "a", "b"),
        shuffle(20, 0, 1, "query", "a", "b"),
        shuffle(20, 0, 0, "query", "a"),
    ]
    assert all(other != one for other in others)
