"""Formulas by hand, and Lucene's tables."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tamis.indexer.lucene.jvm import java, start
from tamis.retrievers.similarity import BM25Similarity, DirichletSimilarity, TermWeight, decoded_lengths

TF = np.array([1, 2, 7, 300], np.int64)
BYTES = np.array([3, 50, 120, 255], np.uint8)


def test_lengths_are_lucenes() -> None:
    start()
    small_float = java("org.apache.lucene.util.SmallFloat")
    lucenes = [int(small_float.byte4ToInt(start().JByte(b - 256 if b > 127 else b))) for b in range(256)]
    assert decoded_lengths().tolist() == [float(np.float32(value)) for value in lucenes]


@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.2, 0.75), (0.0, 0.5), (3.0, 0.0), (0.5, 1.0)])
def test_bm25_by_hand(k1: float, b: float) -> None:
    row = BM25Similarity(k1, b).tables(TF, BYTES, 1000, 55_000).row(TermWeight(2.0, 30))
    lengths = decoded_lengths()[BYTES].astype(float)
    idf = math.log(1 + (1000 - 30 + 0.5) / 30.5)
    assert row == pytest.approx(2 * idf * TF / (TF + k1 * (1 - b + b * lengths / 55)), rel=1e-5, abs=1e-6)
    assert row.dtype == np.float32


def test_query_likelihood_by_hand() -> None:
    row = DirichletSimilarity(400).tables(TF, BYTES, 1000, 55_000).row(TermWeight(1.5, 30, 80))
    lengths = decoded_lengths()[BYTES].astype(float)
    expected = 1.5 * (np.log(1 + TF / (400 * 81 / 55_001)) + np.log(400 / (lengths + 400)))
    assert row == pytest.approx(np.maximum(expected, 0), rel=1e-5, abs=1e-6)
    assert (row == 0).any() or (expected > 0).all()


def test_an_empty_field_divides_by_nothing() -> None:
    assert np.isfinite(BM25Similarity(0.9, 0.4).tables(TF, BYTES, 0, 0).row(TermWeight(1, 0))).all()
