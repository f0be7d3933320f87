"""The compiled kernel against the NumPy oracle and against hand-computed cases: equal bytes, ties included."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tamis
from tamis.errors import UsageError
from tamis.kernels import WINDOW, Hits, Postings, Queries, build_postings, search
from tamis.kernels.backend import available_kernels, kernel_name
from tamis.kernels.numpy_backend import search_batch

COMPILED = [name for name in available_kernels() if name != "numpy"]
needs_compiler = pytest.mark.skipif(
    not COMPILED, reason="the extension is not built here: run `pip install -e .` with a C compiler"
)
KS = st.sampled_from([1, 2, 3, 10, 64, 1000, 10**6])


def run(
    kernel: str,
    postings: Postings,
    queries: Queries,
    k: int,
    mask: Any = None,
    threads: int = 1,
    *,
    rounding: Literal["each", "once", "units"] = "each",
) -> Hits:
    """Search with a given kernel, whatever this process chose."""
    if kernel == "numpy":
        return Hits(*search_batch(postings, queries, k, mask, None, rounding=rounding))
    assert postings.native is not None
    columns = (queries.offsets, queries.terms, queries.weights, queries.rows, queries.tables, queries.groups, mask)
    parts = postings.native.search(kernel, *columns, ("each", "once", "units").index(rounding), k, threads, -1)
    return Hits(
        *(
            np.frombuffer(part, kind)
            for part, kind in zip(parts, (np.int64, np.int64, np.float32, np.bool_), strict=True)
        )
    )


def assert_same(found: Hits, wanted: Hits) -> None:
    for name in ("offsets", "docs", "scores", "partial"):
        assert getattr(found, name).tobytes() == getattr(wanted, name).tobytes(), name


def random_mask(seed: int, n_docs: int, share: float) -> np.ndarray[Any, Any] | None:
    if n_docs > 1 << 24:
        return None
    allowed = np.random.default_rng(seed).random(n_docs) < share
    return np.packbits(allowed, bitorder="little")


def test_hand_computed() -> None:
    # "a" in 0, 2, 70000; "b" in 2, 3. Values: code 0 → 1, code 1 → 2.5; "b" weighs twice.
    postings = build_postings(
        np.array([0, 0, 0, 1, 1]),
        np.array([0, 2, 70_000, 2, 3]),
        np.array([0, 1, 1, 0, 0]),
        n_docs=70_001,
        n_terms=2,
        n_codes=2,
    )
    table = np.array([1, 2.5], np.float32)
    hits = search(postings, Queries.of([([0, 1], [table, 2 * table]), ([1], [table])]), 3)
    assert hits[0][0].tolist() == [2, 70_000, 3]
    assert hits[0][1].tolist() == [4.5, 2.5, 2.0]
    assert hits[1][0].tolist() == [2, 3]
    assert not hits.partial.any()


def test_scores_of_zero_and_less_are_scores() -> None:
    postings = build_postings(
        np.array([0, 0, 1, 1]), np.array([1, 4, 4, 6]), np.array([0, 1, 0, 2]), n_docs=100, n_terms=2, n_codes=3
    )
    hits = search(postings, Queries.of([([0, 1], [[-1.0, 2.0, 0], [-2.0, 0, -0.0]])]), 10)
    assert hits[0][0].tolist() == [4, 6, 1]  # 2 - 2, -0.0, -1; documents without a term never come
    assert hits[0][1].tobytes() == np.array([0, 0, -1], np.float32).tobytes()


def test_ties_keep_the_lower_document_at_the_boundary() -> None:
    docs = np.arange(0, 5 * WINDOW, 1000)
    postings = build_postings(
        np.zeros(len(docs), int), docs, np.zeros(len(docs), int), n_docs=5 * WINDOW, n_terms=1, n_codes=1
    )
    for k in (1, 70, len(docs) - 1):
        assert search(postings, Queries.of([([0], [[1.5]])]), k, threads=3).docs.tolist() == docs[:k].tolist()


def test_float32_sums_follow_the_order_of_the_query() -> None:
    big, small = 2.0**24, 1.0
    postings = build_postings(np.array([0, 1, 2]), np.array([5, 5, 5]), None, n_docs=6, n_terms=3)
    for weights, total in (([big, small, small], big), ([small, small, big], big + 2)):
        assert search(postings, Queries(np.array([0, 3]), np.arange(3), np.array(weights)), 1).scores.tolist() == [
            total
        ]


@needs_compiler
@settings(deadline=None, max_examples=150)
@given(st.data(), KS, st.integers(1, 4), st.sampled_from([None, 0.0, 0.1, 0.9]), st.sampled_from(COMPILED or ["numpy"]))
def test_same_as_the_oracle(
    collections_of: Any, data: Any, k: int, threads: int, share: float | None, kernel: str
) -> None:
    rounding = data.draw(st.sampled_from(["each", "units"]))
    collection = data.draw(collections_of(st.sampled_from([0, 1, 2, 255, 256, 257, 5000])))
    postings, queries = collection.postings, collection.queries
    mask = None if share is None else random_mask(k, postings.n_docs, share)
    wanted = run("numpy", postings, queries, k, mask, rounding=rounding)
    assert_same(run(kernel, postings, queries, k, mask, threads, rounding=rounding), wanted)


@needs_compiler
@pytest.mark.parametrize("kernel", COMPILED)
@pytest.mark.parametrize("k", [1, 10, 300, 3000, 10**6])
@pytest.mark.parametrize("share", [None, 0.5, 0.01])
@pytest.mark.parametrize("rounding", ["each", "units"])
def test_long_lists(
    dense_collection: Any, kernel: str, k: int, share: float | None, rounding: Literal["each", "units"]
) -> None:
    postings, queries = dense_collection.postings, dense_collection.queries
    mask = None if share is None else random_mask(k, postings.n_docs, share)
    found = run(kernel, postings, queries, k, mask, threads=2, rounding=rounding)
    assert_same(found, run("numpy", postings, queries, k, mask, rounding=rounding))


@needs_compiler
@pytest.mark.parametrize("kernel", COMPILED)
@pytest.mark.parametrize("values", ["skewed", "equal"])
def test_long_lists_with_a_clear_winner(dense_collection: Any, kernel: str, values: str) -> None:
    """Where weak lists may be left out: one rare, heavy term beside long, light ones."""
    postings = dense_collection.postings
    rng = np.random.default_rng(5)
    table = np.sort(rng.random(300) ** 6 if values == "skewed" else np.ones(300)).astype(np.float32)
    queries = [
        ([5, 4, 0, 1, 6, 12], np.outer([9, 7, 1, 1, 0.5, 1e-3], table)),
        ([11, 0], np.outer([1, 0.01], table)),
        ([0, 6, 12], np.outer([1, 1, 1], table)),
    ]
    batch = Queries.of([(np.array(terms), tables.astype(np.float32)) for terms, tables in queries])
    for k in (1, 5, 10, 100, 2000):
        assert_same(run(kernel, postings, batch, k), run("numpy", postings, batch, k))


@pytest.fixture(scope="module")
def expanded_collection() -> tuple[Postings, list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]]:
    """Long lists of small impacts and short ones of large impacts, and queries that weigh the short ones most."""
    rng = np.random.default_rng(11)
    n_docs = 2 * WINDOW + 20_000
    sizes = np.concatenate([rng.integers(200, 3000, 40), rng.integers(5000, 60_000, 40)])
    docs = [np.unique(rng.integers(0, n_docs, size)) for size in sizes]
    terms = np.repeat(np.arange(len(docs)), [len(own) for own in docs])
    impacts = rng.gamma(1.3, 30, len(terms)) * np.where(terms < 40, 2.2, 0.4)
    codes = np.clip(np.rint(impacts), 1, 255).astype(np.int64)
    codes[terms == 79] = 3  # a term that uses few of the codes
    postings = build_postings(terms, np.concatenate(docs), codes, n_docs=n_docs, n_terms=len(docs), n_codes=256)
    queries = []
    for count in (4, 20, 30):
        chosen = np.concatenate([rng.permutation(40)[:count], 40 + rng.permutation(40)[:count]])
        weights = np.concatenate([rng.gamma(2, 0.5, count) + 0.3, rng.gamma(1, 0.15, count) + 0.02])
        order = np.argsort(chosen)
        queries.append((chosen[order], weights[order].astype(np.float32)))
    queries.append((np.arange(80), rng.random(80).astype(np.float32) ** 4))
    return postings, queries


@needs_compiler
@pytest.mark.parametrize(
    ("share", "rounding"), [(None, "each"), (0.3, "each"), (None, "once"), (None, "units"), (0.3, "units")]
)
def test_many_weak_lists(
    expanded_collection: Any, share: float | None, rounding: Literal["each", "once", "units"]
) -> None:
    """Where most postings are only looked up, and thresholds grow until bounds are scaled again."""
    postings, queries = expanded_collection
    mask = None if share is None else random_mask(3, postings.n_docs, share)
    values = np.arange(256, dtype=np.float32)
    falling = values[::-1].copy()  # the largest value is not the largest code's
    for table in (values, falling, values * np.float32(1e-30), values * np.float32(1e30)):
        batch = Queries.of([(terms, np.outer(weights, table).astype(np.float32)) for terms, weights in queries])
        for k in (1, 10, 200):
            wanted = run("numpy", postings, batch, k, mask, rounding=rounding)
            for kernel in COMPILED:
                assert_same(run(kernel, postings, batch, k, mask, rounding=rounding), wanted)


@needs_compiler
@pytest.mark.parametrize("n_codes", [0, 4])
@pytest.mark.parametrize("n_terms", [1, 255, 256, 5000])
def test_queries_of_many_terms(make_collection: Any, n_terms: int, n_codes: int) -> None:
    collection = make_collection(
        3,
        n_docs=2 * WINDOW + 9,
        frequencies=[3, 50, 400, 0] * 50,
        n_codes=n_codes,
        n_queries=1,
        n_terms=n_terms,
        signed=True,
        exponent=2,
    )
    for kernel in COMPILED:
        for k in (1, 20, 10**5):
            assert_same(
                run(kernel, collection.postings, collection.queries, k),
                run("numpy", collection.postings, collection.queries, k),
            )


@needs_compiler
def test_more_than_65535_terms_still_count(make_collection: Any) -> None:
    collection = make_collection(
        3, n_docs=200, frequencies=[30, 50, 90], n_codes=0, n_queries=1, n_terms=70_000, signed=False, exponent=0
    )
    assert_same(
        run(COMPILED[0], collection.postings, collection.queries, 7),
        run("numpy", collection.postings, collection.queries, 7),
    )


@settings(deadline=None, max_examples=60)
@given(st.data(), KS)
def test_binary_scores_are_sizes_of_intersections(collections_of: Any, data: Any, k: int) -> None:
    collection = data.draw(collections_of(st.just(0)))
    hits = search(collection.postings, collection.queries, k)
    holds = {(int(t), int(d)) for t, d in zip(collection.terms, collection.docs, strict=True)}
    for i in range(len(hits)):
        terms = collection.queries.terms[collection.queries.offsets[i] : collection.queries.offsets[i + 1]]
        overlap: dict[int, int] = {}
        for doc in {d for t, d in holds if t in set(terms.tolist())}:
            overlap[doc] = sum((int(t), doc) in holds for t in terms)
        wanted = sorted(overlap.items(), key=lambda item: (-item[1], item[0]))[:k]
        assert list(zip(hits[i][0].tolist(), hits[i][1].tolist(), strict=True)) == wanted


@needs_compiler
@pytest.mark.parametrize("kernel", available_kernels())
def test_the_variable_forces_a_kernel_and_no_byte_changes(kernel: str) -> None:
    script = (
        "import hashlib, numpy as np\n"
        "from tamis.kernels import Queries, build_postings, kernel_name, search\n"
        "rng = np.random.default_rng(1)\n"
        "docs = [np.unique(rng.integers(0, 200_000, n)) for n in (90_000, 40_000, 2000, 30)]\n"
        "terms = np.repeat(np.arange(4), [len(d) for d in docs])\n"
        "p = build_postings(terms, np.concatenate(docs), rng.integers(0, 99, len(terms)),"
        "                   n_docs=200_000, n_terms=4, n_codes=99)\n"
        "q = Queries.of([(np.arange(4), rng.random((4, 99))), (np.array([3, 0]), rng.random((2, 99)))])\n"
        "for k in (10, 1000):\n"
        "    for threads in (1, 2, 5):\n"
        "        h = search(p, q, k, threads=threads)\n"
        "        print(hashlib.sha256(h.offsets.tobytes() + h.docs.tobytes() + h.scores.tobytes()).hexdigest())\n"
        "print(kernel_name())\n"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", script],
            env=os.environ | {"TAMIS_KERNEL": name},
            capture_output=True,
            text=True,
            check=True,
        )
        for name in (kernel, "numpy")
    ]
    assert outputs[0].stdout.split()[-1] == kernel
    assert outputs[0].stdout.split()[:-1] == outputs[1].stdout.split()[:-1]


@pytest.mark.parametrize(("name", "message"), [("sse9", "unknown kernel"), ("avx512", None)])
def test_a_kernel_that_cannot_run_is_refused(name: str, message: str | None) -> None:
    if message is None and name in available_kernels():
        pytest.skip("this processor runs every kernel")
    done = subprocess.run(
        [sys.executable, "-c", "from tamis.kernels import kernel_name; kernel_name()"],
        env=os.environ | {"TAMIS_KERNEL": name},
        capture_output=True,
        text=True,
    )
    assert done.returncode
    assert (message or "this machine runs") in done.stderr


def test_without_the_extension_numpy_runs_after_one_warning(tmp_path: Path) -> None:
    shutil.copytree(
        Path(tamis.__file__).parent, tmp_path / "tamis", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    script = (
        "import warnings\n"
        "import numpy as np\n"
        "from tamis.kernels import Queries, build_postings, kernel_name, search\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    p = build_postings(np.array([0, 1]), np.array([3, 3]), None, n_docs=9, n_terms=2)\n"
        "    for _ in range(2):\n"
        "        print(search(p, Queries.of([([0, 1], None)]), 3).scores.tolist(), kernel_name())\n"
        "print(len(caught), 'C compiler' in str(caught[0].message))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TAMIS_KERNEL"} | {
        "PYTHONPATH": str(tmp_path)
    }
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
    )
    assert done.stdout.splitlines() == ["[2.0] numpy", "[2.0] numpy", "1 True"]


@pytest.mark.skipif(kernel_name() == "numpy", reason="NumPy adds in the thread that flushes")
def test_subnormal_sums_survive_a_thread_that_flushes_them() -> None:
    torch = pytest.importorskip("torch")
    postings = build_postings(np.array([0, 1]), np.array([1, 1]), None, n_docs=2, n_terms=2)
    queries = Queries(np.array([0, 2]), np.arange(2), np.array([3e-39, -1e-39]))
    wanted = search(postings, queries, 1).scores.tobytes()
    assert torch.set_flush_denormal(True)
    try:
        found = search(postings, queries, 1).scores.tobytes()
    finally:
        torch.set_flush_denormal(False)
    assert found == wanted != b"\0\0\0\0"


def test_deadline_marks_what_it_cut(dense_collection: Any) -> None:
    postings, queries = dense_collection.postings, dense_collection.queries
    postings.validate()
    cut = search(postings, queries, 10, deadline=time.monotonic() - 1)
    busy = queries.offsets[1:] > queries.offsets[:-1]
    assert (cut.partial == busy).all()
    assert not len(cut.docs)
    whole = search(postings, queries, 10, deadline=time.monotonic() + 3600)
    assert not whole.partial.any()
    assert_same(whole, search(postings, queries, 10))


def test_no_queries_no_terms_no_documents() -> None:
    postings = build_postings(np.empty(0, int), np.empty(0, int), np.empty(0, int), n_docs=0, n_terms=0, n_codes=1)
    assert search(postings, Queries.of([]), 5).offsets.tolist() == [0]
    hits = search(postings, Queries.of([([], []), ([], [])]), 5)
    assert hits.offsets.tolist() == [0, 0, 0]
    assert not hits.partial.any()


def test_concurrent_searches_share_an_index(dense_collection: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    postings, queries = dense_collection.postings, dense_collection.queries
    wanted = search(postings, queries, 50)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda threads: search(postings, queries, 50, threads=threads), [1, 2, 3, 1, 2, 3]):
            assert_same(found, wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k = 0"),
        ({"threads": 0}, "threads = 0"),
        ({"mask": np.zeros(3, np.uint8)}, "bytes of one bit a document"),
        (
            {"queries": Queries(np.array([0, 1]), np.array([2]), tables=np.ones((1, 2)))},
            "term 2 is not in a vocabulary of 2",
        ),
        ({"queries": Queries(np.array([0, 1]), np.array([-1]), tables=np.ones((1, 2)))}, "term -1"),
        ({"queries": Queries(np.array([0, 1]), np.array([0]))}, "need queries with value tables"),
        (
            {"queries": Queries(np.array([0, 1]), np.array([0]), tables=np.ones((1, 3)))},
            "3 values for postings of 2 codes",
        ),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    postings = build_postings(np.array([0, 1]), np.array([1, 1]), np.array([0, 1]), n_docs=2, n_terms=2, n_codes=2)
    arguments: dict[str, Any] = {"queries": Queries.of([([0], [[1, 2]])]), "k": 1} | change
    with pytest.raises(UsageError, match=message):
        search(postings, arguments.pop("queries"), arguments.pop("k"), **arguments)


@pytest.mark.parametrize("value", [np.nan, np.inf, 2e38])
def test_values_that_break_sums_are_refused(value: float) -> None:
    with pytest.raises(UsageError, match="finite"):
        Queries.of([([0, 1], [[1, value], [1, 1]])])


@needs_compiler
def test_the_extension_refuses_arrays_that_do_not_fit() -> None:
    """The last line of defence, behind the checks in Python."""
    postings = build_postings(np.array([0, 1]), np.array([1, 1]), np.array([0, 1]), n_docs=2, n_terms=2, n_codes=2)
    good = Queries(np.array([0, 2]), np.array([0, 1]), np.ones(2), np.ones((1, 2)), np.zeros(2, np.int32))
    index = postings.native
    assert index is not None
    for name, value in [
        ("offsets", np.array([0, 3])),
        ("offsets", np.array([1, 2])),
        ("terms", np.array([0, 2])),
        ("rows", np.array([0, 1], np.int32)),
        ("rows", np.array([0], np.int32)),
        ("weights", np.ones(1, np.float32)),
        ("tables", np.ones((1, 3), np.float32)),
        ("tables", np.ones(2)),
        ("groups", np.zeros(2, np.int32)),
    ]:
        columns = {key: getattr(good, key) for key in ("offsets", "terms", "weights", "rows", "tables", "groups")} | {
            name: value
        }
        with pytest.raises(ValueError, match=r"fit|items of"):
            index.search("baseline", *columns.values(), None, False, 1, 1, -1)


# -- sums in units -----------------------------------------------------------------------------------------------------


def test_units_by_hand() -> None:
    """Two terms of at most 8 and 2: 253 units for 10, so 202 and 51, and for a hundredth of that no less than 1."""
    postings = build_postings(
        np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 1, 2]), np.array([1, 0, 2, 1, 0]), n_docs=3, n_terms=2, n_codes=3
    )
    queries = Queries(np.array([0, 2]), np.array([0, 1]), None, np.array([[0.001, 4, 8], [1, 2, 999]], np.float32))
    hits = search(postings, queries, 3, rounding="units")
    assert hits[0][0].tolist() == [2, 0, 1]
    assert hits[0][1].tolist() == [202 + 25, 101, 1 + 51]
    with pytest.raises(UsageError, match="rounding 'down': each, once, units are known"):
        search(postings, queries, 3, rounding="down")  # type: ignore[arg-type]


@pytest.mark.parametrize("n_terms", [64, 65, 300])
def test_units_of_many_terms(make_collection: Any, n_terms: int) -> None:
    """Of more than 64 terms 8 bits would tell too little: these are summed exactly."""
    made = make_collection(
        3, n_docs=5000, frequencies=[200] * n_terms, n_codes=7, n_queries=1, n_terms=2, signed=False, exponent=1.0
    )
    rng = np.random.default_rng(n_terms)
    queries = Queries.of([(np.arange(n_terms), rng.random((n_terms, 7)))])
    hits = search(made.postings, queries, 50, rounding="units")
    whole = bool((hits.scores == np.rint(hits.scores)).all())
    assert whole == (n_terms <= 64)
    if not whole:
        assert_same(hits, search(made.postings, queries, 50))


def test_units_propose_what_is_best(expanded_collection: Any) -> None:
    postings, queries = expanded_collection
    table = np.arange(256, dtype=np.float32)
    batch = Queries.of([(terms, np.outer(weights, table).astype(np.float32)) for terms, weights in queries])
    best, proposed = search(postings, batch, 10), search(postings, batch, 100, rounding="units")
    shares = [np.isin(best[i][0], proposed[i][0]).mean() for i in range(len(queries)) if len(queries[i][0]) <= 64]
    assert len(shares) >= 3
    assert min(shares) == 1


# -- sums rounded once -------------------------------------------------------------------------------------------------

# Float32 additions of these in different orders give different sums, and many documents tie.
TRICKY = [1.0, 2.0**-24, 2.0**-23, 3 * 2.0**-25, 0.1, 1 / 3, 16777216.0]


def tricky_queries(queries: Queries, seed: int, *, n_codes: int, signed: bool, grouped: bool) -> Queries:
    rng = np.random.default_rng(seed)
    tables = rng.choice(TRICKY, (3, n_codes)) * (rng.choice([-1, 1], (3, n_codes)) if signed else 1)
    groups = None
    if grouped:
        steps = rng.integers(0, 2, len(queries.terms))
        groups = np.concatenate([np.cumsum(steps[a:b]) for a, b in itertools.pairwise(queries.offsets)]).astype(
            np.int32
        )
    rows = rng.integers(0, 3, len(queries.terms))
    return Queries(queries.offsets, queries.terms, None, tables, rows, groups)


@needs_compiler
@settings(deadline=None, max_examples=200)
@given(
    st.data(),
    KS,
    st.integers(1, 3),
    st.sampled_from([None, 0.3]),
    st.sampled_from(COMPILED or ["numpy"]),
    st.booleans(),
    st.booleans(),
)
def test_rounding_once_as_the_oracle(
    collections_of: Any,
    data: Any,
    k: int,
    threads: int,
    share: float | None,
    kernel: str,
    signed: bool,
    grouped: bool,
) -> None:
    collection = data.draw(collections_of(st.sampled_from([1, 2, 5, 300])))
    postings = collection.postings
    queries = tricky_queries(collection.queries, k, n_codes=postings.n_codes, signed=signed, grouped=grouped)
    mask = None if share is None else random_mask(k, postings.n_docs, share)
    wanted = run("numpy", postings, queries, k, mask, rounding="once")
    assert_same(run(kernel, postings, queries, k, mask, threads, rounding="once"), wanted)


@needs_compiler
@pytest.mark.parametrize("kernel", COMPILED)
@pytest.mark.parametrize("k", [1, 10, 100, 1000, 5000])
@pytest.mark.parametrize("values", ["own", "tricky", "one"])
def test_rounding_once_on_long_lists(dense_collection: Any, kernel: str, k: int, values: str) -> None:
    """``one``: every contribution is the same, so that thousands tie at any k and the second search must fetch them."""
    postings, queries = dense_collection.postings, dense_collection.queries
    if values == "tricky":
        queries = tricky_queries(queries, 3, n_codes=300, signed=False, grouped=True)
    elif values == "one":
        queries = Queries(queries.offsets, queries.terms, None, np.full((3, 300), 0.1, np.float32), queries.rows)
    assert_same(
        run(kernel, postings, queries, k, threads=2, rounding="once"),
        run("numpy", postings, queries, k, rounding="once"),
    )


def test_rounding_once_by_hand() -> None:
    # 2^24 + 1 + 1: each addition loses its 1, the whole does not
    postings = build_postings(np.array([0, 1, 2]), np.array([5, 5, 5]), None, n_docs=6, n_terms=3)
    weights = np.array([2.0**24, 1.0, 1.0])
    plain = Queries(np.array([0, 3]), np.arange(3), weights)
    assert search(postings, plain, 1).scores.tolist() == [2.0**24]
    assert search(postings, plain, 1, rounding="once").scores.tolist() == [2.0**24 + 2]
    grouped = Queries(np.array([0, 3]), np.arange(3), weights, groups=np.array([0, 0, 1]))
    assert search(postings, grouped, 1, rounding="once").scores.tolist() == [2.0**24]  # 2^24 + 1 is rounded first
    with pytest.raises(UsageError, match='only with rounding="once"'):
        search(postings, grouped, 1)
