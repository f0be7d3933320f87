"""Residual codes: worked by hand, and close to what they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tamis.errors import CorruptIndexError, UsageError
from tamis.indexer.multivector.codec import CUTOFFS, Codec, centroids_for, nearest


def unit(seed: int, count: int, dimensions: int = 16, clusters: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    middles = np.random.default_rng(0).standard_normal((clusters, dimensions))
    vectors = middles[rng.integers(0, clusters, count)] + 0.3 * rng.standard_normal((count, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_codes_worked_by_hand() -> None:
    codec = Codec(
        np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32),
        np.array([-0.5, 0.0, 0.5], np.float32),
        np.array([-0.75, -0.25, 0.25, 0.75], np.float32),
    )
    token = np.array([[0.2, 0.9, -0.6, 0.3]], np.float32)
    ids, packed = codec.encode(token)
    assert ids.tolist() == [1]
    # differences 0.2, -0.1, -0.6, 0.3: buckets 2, 1, 0, 2, two bits each, the first lowest
    assert packed.tolist() == [[2 | 1 << 2 | 0 << 4 | 2 << 6]]
    decoded = np.array([0.25, 1 - 0.25, -0.75, 0.25])
    np.testing.assert_allclose(codec.decode(ids, packed)[0], decoded / np.linalg.norm(decoded), rtol=1e-6)


@pytest.mark.parametrize(("bits", "least"), [(1, 0.9), (2, 0.96), (4, 0.995)])
def test_decoded_vectors_are_near(bits: int, least: float) -> None:
    codec = Codec.train(unit(1, 4000), bits, 4000)
    assert codec.bits == bits
    assert len(codec.centroids) == centroids_for(4000) == 128
    tokens = unit(2, 500)
    back = codec.decode(*codec.encode(tokens))
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), 1, rtol=1e-5)
    assert np.einsum("ij,ij->i", tokens, back).mean() > least
    assert codec.encode(tokens)[1].shape == (500, 16 * bits // 8)


def test_training_repeats_and_buckets_hold_equally_many() -> None:
    tokens = unit(3, 3000)
    first, second = Codec.train(tokens, 2, 3000), Codec.train(tokens, 2, 3000)
    assert first.centroids.tobytes() == second.centroids.tobytes()
    differences = tokens - first.centroids[nearest(tokens, first.centroids)]
    shares = np.bincount(np.searchsorted(first.cutoffs, differences.ravel()), minlength=4) / differences.size
    np.testing.assert_allclose(shares, 0.25, atol=0.02)


def test_what_does_not_fit() -> None:
    with pytest.raises(UsageError, match="bits=3"):
        Codec.train(unit(1, 100), 3, 100)
    with pytest.raises(UsageError, match="bits=1"):
        Codec.train(unit(1, 100, dimensions=12), 1, 100)


def test_few_tokens_or_none() -> None:
    none = Codec.train(np.zeros((0, 16), np.float32), 2, 0)
    assert none.encode(unit(1, 3))[0].tolist() == [0, 0, 0]
    one = Codec.train(unit(1, 1), 2, 10**6)
    assert len(one.centroids) == 1


def test_kept_on_disk(tmp_path: Path) -> None:
    codec = Codec.train(unit(1, 400), 4, 400)
    codec.save(tmp_path)
    back, tokens = Codec.open(tmp_path), unit(2, 50)
    assert back.decode(*back.encode(tokens)).tobytes() == codec.decode(*codec.encode(tokens)).tobytes()
    np.save(tmp_path / CUTOFFS, codec.cutoffs[:-1])
    with pytest.raises(CorruptIndexError, match="tamis verify"):
        Codec.open(tmp_path)
