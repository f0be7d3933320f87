"""Codes of token vectors: worked by hand, and close to what they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tamis.errors import CorruptIndexError, UsageError
from tamis.indexer.multivector.codec import BOOKS, BOUNDS, TURN, Codec, centroids_for, check_bits


def unit(seed: int, count: int, dimensions: int = 16, clusters: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    middles = np.random.default_rng(0).standard_normal((clusters, dimensions))
    vectors = middles[rng.integers(0, clusters, count)] + 0.3 * rng.standard_normal((count, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def by_hand() -> Codec:
    """Two centroids and two groups, of one dimension and of two, in steps of a thousandth; the space is turned by swapping."""
    books = np.zeros((2, 256, 8), np.int16)
    books[0, :, 0] = np.arange(256) - 128
    books[1, 1, :2] = [100, -50]
    books[1, 2, :2] = [-100, 300]
    turn = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    centroids = np.array([[900, 0, 0], [0, 800, 0]], np.int16)
    return Codec(turn, centroids, books, np.array([0, 1, 3]), 0.001)


def test_codes_worked_by_hand() -> None:
    codec = by_hand()
    token = np.array([[0.71, 0.017, 0.29]], np.float32)  # turned: 0.017, 0.71, 0.29
    ids, codes = codec.encode(token)
    assert ids.tolist() == [1]  # what is left: 0.017, -0.09, 0.29
    # decoded 0.017, 0.7, 0.3 is 0.7618 long: at most a quarter of itself is added
    assert codes.tolist() == [[128 + 17, 2, 255]]
    longer = 1 + (255 - 128) / 512
    np.testing.assert_allclose(codec.decode(ids, codes), [[0.7 * longer, 0.017 * longer, 0.3 * longer]], atol=6e-4)
    assert codec.words.decode(ids, np.array([[145, 2, 128]], np.uint8)).tolist() == [[17, 700, 300]]


def test_a_query_that_is_turned_has_the_same_products() -> None:
    codec = Codec.train(unit(1, 4000), 2, 4000)
    query, tokens = unit(5, 7).astype(np.float64), unit(2, 50).astype(np.float64)
    products = codec.turned(query.astype(np.float32)) @ (tokens @ codec.turn).T
    np.testing.assert_allclose(products, query @ tokens.T, atol=1e-5)


@pytest.mark.parametrize(("bits", "least"), [(1, 0.95), (1.5, 0.96), (2, 0.975), (4, 0.998), (8, 0.9999)])
def test_decoded_vectors_are_near(bits: float, least: float) -> None:
    codec = Codec.train(unit(1, 4000), bits, 4000)
    assert len(codec.centroids) == centroids_for(4000) == 128
    tokens = unit(2, 500)
    ids, codes = codec.encode(tokens)
    back = codec.decode(ids, codes)
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), 1, atol=4e-3)
    assert np.einsum("ij,ij->i", tokens, back).mean() > least
    assert codes.shape == (500, codec.width) == (500, 16 * bits / 8 + 1)


def test_more_bits_are_nearer_and_no_dimension_is_left_out() -> None:
    tokens, errors = unit(3, 3000), []
    for bits in (1, 2, 3, 4, 6, 8):
        codec = Codec.train(tokens, bits, 3000)
        assert codec.bounds[-1] == 16
        errors.append(float(np.square(codec.decode(*codec.encode(tokens)) - tokens).sum(1).mean()))
    assert errors == sorted(errors, reverse=True)


def test_training_repeats() -> None:
    tokens = unit(3, 3000)
    first, second = Codec.train(tokens, 2, 3000), Codec.train(tokens, 2, 3000)
    for name in ("centroids", "books", "bounds", "turn"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


def test_whole_numbers_stay_small_enough_for_sums_of_32_bits() -> None:
    codec = Codec.train(unit(1, 3000), 4, 3000)
    ids, codes = codec.encode(unit(2, 2000))
    codes[:, -1] = 255
    assert np.abs(codec.words.decode(ids, codes)).max() <= 4095


def test_bits_that_do_not_fit() -> None:
    assert check_bits(2.25, 128) == 36
    for bits, dimensions in ((0.5, 16), (9, 16), (2.1, 16), (1, 12)):
        with pytest.raises(UsageError, match=f"bits={bits}"):
            check_bits(bits, dimensions)
    with pytest.raises(UsageError, match=r"such as 3\.5"):
        check_bits(3.4, 16)
    with pytest.raises(UsageError, match="such as 8"):
        check_bits(9, 16)


def test_few_tokens_or_none() -> None:
    none = Codec.train(np.zeros((0, 16), np.float32), 2, 0)
    assert none.encode(unit(1, 3))[0].tolist() == [0, 0, 0]
    one = Codec.train(unit(1, 1), 2, 10**6)
    assert len(one.centroids) == 1
    np.testing.assert_allclose(one.decode(*one.encode(unit(1, 1))), unit(1, 1), atol=5e-3)


def test_kept_on_disk(tmp_path: Path) -> None:
    codec = Codec.train(unit(1, 400), 4, 400)
    codec.save(tmp_path)
    back, tokens = Codec.open(tmp_path), unit(2, 50)
    assert back.decode(*back.encode(tokens)).tobytes() == codec.decode(*codec.encode(tokens)).tobytes()
    for name, wrong in (
        (BOUNDS, codec.bounds[:-1]),
        (BOUNDS, codec.bounds[::-1]),
        (BOOKS, codec.books[:, :255]),
        (TURN, codec.turn[:-1]),
    ):
        codec.save(tmp_path)
        np.save(tmp_path / name, wrong)
        with pytest.raises(CorruptIndexError, match="tamis verify"):
            Codec.open(tmp_path)
