"""Significance: agreement with scipy, exact enumeration by hand, golden corrections, error rates by simulation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tamis.errors import UsageError
from tamis.eval import significance as sig

FULL = np.array([0.5, 0.3, 0.9, 0.4, 0.7, 0.6, 0.8, 0.2, 0.55, 0.45])
DIFFERENCES = np.array([0.01, -0.02, 0, 0.015, -0.01, 0.005, -0.005, 0, 0.02, -0.01])


def test_t_test_equals_scipy() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((40, 5)), rng.random((40, 5)) + np.linspace(0, 0.5, 5)
    assert sig.paired_t_test(a - b) == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-10)
    assert float(sig.paired_t_test(a[:, 0] - b[:, 0])) == pytest.approx(stats.ttest_rel(a[:, 0], b[:, 0]).pvalue)


def test_golden_t_test_and_equivalence() -> None:
    assert float(sig.paired_t_test(DIFFERENCES)) == pytest.approx(0.900935, abs=5e-7)
    assert float(sig.equivalence_test(DIFFERENCES, 0.01 * FULL.mean())) == pytest.approx(0.120585, abs=5e-7)
    assert float(sig.equivalence_test(DIFFERENCES, 0.05 * FULL.mean())) == pytest.approx(4.0158e-5, abs=5e-9)
    with pytest.raises(UsageError, match="above 0"):
        sig.equivalence_test(DIFFERENCES, 0)


@pytest.mark.parametrize("test", [sig.paired_t_test, sig.randomisation_test])
def test_no_difference_gives_one_and_constant_difference_no_nan(test: object) -> None:
    assert callable(test)
    assert float(test(np.zeros(30))) == 1.0
    assert 0 <= float(test(np.full(30, 0.125))) < 0.001
    assert test(np.zeros((30, 2))).tolist() == [1.0, 1.0]
    with pytest.raises(UsageError, match="at least two queries, not 1"):
        test(np.array([0.1]))


def test_equivalence_without_spread() -> None:
    assert float(sig.equivalence_test(np.zeros(5), 0.1)) == 0.0
    assert float(sig.equivalence_test(np.full(5, 0.5), 0.125)) == 1.0


def test_randomisation_enumerates_small_cases_exactly() -> None:
    values = np.array([0.3, 0.1, -0.05, 0.2, 0.0, 0.15])
    sums = [abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in product([-1, 1], repeat=6)]
    exact = sum(s >= abs(values.sum()) - 1e-12 for s in sums) / 64
    assert float(sig.randomisation_test(values)) == exact
    # All differences one way: only the pattern itself and its mirror reach the sum.
    assert float(sig.randomisation_test(np.full(8, 0.25))) == 2 / 256


def test_randomisation_agrees_with_scipy_when_sampled() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(0.1, 0.5, 50)
    want = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(0)
    ).pvalue
    assert float(sig.randomisation_test(values, samples=20_000)) == pytest.approx(want, abs=0.02)


def test_randomisation_is_smoothed_seeded_and_independent_of_its_neighbours() -> None:
    rng = np.random.default_rng(5)
    columns = rng.normal(0.2, 1, (60, 3))
    p = sig.randomisation_test(columns, seed=7)
    assert p.tolist() == sig.randomisation_test(columns, seed=7).tolist()
    assert p.tolist() != sig.randomisation_test(columns, seed=8).tolist()
    assert [float(sig.randomisation_test(columns[:, c], seed=7)) for c in range(3)] == p.tolist()
    assert float(sig.randomisation_test(np.full(60, 1.0), samples=999)) == 1 / 1000
    with pytest.raises(UsageError, match="samples=0"):
        sig.randomisation_test(columns, samples=0)


def test_false_positive_rate_under_the_null_is_alpha() -> None:
    null = np.random.default_rng(11).normal(0, 1, (40, 2000))
    for p in (sig.paired_t_test(null), sig.randomisation_test(null, samples=2000)):
        # Binomial standard error of a rate of .05 over 2000 trials: .0049.
        assert abs(float((p < 0.05).mean()) - 0.05) < 0.0147


def test_bootstrap_covers_the_mean() -> None:
    samples = np.random.default_rng(12).normal(0.3, 1, (60, 1000))
    low, high = sig.bootstrap_interval(samples, samples=1000)
    covered = float(((low <= 0.3) & (high >= 0.3)).mean())
    assert 0.92 < covered < 0.965


def test_bootstrap_agrees_with_scipy_and_is_seeded() -> None:
    values = np.random.default_rng(13).random(80)
    low, high = sig.bootstrap_interval(values, seed=3)
    want = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    assert (float(low), float(high)) == pytest.approx((want.low, want.high), abs=0.003)
    assert (low, high) == sig.bootstrap_interval(values, seed=3)
    assert [float(end) for end in sig.bootstrap_interval(np.full(5, 0.25))] == [0.25, 0.25]
    with pytest.raises(UsageError, match=r"confidence=95"):
        sig.bootstrap_interval(values, confidence=95)


def test_golden_corrections() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert sig.holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert sig.bonferroni(p) == pytest.approx([0.04, 0.16, 0.12, 0.02])
    assert sig.holm([]) == sig.bonferroni([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_raw_and_bonferroni_and_keeps_order(p: list[float]) -> None:
    corrected = sig.holm(p)
    assert all(a <= c <= b for a, c, b in zip(p, corrected, sig.bonferroni(p), strict=True))
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()


def test_effect_size_and_wins() -> None:
    assert sig.effect_size([0.1, 0.3, 0.2]) == pytest.approx(0.2 / 0.1)
    assert sig.effect_size([0.0, 0.0]) == 0.0
    assert sig.effect_size([0.1, 0.1, 0.1]) is None
    assert sig.effect_size([0.1]) is None
    assert sig.win_tie_loss([0.1, 0.0, 1e-12, -0.2, 0.3]) == (2, 2, 1)
