"""UHD's sets at n = 81,920 beside BM25 and SPLADE-like impacts on the same kernel, and a dense flat scan, in one run.

    python -m benchmarks.uhd --documents 1000000
    python -m benchmarks.uhd --documents 100000 --sets 160/32,3000/640
    python -m benchmarks.uhd --corpus corpus.jsonl.gz      # how large the sets of an untrained head are

Passages, impacts and vectors are those of `benchmarks.zipf`, `benchmarks.splade_like` and `benchmarks.dense`. No trained UHD
checkpoint is public, so sets are drawn: ``D/Q`` has D of the 81,920 dimensions a document and Q a query. How often a dimension
wins is log-normal: a query's dimensions are in 1.76 times as many documents as all are, about as many times as with an untrained
head over MiniLM's states (``--corpus``).

Everything is built shard by shard and mapped. One thread; queries one by one and in batches; all take turns in every round, and
medians are shown. Read the ratios.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import dense
from benchmarks.growth import SHARD, make_text, make_vectors
from benchmarks.measure import machine, markdown, median, report, size_mib, work_folder
from tamis.indexer.sparse.runs import Run, RunEntry, build_run
from tamis.indexer.sparse.storage import SparseRows, write_rows
from tamis.kernels import Postings, Queries, kernel_name, search
from tamis.kernels.dense import search_flat

DIMENSIONS, WINNERS = 81_920, 80
SPREAD = 0.75
"""Of the logarithm of a dimension's frequency; E[df²] / E[df]² = exp(0.75²) = 1.76."""
QUERIES, SCANNED, BLOCK, ENTRIES = 200, 40, 20_000, 8_000_000
"""Queries; those of them that the flat scan gets one by one; documents, and at most entries, that are drawn at once."""
MIB = 1 << 20


@dataclass(frozen=True)
class Engine:
    """Something that answers.

    Attributes:
        name: of its row.
        searched: bytes a document that a search reads from.
        stored: bytes a document with the rows that a part keeps besides; None where there are none.
        touched: postings, or vectors, a query.
        seconds: to build it.
        queries: how many it is asked one by one, and at once.
        singly: asks them one by one, for k results.
        batch: asks them at once.
    """

    name: str
    searched: float
    stored: float | None
    touched: float
    seconds: float
    queries: tuple[int, int]
    singly: Callable[[int], None]
    batch: Callable[[int], None]


def frequencies(random: np.random.Generator) -> np.ndarray[Any, Any]:
    """The distribution function that dimensions are drawn from."""
    shares = random.lognormal(0, SPREAD, DIMENSIONS)
    return np.asarray(np.cumsum(shares / shares.sum()))


def draw_sets(random: np.random.Generator, cumulated: np.ndarray[Any, Any], count: int, size: int) -> Any:
    """Draw sets: lengths and ascending dimensions. A set loses what is drawn twice, so that a few more are drawn."""
    drawn = int(size * (1 + size / DIMENSIONS)) + 1
    keys = np.minimum(np.searchsorted(cumulated, random.random((count, drawn))), DIMENSIONS - 1).astype(np.int32)
    keys.sort(axis=1)
    kept = np.ones(keys.shape, np.bool_)
    kept[:, 1:] = keys[:, 1:] != keys[:, :-1]
    return kept.sum(1), keys[kept]


def make_sets(size: int, per_document: int, per_query: int, seed: int, folder: Path) -> tuple[Postings, Queries, float]:
    """Build the run of a binary part, shard by shard; return it, queries, and the bytes of the rows that are kept besides."""
    random = np.random.default_rng(seed)
    cumulated = frequencies(random)
    shards, block = list[Path](), max(1, min(BLOCK, ENTRIES // per_document))
    per_shard = min(SHARD, max(block, 10 * ENTRIES // per_document // block * block))
    for first in range(0, size, per_shard):
        last = min(size, first + per_shard)
        drawn = [draw_sets(random, cumulated, min(block, last - i), per_document) for i in range(first, last, block)]
        shard = folder / f"shard-{len(shards)}"
        shard.mkdir(parents=True)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate([own for own, _ in drawn]))])
        write_rows(shard, SparseRows(offsets, np.concatenate([own for _, own in drawn]).astype(np.uint32), None), None)
        shards.append(shard)
    build_run(shards, folder / "run", binary=True)
    lengths, dims = draw_sets(random, cumulated, QUERIES, per_query)
    run = Run(folder / "run", RunEntry("run", 0, len(shards), size, 0))
    terms = run.terms(dims.astype(np.int64))
    held = terms >= 0
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(held)])[np.cumsum([0, *lengths])]
    return run.postings, Queries(offsets, terms[held]), sum(size_mib(shard) for shard in shards) * MIB


