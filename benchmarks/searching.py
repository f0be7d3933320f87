"""Searching: Tamis against Anserini's SimpleSearcher, on the same Lucene index, each in a warmed-up process of its own.

Both sides end with external ids and scores in Python, as pyserini users have them: SimpleSearcher's hits are read one by one
through JPype (pyserini crosses its bridge as often), ours come from `Index.rank`. The row "search only" leaves
SimpleSearcher's hits in Java. The processes take turns; a ratio is the median over the rounds.

    python -m benchmarks.searching --size 1000000
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import (
    PYTHON,
    ask,
    collection,
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
_WARM_UP, _COMPARED = 300, 20

Queries = list[tuple[str, str]]
Answers = list[list[tuple[str, float]]]
Search = Callable[[Queries, int], Any]


def read_queries(path: Path) -> Queries:
    """Read id and text of every query."""
    pairs = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return [(query_id, text) for query_id, text in pairs]


def tamis_searches(folder: str) -> Iterator[tuple[str, Search]]:
    """Ours: one query a call, and batches over one and two threads."""
    import tamis

    def batch(index: Any) -> Search:
        def search(queries: Queries, k: int) -> Answers:
            ranking = index.rank(queries, k)
            ids, scores = ranking.space.ids(ranking.rows), ranking.scores.tolist()
            places = ranking.offsets.tolist()
            return [list(zip(ids[a:b], scores[a:b], strict=True)) for a, b in itertools.pairwise(places)]

        return search

    with tamis.open(folder, threads=1) as index:
        every = batch(index)
        yield "one by one", lambda queries, k: [every([query], k)[0] for query in queries]
        yield "batch, 1 thread", every
    with tamis.open(folder, threads=2) as index:
        yield "batch, 2 threads", batch(index)


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


ENGINES = {"tamis": tamis_searches, "anserini": anserini_searches}


def measure(engine: str, folder: str, queries: Queries) -> dict[str, Any]:
    """Time every way to search at every depth once, after warming up; runs in the engine's process."""
    rates: dict[str, float] = {}
    answers: Any = None
    for way, search in ENGINES[engine](folder):
        for k in DEPTHS:
            asked = queries if k < 100 else queries[:DEEP_QUERIES]
            search(asked[:_WARM_UP], k)
            start = time.perf_counter()
            search(asked, k)
            rates[f"{way}, k={k}"] = len(asked) / (time.perf_counter() - start)
        answers = answers or search(queries[:_COMPARED], 10)
    return {"rates": rates, "answers": answers}


def compare(index: Path, queries: Path, *, rounds: int) -> dict[str, Any]:
    """Let the engines take turns and return their rates (queries a second) and the ratios."""
    rates: dict[str, dict[str, list[float]]] = {engine: {} for engine in ENGINES}
    for number in range(rounds):
        answers = {}
        for engine in sorted(ENGINES, reverse=number % 2 == 0):
            answer = ask([PYTHON, "-m", "benchmarks.searching", "--engine", engine, index, queries])
            answers[engine] = answer["answers"]
            for way, rate in answer["rates"].items():
                rates[engine].setdefault(way, []).append(rate)
        check_same_scores(answers)
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
        print(json.dumps(measure(engine, index, read_queries(Path(queries)))))
        return
    given = parser("Searching speed against Anserini's SimpleSearcher.", rounds=3).parse_args()
    with work_folder(given.work) as work:
        collected = collection(work, given.size, given.seed)
        index = index_of(work, collected, given.threads)
        figures = compare(index, collected / "queries.tsv", rounds=given.rounds)
    report(f"{machine()}\n\n{describe(figures)}", figures, given.json)


if __name__ == "__main__":
    main()
