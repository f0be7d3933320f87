"""Aggregations of comparisons, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.rerankers.aggregation import ONE_ORDER, aggregate, log_sigmoid
from tamis.rerankers.options import AGGREGATIONS

P = np.array([[0.5, 0.9, 0.6], [0.2, 0.5, 0.3], [0.7, 0.8, 0.5]])
LOG_ODDS = np.log(P / (1 - P))
np.fill_diagonal(LOG_ODDS, np.nan)

BY_HAND = {
    "sum": [1.5, 0.5, 1.5],
    "sym-sum": [2.6, 0.8, 2.6],
    "log": [np.log(0.9 * 0.6), np.log(0.2 * 0.3), np.log(0.7 * 0.8)],
    "sym-log": [-2.043302, -6.725434, -1.852784],
    "binary": [2, 0, 2],
    "max": [0.9, 0.3, 0.8],
    "min": [0.6, 0.2, 0.7],
    "rank-llm": [1.5, 0.4, 1.1],
    "pyterrier": [3.349927, -0.484907, 3.134980],
}


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_three_candidates_by_hand(name: str) -> None:
    np.testing.assert_allclose(aggregate(LOG_ODDS, name), BY_HAND[name], atol=1e-6)


def test_half_the_pairs_are_enough_for_rank_llm() -> None:
    half = np.where(np.tri(3, dtype=bool), np.nan, LOG_ODDS)
    np.testing.assert_allclose(aggregate(half, ONE_ORDER), BY_HAND[ONE_ORDER])


def test_candidates_of_which_the_same_is_said_tie() -> None:
    random = np.random.default_rng(0)
    table = random.normal(size=(30, 30))
    table[17], table[:, 17] = table[4], table[:, 4]  # one text twice: the same against all others
    table[4, 17] = table[17, 4] = 0.3
    for name in set(AGGREGATIONS) - {ONE_ORDER}:  # whose scores depend on who stands first
        scores = aggregate(table, name)
        assert scores[4] == scores[17], name
        assert len(set(scores.tolist())) > 5


def test_few_candidates() -> None:
    assert aggregate(np.zeros((0, 0)), "sym-sum").tolist() == []
    for name in AGGREGATIONS:
        assert aggregate(np.full((1, 1), np.nan), name).tolist() == [0.0]


def test_certain_comparisons_stay_apart_in_logarithms() -> None:
    table = np.array([[0.0, 60.0], [80.0, 0.0]])
    scores = aggregate(table, "log")
    assert scores[0] < scores[1] < 0


def test_logarithms_of_probabilities() -> None:
    found = log_sigmoid(np.array([2.0, 0.0, -800.0, 800.0]))
    assert found[0] == pytest.approx(-0.1269280110)  # logits 1 of false and 3 of true
    assert found[1] == pytest.approx(-np.log(2))
    assert found[2:].tolist() == [-800.0, 0.0]
