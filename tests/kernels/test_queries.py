"""Batches of queries: the list form equals the columnar form, and what does not fit is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tamis.errors import UsageError
from tamis.kernels import Queries, build_postings, search


def test_weights_and_shared_tables_equal_a_table_a_term() -> None:
    rng = np.random.default_rng(2)
    terms = np.repeat(np.arange(4), 50)
    docs = np.concatenate([np.sort(rng.choice(300, 50, replace=False)) for _ in range(4)])
    postings = build_postings(terms, docs, rng.integers(0, 9, 200), n_docs=300, n_terms=4, n_codes=9)
    base, weights = rng.random((1, 9)).astype(np.float32), rng.random(5).astype(np.float32)
    wanted = np.array([0, 3, 2, 1, 1])
    columnar = Queries(np.array([0, 2, 2, 5]), wanted, weights, base, np.zeros(5, np.int32))
    listed = Queries.of([(wanted[:2], weights[:2, None] * base), ([], []), (wanted[2:], weights[2:, None] * base)])
    found, other = search(postings, columnar, 20), search(postings, listed, 20)
    assert found.scores.tobytes() == other.scores.tobytes()
    assert found.docs.tobytes() == other.docs.tobytes()
    assert len(columnar) == len(listed) == len(found) == 3
    with pytest.raises(IndexError):
        found[3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [0, 0]), "offsets"),
        (([0, 3], [0, 0]), "offsets"),
        (([0, 2, 1, 2], [0, 0]), "offsets"),
        (([], []), "offsets"),
        (([0, 2], [0, 0], [1]), "weights"),
        (([0, 2], [0, 0], None, [[1, 2]]), "tables"),
        (([0, 2], [0, 0], None, [[1, 2]], [0, 1]), "tables"),
        (([0, 2], [0, 0], None, [[1, 2]], [0, -1]), "rows"),
        (([0, 2], [0, 0], None, None, [0, 0]), "rows"),
        (([0, 2], [0, 0], None, [[1, 2]], [0]), "rows"),
    ],
)
def test_arrays_that_do_not_fit(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Queries(*(None if value is None else np.array(value) for value in arguments))


def test_lists_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="to all or to none"):
        Queries.of([([0], [[1.0]]), ([0], None)])
    with pytest.raises(UsageError, match="different lengths"):
        Queries.of([([0], [[1.0]]), ([0], [[1.0, 2.0]])])
