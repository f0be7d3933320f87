"""What a codec learns: k-means, the stretched space, bits by reverse water-filling and the groups that they are dealt to."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.indexer.multivector.quantise import WIDEST, deal, k_means, nearest, principal, rates, stretch


def test_nearest_is_by_distance_and_the_lowest_among_equals() -> None:
    centres = np.array([[0, 0], [3, 0], [3, 0], [0, 10]], np.float32)
    points = np.array([[1, 0], [2, 0], [100, 0], [0, 6]], np.float32)
    assert nearest(points, centres).tolist() == [0, 1, 1, 3]


def test_k_means_finds_clusters_that_lie_apart() -> None:
    random = np.random.default_rng(4)
    middles = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    points = (middles[random.integers(0, 3, 600)] + 0.1 * random.standard_normal((600, 2))).astype(np.float32)
    best = min(
        (k_means(points, 3, 10, np.random.default_rng(seed)) for seed in range(5)),
        key=lambda centres: float(np.square(points - centres[nearest(points, centres)]).sum()),
    )
    for middle in middles:
        assert np.abs(best - middle).sum(1).min() < 0.1


def test_k_means_of_fewer_points_than_centres() -> None:
    points = np.array([[1, 2], [3, 4]], np.float32)
    centres = k_means(points, 4, 3, np.random.default_rng(0))
    assert sorted(centres.tolist()) == [[0, 0], [0, 0], [1, 2], [3, 4]]
    assert k_means(points[:0], 2, 3, np.random.default_rng(0)).tolist() == [[0, 0], [0, 0]]


def test_distances_in_the_stretched_space_are_squared_errors_of_products() -> None:
    random = np.random.default_rng(5)
    tokens = (random.standard_normal((4000, 6)) * [3, 1, 1, 0.5, 0.2, 0.1]).astype(np.float32)
    root = stretch(tokens)
    moment = tokens.T.astype(np.float64) @ tokens / len(tokens)
    ridge = root @ root - moment
    np.testing.assert_allclose(ridge, np.eye(6) * ridge[0, 0], atol=1e-9)
    errors = random.standard_normal((5, 6))
    expected = np.square(tokens @ errors.T).mean(0) + ridge[0, 0] * np.square(errors).sum(1)
    np.testing.assert_allclose(np.square(errors @ root).sum(1), expected)


def test_principal_directions_decorrelate() -> None:
    random = np.random.default_rng(6)
    points = (random.standard_normal((2000, 4)) @ random.standard_normal((4, 4))).astype(np.float32)
    variances, directions = principal(points)
    turned = points @ directions
    np.testing.assert_allclose(turned.T @ turned / len(points), np.diag(variances), atol=1e-3)
    assert variances.tolist() == sorted(variances.tolist(), reverse=True)


def test_reverse_water_filling_worked_by_hand() -> None:
    # 16 and 4 at a level of 1 take 2 + 1 bits; 1/4 lies below it and takes none
    np.testing.assert_allclose(rates(np.array([16.0, 4.0, 0.25]), 3), [2, 1, 0], atol=1e-6)
    np.testing.assert_allclose(rates(np.array([1.0, 1.0]), 5), [2.5, 2.5], atol=1e-6)
    assert rates(np.zeros(3), 6).sum() == pytest.approx(6, abs=1e-6)


def test_groups_are_even_and_hold_every_dimension_once() -> None:
    random = np.random.default_rng(7)
    for dimensions, groups in ((128, 36), (128, 16), (16, 16), (20, 3), (8, 1)):
        deserved = random.exponential(2, dimensions)
        dealt = deal(deserved, groups)
        assert sorted(dimension for group in dealt for dimension in group) == list(range(dimensions))
        assert all(1 <= len(group) <= WIDEST for group in dealt)
    even = deal(np.arange(64) / 10, 16)
    sums = [sum(dimension / 10 for dimension in group) for group in even]
    assert max(sums) - min(sums) < 2
