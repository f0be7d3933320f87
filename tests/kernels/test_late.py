"""MaxSim over codes: every kernel against the NumPy oracle, byte for byte, and that against the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.errors import CorruptIndexError, UsageError
from tamis.kernels import late
from tamis.kernels.backend import available_kernels
from tamis.kernels.late import HIGHEST, WholeQuery, Words, centroid_scores, centroid_table, maxsim_scores

COMPILED = [name for name in available_kernels() if name != "numpy"]
if "avx512" in COMPILED:
    COMPILED.append("avx512-2017")  # the build without VNNI
KERNELS = (*COMPILED, "numpy")


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every kernel in turn."""
    name: str = request.param
    monkeypatch.setattr(late, "kernel_name", lambda: name)
    return name


class Coded:
    """Random words and codes of some rows, a few of them empty."""

    def __init__(self, seed: int, dimensions: int, tokens: int, id_type: Any = np.uint16) -> None:
        random = np.random.default_rng(seed)
        widths = [1]
        while sum(widths) < dimensions:
            widths.append(int(min(random.integers(1, 9), dimensions - sum(widths))))
        self.bounds = np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)
        books = np.zeros((len(widths), 256, 8), np.int16)
        for book, width in zip(books, widths, strict=True):
            book[:, :width] = random.integers(-600, 601, (256, width))
        centroids = random.integers(-2600, 2601, (50, dimensions)).astype(np.int16)
        self.words = Words(centroids, books, self.bounds)
        self.ids = random.integers(0, 50, tokens).astype(id_type)
        self.codes = random.integers(0, 256, (tokens, len(widths) + 1)).astype(np.uint8)
        cuts = np.sort(random.integers(0, tokens + 1, 11))
        self.offsets = np.concatenate([[0], cuts, cuts[-1:], [tokens]]).astype(np.int64)
        self.rows = random.integers(0, len(self.offsets) - 1, 30)

    def by_definition(self, query: Any) -> list[int]:
        """Two loops over Python's whole numbers."""
        scores = []
        for row in self.rows.tolist():
            tokens = []
            for token in range(self.offsets[row], self.offsets[row + 1]):
                vector = [int(x) for x in self.words.centroids[self.ids[token]]]
                for group, code in enumerate(self.codes[token, :-1].tolist()):
                    first, last = int(self.bounds[group]), int(self.bounds[group + 1])
                    for place in range(first, last):
                        vector[place] += int(self.words.books[group, code, place - first])
                longer = (int(self.codes[token, -1]) - 128) * 64
                tokens.append([x + ((x * longer + 2**14) >> 15) for x in vector])
            best = [max(sum(a * b for a, b in zip(q, t, strict=True)) for t in tokens) for q in query if tokens]
            scores.append(sum(best))
        return scores


@given(
    seed=st.integers(0, 2**32),
    dimensions=st.sampled_from([1, 2, 7, 16, 31, 48]),
    tokens=st.sampled_from([0, 1, 3, 90]),
    asked=st.sampled_from([1, 15, 16, 17, 33]),
    id_type=st.sampled_from([np.uint16, np.uint32]),
)
@settings(max_examples=25, deadline=None)
def test_every_kernel_is_the_definition(seed: int, dimensions: int, tokens: int, asked: int, id_type: Any) -> None:
    coded = Coded(seed, dimensions, tokens, id_type)
    query = WholeQuery.of(np.random.default_rng(seed).standard_normal((asked, dimensions)))
    wanted = coded.by_definition(query.values.tolist())
    with pytest.MonkeyPatch.context() as patch:
        for name in KERNELS:
            patch.setattr(late, "kernel_name", lambda name=name: name)
            found = maxsim_scores(query, coded.words, coded.ids, coded.codes, coded.offsets, coded.rows)
            assert found.tolist() == wanted, name


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_fit(kernel: str, sign: int) -> None:
    """128 products of the largest numbers that there may be."""
    words = Words(np.full((1, 128), sign * HIGHEST, np.int16), np.zeros((16, 256, 8), np.int16), np.arange(0, 129, 8))
    query = WholeQuery.of(np.ones((3, 128)))
    assert query.values.max() == HIGHEST
    codes = np.full((1, 17), 128, np.uint8)
    found = maxsim_scores(query, words, np.zeros(1, np.uint16), codes, np.array([0, 1]), np.array([0]))
    assert found.tolist() == [sign * 3 * 128 * HIGHEST**2]


@pytest.mark.parametrize("asked", [1, 32, 40])
def test_centroids_alone(kernel: str, asked: int) -> None:
    coded = Coded(7, 16, 400)
    table = centroid_table(np.random.default_rng(3).standard_normal((asked, 50)).astype(np.float32))
    spans = [coded.ids[coded.offsets[row] : coded.offsets[row + 1]] for row in coded.rows]
    wanted = [int(table[ids].max(0).sum()) if len(ids) else 0 for ids in spans]
    assert centroid_scores(table, coded.ids, coded.offsets, coded.rows).tolist() == wanted


def test_a_table_keeps_the_order_above_the_mean() -> None:
    near = np.array([[0.0, 0.2, 0.9, 0.5], [0.1, 0.1, 0.1, 0.29]], np.float32)
    table = centroid_table(near)
    assert table.shape == (4, 32)
    assert table[:, 0].tolist() == [0, 0, 255, 51]  # less 0.4, in steps of 0.5 / 255
    assert table[:, 1].tolist() == [0, 0, 0, 73]  # less 0.1475, in the same steps
    assert not table[:, 2:].any()


def test_damage_is_found(kernel: str) -> None:
    coded = Coded(1, 16, 60)
    query, table = WholeQuery.of(np.ones((2, 16))), np.zeros((50, 32), np.uint8)
    rows = np.arange(len(coded.offsets) - 1)
    ids, beyond = coded.ids.copy(), coded.offsets.copy()
    ids[17], beyond[-1] = 50, 61
    for own, offsets in ((ids, coded.offsets), (coded.ids, beyond)):
        with pytest.raises(CorruptIndexError, match="tamis verify"):
            maxsim_scores(query, coded.words, own, coded.codes, offsets, rows)
        with pytest.raises(CorruptIndexError, match="tamis verify"):
            centroid_scores(table, own, offsets, rows)
    with pytest.raises(UsageError, match="out of range"):
        maxsim_scores(query, coded.words, coded.ids, coded.codes, coded.offsets, np.array([-1]))
    with pytest.raises(UsageError, match="out of range"):
        centroid_scores(table, coded.ids, coded.offsets, np.array([len(coded.offsets) - 1]))


@pytest.mark.skipif(not COMPILED, reason="the extension is not built here")
def test_arrays_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "kernel_name", lambda: COMPILED[0])
    coded, query = Coded(1, 16, 60), WholeQuery.of(np.ones((2, 16)))
    rows, books, bounds = np.arange(3), coded.words.books, coded.bounds
    for words, codes in (
        (Words(coded.words.centroids, books[:-1], bounds), coded.codes),
        (Words(coded.words.centroids, books, bounds[::-1].copy()), coded.codes),
        (coded.words, coded.codes[:-1]),
    ):
        with pytest.raises(UsageError, match="fit"):
            maxsim_scores(query, words, coded.ids, codes, coded.offsets, rows)
