"""Learned sparse and binary retrieval against peers: Lucene's impact index, PISA, scipy, BMP and Seismic, in one run.

    python -m benchmarks.sparse_peers --size 300000 --peers-python peers/bin/python
    python -m benchmarks.sparse_peers --vectors docs.jsonl.gz --queries topics.tsv.gz --peers-python peers/bin/python

Every engine answers on one thread, one query at a time (PISA takes batches only). Recall is the share of an engine's first ten
whose exact score reaches the exact tenth, so that ties count. `--independent` and `--binary` choose other data, `--engines` some
of the peers. Our approximate rows are those of the options ``query_cut`` and ``candidates``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import PYTHON, machine, markdown, median, report, size_mib
from benchmarks.peers.process import PeerFailedError, PeerProcess
from benchmarks.splade_like import Data, make_data, read_data
from tamis.encoders.base import SparseVectors
from tamis.encoders.sparse_rows import Pruning
from tamis.indexer.sparse.part import rescored
from tamis.indexer.sparse.runs import Run, RunEntry, build_run
from tamis.indexer.sparse.storage import CODES, SparseRows, open_rows, write_rows
from tamis.kernels import DocumentRows, Queries, RowShard, search

ENGINES = ("scipy", "lucene-impact", "pisa-impacts", "bmp", "seismic")
APPROXIMATE = ((12, 100), (14, 100), (16, 100), (16, 200), (20, 100))
"""Our approximate settings: query_cut, candidates."""
JUDGED = 200
SECONDS = 2.0
"""About how long a peer is measured in a round."""


class Exact:
    """Exact scores, to judge by."""

    def __init__(self, data: Data, count: int) -> None:
        from scipy import sparse

        shape = (len(data.offsets) - 1, data.dimensions)
        self._rows = sparse.csr_matrix((data.weights.astype(np.float64), data.terms, data.offsets), shape)
        self._queries = data.queries[:count]
        self._tenth = []
        for terms, weights in self._queries:
            scores = self._scores(terms, weights)
            self._tenth.append(float(np.partition(scores, -10)[-10]))

    def _scores(self, terms: Any, weights: Any) -> Any:
        vector = np.zeros(self._rows.shape[1])
        vector[terms] = weights
        return self._rows @ vector

    def recall(self, found: list[list[int]]) -> float:
        """Return the mean share of ten answers that reach the exact tenth score."""
        shares = []
        for docs, (terms, weights), tenth in zip(found, self._queries, self._tenth, strict=False):
            vector = np.zeros(self._rows.shape[1])
            vector[terms] = weights
            shares.append(sum(self._rows[list(set(docs[:10]))] @ vector >= tenth - 1e-6) / 10 if docs else 0.0)
        return float(np.mean(shares))


class Ours:
    """A run built as a part builds it, searched as a part searches it."""

    def __init__(self, data: Data, folder: Path) -> None:
        shard = folder / "shard"
        shard.mkdir()
        rows = SparseRows(data.offsets, data.terms, None if data.binary else data.weights)
        write_rows(shard, rows, None if data.binary else CODES)
        begun = time.perf_counter()
        build_run([shard], folder / "run", binary=data.binary)
        self.seconds = time.perf_counter() - begun
        codes = 0 if data.binary else int(data.weights.max()) + 1
        self._run = Run(folder / "run", RunEntry("run", 0, 1, len(data.offsets) - 1, codes))
        self.mib = size_mib(folder / "run")
        self.mib_with_rows = self.mib + size_mib(shard)
        held = open_rows(shard, None if data.binary else CODES)
        self._rows = DocumentRows(self._run.dims, [RowShard(held.offsets, held.dimensions, held.values)])
        self._data, self._codes = data, codes

    def _queries(self, first: int, last: int, top: int | None) -> Queries:
        some = self._data.queries[first:last]
        offsets = np.cumsum([0, *(len(terms) for terms, _ in some)])
        vectors = SparseVectors(
            offsets,
            np.concatenate([terms for terms, _ in some]).astype(np.int32),
            np.concatenate([weights for _, weights in some]).astype(np.float32),
            0,
        )
        cut = Pruning(top)(vectors)
        terms = self._run.terms(cut.indices.astype(np.int64))
        if not self._codes:
            return Queries(cut.offsets, terms)
        table = np.arange(self._codes, dtype=np.float32)[None]
        return Queries(cut.offsets, terms, cut.values, table, np.zeros(len(terms), np.int32))

    def exactly(self, k: int, count: int) -> Callable[[], list[list[int]]]:
        """One by one, exactly."""
        single = [self._queries(i, i + 1, None) for i in range(count)]
        return lambda: [search(self._run.postings, query, k)[0][0].tolist() for query in single]

    def batch(self, k: int, count: int, threads: int) -> Callable[[], list[list[int]]]:
        """All at once, exactly."""
        every = self._queries(0, count, None)

        def go() -> list[list[int]]:
            search(self._run.postings, every, k, threads=threads)
            return []

        return go

    def nearly(self, k: int, count: int, top: int, candidates: int) -> Callable[[], list[list[int]]]:
        """One by one, from candidates."""
        pairs = [(self._queries(i, i + 1, top), self._queries(i, i + 1, None)) for i in range(count)]
        run, rows = self._run, self._rows

        def one(cut: Queries, query: Queries) -> list[int]:
            proposed = search(run.postings, cut, max(k, candidates), rounding="units")
            docs: list[int] = rescored(run.postings, query, proposed, k, rows, 1)[0][0].tolist()
            return docs

        return lambda: [one(cut, query) for cut, query in pairs]


def rate_of(work: Callable[[], Any], count: int) -> float:
    """Queries a second of a call."""
    begun = time.perf_counter()
    work()
    return count / (time.perf_counter() - begun)


def start(name: str, python: str, folder: Path) -> PeerProcess:
    """Start a peer."""
    if name == "lucene-impact":
        return PeerProcess([PYTHON, "-m", "benchmarks.peers.lucene_impact", str(folder)], name)
    return PeerProcess.of_engine(python, name, folder)


def main() -> None:
    made = argparse.ArgumentParser(description="Sparse vectors against peers.")
    made.add_argument("--size", type=int, default=300_000)
    made.add_argument("--seed", type=int, default=7)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--binary", action="store_true")
    made.add_argument("--independent", action="store_true")
    made.add_argument("--vectors", type=Path, help="JSON lines in place of synthetic vectors")
    made.add_argument("--queries", type=Path, help="pre-tokenised topics to go with them")
    made.add_argument("--engines", default=",".join(ENGINES))
    made.add_argument("--work", type=Path, help="folder for the peers' indexes, kept and reused")
    made.add_argument("--peers-python", default=sys.executable)
    made.add_argument("--json", type=Path)
    given = made.parse_args()
    if given.vectors:
        data, kind = read_data(given.vectors, given.queries), given.vectors.name
    else:
        data = make_data(given.size, given.seed, binary=given.binary, independent=given.independent)
        kind = ("binary" if given.binary else "SPLADE-like") + (", independent" if given.independent else "")
    with tempfile.TemporaryDirectory(prefix="tamis-benchmarks-") as temporary:
        rows, figures = compare(data, given, Path(temporary))
    columns = ["", "k=10, queries/s", "k=1000", "recall@10", "MiB", "build s", "Tamis exact / it, k=10"]
    text = f"{kind}: {len(data.offsets) - 1:,} documents, {len(data.terms) / 1e6:.1f} M entries, {len(data.queries)} queries"
    report(f"{text}\n\n{markdown(columns, rows)}\n\n{machine()}", figures, given.json)


def compare(data: Data, given: Any, temporary: Path) -> tuple[list[list[Any]], dict[str, Any]]:
    """Measure all engines in turns; return table rows and figures."""
    folder = given.work or temporary / "peers"
    folder.mkdir(parents=True, exist_ok=True)
    data.save(folder)
    count = len(data.queries)
    exact = Exact(data, min(JUDGED, count))
    ours = Ours(data, temporary)
    ways: dict[str, dict[int, Callable[[], Any]]] = {
        "Tamis, one by one": {k: ours.exactly(k, count) for k in (10, 1000)},
        "Tamis, batch, 1 thread": {k: ours.batch(k, count, 1) for k in (10, 1000)},
        "Tamis, batch, 2 threads": {k: ours.batch(k, count, 2) for k in (10, 1000)},
    }
    for top, candidates in () if data.binary else APPROXIMATE:
        ways[f"Tamis, approximate, query_cut={top} candidates={candidates}"] = {
            10: ours.nearly(10, count, top, candidates)
        }
    cards: dict[str, tuple[Any, Any, Any]] = {}
    for name, own in ways.items():
        recall = exact.recall(own[10]()[:JUDGED]) if "batch" not in name else "–"
        mib = ours.mib_with_rows if "approximate" in name else ours.mib
        cards[name] = (recall if recall == "–" else round(float(recall), 4), mib, ours.seconds)
    rates: dict[str, dict[int, list[float]]] = {name: {k: [] for k in own} for name, own in ways.items()}
    for peer_name in given.engines.split(","):
        try:
            peer = start(peer_name, given.peers_python, folder)
        except PeerFailedError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        for way in [way for way in peer.ways if "2 threads" not in way]:
            name = f"{peer_name}, {way}"
            cards[name] = (
                round(exact.recall(peer.answers(way, 10, JUDGED)), 4),
                peer.bytes / (1 << 20),
                peer.seconds or "–",
            )
            rates[name] = {}
            for k in (10, 1000):
                few = max(10, min(count, int(SECONDS * peer.rate(way, k, 10))))
                rates[name][k] = [peer.rate(way, k, few) for _ in range(given.rounds)]
        peer.close()
        for name, own in ways.items():  # ours again, beside each peer
            for k, work in own.items():
                rates[name][k].append(rate_of(work, count))
    base = {way: median(rates[f"Tamis, {way}"][10]) for way in ("one by one", "batch, 1 thread")}
    rows = []
    for name, own in rates.items():
        medians = [median(own[k]) if own.get(k) else "–" for k in (10, 1000)]
        ours_alike = base["batch, 1 thread" if "batch" in name else "one by one"]
        ratio = ours_alike / medians[0] if isinstance(medians[0], float) and not name.startswith("Tamis") else "–"
        rows.append([name, *medians, *cards[name], ratio])
    return rows, {"rates": rates, "cards": cards}


if __name__ == "__main__":
    main()