def single(queries: Queries, i: int) -> Queries:
    """One query of a batch."""
    span = slice(int(queries.offsets[i]), int(queries.offsets[i + 1]))
    offsets = np.array([0, span.stop - span.start])
    if queries.weights is None:
        return Queries(offsets, queries.terms[span])
    return Queries(offsets, queries.terms[span], queries.weights[span], queries.tables, queries.rows[span])


def of_postings(
    name: str, size: int, postings: Postings, queries: Queries, rows: float | None, seconds: float
) -> Engine:
    """An engine on the sparse kernel."""
    one_by_one = [single(queries, i) for i in range(len(queries))]

    def singly(k: int) -> None:
        for query in one_by_one:
            search(postings, query, k)

    searched = postings.nbytes / size
    touched = float(postings.frequencies(queries.terms).sum()) / len(queries)
    return Engine(
        name,
        searched,
        None if rows is None else searched + rows / size,
        touched,
        seconds,
        (len(queries), len(queries)),
        singly,
        lambda k: _ignore(search(postings, queries, k)),
    )


def of_vectors(vectors: Any, queries: Any, seconds: float) -> Engine:
    """The exact scan of a dense part."""

    def singly(k: int) -> None:
        for i in range(SCANNED):
            search_flat([vectors], queries[i : i + 1], k, threads=1)

    wide = vectors.shape[1] * vectors.itemsize
    return Engine(
        f"dense flat scan, {vectors.shape[1]} x float32",
        wide,
        None,
        len(vectors),
        seconds,
        (SCANNED, len(queries)),
        singly,
        lambda k: _ignore(search_flat([vectors], queries, k, threads=1)),
    )


def _ignore(_: object) -> None:
    pass


def build(size: int, sets: list[tuple[int, int]], seed: int, work: Path) -> list[Engine]:
    """Build all of them."""
    found = list[Engine]()

    def told(engine: Engine) -> None:
        found.append(engine)
        print(f"{engine.name}: made in {engine.seconds:.0f} s, peak {peak_mib():,.0f} MiB", flush=True)

    begun = time.perf_counter()
    postings, queries = make_text(size)
    told(of_postings("BM25", size, postings, queries, None, time.perf_counter() - begun))
    begun = time.perf_counter()
    (work / "impacts").mkdir()
    postings, queries = make_vectors(size, seed, work / "impacts")
    rows = MIB * sum(map(size_mib, (work / "impacts").glob("shard-*")))
    told(of_postings("SPLADE-like impacts", size, postings, queries, rows, time.perf_counter() - begun))
    for per_document, per_query in sets:
        begun = time.perf_counter()
        folder = work / f"sets-{per_document}-{per_query}"
        postings, queries, rows = make_sets(size, per_document, per_query, seed, folder)
        each, asked = postings.n_postings / size, len(queries.terms) / len(queries)
        name = f"UHD, {each:,.0f} of 81,920 a document, {asked:,.0f} a query"
        told(of_postings(name, size, postings, queries, rows, time.perf_counter() - begun))
    begun = time.perf_counter()
    vectors, wanted = dense.synthetic(work, size)
    told(of_vectors(vectors, wanted[:QUERIES], time.perf_counter() - begun))
    return found


