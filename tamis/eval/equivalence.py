"""Equivalence of systems over the same queries: is a difference shown to be smaller than one that matters?

A difference that is not significant is not thereby shown to be absent: few queries hide anything. The paired test of two
one-sided t-tests (TOST, `tamis.eval.significance.equivalence_test`) turns the question round: its null hypothesis is a
difference at least as large as a stated bound, and it can be rejected only with enough queries.

Sources: Schuirmann, 1987; intersection-union tests: Berger, Technometrics 1982; fixed-sequence testing: Maurer, Hothorn and
Lehmacher, 1995; Holm, 1979.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tamis.errors import DataError, UnknownNameError, UsageError
from tamis.eval import significance

Floats = NDArray[np.float64]

LadderCorrection = Literal["holm", "bonferroni", "sequence"]

_OVER_ALL: dict[str, Callable[[list[float]], list[float]]] = {
    "holm": significance.holm,
    "bonferroni": significance.bonferroni,
    "sequence": list,
}


@dataclass(frozen=True, slots=True)
class Bound:
    """The largest difference that does not matter.

    Attributes:
        value: above 0; of a relative bound a share of the reference's mean, below 1.
        relative: whether it is a share.
    """

    value: float
    relative: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value > 0 and (self.value < 1 or not self.relative)):
            raise UsageError(
                f"equivalence bound {self}: write a share of the mean as 5%, or a difference as 0.02, above 0"
            )

    def __str__(self) -> str:
        return f"{100 * self.value:g}%" if self.relative else f"{self.value:g}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``5%`` (of the reference's mean) or ``0.02`` (in the measure's own units).

        Raises:
            UsageError: it is neither, or not above 0.
        """
        number, relative = text.strip().removesuffix("%"), text.strip().endswith("%")
        try:
            value = float(number)
        except ValueError:
            raise UsageError(
                f"equivalence bound {text!r}: write a share of the mean as 5%, or a difference as 0.02"
            ) from None
        return cls(value / 100 if relative else value, relative)

    def width(self, reference: ArrayLike) -> float:
        """Return the bound in the measure's units for a reference's per-query values.

        A share is taken of the mean over these very queries and is a fixed number from there on, as in the literature on
        pruning; what the mean itself errs by is small beside the spread of the differences.

        Raises:
            DataError: the reference's mean is 0, so that there is nothing to take a share of.
        """
        if not self.relative:
            return self.value
        mean = float(np.mean(np.asarray(reference, np.float64)))
        if not mean > 0:
            raise DataError(
                f"the reference scores {mean:g} on average, and {self} of that is no bound: does it find anything for these "
                "topics? A bound in the measure's own units is written as a number, such as 0.02"
            )
        return self.value * mean


@dataclass(frozen=True, slots=True)
class Equivalence:
    """One system against a reference on one measure.

    Attributes:
        queries: how many both were measured on.
        reference_mean: mean of the reference.
        mean: mean of the system.
        difference: mean - reference_mean.
        bound: largest difference that does not matter, in the measure's units.
        low: lower end of the t-interval of the difference that covers 1 - 2 alpha; inside ±bound exactly where p < alpha.
        high: upper end.
        p: of the equivalence test, not corrected.
        effect: Cohen's d_z; None where the differences are equal and not 0.
        wins: queries in which the system is better.
        ties: queries in which both are equal. Where all are, the interval is the point 0 and p is 0.
        losses: queries in which the reference is better.
    """

    queries: int
    reference_mean: float
    mean: float
    difference: float
    bound: float
    low: float
    high: float
    p: float
    effect: float | None
    wins: int
    ties: int
    losses: int

    @property
    def identical(self) -> bool:
        """Whether no query tells the two apart: equivalent without any sampling error to speak of."""
        return self.ties == self.queries


def equivalence(reference: ArrayLike, system: ArrayLike, bound: Bound, *, alpha: float = 0.05) -> Equivalence:
    """Test whether a system is equivalent to a reference.

    Args:
        reference: values of the reference, one a query: float [queries].
        system: values of the system on the same queries in the same order.
        bound: the largest difference that does not matter.
        alpha: level of the test; the interval covers 1 - 2 alpha.

    Raises:
        UsageError: fewer than two queries, values of different length or not finite, or alpha not between 0 and 0.5.
        DataError: a relative bound and a reference whose mean is 0.
    """
    from scipy.special import stdtrit

    before, after = np.asarray(reference, np.float64), np.asarray(system, np.float64)
    if before.shape != after.shape or before.ndim != 1:
        raise UsageError(
            f"values of {list(before.shape)} and {list(after.shape)} queries: a paired test needs one each of the same"
        )
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise UsageError("a value is not finite: an equivalence test needs a number for every query")
    if not 0 < alpha < 0.5:
        raise UsageError(f"alpha={alpha}: the level of an equivalence test must lie between 0 and 0.5")
    differences = after - before
    if len(differences) < 2:
        raise UsageError(f"a paired test needs at least two queries, not {len(differences)}")
    width = bound.width(before)
    mean, error = float(differences.mean()), float(differences.std(ddof=1)) / math.sqrt(len(differences))
    reach = float(stdtrit(len(differences) - 1, 1 - alpha)) * error
    wins, ties, losses = significance.win_tie_loss(differences)
    return Equivalence(
        queries=len(differences),
        reference_mean=float(before.mean()),
        mean=float(after.mean()),
        difference=mean,
        bound=width,
        low=mean - reach,
        high=mean + reach,
        p=float(significance.equivalence_test(differences, width)),
        effect=significance.effect_size(differences),
        wins=wins,
        ties=ties,
        losses=losses,
    )


def ladder_p_values(p_values: ArrayLike, correction: LadderCorrection = "holm") -> Floats:
    """Return one corrected p a level for "equivalent in every claim, at this level and at every one before it".

    A level is shown equivalent where its value is below alpha; the chance that any level shown so is not is at most alpha.

    Args:
        p_values: float [levels, claims], the levels in the order in which they are tried (mildest first).
        correction: ``holm`` and ``bonferroni`` correct for all levels and claims together. ``sequence`` uses that the order
            is fixed beforehand and that a level counts only if all claims hold: neither costs anything then (fixed-sequence
            testing of intersection-union tests), which is the most powerful.

    Returns:
        float64 [levels], never falling.

    Raises:
        UnknownNameError: no such correction.
        UsageError: there are no levels or no claims.
    """
    if correction not in get_args(LadderCorrection):
        raise UnknownNameError("correction", correction, get_args(LadderCorrection))
    p: Any = np.asarray(p_values, np.float64)
    if p.ndim != 2 or not p.size:
        raise UsageError(f"p values of shape {list(p.shape)}: a ladder has levels and claims")
    corrected = np.asarray(_OVER_ALL[correction](p.ravel().tolist())).reshape(p.shape)
    return np.maximum.accumulate(corrected.max(axis=1))
