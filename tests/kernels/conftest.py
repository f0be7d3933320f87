"""Random collections of postings, small but spread over several windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from tamis.kernels import WINDOW, Postings, Queries, build_postings


@dataclass
class Collection:
    """Triples, the postings built of them, and queries over them."""

    terms: np.ndarray[Any, Any]
    docs: np.ndarray[Any, Any]
    codes: np.ndarray[Any, Any] | None
    postings: Postings
    queries: Queries


def _make_collection(
    seed: int,
    *,
    n_docs: int,
    frequencies: list[int],
    n_codes: int,
    n_queries: int,
    n_terms: int,
    signed: bool,
    exponent: float,
) -> Collection:
    """A collection whose values are few enough to tie often; `exponent` spreads the weights over powers of ten."""
    rng = np.random.default_rng(seed)
    # Documents crowd around a few places, so that windows differ and most are empty where n_docs is large.
    places = np.sort(rng.integers(0, n_docs, 4))
    lists = []
    for frequency in frequencies:
        near = np.clip(rng.choice(places, frequency) + rng.integers(-300, 300, frequency), 0, n_docs - 1)
        far = rng.integers(0, n_docs, frequency)
        lists.append(np.unique(np.where(rng.random(frequency) < 0.7, near, far)))
    terms = np.repeat(np.arange(len(lists)), [len(part) for part in lists])
    docs = np.concatenate([np.empty(0, np.int64), *lists])
    codes = rng.integers(0, n_codes, len(terms)) if n_codes else None
    postings = build_postings(terms, docs, codes, n_docs=n_docs, n_terms=len(lists), n_codes=n_codes)
    offsets = np.concatenate([[0], np.sort(rng.integers(0, n_terms + 1, n_queries - 1)), [n_terms]])
    wanted = rng.integers(0, len(lists), n_terms)
    if not n_codes:
        return Collection(terms, docs, codes, postings, Queries(offsets, wanted))
    tables = rng.choice([0.0, 0.25, 0.5, 1.0, 1.1], (3, n_codes)) - (0.5 if signed else 0)
    weights = rng.choice([1, 2, 0.3], n_terms) * 10 ** rng.uniform(-exponent, exponent, n_terms)
    queries = Queries(offsets, wanted, weights, tables, rng.integers(0, 3, n_terms))
    return Collection(terms, docs, codes, postings, queries)


FREQUENCIES = st.lists(st.sampled_from([0, 1, 2, 7, 60, 700]), min_size=1, max_size=12)
N_DOCS = st.sampled_from(
    [1, 5, 63, 64, 65, 1000, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW + 17, 40 * WINDOW, 2**33 + 5]
)


@st.composite
def _collections(draw: st.DrawFn, n_codes: st.SearchStrategy[int]) -> Collection:
    return _make_collection(
        draw(st.integers(0, 2**32)),
        n_docs=draw(N_DOCS),
        frequencies=draw(FREQUENCIES),
        n_codes=draw(n_codes),
        n_queries=draw(st.integers(1, 5)),
        n_terms=draw(st.integers(0, 30)),
        signed=draw(st.booleans()),
        exponent=draw(st.sampled_from([0.0, 1.0, 6.0])),
    )


@pytest.fixture(scope="session")
def make_collection() -> Callable[..., Collection]:
    """The function that makes a collection of given dimensions."""
    return _make_collection


@pytest.fixture(scope="session")
def collections_of() -> Callable[[st.SearchStrategy[int]], st.SearchStrategy[Collection]]:
    """A strategy of collections, given one for their number of codes (0: binary)."""
    return _collections


@pytest.fixture(scope="session")
def dense_collection() -> Collection:
    """Lists long enough for every way of evaluating a window: 5 windows, 18 lists of up to 100,000 postings."""
    return _make_collection(
        11,
        n_docs=4 * WINDOW + 1234,
        frequencies=[100_000, 60_000, 30_000, 9000, 5000, 1000] * 3,
        n_codes=300,
        n_queries=24,
        n_terms=110,
        signed=False,
        exponent=0.5,
    )
