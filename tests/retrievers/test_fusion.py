"""Fusion against hand-computed values, the sources' golden numbers, and a plain-Python account of each method."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tamis.errors import DataError, SpaceMismatchError, UnknownNameError, UsageError
from tamis.ranking import IdSpace, Ranking
from tamis.retrievers import fusion
from tamis.retrievers.fusion import interleave, normalise, reciprocal_rank_fusion, weighted_sum

SPACE = IdSpace("ABCDEFGHIJ")


def ranking_of(*lists: dict[str, float], queries: str = "", space: IdSpace = SPACE) -> Ranking:
    """One list a query, in the order in which the documents are given."""
    pairs = [(space.rows(list(docs)), list(docs.values())) for docs in lists]
    return Ranking.from_lists(space, list(queries) or [str(i) for i in range(len(lists))], pairs)


def order_of(ranking: Ranking, query: str = "0") -> str:
    return "".join(hit.id for hit in ranking[query])


def scores_of(ranking: Ranking, query: str = "0") -> dict[str, float]:
    return {hit.id: hit.score for hit in ranking[query]}


def test_rrf_golden_values() -> None:
    fused = reciprocal_rank_fusion([ranking_of({"A": 9, "B": 8}), ranking_of({"C": 5, "A": 4})])
    assert order_of(fused) == "ACB"
    assert_allclose(list(scores_of(fused).values()), [0.0325225, 0.0163934, 0.0161290], atol=5e-8)


def test_rrf_of_ranks_1_and_3() -> None:
    fused = reciprocal_rank_fusion([ranking_of({"A": 3, "B": 2, "C": 1}), ranking_of({"D": 3, "E": 2, "A": 1})])
    assert scores_of(fused)["A"] == pytest.approx(0.032266458, abs=1e-9)


def test_rrf_reads_ranks_and_not_scores() -> None:
    misordered = ranking_of({"A": 1.0, "B": 2.0})  # storage order is rank order
    assert scores_of(reciprocal_rank_fusion([misordered], k=0)) == {"A": 1.0, "B": 0.5}


def test_equal_fused_scores_keep_the_lower_row_first() -> None:
    fused = reciprocal_rank_fusion([ranking_of({"J": 2, "B": 1}), ranking_of({"C": 2, "A": 1})])
    assert order_of(fused) == "CJAB"


def test_interleave_golden_order_is_first_list_first() -> None:
    fused = interleave([ranking_of({"A": 3, "B": 2, "C": 1}), ranking_of({"C": 9, "D": 8})])
    assert order_of(fused) == "ACBD"
    assert list(scores_of(fused).values()) == [1, 1 / 2, 1 / 3, 1 / 4]


def test_interleave_goes_on_with_the_longer_list() -> None:
    fused = interleave([ranking_of({"J": 1}), ranking_of({}), ranking_of({"I": 4, "H": 3, "J": 2, "G": 1})])
    assert order_of(fused) == "JIHG"


def test_hybrid_of_the_dense_and_the_sparse_list() -> None:
    """TCT-ColBERT's hybrid: alpha on the sparse list, a missing document takes the list's minimum."""
    dense, sparse = ranking_of({"A": 70, "B": 68}), ranking_of({"B": 10, "C": 6})
    fused = weighted_sum([sparse, dense], [0.1, 1.0], missing="min")
    assert order_of(fused) == "ABC"
    assert_allclose(list(scores_of(fused).values()), [70.6, 69.0, 68.6], rtol=1e-12)
    assert_allclose(
        [scores_of(weighted_sum([sparse, dense], [0.1, 1.0]))[doc] for doc in "ABC"], [70, 69, 0.6], rtol=1e-12
    )


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("none", [4, 2, 0]),
        ("minmax", [1, 0.5, 0]),
        ("range", [0.5, 0, -0.5]),
        ("zscore", [1.224744871, 0, -1.224744871]),  # population deviation of 4, 2, 0 is sqrt(8/3)
    ],
)
def test_normalisations(norm: str, expected: list[float]) -> None:
    several = ranking_of({}, {"A": 4, "B": 2, "C": 0}, {}, {"D": 7}, {})
    assert_allclose(normalise(several, norm)[:3], expected, atol=1e-9)


@pytest.mark.parametrize(("norm", "expected"), [("minmax", 1.0), ("range", 0.0), ("zscore", 0.0), ("none", 3.0)])
def test_a_list_of_equal_scores_does_not_divide_by_zero(norm: str, expected: float) -> None:
    assert normalise(ranking_of({"A": 3, "B": 3}), norm).tolist() == [expected, expected]


def test_the_minimum_for_a_missing_document_is_that_of_the_normalised_list() -> None:
    first, second = ranking_of({"A": 4, "B": 2, "C": 0}), ranking_of({"D": 5, "A": 1})
    fused = weighted_sum([first, second], [1, 2], norm="range", missing="min")
    assert scores_of(fused) == {"A": 0.5 - 1.0, "B": 0.0 - 1.0, "C": -0.5 - 1.0, "D": -0.5 + 1.0}


def test_an_empty_list_gives_nothing_to_a_missing_document() -> None:
    fused = weighted_sum([ranking_of({"A": 4}), ranking_of({})], [1, 1], missing="min")
    assert scores_of(fused) == {"A": 4}


def test_queries_are_united_in_first_seen_order() -> None:
    first = ranking_of({"A": 1}, {"B": 1}, queries="xy")
    second = ranking_of({"C": 1}, {"D": 1}, queries="zx")
    second = Ranking(SPACE, second.query_ids, second.offsets, second.rows, second.scores, np.array([True, False]))
    fused = weighted_sum([first, second], [1, 1])
    assert fused.query_ids == ("x", "y", "z")
    assert [order_of(fused, q) for q in "xyz"] == ["AD", "B", "C"]
    assert fused.partial.tolist() == [False, False, True]


def test_nothing_to_fuse_is_no_fault() -> None:
    nothing = Ranking.from_lists(SPACE, [], [])
    empty = ranking_of({}, {})
    for fused in (reciprocal_rank_fusion([nothing]), weighted_sum([nothing, nothing], [1, 1]), interleave([nothing])):
        assert len(fused) == 0
    for fused in (
        reciprocal_rank_fusion([empty]),
        interleave([empty, empty]),
        weighted_sum([empty], [1], "minmax", "min"),
    ):
        assert fused.offsets.tolist() == [0, 0, 0]


def test_other_spaces_are_refused() -> None:
    with pytest.raises(SpaceMismatchError):
        interleave([ranking_of({"A": 1}), ranking_of({"A": 1}, space=IdSpace("AB"))])


def test_a_document_twice_in_a_list_is_refused_by_name() -> None:
    twice = Ranking.from_lists(SPACE, ["x", "y"], [([1], [1.0]), ([3, 2, 3], [3.0, 2.0, 1.0])])
    with pytest.raises(DataError, match="query 'y' lists document 'D' more than once"):
        reciprocal_rank_fusion([ranking_of({"A": 1}, {"D": 1}, queries="xy"), twice])


def test_a_query_twice_in_a_ranking_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="query 'x' twice"):
        interleave([ranking_of({"A": 1}, {"B": 1}, queries="xx")])


def test_bad_arguments() -> None:
    one = ranking_of({"A": 1})
    with pytest.raises(UsageError, match="no ranking"):
        reciprocal_rank_fusion([])
    with pytest.raises(UsageError, match="k=-1"):
        reciprocal_rank_fusion([one], k=-1)
    with pytest.raises(UsageError, match="1 weights for 2"):
        weighted_sum([one, one], [1])
    with pytest.raises(UsageError, match="nan"):
        weighted_sum([one], [float("nan")])
    with pytest.raises(UnknownNameError, match="minmax"):
        weighted_sum([one], [1], norm="min-max")
    with pytest.raises(UnknownNameError, match="zero"):
        weighted_sum([one], [1], missing="nil")
    with pytest.raises(DataError, match="too large"):
        weighted_sum([ranking_of({"A": 1e200}), ranking_of({"A": 1e200})], [1e200, -1e200])


scores = st.floats(-1e6, 1e6)
lists = st.dictionaries(st.sampled_from("ABCDEFGHIJ"), scores, max_size=10)


def rankings_over(queries: int) -> st.SearchStrategy[Ranking]:
    def build(chosen: list[dict[str, float]]) -> Ranking:
        pairs = [(SPACE.rows(list(docs)), list(docs.values())) for docs in chosen]
        return Ranking.from_lists(SPACE, [str(i) for i in range(len(chosen))], pairs, sort=True)

    return st.lists(lists, min_size=queries, max_size=queries).map(build)


batches = st.integers(0, 4).flatmap(lambda queries: st.lists(rankings_over(queries), min_size=1, max_size=3))


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)

    def random_ranking() -> Ranking:
        drawn = [rng.permutation(10)[: rng.integers(0, 10)] for _ in range(37)]
        pairs = [(rows, rng.integers(0, 3, len(rows))) for rows in drawn]
        return Ranking.from_lists(SPACE, [str(i) for i in range(37)], pairs, sort=True)

    batch = [random_ranking(), random_ranking()]
    whole = weighted_sum(batch, [0.3, 0.7], "minmax", "min")
    monkeypatch.setattr(fusion, "_BLOCK_ENTRIES", 50)
    small = weighted_sum(batch, [0.3, 0.7], "minmax", "min")
    assert whole.rows.tolist() == small.rows.tolist()
    assert whole.scores.tolist() == small.scores.tolist()
    assert whole.offsets.tolist() == small.offsets.tolist()


@given(batches)
def test_rrf_is_what_it_says(batch: list[Ranking]) -> None:
    fused = reciprocal_rank_fusion(batch)
    for position in range(len(batch[0])):
        expected: dict[int, float] = {}
        for ranking in batch:
            for rank, row in enumerate(ranking.at(position)[0].tolist(), 1):
                expected[row] = expected.get(row, 0.0) + 1 / (60 + rank)
        wanted = sorted(expected.items(), key=lambda pair: (-pair[1], pair[0]))
        rows, values = fused.at(position)
        assert list(zip(rows.tolist(), values.tolist(), strict=True)) == wanted


@given(batches, st.sampled_from(fusion.MISSING), st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_weighted_sum_is_what_it_says(batch: list[Ranking], missing: str, weights: list[float]) -> None:
    weights = weights[: len(batch)]
    fused = weighted_sum(batch, weights, missing=missing)
    for position in range(len(batch[0])):
        found = [dict(zip(*map(np.ndarray.tolist, ranking.at(position)), strict=True)) for ranking in batch]
        expected = {}
        for row in set().union(*found):
            floors = [min(docs.values(), default=0.0) if missing == "min" else 0.0 for docs in found]
            expected[row] = sum(w * d.get(row, f) for w, d, f in zip(weights, found, floors, strict=True))
        rows, values = fused.at(position)
        assert rows.tolist() == [r for r, _ in sorted(expected.items(), key=lambda pair: (-pair[1], pair[0]))]
        assert values.tolist() == [expected[row] for row in rows.tolist()]


@given(batches)
def test_interleave_is_what_it_says(batch: list[Ranking]) -> None:
    fused = interleave(batch)
    for position in range(len(batch[0])):
        columns = [ranking.at(position)[0].tolist() for ranking in batch]
        turns = [column[turn] for turn in range(10) for column in columns if turn < len(column)]
        rows, values = fused.at(position)
        assert rows.tolist() == list(dict.fromkeys(turns))
        assert (np.diff(values) < 0).all()


@given(st.integers(0, 4).flatmap(rankings_over))
def test_fusing_a_ranking_with_itself_keeps_its_order(ranking: Ranking) -> None:
    for fused in (reciprocal_rank_fusion([ranking, ranking]), interleave([ranking, ranking])):
        assert fused.rows.tolist() == ranking.rows.tolist()
        assert fused.offsets.tolist() == ranking.offsets.tolist()


@given(st.integers(0, 4).flatmap(lambda queries: st.tuples(rankings_over(queries), rankings_over(queries))))
def test_weights_1_and_0_keep_the_first_list(pair: tuple[Ranking, Ranking]) -> None:
    first, second = pair
    fused = weighted_sum([first, second], [1, 0])
    for position in range(len(first)):
        own = set(first.at(position)[0].tolist())
        assert [row for row in fused.at(position)[0].tolist() if row in own] == first.at(position)[0].tolist()
