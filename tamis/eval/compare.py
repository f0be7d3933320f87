"""Compare systems with a baseline over the same queries: differences, intervals and corrected significance.

The family of a correction is the set of systems compared with the baseline on one measure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from tamis.errors import UnknownNameError, UsageError
from tamis.eval import significance
from tamis.eval.evaluate import Evaluation
from tamis.eval.measures import Measure

Test = Literal["t", "randomisation"]
Correction = Literal["holm", "bonferroni", "none"]

_CORRECTIONS: dict[str, Callable[[list[float]], list[float]]] = {
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
    """

    evaluation: Evaluation
    baseline: str
    differences: tuple[Difference, ...]
    test: Test
    correction: Correction
    alpha: float
    samples: int
    seed: int

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

    Raises:
        UnknownNameError: an unknown baseline, test or correction.
        UsageError: there is nothing to compare with the baseline, or a number is out of its range.
    """
    if test not in get_args(Test):
        raise UnknownNameError("significance test", test, get_args(Test))
    if correction not in _CORRECTIONS:
        raise UnknownNameError("correction", correction, _CORRECTIONS)
    if not 0 < alpha < 1:
        raise UsageError(f"alpha={alpha}: the level of significance must lie between 0 and 1")
    base = evaluation.system_index(baseline)
    others = [s for s in range(len(evaluation.systems)) if s != base]
    if not others:
        raise UsageError(f"{baseline!r} is the only system: give at least one other to compare with it")
    # Columns run measure by measure, as the result does.
    per_query = np.moveaxis(evaluation.values[others] - evaluation.values[base], 0, 1)  # measures, systems, queries
    columns = per_query.reshape(-1, len(evaluation.query_ids)).T
    p: list[float | None] = [None] * columns.shape[1]
    corrected, lows, highs = list(p), list(p), list(p)
    if len(columns) > 1:
        raw = (
            significance.paired_t_test(columns)
            if test == "t"
            else significance.randomisation_test(columns, samples=samples, seed=seed)
        ).tolist()
        low, high = significance.bootstrap_interval(columns, confidence=1 - alpha, samples=samples, seed=seed)
        p, lows, highs = raw, low.tolist(), high.tolist()
        corrected = [
            value
            for start in range(0, len(raw), len(others))
            for value in _CORRECTIONS[correction](raw[start : start + len(others)])
        ]
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
            )
        )
    return Comparison(evaluation, baseline, tuple(differences), test, correction, alpha, samples, seed)
