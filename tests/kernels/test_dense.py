"""Dense scans: exact to the bit, the same for every kernel, thread count, division and batch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.errors import DataError, UsageError
from tamis.indexer.dense.quantise import codes_of
from tamis.kernels import backend, dense
from tamis.kernels.codes import to_bfloat16, widen
from tamis.kernels.dense import search_codes, search_flat
from tamis.kernels.numpy_dense import dot
from tamis.kernels.searching import Hits

STORES = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}


def stored(vectors: np.ndarray, store: str) -> np.ndarray:
    return to_bfloat16(vectors) if store == "bfloat16" else vectors.astype(STORES[store])


def as_bytes(hits: Hits) -> tuple[bytes, ...]:
    return hits.offsets.tobytes(), hits.docs.tobytes(), hits.scores.tobytes()


def expected(vectors: list[np.ndarray], query: np.ndarray, k: int, allowed: np.ndarray) -> list[tuple[int, float]]:
    """By the definition: score every row, sort, take k."""
    scores = np.concatenate([np.zeros(0, np.float32), *(dot(array, query) for array in vectors)])
    rows = np.flatnonzero(allowed)
    order = np.lexsort((rows, -scores[rows]))[:k]
    return [(int(rows[i]), float(scores[rows[i]])) for i in order]


def drawn(seed: int, sizes: list[int], dim: int, store: str, *, coarse: bool) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal((n, dim)).astype(np.float32) for n in sizes]
    if coarse:  # few distinct values: ties everywhere
        arrays = [np.round(array) for array in arrays]
    return [stored(array, store) for array in arrays]


def masks_of(allowed: np.ndarray, sizes: list[int]) -> list[Any]:
    bounds = np.cumsum([0, *sizes])
    return [np.packbits(allowed[a:b], bitorder="little") for a, b in itertools.pairwise(bounds)]


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    sizes=st.lists(st.integers(0, 150), min_size=1, max_size=3),
    dim=st.sampled_from([1, 7, 16, 33, 64]),
    store=st.sampled_from(sorted(STORES)),
    k=st.sampled_from([1, 3, 10, 1000]),
    count=st.sampled_from([1, 2, dense.BATCH, 9]),
    share=st.sampled_from([None, 0.0, 0.05, 0.6]),
    coarse=st.booleans(),
)
def test_flat_search_is_the_definition(
    seed: int, sizes: list[int], dim: int, store: str, k: int, count: int, share: float | None, coarse: bool
) -> None:
    vectors = drawn(seed, sizes, dim, store, coarse=coarse)
    rng = np.random.default_rng(seed + 1)
    queries = rng.standard_normal((count, dim)).astype(np.float32)
    queries = np.round(queries) if coarse else queries
    allowed = np.ones(sum(sizes), np.bool_) if share is None else rng.random(sum(sizes)) < share
    mask = None if share is None else masks_of(allowed, sizes)
    found = search_flat(vectors, queries, k, mask=mask)
    for i, query in enumerate(queries):
        docs, scores = found[i]
        assert list(zip(docs.tolist(), scores.tolist(), strict=True)) == expected(vectors, query, k, allowed)


@pytest.mark.parametrize("store", sorted(STORES))
@pytest.mark.parametrize("kernel", ["baseline", "avx2", "avx512", "numpy"])
def test_every_kernel_gives_the_same_bytes(kernel: str, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernel not in backend.available_kernels():
        pytest.skip(f"this processor has no {kernel}")
    vectors = drawn(5, [700, 300], 45, store, coarse=False)
    queries = np.random.default_rng(6).standard_normal((3, 45)).astype(np.float32)
    codes = {kind: [codes_of(array, kind) for array in vectors] for kind in ("bf16", "int8", "bit")}
    want = [as_bytes(search_flat(vectors, queries, 20))]
    want += [as_bytes(search_codes(vectors, made, queries, 5, oversample=3)) for made in codes.values()]
    monkeypatch.setattr(dense, "kernel_name", lambda: kernel)
    have = [as_bytes(search_flat(vectors, queries, 20))]
    have += [as_bytes(search_codes(vectors, made, queries, 5, oversample=3)) for made in codes.values()]
    assert have == want


def test_threads_division_and_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = drawn(7, [3000], 24, "float32", coarse=True)
    queries = np.round(np.random.default_rng(8).standard_normal((12, 24))).astype(np.float32)
    want = as_bytes(search_flat([whole], queries, 50))
    single = Hits.of([search_flat([whole], queries[i : i + 1], 50)[0] for i in range(12)])
    assert as_bytes(single) == want
    assert as_bytes(search_flat([whole[:100], whole[100:101], whole[101:]], queries, 50)) == want
    monkeypatch.setattr(dense, "_SMALLEST_SHARE", 64)
    assert as_bytes(Hits.of([search_flat([whole], queries[i : i + 1], 50, threads=3)[0] for i in range(12)])) == want


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 30), kind=st.sampled_from(["bf16", "int8", "bit"]), k=st.sampled_from([1, 10]))
def test_codes_with_all_rows_as_candidates_are_exact(seed: int, kind: str, k: int) -> None:
    vectors = drawn(seed, [90, 60], 33, "float32", coarse=False)
    codes = [codes_of(array, kind) for array in vectors]
    queries = np.random.default_rng(seed + 1).standard_normal((2, 33)).astype(np.float32)
    found = search_codes(vectors, codes, queries, k, oversample=150)
    assert as_bytes(found) == as_bytes(search_flat(vectors, queries, k))


@pytest.mark.parametrize(("kind", "error"), [("bf16", 0.01), ("int8", 0.02), ("bit", 0.65)])
def test_codes_estimate_the_inner_product(kind: str, error: float) -> None:
    """Mean absolute error, in units of |query| / sqrt(dimensions); for signs theory says 0.60."""
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((400, 128)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    codes = codes_of(rows, kind)
    query = rows[0] + 0.3 * rng.standard_normal(128).astype(np.float32) / 11
    scan = dense._of_codes(codes, codes.of_query(query.astype(np.float32)))
    numbers = np.arange(400)
    estimates = np.frombuffer(dense._call("dense_scores", *scan, numbers), np.float32)
    exact = rows @ query
    assert np.abs(estimates - exact).mean() < error * np.linalg.norm(query) / np.sqrt(128)
    assert estimates.argmax() == exact.argmax() == 0


def test_masked_codes_return_k_allowed_rows() -> None:
    (vectors,) = drawn(9, [500], 16, "float32", coarse=False)
    codes = [codes_of(vectors, "bit")]
    allowed = np.zeros(500, np.bool_)
    allowed[[3, 77, 78, 499]] = True
    queries = np.random.default_rng(1).standard_normal((1, 16)).astype(np.float32)
    mask = masks_of(allowed, [500])
    found = search_codes([vectors], codes, queries, 4, mask=mask)
    assert sorted(found.docs.tolist()) == [3, 77, 78, 499]
    assert as_bytes(found) == as_bytes(search_flat([vectors], queries, 4, mask=mask))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("count", [1, 8])
def test_numbers_that_are_not_finite_are_refused(value: float, count: int) -> None:
    vectors = np.ones((70, 8), np.float32)
    queries = np.ones((count, 8), np.float32)
    bad = vectors.copy()
    bad[66, 3] = value
    with pytest.raises(DataError, match="66"):
        search_flat([bad], queries, 3)
    with pytest.raises(DataError, match="query vector 0"):
        search_flat([vectors], np.full((count, 8), value, np.float32), 3)


@pytest.mark.parametrize(
    ("vectors", "queries", "k"),
    [
        (np.ones((3, 4), np.float32), np.ones((1, 5), np.float32), 1),
        (np.ones((3, 4), np.float64), np.ones((1, 4), np.float32), 1),
        (np.ones((3, 8), np.float32)[:, ::2], np.ones((1, 4), np.float32), 1),
        (np.ones((3, 4), np.float32), np.ones((1, 4), np.float64), 1),
        (np.ones((3, 4), np.float32), np.ones((1, 4), np.float32), 0),
    ],
)
def test_arrays_that_do_not_fit_are_refused(vectors: Any, queries: Any, k: int) -> None:
    with pytest.raises(UsageError):
        search_flat([vectors], queries, k)


def test_bfloat16_rounds_to_nearest_even() -> None:
    values = np.array(
        [[1.0, 1.00390625, 1.01171875, -3.14159265]], np.float32
    )  # halfway cases go to the even neighbour
    assert widen(to_bfloat16(values)).tolist() == [[1.0, 1.0, 1.015625, -3.140625]]
