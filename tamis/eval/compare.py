"""Compare systems with a baseline over the same queries: differences, intervals, corrected significance and equivalence.

The family of a correction is the set of systems compared with the baseline on one measure; tests of difference and tests of
equivalence are two families, because they are two questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tamis.errors import DataError, UnknownNameError, UsageError
from tamis.eval import significance
from tamis.eval.equivalence import Bound, equivalence
from tamis.eval.evaluate import Evaluation
from tamis.eval.measures import Measure

Test = Literal["t", "randomisation"]
Correction = Literal["holm", "bonferroni", "none"]

CORRECTIONS: dict[str, Callable[[list[float]], list[float]]] = {
    "holm": significance.holm,
    "bonferroni": significance.bonferroni,
    "none": list,
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One system against the baseline on one measure.

    Attributes:
        system: name of the system.
        measure: canonical name of the measure.
        mean: the system's mean over the queries.
        baseline_mean: the baseline's.
        difference: mean of the per-query differences, system minus baseline.
        relative: difference / baseline_mean; None where that is 0.
        low: lower end of the bootstrap interval of the difference; None with one query.
        high: upper end.
        p: two-sided p before correction; None with one query.
        corrected_p: p after correction over the family.
        effect: Cohen's d_z; None where the differences have no spread.
        wins: queries in which the system is better.
        ties: queries in which both are equal.
        losses: queries in which the baseline is better.
        significant: whether corrected_p is below alpha.
        bound: largest difference that does not matter, in the measure's units; None where equivalence was not tested.
        equivalence_p: of the equivalence test (TOST), before correction; None where it was not tested.
        corrected_equivalence_p: after correction over the family.
        equivalent: whether corrected_equivalence_p is below alpha; None where equivalence was not tested.
    """

    system: str
    measure: str
    mean: float
    baseline_mean: float
    difference: float
    relative: float | None
    low: float | None
    high: float | None
    p: float | None
    corrected_p: float | None
    effect: float | None
    wins: int
    ties: int
    losses: int
    significant: bool
    bound: float | None = None
    equivalence_p: float | None = None
    corrected_equivalence_p: float | None = None
    equivalent: bool | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All systems of an evaluation against one of them.

    Attributes:
        evaluation: what was compared.
        baseline: name of the baseline.
        differences: measure by measure, in each the systems in the evaluation's order, without the baseline.
        test: the significance test.
        correction: the correction for several comparisons.
        alpha: level of significance; intervals cover 1 - alpha.
        samples: resamples of the bootstrap and of the randomisation test.
        seed: of the random generator.
        bound: the largest difference that does not matter; None where equivalence was not tested.
    """

    evaluation: Evaluation
    baseline: str
    differences: tuple[Difference, ...]
    test: Test
    correction: Correction
    alpha: float
    samples: int
    seed: int
    bound: Bound | None = None

    @property
    def queries(self) -> int:
        """Number of queries that every figure is a mean over."""
        return len(self.evaluation.query_ids)

    @property
    def family(self) -> int:
        """Number of comparisons that a correction is made for."""
        return len(self.evaluation.systems) - 1

    def of(self, system: str, measure: str | Measure) -> Difference:
        """Return one difference.

        Raises:
            UnknownNameError: the system or measure was not compared.
        """
        name = self.evaluation.measures[self.evaluation.measure_index(measure)].name
        for difference in self.differences:
            if (difference.system, difference.measure) == (system, name):
                return difference
        raise UnknownNameError("compared system", system, [s for s in self.evaluation.systems if s != self.baseline])

    def select(self, measures: Iterable[str | Measure]) -> Comparison:
        """Return the same comparison on some of its measures, in the order given; no figure changes.

        Raises:
            UnknownNameError: a measure was not compared.
        """
        evaluation = self.evaluation.select(measures)
        differences = (d for m in evaluation.measures for d in self.differences if d.measure == m.name)
        return replace(self, evaluation=evaluation, differences=tuple(differences))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, unrounded."""
        return {
            "baseline": self.baseline,
            "test": self.test,
            "correction": self.correction,
            "alpha": self.alpha,
            "family": self.family,
            "queries": self.queries,
            "samples": self.samples,
            "seed": self.seed,
            "bound": None if self.bound is None else str(self.bound),
            "differences": [asdict(difference) for difference in self.differences],
            "warnings": [{"code": w.code, "message": w.message} for w in self.evaluation.warnings],
        }


