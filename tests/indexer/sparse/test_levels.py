"""Weights to codes."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.errors import DataError
from tamis.indexer.sparse.levels import HEADROOM, Levels


def test_whole_numbers_keep_their_value() -> None:
    weights = np.array([1, 7, 300, 65_535], np.float32)
    levels = Levels.choose(weights, None)
    assert levels == Levels(16, 1.0, whole=True)
    codes = levels.encode(weights)
    assert levels.values(65_536)[codes].tolist() == weights.tolist()
    assert levels.error(weights) == 0


@pytest.mark.parametrize("weight", [0.5, 65_536, 0.0])
def test_a_part_of_whole_numbers_refuses_others(weight: float) -> None:
    with pytest.raises(DataError, match=r"bits=8"):
        Levels(16, 1.0, whole=True).encode(np.array([1, weight], np.float32))


@pytest.mark.parametrize("bits", [2, 4, 8, 12])
def test_other_weights_are_rounded_to_the_nearest_step(bits: int) -> None:
    weights = np.random.default_rng(bits).gamma(1, 0.7, 5000).astype(np.float32)
    levels = Levels.choose(weights, bits)
    steps = (1 << bits) - 1
    if bits >= 8:
        assert levels.scale * steps == pytest.approx(float(weights.max()) * HEADROOM)
    codes = levels.encode(weights)
    assert codes.min() >= 1
    assert codes.max() <= steps
    large = (weights > levels.scale) & (weights < levels.scale * steps)  # others become the first step, or the last
    assert np.abs(codes[large] * levels.scale - weights[large]).max() <= levels.scale / 2 * 1.001
    assert 0 < levels.error(weights) <= levels.scale / np.sqrt(np.mean(weights**2))


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7])
def test_few_bits_take_the_scale_of_the_least_fourth_power(bits: int) -> None:
    weights = np.random.default_rng(bits).gamma(1, 0.7, 5000).astype(np.float32)
    weights[:50] = 2 * weights.max()  # some that are far from all others
    levels = Levels.choose(weights, bits)
    for factor in (0.7, 0.85, 1.2, 1.5):
        other = Levels(bits, levels.scale * factor, whole=False)
        assert levels.distortion(weights) < other.distortion(weights) * 1.05
    roomy = Levels(bits, float(weights.max()) * HEADROOM / ((1 << bits) - 1), whole=False)
    assert levels.distortion(weights) < 0.8 * roomy.distortion(weights)
    kept = levels.decode(levels.encode(weights)).astype(np.float64)
    assert levels.distortion(weights) == pytest.approx(float(np.mean((kept - weights) ** 4)), rel=1e-3)


def test_no_weights_have_a_scale_all_the_same() -> None:
    for bits in (4, 8):
        assert Levels.choose(np.zeros(0, np.float32), bits).scale > 0


def test_eight_bits_unless_told_otherwise() -> None:
    assert Levels.choose(np.array([0.25], np.float32), None).bits == 8


def test_what_is_larger_than_the_first_weights_counts_as_the_largest() -> None:
    levels = Levels.choose(np.array([1.0, 2.0, 0.3], np.float32), 8)
    assert levels.encode(np.array([1e6], np.float32)).tolist() == [255]


def test_one_bit_keeps_no_weight() -> None:
    levels = Levels.choose(np.array([0.1, 5], np.float32), 1)
    assert levels.binary
    assert levels.encode(np.array([0.1, 5], np.float32)).tolist() == [1, 1]
    assert levels.error(np.ones(3, np.float32)) == 0
    assert levels.error(np.array([1, 3], np.float32)) == pytest.approx(np.sqrt(1 / 5))  # 2 for both is nearest
    assert Levels.from_json(levels.to_json()) == levels
