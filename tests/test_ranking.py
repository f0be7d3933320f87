"""Queries and rankings: columnar, ordered by one tie rule, bound to their space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.errors import DataError, SpaceMismatchError, UsageError
from tamis.ranking import DocumentSpace, Hit, IdSpace, Queries, Ranking, check_k, tie_order

SPACE = IdSpace("abcdefghij")
lists = st.lists(
    st.dictionaries(st.integers(0, 9), st.sampled_from([-1.5, 0.0, 0.5, 2.0, 1e300]), max_size=10), max_size=5
)


def ranking(*pairs: dict[int, float], space: Any = SPACE, sort: bool = True) -> Ranking:
    columns = [(list(pair), list(pair.values())) for pair in pairs]
    return Ranking.from_lists(space, [f"q{i}" for i in range(len(pairs))], columns, sort=sort)


def plain(made: Ranking) -> list[list[tuple[int, float]]]:
    return [list(zip(rows.tolist(), scores.tolist(), strict=True)) for _, rows, scores in made.lists()]


def test_queries_come_in_every_form() -> None:
    assert Queries.of("text") == Queries(("1",), ("text",))
    assert Queries.of({"a": "x", "b": "y"}) == Queries.of([("a", "x"), ("b", "y")]) == Queries(("a", "b"), ("x", "y"))
    queries = Queries(("a", "b"), ("x", "y"), terms=({"t": 1.0}, {}), vectors=np.eye(2, dtype=np.float32))
    taken = queries.take([1])
    assert (taken.ids, taken.texts, taken.terms) == (("b",), ("y",), ({},))
    assert taken.vectors is not None
    assert taken.vectors.tolist() == [[0, 1]]


def test_queries_that_do_not_fit_together() -> None:
    with pytest.raises(DataError, match="query id 'a' occurs twice"):
        Queries.of([("a", "x"), ("b", "y"), ("a", "z")])
    with pytest.raises(DataError, match="column 'texts' has 1 entries for 2 queries"):
        Queries(("a", "b"), ("x",))
    with pytest.raises(DataError, match="column 'terms'"):
        Queries(("a",), ("x",), terms=())


@given(lists)
def test_lists_are_sorted_by_score_then_row(given_lists: list[dict[int, float]]) -> None:
    expected = [sorted(pairs.items(), key=lambda item: (-item[1], item[0])) for pairs in given_lists]
    assert plain(ranking(*given_lists)) == expected


@given(lists, st.integers(1, 12))
def test_cut_keeps_the_first_k(given_lists: list[dict[int, float]], k: int) -> None:
    made = ranking(*given_lists)
    assert plain(made.cut(k)) == [pairs[:k] for pairs in plain(made)]
    assert made.cut(k).query_ids == made.query_ids


@given(lists)
def test_new_scores_give_a_new_order(given_lists: list[dict[int, float]]) -> None:
    made = ranking(*given_lists)
    turned = made.with_scores(-made.scores)
    assert plain(turned) == [sorted(((r, -s) for r, s in pairs), key=lambda i: (-i[1], i[0])) for pairs in plain(made)]


def test_hits() -> None:
    made = ranking({2: 1.0, 0: 3.0, 1: 1.0}, {})
    assert made["q0"] == [Hit("a", 0, 3.0, 1), Hit("b", 1, 1.0, 2), Hit("c", 2, 1.0, 3)]
    assert made["q1"] == []
    assert len(made) == 2
    with pytest.raises(KeyError):
        made["q2"]
    taken = made.take([1, 0])
    assert taken.query_ids == ("q1", "q0")
    assert taken["q0"] == made["q0"]


def test_the_order_given_is_kept_unless_sorting_is_asked_for() -> None:
    assert plain(ranking({5: 1.0, 1: 9.0}, sort=False)) == [[(5, 1.0), (1, 9.0)]]
    assert tie_order(np.array([1.0, 2.0, 1.0]), np.array([7, 5, 3])).tolist() == [1, 2, 0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_scores_must_be_finite(bad: float) -> None:
    with pytest.raises(DataError, match="query 'q1' has the score"):
        ranking({0: 1.0}, {1: bad})


def test_columns_must_fit_together() -> None:
    with pytest.raises(DataError, match="do not fit together"):
        Ranking(SPACE, ("q",), np.array([0, 2]), np.array([1]), np.array([1.0]))


def test_spaces() -> None:
    assert isinstance(SPACE, DocumentSpace)
    assert len(SPACE) == 10
    assert SPACE.rows(["c", "z", "a"]).tolist() == [2, -1, 0]
    assert SPACE.ids(np.array([9, 0])) == ["j", "a"]
    assert IdSpace("ba").key == IdSpace("abab").key != SPACE.key
    made = ranking({0: 1.0})
    made.require_space(IdSpace("jihgfedcba"))
    with pytest.raises(SpaceMismatchError, match=r"search again, or map it by ids with Ranking.rebind"):
        made.require_space(IdSpace("ab"))


def test_rebinding_keeps_documents_and_drops_unknown_ones() -> None:
    made = ranking({0: 1.0, 1: 2.0, 9: 3.0})
    other = made.rebind(IdSpace("bxyza"))
    assert [(hit.id, hit.score) for hit in other["q0"]] == [("b", 2.0), ("a", 1.0)]
    assert made.rebind(IdSpace("abcdefghij")) is made


def test_partial_flags_follow_their_queries() -> None:
    made = Ranking.from_lists(SPACE, ["a", "b"], [([1], [1.0]), ([2], [1.0])], partial=[True, False])
    assert made.take([1, 0]).partial.tolist() == [False, True]
    assert made.with_scores(made.scores).partial.tolist() == [True, False]
    assert ranking({}, {}).partial.tolist() == [False, False]


@pytest.mark.parametrize("k", [1, 10, np.int64(3)])
def test_good_ks(k: Any) -> None:
    check_k(k)


@pytest.mark.parametrize("k", [0, -1, 1.0, True, "3", None])
def test_bad_ks(k: Any) -> None:
    with pytest.raises(UsageError, match="must be a whole number of at least 1"):
        check_k(k)
