"""A mean with its bootstrap interval, as every diagnosis reports one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tamis.errors import DataError
from tamis.eval.significance import bootstrap_interval
from tamis.eval.tables import Cell

INTERVAL = "Intervals: 95 %, percentile bootstrap over {unit}, 10000 samples, seed {seed}."


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over queries or documents.

    Attributes:
        mean: the mean.
        low: lower end of its 95 % bootstrap interval; None where there is one value only.
        high: upper end.
    """

    mean: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, values: ArrayLike, seed: int) -> Mean:
        """Return the mean of values, one a query, with the interval that the seed gives.

        Raises:
            DataError: there are no values, or one is not finite.
        """
        given = np.asarray(values, np.float64)
        if not len(given) or not np.isfinite(given).all():
            raise DataError(
                f"no mean of {len(given)} values of which {int((~np.isfinite(given)).sum())} are not finite"
            )
        if len(given) == 1:
            return cls(float(given[0]), None, None)
        low, high = bootstrap_interval(given, seed=seed)
        return cls(float(given.mean()), float(low), float(high))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, unrounded."""
        return {"mean": self.mean, "low": self.low, "high": self.high}

    def spelled(self) -> str:
        """Return a change with its interval, for a note."""
        interval = "" if self.low is None else f" ({self.low:+.4f} to {self.high:+.4f})"
        return f"{self.mean:+.4f}{interval}"

    def cells(self, *, signed: bool = False) -> tuple[Cell, Cell, Cell]:
        """Return mean, low and high as cells; `signed` shows a plus."""
        return Cell(self.mean, text=f"{self.mean:+.4f}" if signed else ""), Cell(self.low), Cell(self.high)


def spreads(means: ArrayLike) -> tuple[float, ...]:
    """Return the standard deviation of each column over the rows; exactly 0 where all rows are equal."""
    rows = np.asarray(means, np.float64)
    return tuple((rows - rows[0]).std(axis=0, ddof=1).tolist())
