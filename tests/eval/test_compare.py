"""Comparisons: the figures fit together, families are per measure, degenerate cases stay finite."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from tamis.errors import DataError, UnknownNameError, UsageError
from tamis.eval import Bound, Evaluation, compare, comparison_table, parse_measures, summary_table
from tamis.eval.significance import holm


def evaluation_of(values: np.ndarray, measures: str = "nDCG@10 RR@10") -> Evaluation:
    systems = tuple(f"s{i}" for i in range(values.shape[0]))
    return Evaluation(
        systems, parse_measures(measures.split()), tuple(f"q{i}" for i in range(values.shape[2])), values.astype(float)
    )


@pytest.fixture
def four_systems() -> Evaluation:
    rng = np.random.default_rng(2)
    base = rng.random((1, 2, 50))
    return evaluation_of(np.concatenate([base, base + rng.normal([[[0.0]], [[0.02]], [[0.1]]], 0.1, (3, 2, 50))]))


def test_figures_fit_together(four_systems: Evaluation) -> None:
    result = compare(four_systems, "s0")
    assert [(d.measure, d.system) for d in result.differences] == [
        (m, s) for m in ("nDCG@10", "RR@10") for s in ("s1", "s2", "s3")
    ]
    for m, measure in enumerate(("nDCG@10", "RR@10")):
        rows = [result.of(f"s{s}", measure) for s in (1, 2, 3)]
        raw = [float(stats.ttest_rel(four_systems.values[s, m], four_systems.values[0, m]).pvalue) for s in (1, 2, 3)]
        assert [d.p for d in rows] == pytest.approx(raw)
        assert [d.corrected_p for d in rows] == pytest.approx(holm(raw))
        for d in rows:
            assert d.difference == pytest.approx(d.mean - d.baseline_mean)
            assert d.relative == pytest.approx(d.difference / d.baseline_mean)
            assert d.low is not None
            assert d.high is not None
            assert d.low < d.difference < d.high
            assert d.wins + d.ties + d.losses == 50 == result.queries
            assert d.significant == (d.corrected_p < 0.05)  # type: ignore[operator]
    assert result.of("s3", "ndcg_cut_10").significant
    assert not result.of("s1", "nDCG@10").significant


def test_baseline_may_stand_anywhere(four_systems: Evaluation) -> None:
    forth, back = compare(four_systems, "s0").of("s2", "RR@10"), compare(four_systems, "s2").of("s0", "RR@10")
    assert back.difference == pytest.approx(-forth.difference)
    assert (back.wins, back.losses) == (forth.losses, forth.wins)
    assert back.p == pytest.approx(forth.p)


@pytest.mark.parametrize("test", ["t", "randomisation"])
def test_corrections(four_systems: Evaluation, test: str) -> None:
    def corrected(correction: str) -> list[float]:
        result = compare(four_systems, "s0", test=test, correction=correction, samples=500)  # type: ignore[arg-type]
        return [d.corrected_p for d in result.differences]  # type: ignore[misc]

    raw = [d.p for d in compare(four_systems, "s0", test=test, samples=500).differences]  # type: ignore[arg-type]
    assert corrected("none") == raw
    assert corrected("bonferroni") == [min(1, 3 * p) for p in raw]
    assert corrected("holm") == [*holm(raw[:3]), *holm(raw[3:])]


def test_figures_do_not_depend_on_the_other_systems(four_systems: Evaluation) -> None:
    pair = evaluation_of(four_systems.values[:2])
    for test in ("t", "randomisation"):
        alone = compare(pair, "s0", test=test).of("s1", "RR@10")  # type: ignore[arg-type]
        among = compare(four_systems, "s0", test=test).of("s1", "RR@10")  # type: ignore[arg-type]
        assert alone.p == pytest.approx(among.p, rel=1e-12)
        assert (alone.low, alone.high) == pytest.approx((among.low, among.high))
        assert alone.corrected_p == alone.p


def test_identical_systems_give_one_and_no_nan() -> None:
    same = compare(evaluation_of(np.ones((2, 2, 9)) * 0.5), "s0")
    for d in same.differences:
        assert (d.p, d.corrected_p, d.effect, d.low, d.high, d.ties) == (1.0, 1.0, 0.0, 0.0, 0.0, 9)
    json.dumps(same.to_dict(), allow_nan=False)


def test_one_query_has_no_p() -> None:
    values = np.array([0.5, 0.25, 0.0, 1.0]).reshape(2, 2, 1)
    single = compare(evaluation_of(values), "s0")
    assert {(d.p, d.corrected_p, d.low, d.high, d.effect, d.significant) for d in single.differences} == {
        (None, None, None, None, None, False)
    }
    assert [d.difference for d in single.differences] == [-0.5, 0.75]


def test_zero_baseline_has_no_relative_difference() -> None:
    values = np.stack([np.zeros((1, 4)), np.array([[0.1, 0.2, 0.3, 0.4]])])
    assert compare(evaluation_of(values, "AP"), "s0").of("s1", "MAP").relative is None


def test_bad_arguments_are_refused(four_systems: Evaluation) -> None:
    with pytest.raises(UnknownNameError, match=r"system 's9'.*valid: s0, s1, s2, s3"):
        compare(four_systems, "s9")
    with pytest.raises(UnknownNameError, match="did you mean 'randomisation'"):
        compare(four_systems, "s0", test="randomization")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="correction 'hoolm'"):
        compare(four_systems, "s0", correction="hoolm")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="alpha=5"):
        compare(four_systems, "s0", alpha=5)
    with pytest.raises(UsageError, match="'s0' is the only system"):
        compare(evaluation_of(four_systems.values[:1]), "s0")
    with pytest.raises(UnknownNameError, match="compared system 's0'"):
        compare(four_systems, "s0").of("s0", "RR@10")


def test_equivalence_is_tested_and_corrected_per_measure(four_systems: Evaluation) -> None:
    result = compare(four_systems, "s0", bound=Bound(0.05))
    for m, measure in enumerate(("nDCG@10", "RR@10")):
        rows = [result.of(f"s{s}", measure) for s in (1, 2, 3)]
        bound = 0.05 * four_systems.values[0, m].mean()
        raw = []
        for s in (1, 2, 3):
            d = four_systems.values[s, m] - four_systems.values[0, m]
            above = stats.ttest_1samp(d, -bound, alternative="greater").pvalue
            raw.append(float(max(above, stats.ttest_1samp(d, bound, alternative="less").pvalue)))
        assert [d.bound for d in rows] == pytest.approx([bound] * 3)
        assert [d.equivalence_p for d in rows] == pytest.approx(raw)
        assert [d.corrected_equivalence_p for d in rows] == pytest.approx(holm(raw))
        assert [d.equivalent for d in rows] == [p < 0.05 for p in holm(raw)]
    assert [(d.p, d.corrected_p) for d in result.differences] == [
        (d.p, d.corrected_p) for d in compare(four_systems, "s0").differences
    ]
    absolute = compare(four_systems, "s0", bound=Bound(0.5, relative=False), correction="bonferroni")
    assert {d.bound for d in absolute.differences} == {0.5}
    assert all(d.equivalent and d.corrected_equivalence_p == min(1, 3 * d.equivalence_p) for d in absolute.differences)
    assert result.to_dict()["bound"] == "5%"
    json.dumps(result.to_dict(), allow_nan=False)


def test_equivalence_is_marked_and_explained(four_systems: Evaluation) -> None:
    result = compare(four_systems, "s0", bound=Bound(0.5, relative=False))
    table = comparison_table(result)
    assert table.header[10:13] == ("±bound", "TOST p", "corrected TOST p")
    marks = {(row[0].text, row[1].text): row[2].mark for row in table.rows}
    assert marks["nDCG@10", "s1"] == "≈"
    assert marks["nDCG@10", "s3"] == "↑≈"  # better for certain, and yet by less than matters
    text = summary_table(result).render("text")
    assert "≈: shown equivalent to s0, the difference within ±0.5; two one-sided paired t-tests" in text
    assert "(Holm correction, 3 comparisons per measure)" in text
    assert r"$^{\uparrow\approx}$" in table.render("latex")
    lines = text.splitlines()
    assert len({line.index(".") for line in lines[2:6]}) == 1, "decimals stand below each other"
    assert "TOST p" not in comparison_table(compare(four_systems, "s0")).header


def test_equivalence_where_it_cannot_be_tested() -> None:
    zero = np.stack([np.zeros((1, 4)), np.array([[0.1, 0.2, 0.3, 0.4]])])
    relative = compare(evaluation_of(zero, "AP"), "s0", bound=Bound(0.05))
    (row,) = relative.differences
    assert (row.bound, row.equivalence_p, row.corrected_equivalence_p, row.equivalent) == (None,) * 4
    assert "No equivalence test on AP: s0 scores 0 on average" in comparison_table(relative).render("text")
    absolute = compare(evaluation_of(zero, "AP"), "s0", bound=Bound(0.05, relative=False))
    assert absolute.differences[0].equivalent is False
    single = compare(evaluation_of(np.array([0.5, 0.25]).reshape(2, 1, 1), "AP"), "s0", bound=Bound(0.05))
    assert single.differences[0].equivalent is None
    assert "No significance test and no equivalence test" in comparison_table(single).render("text")
    same = compare(evaluation_of(np.full((2, 1, 5), 0.5), "AP"), "s0", bound=Bound(0.05))
    assert (same.differences[0].equivalence_p, same.differences[0].equivalent) == (0.0, True)
    assert "No query tells them from the baseline: s1 (AP)." in comparison_table(same).render("text")
    with pytest.raises(UsageError, match=r"alpha=0\.5: the level of an equivalence test"):
        compare(evaluation_of(zero, "AP"), "s0", alpha=0.5, bound=Bound(0.05))


def test_values_that_are_no_numbers_are_refused(four_systems: Evaluation) -> None:
    values = four_systems.values.copy()
    values[2, 1, 7] = np.nan
    with pytest.raises(DataError, match="s2: RR@10 of query 'q7' is nan"):
        compare(evaluation_of(values), "s0")


def test_select_keeps_the_figures(four_systems: Evaluation) -> None:
    whole = compare(four_systems, "s0")
    part = whole.select(["RR@10"])
    assert part.differences == whole.differences[3:]
    assert [m.name for m in part.evaluation.measures] == ["RR@10"]
    assert part.evaluation.mean("s2", "RR@10") == four_systems.mean("s2", "RR@10")
    with pytest.raises(UnknownNameError):
        whole.select(["AP"])
