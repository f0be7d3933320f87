"""Halves, fractions, and no upper limit."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.encoders.whole_weights import whole_weights


@pytest.mark.parametrize(
    ("rounding", "wanted"),
    [("half-up", [1, 2, 3, 0, 5, 2]), ("half-even", [0, 2, 2, 0, 5, 2]), ("down", [0, 1, 2, 0, 5, 1])],
)
def test_fractions(rounding: str, wanted: list[int]) -> None:
    assert whole_weights(np.array([0.5, 1.5, 2.5, 0.49, 5.2, 1.999]), 1, rounding).tolist() == wanted


def test_the_collections_rules() -> None:
    assert whole_weights(np.array([5.2, 5.0, 0.00976, 0.0098]), 256 / 5).tolist() == [266, 256, 0, 1]
    assert whole_weights(np.array([1.999]), 100, "down").tolist() == [199]  # the LSR framework's inference
    assert whole_weights(np.array([1.995, 0.125]), 100, "half-even").tolist() == [200, 12]
