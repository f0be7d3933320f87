"""Searching: Tamis against Anserini's SimpleSearcher, on the same Lucene index, each in a warmed-up process of its own.

Both sides end with external ids and scores in Python, as pyserini users have them: SimpleSearcher's hits are read one by one
through JPype (pyserini crosses its bridge as often), ours come from `Index.rank`. The row "search only" leaves
SimpleSearcher's hits in Java. Both processes live all the time and take turns way by way and depth by depth, one idle while the
other works, so that a noisy neighbour meets both; a ratio is the median over the rounds.

    python -m benchmarks.searching --size 1000000
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import (
    PYTHON,
    collection,
    environment,
    index_of,
    machine,
    markdown,
    median,
    parser,
    report,
    work_folder,
)

DEPTHS = (10, 1000)
DEEP_QUERIES = 300
"""Queries at k=1000; at k=10 all are asked."""
_COMPARED = 20

Queries = list[tuple[str, str]]
Answers = list[list[tuple[str, float]]]
Search = Callable[[Queries, int], Any]


def read_queries(path: Path) -> Queries:
    """Read id and text of every query."""
    pairs = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return [(query_id, text) for query_id, text in pairs]


def tamis_searches(folder: str, pipeline: str = "bm25") -> Iterator[tuple[str, Search]]:
    """Ours: one query a call, and batches over one and two threads."""
    import tamis

    def batch(index: Any) -> Search:
        def search(queries: Queries, k: int) -> Answers:
            ranking = index.rank(queries, k, pipeline=pipeline)
            ids, scores = ranking.space.ids(ranking.rows), ranking.scores.tolist()
            places = ranking.offsets.tolist()
            return [list(zip(ids[a:b], scores[a:b], strict=True)) for a, b in itertools.pairwise(places)]

        return search

    one, two = batch(tamis.open(folder, threads=1)), batch(tamis.open(folder, threads=2))
    yield "one by one", lambda queries, k: [one([query], k)[0] for query in queries]
    yield "batch, 1 thread", one
    yield "batch, 2 threads", two


def anserini_searches(folder: str) -> Iterator[tuple[str, Search]]:
    """SimpleSearcher in the same three ways, and without taking its hits out of Java."""
    from tamis.indexer.lucene.jvm import java, start

    start()
    searcher = java("io.anserini.search.SimpleSearcher")(folder + "/lucene")
    searcher.set_bm25(0.9, 0.4)

    def hits(found: Any) -> list[tuple[str, float]]:
        return [(str(hit.docid), float(hit.score)) for hit in found]

    def batch(threads: int) -> Search:
        def search(queries: Queries, k: int) -> Answers:
            texts, ids = java("java.util.ArrayList")(), java("java.util.ArrayList")()
            for query_id, text in queries:
                ids.add(query_id)
                texts.add(text)
            found = searcher.batch_search(texts, ids, k, threads)
            return [hits(found.get(query_id)) for query_id, _ in queries]

        return search

    yield "one by one", lambda queries, k: [hits(searcher.search(text, k)) for _, text in queries]
    yield "batch, 1 thread", batch(1)
    yield "batch, 2 threads", batch(2)
    yield "search only", lambda queries, k: [searcher.search(text, k) for _, text in queries] and None


def number_searches(folder: str) -> Iterator[tuple[str, Search]]:
    """Ours, ending as `Index.rank` does: with the numbers of rows, and scores, in arrays."""
    import tamis

    def batch(index: Any) -> Search:
        def search(queries: Queries, k: int) -> Answers:
            index.rank(queries, k)
            return [[] for _ in queries]

        return search

    one, two = batch(tamis.open(folder, threads=1)), batch(tamis.open(folder, threads=2))
    yield "one by one", lambda queries, k: [one([query], k)[0] for query in queries]
    yield "batch, 1 thread", one
    yield "batch, 2 threads", two


def lucene_searches(folder: str) -> Iterator[tuple[str, Search]]:
    """Lucene through our bridge, without Anserini's searcher."""
    return tamis_searches(folder, "bm25?engine=lucene")


