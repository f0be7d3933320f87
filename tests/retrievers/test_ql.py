"""Query likelihood: values worked out by hand."""

from __future__ import annotations

import math

import pytest

import tamis
from tamis.errors import UsageError

LENGTHS = {"d1": 3, "d2": 4, "d3": 2}
COUNTS = {"information": {"d1": 2, "d3": 1}, "retrieval": {"d1": 1, "d2": 1}, "neural": {"d2": 1, "d3": 1}}


def dirichlet(query: str, mu: float) -> dict[str, float]:
    """Lucene's form: ln(1 + tf / (mu p)) + ln(mu / (|d| + mu)), at least 0, with p = (cf + 1) / (tokens + 1)."""
    scores: dict[str, float] = {}
    for word in query.split():
        p = (sum(COUNTS[word].values()) + 1) / (sum(LENGTHS.values()) + 1)
        for doc, tf in COUNTS[word].items():
            part = math.log(1 + tf / (mu * p)) + math.log(mu / (LENGTHS[doc] + mu))
            scores[doc] = scores.get(doc, 0.0) + max(part, 0.0)
    return scores


@pytest.mark.parametrize("mu", [1000, 10, 1, 0.1])
@pytest.mark.parametrize("query", ["information", "neural information", "retrieval retrieval neural"])
def test_hand_computed_scores(toy: tamis.Index, query: str, mu: float) -> None:
    found = {hit.id: hit.score for hit in toy.search(query, pipeline=f"ql?mu={mu}")}
    assert found == pytest.approx(dirichlet(query, mu), rel=1e-5, abs=1e-7)


def test_mu_1000_is_the_default(toy: tamis.Index) -> None:
    assert toy.search("neural information", pipeline="ql") == toy.search("neural information", pipeline="ql?mu=1000")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ql?mu=0", "ql?mu=0: must be above 0"),
        ("ql?mu=-5", "must be above 0"),
        ("ql?mu=inf", "must be a finite number"),
        ("ql?mu=1e39", "ql?mu=1e39: must be at most 3.4e+38"),
        ("ql?k1=1", "unknown option of ql 'k1'"),
    ],
)
def test_wrong_options_are_named(toy: tamis.Index, address: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        toy.search("neural", pipeline=address)
    assert message in str(caught.value)
