"""Scores by judgement: percentiles, and areas under curves that were worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.errors import DataError, UsageError
from tamis.eval.diagnosis.scores import area_table, area_under_curve, score_spread, spread_chart, spread_table
from tamis.ranking import IdSpace, Ranking

SPACE = IdSpace("abcdef")
QRELS = {"1": {"a": 2, "b": 0, "c": 1}, "2": {"d": 1, "e": 0}, "3": {"f": 1}}


def ranking(*lists):
    return Ranking.from_lists(SPACE, [str(i + 1) for i in range(len(lists))], lists)


def test_area_under_the_curve():
    assert area_under_curve(np.array([3.0, 2.0]), np.array([1.0, 0.0])) == 1.0
    assert area_under_curve(np.array([1.0]), np.array([1.0, 1.0])) == 0.5
    assert area_under_curve(np.array([2.0, 0.0]), np.array([1.0])) == 0.5
    assert area_under_curve(np.array([]), np.array([1.0])) is None
    generator = np.random.default_rng(0)
    good, bad = generator.integers(0, 5, 30).astype(float), generator.integers(0, 5, 40).astype(float)
    pairs = (good[:, None] > bad).mean() + (good[:, None] == bad).mean() / 2
    assert area_under_curve(good, bad) == pytest.approx(pairs)


def test_by_hand():
    found = score_spread(
        "run", ranking(([0, 1, 2, 3], [9.0, 8.0, 7.0, 6.0]), ([3, 4], [2.0, 1.0]), ([5], [0.0])), QRELS
    )
    assert found.counts == {"relevant": 4, "not relevant": 2, "unjudged": 1}
    assert found.quantiles["relevant"][0] == 0.0
    assert found.quantiles["relevant"][-1] == 9.0
    # relevant 9, 7, 2, 0 against 8 and 1: 2 + 1 + 1 + 0 of 8 pairs
    assert found.judged.pooled == pytest.approx(4 / 8)
    assert (found.judged.within.mean, found.judged.queries) == (0.75, 2)  # 1/2 and 1
    # with the unjudged 6: 3 + 2 + 1 + 0 of 12
    assert found.every.pooled == pytest.approx(6 / 12)
    assert found.every.within.mean == pytest.approx((3 / 4 + 1) / 2)
    assert sum(found.histogram["relevant"]) == pytest.approx(1)
    strict = score_spread("run", ranking(([0, 1, 2], [3.0, 2.0, 1.0]), ([3, 4], [2.0, 1.0])), QRELS, rel=2)
    assert strict.counts == {"relevant": 1, "not relevant": 4, "unjudged": 0}


def test_tables_without_a_class():
    found = score_spread("run", ranking(([0, 5], [2.0, 1.0]), ([3], [1.5])), QRELS)
    assert found.judged.pooled is None
    assert found.judged.within is None
    texts = spread_table([found]).render("text"), area_table([found]).render("text")
    assert "-: there are no such results." in texts[0]
    assert "-: a class has no results" in texts[1]
    assert "nan" not in "".join(texts).lower()
    assert [row[1].value for row in spread_table([found, found]).rows] == ["relevant", "not relevant", "unjudged"] * 2
    assert spread_chart(found) == spread_chart(found)
    assert found.to_dict()["auc"]["judged"] == {"pooled": None, "within_queries": None, "queries": 0}


def test_what_is_refused():
    with pytest.raises(DataError, match="all 2 scores are 1"):
        score_spread("run", ranking(([0, 1], [1.0, 1.0])), QRELS)
    with pytest.raises(DataError, match="none of its 1 queries is in the qrels"):
        score_spread("run", Ranking.from_lists(SPACE, ["9"], [([0], [1.0])]), QRELS)
    with pytest.raises(DataError, match="none of its 1 results is graded at least 1"):
        score_spread("run", ranking(([1], [1.0])), QRELS)
    with pytest.raises(UsageError, match="rel=0"):
        score_spread("run", ranking(([1], [1.0])), QRELS, rel=0)
