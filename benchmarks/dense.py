"""Dense search one by one against faiss's flat index, in the same run: exact, and through short codes and graphs.

    python -m benchmarks.dense --size 1000000 --rounds 3

The vectors are synthetic and clustered, as the text says: points around 2,000 centres of a 64-dimensional subspace of 384, with
noise in all dimensions; queries are disturbed documents. Both sides use one thread. Recall is against the exact ten.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.measure import machine, markdown, median, parser, report
from tamis.indexer.dense.quantise import codes_of
from tamis.kernels.codes import to_bfloat16
from tamis.kernels.dense import search_codes, search_flat
from tamis.kernels.searching import Hits

DIMENSIONS, CENTRES, INNER, QUERIES, K = 384, 2000, 64, 40, 10
BLOCK = 100_000

Search = Callable[[Any], Any]


def make_vectors(size: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Unit vectors [size, 384] and queries."""
    rng = np.random.default_rng(seed)
    basis = rng.standard_normal((INNER, DIMENSIONS)).astype(np.float32)
    centres = rng.standard_normal((CENTRES, INNER)).astype(np.float32)
    vectors = np.empty((size, DIMENSIONS), np.float32)
    for first in range(0, size, BLOCK):
        some = vectors[first : first + BLOCK]
        inner = centres[rng.integers(0, CENTRES, len(some))] + 0.6 * rng.standard_normal((len(some), INNER)).astype(
            np.float32
        )
        some[:] = inner @ basis + 2 * rng.standard_normal(some.shape).astype(np.float32)
        some /= np.linalg.norm(some, axis=1, keepdims=True)
    queries = vectors[rng.integers(0, size, QUERIES)] + 0.03 * rng.standard_normal((QUERIES, DIMENSIONS))
    return vectors, (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)


def rate(search: Search, queries: np.ndarray[Any, Any]) -> float:
    """Queries a second, one by one."""
    begun = time.perf_counter()
    for query in queries:
        search(query[None])
    return len(queries) / (time.perf_counter() - begun)


def compare(size: int, seed: int, rounds: int) -> list[list[Any]]:
    """One row a variant: queries a second, ratio to faiss's flat index, recall@10, bytes a vector read first."""
    faiss: Any = import_module("faiss")
    faiss.omp_set_num_threads(1)
    vectors, queries = make_vectors(size, seed)
    flat = faiss.IndexFlatIP(DIMENSIONS)
    flat.add(vectors)
    exact = search_flat([vectors], queries, K)
    small = to_bfloat16(vectors)
    made = {kind: [codes_of(vectors, kind)] for kind in ("bf16", "int8", "bit")}
    variants: dict[str, tuple[Search, int]] = {
        "faiss `IndexFlatIP`": (lambda q: flat.search(q, K), 4 * DIMENSIONS),
        "exact, float32": (lambda q: search_flat([vectors], q, K), 4 * DIMENSIONS),
        "stored as bfloat16": (lambda q: search_flat([small], q, K), 2 * DIMENSIONS),
    }
    for kind, codes in made.items():
        size_of = codes[0].rows.nbytes // size + (0 if codes[0].factors is None else 4)
        variants[f"codes={kind}"] = (lambda q, c=codes: search_codes([vectors], c, q, K), size_of)
    rates: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, (search, _) in variants.items():
            rates[name].append(rate(search, queries))
    base = rates["faiss `IndexFlatIP`"]
    rows = []
    for name, (search, width) in variants.items():
        found = [search(query[None]) for query in queries]
        lists = [f.docs if isinstance(f, Hits) else f[1][0] for f in found]
        recall = float(np.mean([np.isin(exact[i][0], places).mean() for i, places in enumerate(lists)]))
        ratio = median([ours / theirs for ours, theirs in zip(rates[name], base, strict=True)])
        rows.append([name, median(rates[name]), ratio, recall, width])
    return rows


def main() -> None:
    given = parser("Dense search against faiss.", rounds=3).parse_args()
    rows = compare(given.size, given.seed, given.rounds)
    table = markdown(["", "queries/s", "ratio", "recall@10", "bytes a vector scanned"], rows)
    report(f"{given.size:,} x {DIMENSIONS}, k={K}\n\n{table}\n\n{machine()}", {"rows": rows}, given.json)


if __name__ == "__main__":
    main()