def compare(
    evaluation: Evaluation,
    baseline: str,
    *,
    test: Test = "t",
    correction: Correction = "holm",
    alpha: float = 0.05,
    samples: int = significance.SAMPLES,
    seed: int = 0,
    bound: Bound | None = None,
) -> Comparison:
    """Compare every system of an evaluation with one of them, on every measure.

    Args:
        evaluation: at least two systems over the same queries.
        baseline: name of the system to compare with.
        test: ``t`` (paired t-test) or ``randomisation`` (paired sign-flip test).
        correction: ``holm``, ``bonferroni`` or ``none``, over the systems compared, measure by measure.
        alpha: level of significance; the bootstrap intervals cover 1 - alpha.
        samples: resamples of the bootstrap and of the randomisation test.
        seed: of the random generator; equal seeds give equal figures, whatever other systems are compared.
        bound: test equivalence too: is the difference shown to be smaller than this? A share of the baseline's mean cannot
            be taken where that is 0: such a measure is then not tested, as none is with one query.

    Raises:
        UnknownNameError: an unknown baseline, test or correction.
        UsageError: there is nothing to compare with the baseline, or a number is out of its range.
        DataError: a value is not finite.
    """
    if test not in get_args(Test):
        raise UnknownNameError("significance test", test, get_args(Test))
    if correction not in CORRECTIONS:
        raise UnknownNameError("correction", correction, CORRECTIONS)
    if not 0 < alpha < 1:
        raise UsageError(f"alpha={alpha}: the level of significance must lie between 0 and 1")
    if bound and alpha >= 0.5:
        raise UsageError(f"alpha={alpha}: the level of an equivalence test must lie between 0 and 0.5")
    base = evaluation.system_index(baseline)
    others = [s for s in range(len(evaluation.systems)) if s != base]
    if not others:
        raise UsageError(f"{baseline!r} is the only system: give at least one other to compare with it")
    _check_finite(evaluation)
    # Columns run measure by measure, as the result does.
    per_query = np.moveaxis(evaluation.values[others] - evaluation.values[base], 0, 1)  # measures, systems, queries
    columns = per_query.reshape(-1, len(evaluation.query_ids)).T
    p: list[float | None] = [None] * columns.shape[1]
    corrected, lows, highs = list(p), list(p), list(p)
    if len(columns) > 1:
        raw = paired_p_values(columns, test, samples=samples, seed=seed).tolist()
        low, high = significance.bootstrap_interval(columns, confidence=1 - alpha, samples=samples, seed=seed)
        p, lows, highs = raw, low.tolist(), high.tolist()
        corrected = [
            value
            for start in range(0, len(raw), len(others))
            for value in CORRECTIONS[correction](raw[start : start + len(others)])
        ]
    equivalences = _equivalences(evaluation, base, others, bound, correction, alpha)
    differences = []
    for column, (measure, system) in enumerate((m, s) for m in range(len(evaluation.measures)) for s in others):
        mean, baseline_mean = (float(evaluation.values[s, measure].mean()) for s in (system, base))
        wins, ties, losses = significance.win_tie_loss(columns[:, column])
        final = corrected[column]
        differences.append(
            Difference(
                system=evaluation.systems[system],
                measure=evaluation.measures[measure].name,
                mean=mean,
                baseline_mean=baseline_mean,
                difference=float(columns[:, column].mean()),
                relative=float(columns[:, column].mean()) / baseline_mean if baseline_mean else None,
                low=lows[column],
                high=highs[column],
                p=p[column],
                corrected_p=final,
                effect=significance.effect_size(columns[:, column]),
                wins=wins,
                ties=ties,
                losses=losses,
                significant=final is not None and final < alpha,
                **equivalences[column],
            )
        )
    return Comparison(evaluation, baseline, tuple(differences), test, correction, alpha, samples, seed, bound)


def paired_p_values(differences: NDArray[np.float64], test: Test, *, samples: int, seed: int) -> NDArray[np.float64]:
    """Return the two-sided p of every comparison, before correction.

    Args:
        differences: float64 [queries, comparisons], at least two queries.
        test: the significance test.
        samples: of the randomisation test.
        seed: of the randomisation test.
    """
    if test == "t":
        return significance.paired_t_test(differences)
    return significance.randomisation_test(differences, samples=samples, seed=seed)


def _check_finite(evaluation: Evaluation) -> None:
    bad = np.argwhere(~np.isfinite(evaluation.values))
    if len(bad):
        s, m, q = bad[0]
        raise DataError(
            f"{evaluation.systems[s]}: {evaluation.measures[m]} of query {evaluation.query_ids[q]!r} is "
            f"{evaluation.values[s, m, q]}: a comparison needs a finite number for every query"
        )


def _equivalences(
    evaluation: Evaluation, base: int, others: list[int], bound: Bound | None, correction: Correction, alpha: float
) -> list[dict[str, Any]]:
    """Return the fields about equivalence of every difference, measure by measure."""
    found: list[dict[str, Any]] = []
    for values in np.moveaxis(evaluation.values, 1, 0):
        testable = (
            bound is not None and len(evaluation.query_ids) > 1 and (not bound.relative or values[base].mean() > 0)
        )
        if bound is None or not testable:
            found += [{} for _ in others]
            continue
        tests = [equivalence(values[base], values[system], bound, alpha=alpha) for system in others]
        for tested, corrected in zip(tests, CORRECTIONS[correction]([t.p for t in tests]), strict=True):
            found.append(
                {
                    "bound": tested.bound,
                    "equivalence_p": tested.p,
                    "corrected_equivalence_p": corrected,
                    "equivalent": corrected < alpha,
                }
            )
    return found