def measure(engines: list[Engine], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Queries a second of every engine and way, once a round, in turns; the first round does not count."""
    rates: dict[str, dict[str, list[float]]] = {engine.name: {} for engine in engines}
    for number in range(rounds + 1):
        for engine in engines:
            for k in (10, 1000):
                for way, ask, count in (
                    ("one by one", engine.singly, engine.queries[0]),
                    ("batch", engine.batch, engine.queries[1]),
                ):
                    begun = time.perf_counter()
                    ask(k)
                    rate = count / (time.perf_counter() - begun)
                    if number:
                        rates[engine.name].setdefault(f"{way}, k={k}", []).append(rate)
    return rates


def describe(engines: list[Engine], rates: dict[str, dict[str, list[float]]]) -> str:
    """A table of medians, and one of ratios to the flat scan in the same round."""
    ways = list(next(iter(rates.values())))
    base = rates[engines[-1].name]
    rows, ratios = [], []
    for engine in engines:
        own = rates[engine.name]
        sizes = [f"{engine.searched:,.0f}", "–" if engine.stored is None else f"{engine.stored:,.0f}"]
        rows.append([engine.name, *sizes, f"{engine.touched:,.0f}", *(median(own[way]) for way in ways)])
        shares = [median([a / b for a, b in zip(own[way], base[way], strict=True)]) for way in ways]
        ratios.append([engine.name, *shares])
    columns = ["queries/s, medians", "bytes a document searched", "with rows", "postings a query", *ways]
    return f"{markdown(columns, rows)}\n\n{markdown(['times the flat scan', *ways], ratios)}"


def sizes_of_sets(corpus: Path, count: int) -> str:
    """What an untrained head makes of the first passages of a file, and of their beginnings as queries."""
    from tamis.data import open_corpus
    from tamis.encoders import uhd
    from tamis.encoders.base import Passage
    from tamis.encoders.checkpoints import find_checkpoint

    texts = []
    for document in open_corpus(str(corpus)):
        texts.append(document.text)
        if len(texts) == count:
            break
    encoder = uhd.create(find_checkpoint("minilm"), uhd.Recipe(dimensions=DIMENSIONS, winners=WINNERS), device="cpu")
    found = encoder.encode_passages([Passage("", text) for text in texts])
    asked = encoder.encode_queries([text[:40] for text in texts])
    counts = np.bincount(found.indices, minlength=DIMENSIONS)
    rows = []
    for name, vectors, how, own in (
        ("passages", found, encoder.formats[0], texts),
        ("their first 40 characters", asked, encoder.formats[1], [text[:40] for text in texts]),
    ):
        tokens = np.mean([len(ids) for ids in how.inputs(own).ids])
        active = np.diff(vectors.offsets)
        rows.append([name, float(tokens), float(active.mean()), float(active.mean() / (WINNERS * tokens))])
    owners = np.repeat(np.arange(len(texts)), np.diff(asked.offsets))
    own_sets = [set(found.indices[a:b].tolist()) for a, b in pairwise(found.offsets.tolist())]
    itself = [dimension in own_sets[owner] for owner, dimension in zip(owners, asked.indices.tolist(), strict=True)]
    met = (counts[asked.indices].sum() - sum(itself)) / (len(texts) - 1) / len(asked.indices)
    table = markdown(["", "tokens", "dimensions in the set", "of all winners"], rows)
    times = met / (len(found.indices) / len(texts) / DIMENSIONS)
    return (
        f"{len(texts)} texts of {corpus.name}, untrained head over MiniLM\n\n{table}\n\n"
        f"a query's dimensions are in {times:.2f} times as many other passages as all are"
    )


def peak_mib() -> float:
    """The most memory that this process had, mapped files included."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def main() -> None:
    made = argparse.ArgumentParser(description="UHD beside BM25, SPLADE and a dense scan.")
    made.add_argument("--documents", type=int, default=1_000_000)
    made.add_argument("--sets", default="160/32", help="D/Q, dimensions a document and a query; several with commas")
    made.add_argument("--seed", type=int, default=7)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument(
        "--corpus", type=Path, help="show the sets of an untrained head over this corpus, and measure nothing"
    )
    made.add_argument("--texts", type=int, default=120, help="how many texts of it (default %(default)s)")
    made.add_argument("--work", type=Path, help="where a temporary folder is made")
    made.add_argument("--json", type=Path)
    given = made.parse_args()
    if given.corpus is not None:
        report(sizes_of_sets(given.corpus, given.texts), {}, given.json)
        return
    sets = [(int(d), int(q)) for d, _, q in (one.partition("/") for one in given.sets.split(","))]
    with work_folder(given.work) as work:
        engines = build(given.documents, sets, given.seed, work)
        rates = measure(engines, given.rounds)
    text = f"{given.documents:,} documents, one thread, kernel {kernel_name()}, {given.rounds} rounds in turns"
    text += f"\n\n{describe(engines, rates)}\n\npeak {peak_mib():,.0f} MiB, mapped files included; {machine()}"
    sizes = {engine.name: [engine.searched, engine.stored, engine.touched, engine.seconds] for engine in engines}
    report(text, {"rates": rates, "sizes": sizes}, given.json)


if __name__ == "__main__":
    main()
