"""Weights made whole, by the rules that impact collections were made by.

half-up     uniCOIL's and SPLADE++'s collections: round(weight × 256 / 5), as Java rounds
half-even   the same as Python and NumPy round; SPLADE v2's round(weight × 100)
down        fractions are cut off: what Anserini's loader does with a weight that is not whole, and the LSR framework after × 100

None of them has an upper limit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDINGS = ("half-up", "half-even", "down")


def whole_weights(weights: NDArray[Any], factor: float = 1.0, rounding: str = "half-up") -> NDArray[np.int64]:
    """Return ``weights`` × `factor` as whole numbers.

    Args:
        weights: not below 0.
        factor: above 0.
        rounding: one of `ROUNDINGS`.
    """
    scaled = np.asarray(weights, np.float64) * factor
    if rounding == "half-even":
        return np.rint(scaled).astype(np.int64)
    return np.floor(scaled + (0.5 if rounding == "half-up" else 0.0)).astype(np.int64)
