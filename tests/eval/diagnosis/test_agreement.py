"""Agreement of orders: hand-computed values, and scipy's tau."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from tamis.eval.diagnosis.agreement import agreement, kendall_tau, rank_biased_overlap, top_overlap


def order(*rows: int) -> np.ndarray:
    return np.array(rows, np.int64)


def test_the_same_order_agrees_exactly():
    found = agreement(order(7, 3, 9), order(7, 3, 9))
    assert (found.tau, found.rbo, found.overlap) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_tau_is_scipys(seed):
    rows = np.random.default_rng(seed).permutation(40)[:12]
    other = np.random.default_rng(seed + 100).permutation(rows)
    places = [int(np.flatnonzero(other == row)[0]) for row in rows]
    assert kendall_tau(rows, other) == pytest.approx(kendalltau(range(12), places).statistic)


def test_tau_of_reverses_and_of_one():
    assert kendall_tau(order(1, 2, 3), order(3, 2, 1)) == -1.0
    assert kendall_tau(order(5), order(5)) == 1.0
    # one of three pairs is swapped
    assert kendall_tau(order(1, 2, 3), order(2, 1, 3)) == pytest.approx(1 / 3)


def test_rank_biased_overlap_by_hand():
    # [1, 2] and [2, 1]: overlap 0 at depth 1 and 2 at depth 2, so 1 at the end
    p = 0.9
    assert rank_biased_overlap(order(1, 2), order(2, 1)) == pytest.approx(p**2 + (1 - p) / p * p**2)
    assert rank_biased_overlap(order(4, 5, 6), order(4, 5, 6)) == pytest.approx(1.0)
    assert rank_biased_overlap(order(), order()) == 1.0


def test_top_overlap():
    first, second = np.arange(20), np.arange(20)[::-1]
    assert top_overlap(first, second) == 0.0
    assert top_overlap(first[:4], second[-4:]) == 1.0
    assert top_overlap(np.arange(12), np.roll(np.arange(12), 1)) == 0.9
