"""Dense scans against the NumPy oracle, float64 and hand-computed cases: equal bytes, ties included."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tamis
from tamis.errors import CorruptIndexError, DataError, UnknownNameError, UsageError
from tamis.indexer.dense.quantise import codes_of
from tamis.kernels import Hits, dense, numpy_dense
from tamis.kernels.backend import available_kernels, native
from tamis.kernels.codes import KINDS, Codes, encode_int8, to_bfloat16, widen
from tamis.kernels.dense import BATCH, check_finite, score_rows, search_codes, search_flat

COMPILED = [name for name in available_kernels() if name != "numpy"]
if "avx512" in COMPILED:
    COMPILED.append("avx512-2017")  # the build without VNNI and VPOPCNTDQ
STORES = ("float32", "float16", "bfloat16")
needs_compiler = pytest.mark.skipif(not COMPILED, reason="the extension is not built here")


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Every kernel in turn, this process's own choice put aside."""

    def every() -> Iterator[str]:
        for name in (*COMPILED, "numpy"):
            monkeypatch.setattr(dense, "kernel_name", lambda name=name: name)
            yield name

    return every()


def store(rows: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    rows = np.ascontiguousarray(rows, np.float32)
    return to_bfloat16(rows) if kind == "bfloat16" else rows.astype(kind)


def make(seed: int, sizes: list[int], dim: int, kind: str, *, ties: bool) -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    arrays = []
    for size in sizes:
        rows = random.standard_normal((size, dim))
        if ties:  # few values, and many rows twice
            rows = random.integers(-1, 2, (size, dim)) * 0.25
            rows = rows[random.integers(0, max(1, size // 3), size)] if size else rows
        arrays.append(store(rows, kind))
    return arrays


def pack(allowed: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.packbits(allowed, bitorder="little")


def oracle(arrays: list[Any], queries: Any, k: int, allowed: list[Any]) -> Hits:
    """By definition: all scores, sorted."""
    lists = []
    for query in queries:
        scores = np.concatenate([np.zeros(0, np.float32), *(numpy_dense.dot(array, query) for array in arrays)])
        rows = np.flatnonzero(np.concatenate([np.zeros(0, bool), *allowed]))
        order = np.lexsort((rows, -scores[rows]))[:k]
        lists.append((rows[order], scores[rows][order]))
    return Hits.of(lists)


def assert_same(found: Hits, wanted: Hits) -> None:
    for name in ("offsets", "docs", "scores", "partial"):
        assert getattr(found, name).tobytes() == getattr(wanted, name).tobytes(), name


def test_by_hand() -> None:
    vectors = np.array([[1, 0, 0], [0, 2, 0], [1, 0, 1], [1, 0, 0]], np.float32)
    hits = search_flat([vectors[:2], vectors[2:]], np.array([[1, 0, -0.5], [0, 0, 1]], np.float32), 3)
    assert hits[0][0].tolist() == [0, 3, 2]
    assert hits[0][1].tolist() == [1, 1, 0.5]
    assert hits[1][0].tolist() == [2, 0, 1]


def test_the_order_of_sums() -> None:
    """Element 16 joins running sum 0 before sum 1 does: 1e8 - 1e8 + 1 = 1, where summing from left to right gives 0."""
    row, query = np.zeros((1, 17), np.float32), np.ones((1, 17), np.float32)
    row[0, [0, 1, 16]] = 1e8, 1, -1e8
    assert search_flat([row], query, 1).scores.tolist() == [1]
    assert np.cumsum(row, dtype=np.float32)[-1] == 0


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.sampled_from([0, 1, 7, 63, 64, 65, 200, 700]), min_size=0, max_size=3),
    dim=st.sampled_from([1, 3, 15, 16, 17, 63, 64, 65, 100]),
    kind=st.sampled_from(STORES),
    k=st.sampled_from([1, 2, 10, 100, 10**6]),
    queries=st.sampled_from([0, 1, 3, BATCH, 70]),
    share=st.sampled_from([None, 0.0, 0.02, 0.5, 1.0]),
    ties=st.booleans(),
    threads=st.sampled_from([1, 2]),
)
def test_same_as_the_oracle(
    seed: int,
    sizes: list[int],
    dim: int,
    kind: str,
    k: int,
    queries: int,
    share: float | None,
    ties: bool,
    threads: int,
) -> None:
    arrays = make(seed, sizes, dim, kind, ties=ties)
    random = np.random.default_rng(seed + 1)
    asked = (random.integers(-1, 2, (queries, dim)) if ties else random.standard_normal((queries, dim))).astype(
        np.float32
    )
    allowed = [random.random(len(a)) < (1 if share is None else share) for a in arrays]
    masks = None if share is None else [pack(one) for one in allowed]
    wanted = oracle(arrays, asked, k, allowed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "_TILE", 128)
        patch.setattr(dense, "_SMALLEST_SHARE", 64)
        assert_same(search_flat(arrays, asked, k, mask=masks, threads=threads), wanted)
        for kernel in (*COMPILED, "numpy"):
            patch.setattr(dense, "kernel_name", lambda kernel=kernel: kernel)
            patch.setattr(dense, "BATCH", 10**9)  # one by one
            assert_same(search_flat(arrays, asked[:3], k, mask=masks), oracle(arrays, asked[:3], k, allowed))


@needs_compiler
@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**32),
    n=st.sampled_from([1, 63, 64, 130, 500]),
    dim=st.sampled_from([1, 16, 31, 64, 65, 384, 512, 520]),
    kind=st.sampled_from(KINDS),
    share=st.sampled_from([None, 0.1, 0.9]),
)
def test_first_passes_are_the_same_bytes_everywhere(
    seed: int, n: int, dim: int, kind: str, share: float | None
) -> None:
    random = np.random.default_rng(seed)
    codes = codes_of(random.standard_normal((n, dim)).astype(np.float32), kind)
    scan = dense._of_codes(codes, codes.of_query(random.standard_normal(dim).astype(np.float32)))
    mask = None if share is None else pack(random.random(n) < share)
    extension = native()
    assert extension is not None
    rows = random.integers(0, n, 20)
    wanted = numpy_dense.dense_scan(*scan, mask, 0, n, 7)
    for kernel in COMPILED:
        assert extension.dense_scan(kernel, *scan, mask, 0, n, 7) == wanted
        assert extension.dense_scores(kernel, *scan, rows) == numpy_dense.dense_scores(*scan, rows)


def test_long_scans_cut_their_buffers() -> None:
    """Ascending scores push every row; descending ones, only k."""
    rows = np.arange(5000, dtype=np.float32)[:, None]
    query = np.ones((1, 1), np.float32)
    for k in (1, 10, 1500):
        assert search_flat([rows], query, k).docs.tolist() == list(range(4999, 4999 - k, -1))
        assert search_flat([rows], -query, k).docs.tolist() == list(range(k))


def test_estimates_are_near_the_products() -> None:
    """int8 within half a step on each side; bits unbiased, with RaBitQ's error of about 1 / sqrt(dim) of the lengths."""
    random = np.random.default_rng(5)
    rows, query = random.standard_normal((400, 256)).astype(np.float32), random.standard_normal(256).astype(np.float32)
    rows += 3  # a mean far from zero, which centring takes away
    exact = rows.astype(np.float64) @ query
    for kind, limit in (("bf16", 2.0**-8), ("int8", 0.02), ("bit", 1.0)):
        codes = codes_of(rows, kind)
        scan = dense._of_codes(codes, codes.of_query(query))
        error = np.frombuffer(numpy_dense.dense_scores(*scan, np.arange(400)), np.float32) - exact
        lengths = np.linalg.norm(query) * np.linalg.norm(rows - (rows.mean(axis=0) if kind == "bit" else 0), axis=1)
        scale = lengths if kind != "bit" else lengths / 16
        assert np.sqrt(np.mean((error / scale) ** 2)) < limit
        assert abs(np.mean(error / scale)) < 0.15 * limit


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stored", STORES)
def test_codes_with_enough_candidates_are_exact(kind: str, stored: str) -> None:
    arrays = make(3, [300, 0, 500], 48, stored, ties=False)
    codes = [codes_of(array, kind) if len(array) else empty_codes(kind, 48) for array in arrays]
    queries = np.random.default_rng(4).standard_normal((4, 48)).astype(np.float32)
    wanted = search_flat(arrays, queries, 10)
    # 79 x 10 of 800 rows: a scan of the codes, which drops the ten worst.
    assert_same(search_codes(arrays, codes, queries, 10, oversample=79), wanted)
    assert_same(search_codes(arrays, codes, queries, 10, oversample=79, threads=2), wanted)
    allowed = [np.arange(len(array)) % 7 == 0 for array in arrays]
    masks = [pack(one) for one in allowed]
    found = search_codes(arrays, codes, queries, 10, oversample=1, mask=masks)
    assert np.concatenate(allowed)[found.docs].all()
    assert np.diff(found.offsets).tolist() == [10] * 4
    # As many candidates as allowed rows: exact whatever the codes say.
    assert_same(
        search_codes(arrays, codes, queries, 100, oversample=2, mask=masks),
        search_flat(arrays, queries, 100, mask=masks),
    )


def empty_codes(kind: str, dim: int) -> Codes:
    return codes_of(np.zeros((0, dim), np.float32), kind)


def test_codes_find_their_own_vectors() -> None:
    """Far from every other, a vector is its own best hit through any code."""
    rows = np.random.default_rng(8).standard_normal((2000, 128)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for kind in KINDS:
        assert search_codes([rows], [codes_of(rows, kind)], rows[:50], 1).docs.tolist() == list(range(50))


def test_zero_vectors_have_codes() -> None:
    rows = np.zeros((70, 20), np.float32)
    for kind in KINDS:
        hits = search_codes([rows], [codes_of(rows, kind)], np.ones((1, 20), np.float32), 3, oversample=2)
        assert hits.docs.tolist() == [0, 1, 2]
        assert hits.scores.tolist() == [0, 0, 0]


def test_bfloat16_rounds_to_even() -> None:
    values = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-7, 3.4e38], np.float32)
    assert widen(to_bfloat16(values)).tolist() == [1, 1, 1 + 2**-6, -1 - 2**-7, np.inf]