ENGINES = {"tamis": tamis_searches, "anserini": anserini_searches}
"""What `compare` compares."""
SERVED = {**ENGINES, "tamis-numbers": number_searches, "lucene": lucene_searches}


def serve(engine: str, folder: str, queries: Queries) -> None:
    """Answer requests from standard input, one JSON line each: how to search, how deep, whether the answers are wanted."""
    ways = dict(SERVED[engine](folder))
    print(json.dumps(list(ways)), flush=True)
    for line in sys.stdin:
        way, k, wanted = json.loads(line)
        asked = queries[: _COMPARED if wanted else len(queries) if k < 100 else DEEP_QUERIES]
        start = time.perf_counter()
        answers = ways[way](asked, k)
        rate = len(asked) / (time.perf_counter() - start)
        print(json.dumps(answers if wanted else rate), flush=True)


class Peer:
    """One engine in its own process."""

    def __init__(self, engine: str, index: Path, queries: Path) -> None:
        command = [PYTHON, "-m", "benchmarks.searching", "--engine", engine, str(index), str(queries)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )
        self.ways: list[str] = self._answer()

    def ask(self, way: str, k: int, *, answers: bool = False) -> Any:
        """Let it search; return queries a second, or the answers of the first few queries."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([way, k, answers]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"the process of {self._process.args} ended early")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def compare(index: Path, queries: Path, *, rounds: int) -> dict[str, Any]:
    """Let the engines take turns and return their rates (queries a second) and the ratios."""
    peers = {engine: Peer(engine, index, queries) for engine in ENGINES}
    try:
        check_same_scores({engine: peer.ask("one by one", 10, answers=True) for engine, peer in peers.items()})
        rates: dict[str, dict[str, list[float]]] = {engine: {} for engine in ENGINES}
        for number in range(rounds + 1):  # the first round warms up and does not count
            for way, k in itertools.product(peers["anserini"].ways, DEPTHS):
                for engine in sorted(ENGINES, reverse=number % 2 == 0):
                    if way in peers[engine].ways:
                        rate = peers[engine].ask(way, k)
                        if number:
                            rates[engine].setdefault(f"{way}, k={k}", []).append(rate)
    finally:
        for peer in peers.values():
            peer.close()
    ratios = {
        way: median([ours / theirs for ours, theirs in zip(rates["tamis"][way], rates["anserini"][way], strict=True)])
        for way in rates["tamis"]
    }
    return {"queries_per_second": rates, "ratio": ratios}


def check_same_scores(answers: dict[str, Answers]) -> None:
    """Stop if the engines did different work: the scores must agree rank by rank (ids may differ where scores tie)."""
    for ours, theirs in zip(answers["tamis"], answers["anserini"], strict=True):
        if len(ours) != len(theirs) or any(abs(a[1] - b[1]) > 1e-4 for a, b in zip(ours, theirs, strict=True)):
            sys.exit(f"the engines disagree: {ours} and {theirs}")


def describe(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rates = figures["queries_per_second"]
    rows = []
    for way, theirs in rates["anserini"].items():
        ours = rates["tamis"].get(way)
        ratio = f"{figures['ratio'][way]:.1f}" if ours else "–"
        rows.append([way, median(ours) if ours else "–", median(theirs), ratio])
    table = markdown(["queries a second", "Tamis", "SimpleSearcher", "ratio"], rows)
    return f"{table}\n\nWanted: a ratio of at least 5 at k=1000."


def main() -> None:
    if sys.argv[1:2] == ["--engine"]:
        engine, index, queries = sys.argv[2:5]
        serve(engine, index, read_queries(Path(queries)))
        return
    given = parser("Searching speed against Anserini's SimpleSearcher.", rounds=3).parse_args()
    with work_folder(given.work) as work:
        collected = collection(work, given.size, given.seed)
        index = index_of(work, collected, given.threads)
        figures = compare(index, collected / "queries.tsv", rounds=given.rounds)
    report(f"{machine()}\n\n{describe(figures)}", figures, given.json)


if __name__ == "__main__":
    main()
