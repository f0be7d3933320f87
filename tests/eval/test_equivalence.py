"""Equivalence: golden values, scipy's one-sided tests, intervals, ladders, and the rate of false claims by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tamis.errors import DataError, UnknownNameError, UsageError
from tamis.eval.equivalence import Bound, equivalence, ladder_p_values
from tamis.eval.significance import bonferroni, holm

FULL = np.array([0.5, 0.3, 0.9, 0.4, 0.7, 0.6, 0.8, 0.2, 0.55, 0.45])
DIFFERENCES = np.array([0.01, -0.02, 0, 0.015, -0.01, 0.005, -0.005, 0, 0.02, -0.01])


def test_golden() -> None:
    strict = equivalence(FULL, FULL + DIFFERENCES, Bound.parse("1%"))
    assert strict.bound == pytest.approx(0.0054)
    assert strict.p == pytest.approx(0.120585, abs=5e-7)
    loose = equivalence(FULL, FULL + DIFFERENCES, Bound.parse("5%"))
    assert loose.bound == pytest.approx(0.027)
    assert loose.p == pytest.approx(4.0158e-5, abs=5e-9)
    assert (loose.wins, loose.ties, loose.losses) == (4, 2, 4)
    assert loose.mean - loose.reference_mean == pytest.approx(loose.difference)


def test_agrees_with_scipy_s_one_sided_tests_and_interval() -> None:
    rng = np.random.default_rng(2)
    reference = rng.uniform(0, 1, 60)
    system = np.clip(reference + rng.normal(-0.01, 0.05, 60), 0, 1)
    found = equivalence(reference, system, Bound(0.02, relative=False))
    difference = system - reference
    lower = stats.ttest_1samp(difference, -0.02, alternative="greater").pvalue
    upper = stats.ttest_1samp(difference, 0.02, alternative="less").pvalue
    assert found.p == pytest.approx(max(lower, upper), rel=1e-12)
    interval = stats.ttest_1samp(difference, 0).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-12)


@given(
    st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=30),
    st.floats(0.001, 0.2),
    st.sampled_from([0.01, 0.05, 0.2]),
)
def test_p_is_below_alpha_exactly_where_the_interval_lies_inside_the_bound(
    differences: list[float], bound: float, alpha: float
) -> None:
    reference = np.full(len(differences), 0.5)
    found = equivalence(reference, reference + differences, Bound(bound, relative=False), alpha=alpha)
    inside = min(bound - found.high, bound + found.low)
    if abs(inside) > 1e-9:
        assert (found.p < alpha) == (inside > 0)


def test_no_difference_at_all_is_equivalent_and_says_so() -> None:
    found = equivalence(FULL, FULL, Bound(0.05))
    assert (found.p, found.low, found.high, found.effect) == (0.0, 0.0, 0.0, 0.0)
    assert found.identical


@pytest.mark.parametrize(("text", "value", "relative"), [("5%", 0.05, True), (" 0.02 ", 0.02, False), ("2", 2, False)])
def test_bounds_are_read(text: str, value: float, relative: bool) -> None:
    bound = Bound.parse(text)
    assert bound.value == pytest.approx(value)
    assert bound.relative is relative
    assert Bound.parse(str(bound)) == bound


@pytest.mark.parametrize("text", ["", "x", "%", "0", "-1%", "100%", "nan", "inf"])
def test_what_is_no_bound_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="equivalence bound"):
        Bound.parse(text)


def test_bad_values_are_refused() -> None:
    with pytest.raises(DataError, match="scores 0 on average, and 5% of that is no bound"):
        equivalence(np.zeros(5), np.zeros(5), Bound(0.05))
    with pytest.raises(UsageError, match="at least two queries, not 1"):
        equivalence([0.5], [0.4], Bound(0.05))
    with pytest.raises(UsageError, match="needs one each"):
        equivalence(FULL, FULL[:3], Bound(0.05))
    with pytest.raises(UsageError, match="not finite"):
        equivalence(FULL, FULL * np.nan, Bound(0.05))
    with pytest.raises(UsageError, match="alpha"):
        equivalence(FULL, FULL, Bound(0.05), alpha=0.5)


def test_ladder_corrections() -> None:
    p = np.array([[0.001, 0.004], [0.01, 0.002], [0.2, 0.0001], [0.03, 0.03]])
    assert ladder_p_values(p, "sequence").tolist() == [0.004, 0.01, 0.2, 0.2]
    flat = p.ravel().tolist()
    assert ladder_p_values(p, "bonferroni").tolist() == [
        max(bonferroni(flat)[:2]),
        max(bonferroni(flat)[:4]),
        1.0,
        1.0,
    ]
    assert ladder_p_values(p, "holm").tolist() == [max(holm(flat)[: 2 * n]) for n in (1, 2, 3, 4)]
    with pytest.raises(UnknownNameError, match="correction 'hlm'"):
        ladder_p_values(p, "hlm")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="levels and claims"):
        ladder_p_values([], "holm")


@pytest.mark.parametrize("correction", ["holm", "bonferroni", "sequence"])
def test_false_claims_stay_below_alpha(correction: str) -> None:
    """At every level of the ladder one pipeline loses exactly the bound: nothing is equivalent, so any claim is false."""
    alpha, simulations, queries = 0.05, 1000, 60
    rng = np.random.default_rng(11)
    bound, false = Bound(0.05), 0
    for _ in range(simulations):
        reference = rng.beta(2, 2, queries)  # mean 0.5
        p = []
        loss = rng.normal(0, 0.05, queries)
        for _ in range(3):
            # The losses of the levels go together, as those of nested cuts do.
            loss = loss + rng.normal(0, 0.02, queries)
            harmed = equivalence(reference, reference + loss - 0.025, bound, alpha=alpha).p
            spared = equivalence(reference, reference + rng.normal(0, 0.01, queries), bound, alpha=alpha).p
            p.append([harmed, spared])
        false += bool((ladder_p_values(p, correction) < alpha).any())  # type: ignore[arg-type]
    assert false / simulations <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / simulations)
    if correction == "sequence":  # the test is not merely deaf
        assert false / simulations > alpha / 2
