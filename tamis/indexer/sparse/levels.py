"""How weights become small codes: a code stands for code × scale, the same in all shards of a part.

Whole numbers up to 65,535 (imported impacts) keep their value, with a scale of 1. Other weights are rounded to the nearest of
2^bits - 1 steps, at least one; the scale comes from the first weights that the part saw. From 8 bits on it leaves room for larger
ones. With fewer it is the scale whose errors have the least mean fourth power: few weights are near the largest, but large ones
decide rankings, and with the square they are cut off too low (`benchmarks.sparse_quality`). What is larger than the largest step
counts as that. One bit keeps no weight at all: vectors become sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tamis.errors import DataError

MAX_CODE = 65_535
HEADROOM = 1.25
"""The largest code stands for so many times the largest weight seen, from `ROOMY` bits on."""
ROOMY = 8
_FRACTIONS = np.geomspace(HEADROOM, 0.05, 40)
"""Of the largest weight seen, what the largest code may stand for with fewer bits."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The code of a part.

    Attributes:
        bits: 1 (sets), up to 16.
        scale: what a code of 1 stands for.
        whole: weights are whole numbers and keep their value.
    """

    bits: int
    scale: float
    whole: bool

    @classmethod
    def choose(cls, sample: NDArray[np.float32], bits: int | None) -> Self:
        """Choose for weights such as these.

        Args:
            sample: some weights.
            bits: 1 to 16; None keeps whole numbers as they are and takes 8 bits for others.
        """
        if bits == 1:
            return cls(1, 1.0, whole=True)
        if bits is None and bool(np.all(sample == np.rint(sample))) and float(sample.max(initial=0)) <= MAX_CODE:
            return cls(16, 1.0, whole=True)
        bits = bits or 8
        most = float(sample.max(initial=0)) or 1.0
        roomy = cls(bits, most * HEADROOM / ((1 << bits) - 1), whole=False)
        if bits >= ROOMY:
            return roomy
        tried = (replace(roomy, scale=most * float(fraction) / ((1 << bits) - 1)) for fraction in _FRACTIONS)
        return min(tried, key=lambda levels: levels.distortion(sample))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Build from a part's facts."""
        return cls(int(value["bits"]), float(value["scale"]), whole=bool(value["whole"]))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"bits": self.bits, "scale": self.scale, "whole": self.whole}

    @property
    def binary(self) -> bool:
        """Whether there are no weights."""
        return self.bits == 1

    def encode(self, weights: NDArray[np.float32]) -> NDArray[np.uint16]:
        """Return the code of each weight, at least 1.

        Raises:
            DataError: the part keeps whole numbers, and a weight is none, or above 65,535.
        """
        if self.binary:
            return np.ones(len(weights), np.uint16)
        if not self.whole:
            steps: NDArray[np.uint16] = np.clip(np.rint(weights / self.scale), 1, (1 << self.bits) - 1).astype(
                np.uint16
            )
            return steps
        wrong = np.flatnonzero((weights != np.rint(weights)) | (weights > MAX_CODE) | (weights < 1))
        if len(wrong):
            raise DataError(
                f"a weight of {weights[wrong[0]]} in a part that keeps whole numbers from 1 to {MAX_CODE:,}, since its first "
                "weights were such: make the part anew with ?bits=8"
            )
        return weights.astype(np.uint16)

    def values(self, n_codes: int) -> NDArray[np.float32]:
        """Return what the codes 0 … n_codes - 1 stand for."""
        return (np.arange(n_codes) * self.scale).astype(np.float32)

    def decode(self, codes: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Return what codes stand for."""
        return (codes * self.scale).astype(np.float32)

    def distortion(self, weights: NDArray[np.float32]) -> float:
        """Return the mean fourth power of what coding changes."""
        return (
            float(np.mean(np.square(np.square(self.decode(self.encode(weights)) - weights)))) if len(weights) else 0.0
        )

    def error(self, weights: NDArray[np.float32]) -> float:
        """Return the root mean square of what coding changes, relative to that of the weights; of sets, at their best scale."""
        if not len(weights):
            return 0.0
        squares = float(np.mean(weights.astype(np.float64) ** 2))
        kept = (
            np.full(len(weights), weights.mean(dtype=np.float64)) if self.binary else self.encode(weights) * self.scale
        )
        return float(np.sqrt(np.mean((kept - weights) ** 2) / squares))
