"""The exact sparse kernel on learned-sparse and binary vectors, against a sparse product in scipy, in the same run.

    python -m benchmarks.kernel_sparse --size 300000 --rounds 3
    python -m benchmarks.kernel_sparse --binary --size 1000000

SPLADE-like: 120 impacts (1 to 255) a document over 30,000 dimensions of skewed frequency, queries of 40 weighted terms. Binary:
160 of 65,536 dimensions a document, queries of 32. Independent draws: there is no document order to exploit. Results are
compared with scipy's, whose scores are float32 sums too: all within rounding, or the run fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import machine, markdown, median, parser, report
from tamis.kernels import Queries, build_postings, search

QUERIES, PEER_QUERIES = 200, 20
DEPTHS = (10, 1000)
BLOCK = 50_000


def make_data(size: int, seed: int, *, binary: bool) -> dict[str, Any]:
    """Document-ordered triples and the queries."""
    rng = np.random.default_rng(seed)
    dimensions, per_document, per_query = (65_536, 160, 32) if binary else (30_000, 120, 40)
    popularity = np.ones(dimensions) if binary else 1 / (np.arange(dimensions) + 25) ** 0.8
    cumulative = np.cumsum(popularity / popularity.sum())
    terms, docs = [], []
    for first in range(0, size, BLOCK):
        count = min(BLOCK, size - first)
        drawn = np.searchsorted(cumulative, rng.random((count, per_document))).astype(np.int64)
        keys = np.unique(np.repeat(np.arange(count, dtype=np.int64), per_document) * dimensions + drawn.ravel())
        terms.append((keys % dimensions).astype(np.int32))
        docs.append((keys // dimensions + first).astype(np.int32))
    terms_array, docs_array = np.concatenate(terms), np.concatenate(docs)
    codes = None if binary else np.minimum(rng.geometric(0.03, len(terms_array)), 255).astype(np.uint8)
    wanted = [np.unique(np.searchsorted(cumulative, rng.random(per_query))) for _ in range(QUERIES)]
    weights = [
        np.ones(len(w), np.float32) if binary else rng.integers(1, 256, len(w)).astype(np.float32) for w in wanted
    ]
    return {
        "terms": terms_array,
        "docs": docs_array,
        "codes": codes,
        "n": size,
        "dims": dimensions,
        "wanted": wanted,
        "weights": weights,
    }


def batch(data: dict[str, Any], chosen: range) -> Queries:
    """Queries of the kernel."""
    offsets = np.cumsum([0, *(len(data["wanted"][i]) for i in chosen)])
    terms = np.concatenate([data["wanted"][i] for i in chosen]).astype(np.int64)
    if data["codes"] is None:
        return Queries(offsets, terms)
    weights = np.concatenate([data["weights"][i] for i in chosen])
    return Queries(offsets, terms, weights, np.arange(256, dtype=np.float32)[None], np.zeros(len(terms), np.int32))


def seconds(work: Callable[[], Any]) -> float:
    """Wall-clock seconds of a call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    made = parser("The sparse kernel on learned-sparse and binary vectors.", rounds=3)
    made.add_argument("--binary", action="store_true")
    given = made.parse_args()
    from scipy import sparse

    data = make_data(given.size, given.seed, binary=given.binary)
    begun = time.perf_counter()
    n_codes = 0 if given.binary else 256
    postings = build_postings(
        data["terms"], data["docs"], data["codes"], n_docs=data["n"], n_terms=data["dims"], n_codes=n_codes
    )
    built = time.perf_counter() - begun
    values = np.ones(len(data["terms"]), np.float32) if given.binary else data["codes"].astype(np.float32)
    matrix = sparse.csr_matrix((values, (data["terms"], data["docs"])), shape=(data["dims"], data["n"]))

    def peer(i: int, k: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Rows of the query's terms, weighted and summed: scipy's fastest exact way for one query."""
        found = (
            sparse.csr_matrix((data["weights"][i], data["wanted"][i], [0, len(data["wanted"][i])]), (1, data["dims"]))
            @ matrix
        )
        best = np.argpartition(-found.data, min(k, len(found.data)) - 1)[:k]
        order = best[np.lexsort((found.indices[best], -found.data[best]))]
        return found.indices[order], found.data[order]

    for i in range(PEER_QUERIES):
        _, scores = search(postings, batch(data, range(i, i + 1)), 1000)[0]
        np.testing.assert_allclose(scores, peer(i, 1000)[1], rtol=1e-5)
    touched = float(np.mean([sum(int(postings.starts[t + 1] - postings.starts[t]) for t in w) for w in data["wanted"]]))
    single = [batch(data, range(i, i + 1)) for i in range(QUERIES)]
    every = batch(data, range(QUERIES))
    rows, figures = [], []
    for k in DEPTHS:
        rounds = []
        for _ in range(given.rounds):
            scipy_rate = PEER_QUERIES / seconds(lambda k=k: [peer(i, k) for i in range(PEER_QUERIES)])
            ours = QUERIES / seconds(lambda k=k: [search(postings, one, k) for one in single])
            batched = QUERIES / seconds(lambda k=k: search(postings, every, k))
            two = QUERIES / seconds(lambda k=k: search(postings, every, k, threads=2))
            rounds.append((scipy_rate, ours, batched, two, ours / scipy_rate))
        medians = [median(column) for column in zip(*rounds, strict=True)]
        figures.append({"k": k, "scipy": medians[0], "one by one": medians[1], "batch": medians[2], "two": medians[3]})
        rows.append([f"k={k}", *medians])
    size = sum(a.nbytes for a in (postings.offsets, postings.directory, postings.starts, postings.directory_starts))
    size += 0 if postings.codes is None else postings.codes.nbytes
    table = markdown(
        ["queries/s", "scipy", "one by one", "batch, 1 thread", "batch, 2 threads", "one by one / scipy"], rows
    )
    kind = "binary" if given.binary else "SPLADE-like"
    text = (
        f"{kind}, {given.size:,} documents, {postings.n_postings / 1e6:.1f} M postings, {size / (1 << 20):.0f} MiB, built in "
        f"{built:.1f} s; {touched:,.0f} postings a query\n\n{table}\n\n{machine()}"
    )
    report(text, {"rows": figures, "bytes": size, "build_seconds": built}, given.json)


if __name__ == "__main__":
    main()
