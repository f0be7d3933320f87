"""Which topics are looked at: judged ones, by the seed and the ids alone."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.errors import DataError, UsageError
from tamis.eval.diagnosis.intervals import Mean
from tamis.eval.diagnosis.sampling import aligned, judged_topics
from tamis.ranking import IdSpace, Queries, Ranking

QUERIES = Queries.of({str(i): f"query {i}" for i in range(20)})
QRELS = {str(i): {"d": 1 if i % 2 else 0} for i in range(20)}


def test_only_topics_with_a_relevant_document():
    assert judged_topics(QUERIES, QRELS).ids == tuple(str(i) for i in range(1, 20, 2))


def test_a_sample_depends_on_the_seed_and_not_on_the_order():
    one = judged_topics(QUERIES, QRELS, sample=4, seed=1)
    turned = judged_topics(QUERIES.take(range(19, -1, -1)), QRELS, sample=4, seed=1)
    assert len(one) == 4
    assert set(one.ids) == set(turned.ids)
    assert any(set(judged_topics(QUERIES, QRELS, sample=4, seed=s).ids) != set(one.ids) for s in range(2, 6))
    assert judged_topics(QUERIES, QRELS, sample=100) == judged_topics(QUERIES, QRELS)


def test_what_is_refused():
    with pytest.raises(DataError, match="0 of the 20 topics have a document graded at least 3"):
        judged_topics(QUERIES, QRELS, rel=3)
    with pytest.raises(DataError, match="1 of the 20 topics"):
        judged_topics(QUERIES, {"1": {"d": 1}})
    with pytest.raises(UsageError, match="sample=1"):
        judged_topics(QUERIES, QRELS, sample=1)
    with pytest.raises(UsageError, match="rel=0"):
        judged_topics(QUERIES, QRELS, rel=0)


def test_aligned_lists():
    ranking = Ranking.from_lists(IdSpace("ab"), ["y", "x"], [([0], [1.0]), ([1, 0], [2.0, 1.0])])
    found = aligned(ranking, Queries.of({"x": "", "z": "", "y": ""}))
    assert [rows.tolist() for _, rows, _ in found.lists()] == [[1, 0], [], [0]]


def test_means():
    assert Mean.of([2.0], 0) == Mean(2.0, None, None)
    found = Mean.of(np.arange(10.0), 3)
    assert found == Mean.of(np.arange(10.0), 3)
    assert found.low < found.mean == 4.5 < found.high
    assert Mean.of([1.0, 1.0, 1.0], 0) == Mean(1.0, 1.0, 1.0)
    for bad in ([], [1.0, float("nan")]):
        with pytest.raises(DataError):
            Mean.of(bad, 0)
