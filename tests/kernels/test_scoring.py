"""Scoring given documents: what a search would have given them, in every kernel, to the bit."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.errors import UsageError
from tamis.kernels import WINDOW, Postings, Queries, build_postings, score, search
from tamis.kernels.backend import available_kernels
from tamis.kernels.numpy_backend import score_batch


def asked_for(postings: Postings, queries: Queries, seed: int) -> tuple[Any, Any]:
    """For each query some documents that it matches and some others, ascending."""
    rng = np.random.default_rng(seed)
    found = search(postings, queries, 10**6)
    lists = []
    for i in range(len(queries)):
        docs = found[i][0]
        some = docs[rng.random(len(docs)) < rng.choice([0.01, 0.5, 1])]
        lists.append(np.unique(np.concatenate([some, rng.integers(0, postings.n_docs, 5)])))
    return np.cumsum([0, *map(len, lists)]), np.concatenate(lists)


def run(kernel: str, postings: Postings, queries: Queries, ends: Any, docs: Any, *, once: bool) -> Any:
    assert postings.native is not None
    scores = np.full(len(docs), 7, np.float32)
    columns = (queries.offsets, queries.terms, queries.weights, queries.rows, queries.tables, queries.groups)
    postings.native.score(kernel, *columns, once, 2, ends, docs, scores, None)
    return scores


@settings(deadline=None, max_examples=80)
@given(st.data(), st.integers(0, 1000), st.sampled_from(["each", "once"]))
def test_same_as_a_search(collections_of: Any, data: Any, seed: int, rounding: Literal["each", "once"]) -> None:
    collection = data.draw(collections_of(st.sampled_from([0, 1, 256, 5000])))
    postings, queries = collection.postings, collection.queries
    ends, docs = asked_for(postings, queries, seed)
    everything = search(postings, queries, 10**6, rounding=rounding)
    scores = score(postings, queries, ends, docs, threads=3, rounding=rounding)
    for i in range(len(queries)):
        wanted = dict(zip(*(column.tolist() for column in everything[i]), strict=True))
        span = slice(ends[i], ends[i + 1])
        assert scores[span].tolist() == [wanted.get(doc, 0.0) for doc in docs[span].tolist()]
    for kernel in available_kernels():
        if kernel != "numpy":
            assert run(kernel, postings, queries, ends, docs, once=rounding == "once").tobytes() == scores.tobytes()


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.9])
def test_long_lists_few_and_many_documents(dense_collection: Any, share: float) -> None:
    """Runs are read through or looked up in, depending on how many documents are asked for."""
    postings, queries = dense_collection.postings, dense_collection.queries
    rng = np.random.default_rng(3)
    docs = np.flatnonzero(rng.random(postings.n_docs) < share)
    ends = np.arange(len(queries) + 1) * len(docs)
    scores = score(postings, queries, ends, np.tile(docs, len(queries)))
    everything = search(postings, queries, 10**6)
    for i in range(len(queries)):
        dense = np.zeros(postings.n_docs, np.float32)
        dense[everything[i][0]] = everything[i][1]
        assert scores[ends[i] : ends[i + 1]].tobytes() == dense[docs].tobytes()


@pytest.mark.parametrize("power", [0.1, 1, 8])
def test_lists_that_are_spread_unevenly(power: float) -> None:
    """A lookup guesses as if documents were spread evenly; here most are at one end, and the guess is far off."""
    rng = np.random.default_rng(8)
    n_docs, lengths = WINDOW + 9000, [64, 65, 129, 700, 9000]
    lists = [np.unique((rng.random(length) ** power * n_docs).astype(np.int64)) for length in lengths]
    terms = np.repeat(np.arange(len(lists)), [len(own) for own in lists])
    codes = rng.integers(0, 9, len(terms))
    postings = build_postings(terms, np.concatenate(lists), codes, n_docs=n_docs, n_terms=len(lists), n_codes=9)
    queries = Queries.of([(np.arange(len(lists)), rng.random((len(lists), 9)))])
    ends_of = [0, 1, WINDOW - 1, WINDOW, n_docs - 1]
    held = np.concatenate([own[[0, len(own) // 2, -1]] for own in lists])
    for docs in (np.unique([*ends_of, int(held[0])]), np.unique(np.concatenate([held, held + 1, ends_of])) % n_docs):
        given = np.unique(docs)
        ends = np.array([0, len(given)])
        wanted = score_batch(postings, queries, ends, given)
        assert len(np.flatnonzero(wanted)) > 0
        for kernel in available_kernels():
            if kernel != "numpy":
                assert run(kernel, postings, queries, ends, given, once=False).tobytes() == wanted.tobytes()


@pytest.mark.parametrize(
    ("ends", "docs", "message"),
    [
        ([0, 1], [0, 1], "offsets must ascend from 0 to 2"),
        ([0, 2], [0, 9], "outside 0 … 8"),
        ([0, 2], [-1, 3], "outside 0 … 8"),
        ([0, 2], [3, 3], "must ascend"),
        ([0], [], "one more than the 1 queries"),
    ],
)
def test_wrong_documents(ends: list[int], docs: list[int], message: str) -> None:
    postings = build_postings(np.array([0]), np.array([4]), None, n_docs=9, n_terms=1)
    with pytest.raises(UsageError, match=message):
        score(postings, Queries.of([([0], None)]), np.array(ends), np.array(docs, np.int64))
