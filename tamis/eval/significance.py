"""Significance of differences between systems over the same queries, and how large the differences are.

Every test is paired and takes the differences, one a query: float of shape (queries,), or (queries, comparisons) to treat
several comparisons at once with the same random draws. It answers with float64 of shape () or (comparisons,).

Sources: Student's t and randomisation tests in retrieval: Smucker, Allan, Carterette, CIKM 2007; (b+1)/(m+1): Phipson and
Smyth, 2010; percentile bootstrap: Efron and Tibshirani, 1993; Holm, 1979; equivalence by two one-sided tests: Schuirmann,
1987; d_z: Cohen, 1988.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tamis.errors import UsageError

Floats = NDArray[np.float64]

SAMPLES = 10_000
_CHUNK = 1 << 22  # random draws held at once
SAME = 1e-9
"""Differences of one query below this are ties: rounding, not effect."""


def paired_t_test(differences: ArrayLike) -> Floats:
    """Return the two-sided p of Student's paired t-test. Differences that are all zero give 1.

    Raises:
        UsageError: there are fewer than two queries.
    """
    from scipy.special import stdtr

    mean, error, free = _moments(differences)
    return np.asarray(np.where(mean == 0, 1.0, 2 * stdtr(free, -np.abs(_ratio(mean, error)))))


def equivalence_test(differences: ArrayLike, bound: ArrayLike) -> Floats:
    """Return the p of the paired equivalence test (two one-sided t-tests).

    A p below alpha shows that the mean difference lies inside ±`bound`, the same as a (1 - 2 alpha) confidence interval
    inside it.

    Args:
        differences: one a query.
        bound: largest difference that does not matter, above 0; a number, or one a comparison.

    Raises:
        UsageError: there are fewer than two queries, or a bound is not above 0.
    """
    from scipy.special import stdtr

    limit = np.asarray(bound, np.float64)
    if not (limit > 0).all():
        raise UsageError(f"equivalence bound {limit}: it must be above 0")
    mean, error, free = _moments(differences)
    below = stdtr(free, -_ratio(mean + limit, error))
    above = stdtr(free, _ratio(mean - limit, error))
    return np.asarray(np.maximum(below, above))


def randomisation_test(differences: ArrayLike, *, samples: int = SAMPLES, seed: int = 0) -> Floats:
    """Return the two-sided p of Fisher's paired randomisation (sign-flip) test on the mean.

    Where all 2^queries sign patterns are at most `samples`, they are enumerated and p is exact; otherwise `samples` random
    patterns are drawn and p = (b + 1) / (m + 1), which is never 0.

    Raises:
        UsageError: there are fewer than two queries, or no samples.
    """
    values, flat = _columns(differences)
    _check_samples(samples)
    observed = np.abs(values.sum(axis=0))
    # Equal sums may differ in their last digits by the order of addition.
    threshold = observed - 1e-12 * np.abs(values).sum(axis=0)
    exact = len(values) < samples.bit_length() and 2 ** len(values) <= samples
    beyond = np.zeros(values.shape[1], np.int64)
    for signs in _all_signs(len(values)) if exact else _random_signs(len(values), samples, seed):
        beyond += (np.abs(signs @ values) >= threshold).sum(axis=0)
    p = beyond / 2 ** len(values) if exact else (beyond + 1) / (samples + 1)
    return np.asarray(p[0] if flat else p)


def bootstrap_interval(
    values: ArrayLike, *, confidence: float = 0.95, samples: int = SAMPLES, seed: int = 0
) -> tuple[Floats, Floats]:
    """Return the ends of the percentile bootstrap interval of the mean: of a measure, or of paired differences.

    Args:
        values: one a query.
        confidence: coverage, between 0 and 1.
        samples: resamples of the queries.
        seed: of the random generator; equal seeds give equal intervals.

    Raises:
        UsageError: there are fewer than two queries, no samples, or no such confidence.
    """
    columns, flat = _columns(values)
    _check_samples(samples)
    if not 0 < confidence < 1:
        raise UsageError(f"confidence={confidence}: it must lie between 0 and 1")
    n = len(columns)
    generator = np.random.default_rng(seed)
    means = []
    for count in _chunks(samples, n):
        drawn = generator.integers(0, n, (count, n)) + np.arange(count)[:, None] * n
        times = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n).astype(np.float64)
        means.append(times @ columns / n)
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0)
    return (np.asarray(low[0]), np.asarray(high[0])) if flat else (low, high)


def effect_size(differences: ArrayLike) -> float | None:
    """Return Cohen's d_z, mean / standard deviation of the differences.

    All differences zero give 0; None where they are equal but not zero, or there are fewer than two: no spread to compare to.
    """
    values = np.asarray(differences, np.float64)
    if not values.any():
        return 0.0
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.mean()) / spread if spread > SAME else None


def win_tie_loss(differences: ArrayLike) -> tuple[int, int, int]:
    """Return in how many queries the difference is above 0, 0 (within 1e-9) and below 0."""
    values = np.asarray(differences, np.float64)
    wins, losses = int((values > SAME).sum()), int((values < -SAME).sum())
    return wins, values.size - wins - losses, losses


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down corrected p values, in the order given."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in corrected]


def bonferroni(p_values: Sequence[float]) -> list[float]:
    """Return Bonferroni-corrected p values, in the order given."""
    return [min(1.0, float(p) * len(p_values)) for p in p_values]


def _columns(values: ArrayLike) -> tuple[Floats, bool]:
    array = np.asarray(values, np.float64)
    if array.ndim not in (1, 2) or len(array) < 2:
        raise UsageError(f"a paired test needs at least two queries, not {len(array) if array.ndim else 0}")
    return (array[:, None], True) if array.ndim == 1 else (array, False)


def _moments(differences: ArrayLike) -> tuple[Any, Any, int]:
    values, flat = _columns(differences)
    mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return (mean[0], error[0], len(values) - 1) if flat else (mean, error, len(values) - 1)


def _ratio(numerator: Any, error: Any) -> Any:
    """Return the t statistic; without spread it is infinite, with the sign of the numerator (0 over 0 is 0)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(np.divide(numerator, error), nan=0.0, posinf=np.inf, neginf=-np.inf)


def _check_samples(samples: int) -> None:
    if samples < 1:
        raise UsageError(f"samples={samples}: at least 1 is needed")


def _chunks(samples: int, width: int) -> Iterator[int]:
    size = max(1, _CHUNK // width)
    for start in range(0, samples, size):
        yield min(size, samples - start)


def _random_signs(n: int, samples: int, seed: int) -> Iterator[Floats]:
    generator = np.random.default_rng(seed)
    for count in _chunks(samples, n):
        yield generator.integers(0, 2, (count, n), dtype=np.int8).astype(np.float64) * 2 - 1


def _all_signs(n: int) -> Iterator[Floats]:
    patterns = np.arange(2**n)[:, None] >> np.arange(n) & 1
    yield patterns.astype(np.float64) * 2 - 1
