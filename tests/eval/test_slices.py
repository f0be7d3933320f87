"""Slices: rules by hand, figures equal to those of the slice alone, corrections over slices, and no NaN anywhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tamis.errors import DataError, UnknownNameError, UsageError
from tamis.eval import (
    Comparison,
    Evaluation,
    compare,
    compare_slices,
    evaluate,
    parse_measures,
    slice_by_labels,
    slice_queries,
    slices_table,
)
from tamis.eval.significance import bonferroni, bootstrap_interval, holm
from tamis.eval.slices import SLICINGS, Slicing, needed_measures, needs_texts
from tamis.ranking import IdSpace, Ranking


def ids(count: int) -> tuple[str, ...]:
    return tuple(f"q{i}" for i in range(count))


def slices_of(by: str, *texts: str) -> list[str]:
    given = dict(zip(ids(len(texts)), texts, strict=True))
    return list(slice_queries(by, ids(len(texts)), texts=given).of)


def test_query_length_counts_words() -> None:
    texts = [" ".join("w" * n) for n in (1, 3, 4, 6, 7, 10, 11, 40)] + [""]
    assert slices_of("query-length", *texts) == ["1-3", "1-3", "4-6", "4-6", "7-10", "7-10", "11+", "11+", "0"]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Who wrote it", "who"), ("whose is it", "who"), ("what's new", "what"), ("whats new", "what"), ("'How many", "how"),
        ("is it far", "yes/no"), ("Does it", "yes/no"), ("definition of how", "other"), ("1984 what", "what"), ("", "other"),
        ("whatever", "other"), ("¿why", "why"), ("where", "where"), ("which one", "which"), ("when", "when"),
    ],
)  # fmt: skip
def test_first_word(text: str, label: str) -> None:
    assert slices_of("first-word", text) == [label]


def test_a_query_without_text_has_a_slice_of_its_own_that_comes_last() -> None:
    sliced = slice_queries("query-length", ("a", "b", "c"), texts={"b": "one", "x": "two"})
    assert sliced.of == ("(no text)", "1-3", "(no text)")
    assert sliced.labels == ("1-3", "(no text)")
    with pytest.raises(DataError, match="none of the 1 judged queries is among the topics"):
        slice_queries("query-length", ("a",), texts={"b": "one"})


def facts(profile: str | None = None) -> Evaluation:
    """Two runs over four queries; q0 has 0, q1 2, q2 6 and q3 1 relevant, of grades 1 and 2."""
    docs = [f"d{i:02}" for i in range(20)]
    qrels = {
        "q0": {"d00": 0},
        "q1": {"d00": 1, "d01": 2, "d02": 0},
        "q2": dict.fromkeys(docs[:6], 1) | dict.fromkeys(docs[6:16], 0),
        "q3": {"d00": 1},
    }
    space = IdSpace(docs)
    full = [(list(range(10)), list(range(10, 0, -1)))] * 4
    short = [([0, 1], [2, 1])] * 4
    runs = {
        "full": Ranking.from_lists(space, list(qrels), full),
        "short": Ranking.from_lists(space, list(qrels), short),
    }
    return evaluate(qrels, runs, needed_measures(["judged-share", "relevant"]), profile=profile)


def test_relevant_and_judged_share_by_hand() -> None:
    found = facts()
    assert slice_queries("relevant", found.query_ids, facts=found).of == ("0", "2-5", "6-20", "1")
    # judged in the top 10: q0 0.1 and 0.5, q1 0.3 and 1, q2 1 and 1, q3 as q0
    assert slice_queries("judged-share", found.query_ids, facts=found).of == ("<50%", "50-80%", "100%", "<50%")


def test_relevant_follows_the_profile_s_threshold_and_says_so() -> None:
    found = facts("dl19")
    sliced = slice_queries("relevant", found.query_ids, facts=found)
    assert sliced.of == ("0", "1", "0", "0")
    assert "grade 2 or more" in sliced.rule


def test_bins_do_not_depend_on_the_order_of_systems() -> None:
    found = facts()
    swapped = Evaluation(found.systems[::-1], found.measures, found.query_ids, found.values[::-1])
    for by in "judged-share", "relevant":
        assert slice_queries(by, found.query_ids, facts=found) == slice_queries(by, found.query_ids, facts=swapped)


@pytest.fixture
def comparison() -> Comparison:
    rng = np.random.default_rng(4)
    base = rng.random((1, 2, 60))
    values = np.concatenate([base, base + rng.normal([[[0.05]], [[0.2]]], 0.2, (2, 2, 60))])
    return compare(Evaluation(("b", "s", "t"), parse_measures(["nDCG@10", "AP"]), ids(60), values), "b", samples=500)


def thirds(comparison: Comparison) -> Slicing:
    names = {query: "xyz"[i % 3] for i, query in enumerate(comparison.evaluation.query_ids)}
    return slice_by_labels("thirds", comparison.evaluation.query_ids, names)


def test_figures_are_those_of_the_slice_alone_and_p_is_scipy_s(comparison: Comparison) -> None:
    values, rows = comparison.evaluation.values, compare_slices(comparison, thirds(comparison))
    assert [(r.measure, r.system, r.slice) for r in rows] == [
        (m, s, x) for m in ("nDCG@10", "AP") for s in ("s", "t") for x in "xyz"
    ]
    for row in rows:
        m, s, first = ("nDCG@10", "AP").index(row.measure), "bst".index(row.system), "xyz".index(row.slice)
        before, after = values[0, m, first::3], values[s, m, first::3]
        assert row.queries == 20 == row.wins + row.ties + row.losses
        assert (row.mean, row.baseline_mean) == pytest.approx((after.mean(), before.mean()))
        assert row.difference == pytest.approx(row.mean - row.baseline_mean)
        assert row.p == pytest.approx(stats.ttest_rel(after, before).pvalue)
        low, high = bootstrap_interval(after - before, samples=500)
        assert (row.low, row.high) == pytest.approx((float(low), float(high)), rel=1e-12)
        assert row.significant == (row.corrected_p < 0.05)  # type: ignore[operator]
        assert not row.untested


def test_p_is_corrected_over_the_slices_of_a_system_and_measure(comparison: Comparison) -> None:
    sliced = thirds(comparison)
    raw = [row.p for row in compare_slices(comparison, sliced)]
    assert [row.corrected_p for row in compare_slices(comparison, sliced)] == [
        p
        for start in range(0, 12, 3)
        for p in holm(raw[start : start + 3])  # type: ignore[arg-type]
    ]
    other = compare(comparison.evaluation, "b", correction="bonferroni", test="randomisation", samples=500)
    drawn = compare_slices(other, sliced)
    assert [row.corrected_p for row in drawn[:3]] == bonferroni([row.p for row in drawn[:3]])  # type: ignore[arg-type]


def test_one_slice_of_all_queries_is_the_comparison_itself(comparison: Comparison) -> None:
    every = slice_by_labels(
        "all", comparison.evaluation.query_ids, dict.fromkeys(comparison.evaluation.query_ids, "all")
    )
    for row, whole in zip(compare_slices(comparison, every), comparison.differences, strict=True):
        assert (row.mean, row.difference, row.corrected_p) == pytest.approx((whole.mean, whole.difference, row.p))
        assert (row.p, row.low, row.high) == pytest.approx((whole.p, whole.low, whole.high))


def test_what_cannot_be_tested_is_named_and_costs_the_others_nothing() -> None:
    base = np.array([0.5, 0.5, 0.5, 0.2, 0.4, 0.5, 0.1, 0.6, 0.2])
    system = np.array([0.9, 0.5, 0.5, 0.3, 0.5, 0.6, 0.4, 0.7, 0.5])
    evaluation = Evaluation(("b", "s"), parse_measures("AP"), ids(9), np.array([[base], [system]]))
    labels = dict(zip(ids(9), ["lone", "same", "same", "equal", "equal", "rest", "rest", "rest", "rest"], strict=True))
    comparison = compare(evaluation, "b", samples=100)
    sliced = slice_by_labels("mine", ids(9), labels)
    rows = {row.slice: row for row in compare_slices(comparison, sliced)}
    assert {name: row.untested for name, row in rows.items()} == {
        "lone": "one query", "same": "no difference", "equal": "equal differences", "rest": "",
    }  # fmt: skip
    for name in "lone", "same", "equal":
        assert (rows[name].low, rows[name].high, rows[name].p, rows[name].corrected_p) == (None,) * 4
        assert not rows[name].significant
    assert rows["rest"].corrected_p == rows["rest"].p is not None
    json.dumps([row.to_dict() for row in rows.values()], allow_nan=False)
    table = slices_table(comparison, [(sliced, tuple(rows.values()))])
    text = table.render("text")
    assert "nan" not in text.casefold()
    assert [row[10].text + row[10].mark for row in table.rows[:3]] == ["-¹", "-²", "-³"]
    assert (
        "No interval and no test (-): ¹ one query, ² no query tells the two apart, ³ every query differs by the same."
        in text
    )
    assert "-$^{1}$" in table.render("latex")


@given(st.integers(1, 12), st.integers(0, 2**32 - 1), st.booleans())
def test_slices_part_the_queries_and_add_up(count: int, seed: int, coarse: bool) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random((2, 1, count)).round(1 if coarse else 9)
    comparison = compare(Evaluation(("b", "s"), parse_measures("AP"), ids(count), values), "b", samples=20)
    labels = {query: str(rng.integers(4)) for query in ids(count)}
    rows = compare_slices(comparison, slice_by_labels("any", ids(count), labels))
    assert sum(row.queries for row in rows) == count
    assert sum(row.queries * row.difference for row in rows) / count == pytest.approx(
        comparison.differences[0].difference, abs=1e-12
    )
    json.dumps([row.to_dict() for row in rows], allow_nan=False)


def test_labels_of_the_caller_s_own() -> None:
    sliced = slice_by_labels("mine", ("a", "b", "c"), {"z": "one", "b": "two", "a": "one"})
    assert (sliced.of, sliced.labels) == (("one", "two", "(none)"), ("one", "two", "(none)"))
    with pytest.raises(DataError, match=r"none of the 1 judged queries has one.*'a'.*'z'"):
        slice_by_labels("mine", ("a",), {"z": "one"})


def test_bad_arguments_are_refused(comparison: Comparison) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'query-length'"):
        slice_queries("query-lenght", ids(2))
    with pytest.raises(UsageError, match="give the topics"):
        slice_queries("first-word", ids(2))
    with pytest.raises(UsageError, match="need an evaluation with NumRel"):
        slice_queries("relevant", ids(2))
    with pytest.raises(UsageError, match=r"with Judged@10 over the same queries"):
        slice_queries("judged-share", ids(60), facts=comparison.evaluation)
    with pytest.raises(UsageError, match="slices of 2 queries cannot part the 60"):
        compare_slices(comparison, slice_queries("query-length", ids(2), texts={"q0": "a"}))
    assert {by: needs_texts(by) for by in SLICINGS} == {
        "query-length": True, "first-word": True, "judged-share": False, "relevant": False,
    }  # fmt: skip