def test_int8_by_hand() -> None:
    codes, factors = encode_int8(np.array([[127, -63.6, 0], [0, 0, 0]], np.float32))
    assert codes.tolist() == [[255, 64, 128], [128, 128, 128]]
    assert factors.tolist() == [1, 0]


def test_float16_subnormals_and_signs(kernels: Iterator[str]) -> None:
    """Every finite half, one a row."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = np.ascontiguousarray(halves[np.isfinite(halves)][:, None])
    numbers = np.arange(len(halves))
    for _ in kernels:
        assert (
            score_rows([halves], np.ones(1, np.float32), numbers).tolist() == halves[:, 0].astype(np.float32).tolist()
        )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("queries", [1, BATCH])
def test_vectors_that_are_not_finite(kernels: Iterator[str], bad: float, queries: int) -> None:
    rows = np.random.default_rng(1).standard_normal((200, 20)).astype(np.float32)
    rows[130, 3] = bad
    asked = np.ones((queries, 20), np.float32)
    mask = [pack(np.arange(200) != 130)]
    for _ in kernels:
        with pytest.raises(DataError, match="vector 130"):
            search_flat([rows], asked, 3)
        assert 130 not in search_flat([rows], asked, 3, mask=mask).docs
    with pytest.raises(DataError, match="vector 1130"):
        check_finite(rows, 1000)
    with pytest.raises(DataError, match="query vector 0"):
        search_flat([rows[:9]], np.full((1, 20), bad, np.float32), 3)


def test_huge_values_are_scored_or_refused() -> None:
    rows = np.array([[3e38], [1e30], [2e38]], np.float32)
    for queries in (1, BATCH):
        assert search_flat([rows], np.ones((queries, 1), np.float32), 2)[0][0].tolist() == [0, 2]
        with pytest.raises(DataError, match="vector 0"):
            search_flat([rows], np.full((queries, 1), 10, np.float32), 2)


def test_bad_arguments() -> None:
    rows, query = np.ones((9, 4), np.float32), np.ones((1, 4), np.float32)
    cases: list[tuple[Any, Any, Any, dict[str, Any], str]] = [
        ([rows], query, 0, {}, "k=0"),
        ([rows], query, True, {}, "k=True"),
        ([rows], query, 1, {"threads": 0}, "threads=0"),
        ([rows], query[0], 1, {}, "float32 of shape"),
        ([rows], query.astype(float), 1, {}, "float64"),
        ([rows], query[:, :3].copy(), 1, {}, "3 dimensions"),
        ([rows.astype(float)], query, 1, {}, "vectors of float64"),
        ([rows.astype(">f4")], query, 1, {}, "vectors of >f4"),
        ([np.asfortranarray(rows)], query, 1, {}, "contiguous"),
        ([np.frombuffer(b"\0" * 33, np.uint8)[1:].view(np.float32).reshape(2, 4)], query, 1, {}, "aligned"),
        ([rows], query, 1, {"mask": []}, "0 masks"),
        ([rows], query, 1, {"mask": [np.zeros(1, np.uint8)]}, "2 contiguous bytes"),
        ([rows], query, 1, {"mask": [np.zeros(9, bool)]}, "mask of bool"),
    ]
    for arrays, queries, k, options, message in cases:
        with pytest.raises(UsageError, match=message):
            search_flat(arrays, queries, k, **options)
    codes = codes_of(rows, "int8")
    with pytest.raises(UsageError, match="oversample=0"):
        search_codes([rows], [codes], query, 1, oversample=0)
    with pytest.raises(UsageError, match="do not fit"):
        search_codes([rows[:8]], [codes], query, 1)
    with pytest.raises(UsageError, match="several kinds"):
        search_codes([rows, rows], [codes, codes_of(rows, "bit")], query, 1)
    with pytest.raises(UsageError, match="row 9"):
        score_rows([rows], query[0], np.array([9]))
    with pytest.raises(UnknownNameError, match="int8"):
        codes_of(rows, "int4")
    with pytest.raises(CorruptIndexError, match="factors"):
        Codes("int8", 4, np.zeros((9, 4), np.uint8), np.zeros(8, np.float32))


@needs_compiler
def test_the_extension_refuses_arrays_that_do_not_fit() -> None:
    """The last line of defence, behind the checks in Python."""
    extension = native()
    assert extension is not None
    rows, query = np.ones((9, 4), np.float32), np.ones(4, np.float32)
    good: list[Any] = ["baseline", 0, 4, rows, None, query, 1.0, 0.0, 0, None, 0, 9, 2]
    assert extension.dense_scan(*good)[2] == -1
    changes: list[tuple[int, Any]] = [
        (0, "avx1024"), (1, 5), (1, -1), (2, 0), (2, 5), (2, 70_000), (5, query[:3]), (9, np.zeros(1, np.uint8)),
        (10, 4), (10, -8), (11, 10), (12, 0),
    ]  # fmt: skip
    for at, value in changes:
        with pytest.raises(ValueError, match=r"fit|range|cannot run|dimensions"):
            extension.dense_scan(*good[:at], value, *good[at + 1 :])
    for numbers in (np.array([9]), np.array([-1])):
        with pytest.raises(ValueError, match="out of range"):
            extension.dense_scores(*good[:9], numbers)
    codes, factors = np.zeros((9, 4), np.uint8), np.zeros(8, np.float32)
    short: list[Any] = ["baseline", 3, 4, codes, factors, np.zeros(4, np.int8), 1.0, 0.0, 0, None, 0, 9, 2]
    with pytest.raises(ValueError, match="fit"):
        extension.dense_scan(*short)


@pytest.mark.parametrize("kernel", [*available_kernels()])
def test_the_variable_forces_a_kernel_and_no_byte_changes(kernel: str) -> None:
    script = (
        "import hashlib, numpy as np\n"
        "from tamis.kernels.dense import search_flat\n"
        "r = np.random.default_rng(2)\n"
        "v, q = r.standard_normal((3000, 50)).astype('f4'), r.standard_normal((9, 50)).astype('f4')\n"
        "h = [search_flat([v], q, 9), *(search_flat([v], q[i:i+1], 9) for i in range(9))]\n"
        "one = b''.join(x.docs.tobytes() for x in h[1:]) + b''.join(x.scores.tobytes() for x in h[1:])\n"
        "assert one == h[0].docs.tobytes() + h[0].scores.tobytes()\n"
        "print(hashlib.sha256(one).hexdigest())\n"
    )
    folder = str(Path(tamis.__file__).parents[1])
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "TAMIS_KERNEL": name, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in {kernel, "numpy"}
    }
    assert len(digests) == 1
