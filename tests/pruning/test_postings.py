"""Pruning single postings: the published example, brute force, and an index whose remaining postings score as before."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tamis
from tamis.errors import OutputExistsError, UnknownNameError, UsageError
from tamis.pruning.postings import Triples, document_centric, posting_rule, prune_postings, term_centric

Make = Callable[..., list[dict[str, Any]]]


def test_carmel_s_example() -> None:
    scores = np.array([9, 7, 4, 3.4, 1])
    assert term_centric(scores, np.array([0, 5]), 2, 0.5).tolist() == [True, True, True, False, False]
    # shifted by the least score: the threshold is (7 - 1) / 2 above it
    assert term_centric(scores, np.array([0, 5]), 2, 0.5, shift=True).tolist() == [True, True, False, False, False]
    assert term_centric(scores, np.array([0, 5]), 6, 0.5).all()


@given(
    st.lists(st.lists(st.integers(1, 9), max_size=9), max_size=6),
    st.integers(1, 4),
    st.sampled_from([0, 0.3, 0.7, 1.0]),
)
def test_carmel_keeps_the_best_k_and_what_is_near(lists: list[list[int]], k: int, epsilon: float) -> None:
    starts = np.cumsum([0, *map(len, lists)])
    scores = np.array([score for one in lists for score in one], np.float64)
    kept = term_centric(scores, starts, k, epsilon)
    for one, first, last in zip(lists, starts[:-1], starts[1:], strict=True):
        if len(one) < k:
            assert kept[first:last].all()
            continue
        z = sorted(one, reverse=True)[k - 1]
        want = [score >= z if epsilon == 1 else score > epsilon * z for score in one]
        assert kept[first:last].tolist() == want
        assert sum(want) >= k


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8), min_size=1, max_size=6), st.floats(0.05, 1))
def test_kl_keeps_the_terms_that_set_a_document_apart(documents: list[list[int]], share: float) -> None:
    pairs = sorted({(term, doc) for doc, words in enumerate(documents) for term in words})
    counts = np.array([documents[doc].count(term) for term, doc in pairs])
    terms = np.array([term for term, _ in pairs])
    starts = np.searchsorted(terms, np.arange(terms.max() + 2))
    docs = np.array([doc for _, doc in pairs])
    kept = document_centric(Triples(starts, docs, counts, np.zeros(len(docs), np.uint8)), share)
    total = sum(map(len, documents))
    for doc, words in enumerate(documents):

        def divergence(term: int, words: list[int] = words) -> float:
            p = words.count(term) / len(words)
            return p * math.log(p / (sum(one.count(term) for one in documents) / total))

        left = {term for (term, owner), stays in zip(pairs, kept, strict=True) if owner == doc and stays}
        distinct = set(words)
        assert len(left) == max(1, math.ceil(share * len(distinct) - 1e-9))
        worst = min(map(divergence, left))
        assert all(divergence(term) <= worst + 1e-12 for term in distinct - left)


def test_methods_are_named_and_checked() -> None:
    assert posting_rule("carmel?k=3")[0] == "carmel?k=3"
    with pytest.raises(UnknownNameError, match="did you mean 'carmel'"):
        posting_rule("camel")
    with pytest.raises(UnknownNameError, match="option of kl"):
        posting_rule("kl?k=3")
    with pytest.raises(UsageError, match="at most 1"):
        posting_rule("kl?share=2")


@pytest.mark.parametrize("method", ["carmel?k=5&epsilon=0.8", "kl?share=0.5"])
def test_what_is_left_scores_as_before(
    index: tamis.Index, tmp_path: Path, topics: dict[str, str], method: str, make_documents: Make
) -> None:
    index.delete(["d50"])
    index.compact()
    whole = index.part("terms")
    _, share = prune_postings(index, tmp_path / "pruned", method)
    assert 0.2 < share < 0.9
    with tamis.open(tmp_path / "pruned") as pruned:
        part = pruned.part("terms")
        assert len(part.shards) == 1
        assert part.shards[0].postings.n_postings == round(share * whole.shards[0].postings.n_postings)
        part.shards[0].postings.validate()
        for word in ("w0", "w3", "w40"):
            old, new = whole.term("contents", word), part.term("contents", word)
            assert (new.frequency, part.term_frequency(new)) == (old.frequency, whole.term_frequency(old))
        for word in ("w0", "w7", "w40"):  # one word: a posting is a result
            before = {hit.id: hit.score for hit in index.rank(word, 1000)["1"]}
            after = {hit.id: hit.score for hit in pruned.rank(word, 1000)["1"]}
            assert after.items() <= before.items()
            assert len(after) > 0
        assert len(pruned) == len(index)
        assert pruned.verify().ok
        pruned.add([{"id": "new", "text": "w0 w0"}])
        assert "new" in {hit.id for hit in pruned.rank("w0", 1000)["1"]}
        assert pruned.part("terms").term("contents", "w3").frequency == whole.term("contents", "w3").frequency
        assert pruned.verify().ok
        pruned.delete(["new"])
        pruned.compact()
        for pipeline in ("bm25", "ql"):
            mine, theirs = (one.rank(topics, 100, pipeline=pipeline) for one in (pruned, index))
            assert mine.scores.tolist() == theirs.scores.tolist()
    with pytest.raises(OutputExistsError, match="is the index that is pruned"):
        prune_postings(index, index.path, method, overwrite=True)
