"""BM25 against its peers: Tamis, Lucene (Anserini's SimpleSearcher, and bare), bm25s, tantivy and PISA, in one run.

    python -m benchmarks.bm25_peers --size 1000000 --peers-python peers/bin/python

`--peers-python` is the interpreter of an environment with `benchmarks/peers/requirements.txt`; engines that it lacks are left
out and named. Tamis, SimpleSearcher, bare Lucene (through Tamis's bridge, ``engine=lucene``) and PISA end with external ids and
scores in Python; bm25s and tantivy with numbers or addresses of documents, beside which stands Tamis ending likewise, as
`Index.rank` does. tantivy's k1 and b are fixed at 1.2 and 0.75. Engines live all the time in processes of their own and take
turns, way by way, depth by depth.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmarks.measure import collection, index_of, machine, markdown, median, parser, report, size_mib, work_folder
from benchmarks.peers.process import PeerFailedError, PeerProcess
from benchmarks.searching import DEEP_QUERIES, DEPTHS, Peer, read_queries

WAYS = ("one by one", "batch, 1 thread", "batch, 2 threads")
PEERS = ("bm25s", "tantivy", "pisa", "pisa-maxscore")
OURS, NUMBERS = "Tamis", "Tamis, numbers"
NUMBERED = ("bm25s", "tantivy")
"""Peers that end with numbers."""
COMPARED = 20


class Engine(Protocol):
    """One engine."""

    name: str
    ways: list[str]

    def rate(self, way: str, k: int, count: int) -> float:
        """Queries a second over the first `count` queries."""

    def answers(self, way: str, k: int, count: int) -> list[list[int]]:
        """Document numbers found."""

    def close(self) -> None:
        """End it."""


class Own:
    """Tamis, or Lucene, as `benchmarks.searching` runs them."""

    def __init__(self, name: str, engine: str, index: Path, queries: Path) -> None:
        self.name, self._peer = name, Peer(engine, index, queries)
        self.ways = [way for way in WAYS if way in self._peer.ways]

    def rate(self, way: str, k: int, count: int) -> float:
        """See `Engine`; the peer knows how many queries."""
        return float(self._peer.ask(way, k))

    def answers(self, way: str, k: int, count: int) -> list[list[int]]:
        """See `Engine`."""
        found = self._peer.ask(way, k, answers=True)
        return [[int(name[1:]) for name, _ in hits] for hits in found]

    def close(self) -> None:
        """See `Engine`."""
        self._peer.close()


def start_peers(python: str, names: Sequence[str], folder: Path) -> tuple[list[PeerProcess], list[str]]:
    """Start the peers that are there; return them, and what became of the others."""
    started, failed = list[PeerProcess](), list[str]()
    for name in names:
        try:
            started.append(PeerProcess.of_engine(python, name, folder))
        except PeerFailedError as error:
            failed.append(str(error))
    return started, failed


def measure(engines: Sequence[Engine], count: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Let the engines take turns; the first round warms up and does not count."""
    rates: dict[str, dict[str, list[float]]] = {engine.name: {} for engine in engines}
    for number in range(rounds + 1):
        for way, k in itertools.product(WAYS, DEPTHS):
            for engine in engines if number % 2 else reversed(engines):
                if way in engine.ways:
                    rate = engine.rate(way, k, count if k < 100 else min(count, DEEP_QUERIES))
                    if number:
                        rates[engine.name].setdefault(f"{way}, k={k}", []).append(rate)
    return rates


def describe(rates: dict[str, dict[str, list[float]]], overlap: dict[str, float], cards: dict[str, str]) -> str:
    """The figures as Markdown, and the ratios of Tamis to the best peer, as medians over the rounds."""
    columns = [f"{way}, k={k}" for k in DEPTHS for way in WAYS]
    rows: list[list[Any]] = []
    for name, own in rates.items():
        figures = [median(own[column]) if column in own else "–" for column in columns]
        rows.append([name, *figures, overlap.get(name, "–"), cards.get(name, "–")])
    everyone = [name for name in rates if name not in (OURS, NUMBERS)]
    named = [name for name in everyone if name not in NUMBERED]
    for ours, title, peers in (
        (OURS, "Tamis / best peer", everyone),
        (OURS, "Tamis / best that gives ids", named),
        (NUMBERS, "Tamis, numbers / best peer", everyone),
    ):
        rows.append([f"**{title}**", *(ratio(rates, ours, peers, column) for column in columns), "", ""])
    return markdown(["queries/s", *columns, "top 10 as Lucene's", "index MiB, build s"], rows)


def ratio(rates: dict[str, dict[str, list[float]]], ours: str, peers: Sequence[str], column: str) -> str:
    """Return the ratio of our rate to that of the fastest of some peers, and which that is."""
    others = {name: median(rates[name][column]) for name in peers if column in rates[name]}
    best = max(others, key=lambda name: others[name])
    pairs = zip(rates[ours][column], rates[best][column], strict=True)
    return f"**{median([one / other for one, other in pairs]):.1f}** ({best})"


def main() -> None:
    made = parser("BM25 against its peers.", rounds=3)
    made.add_argument("--peers-python", default=sys.executable, help="interpreter of the peers' environment")
    given = made.parse_args()
    with work_folder(given.work) as work:
        collected = collection(work, given.size, given.seed)
        index, queries = index_of(work, collected, given.threads), collected / "queries.tsv"
        peers, failed = start_peers(given.peers_python, PEERS, collected)
        cards = {p.name: f"{p.bytes / (1 << 20):,.0f}" + (f", {p.seconds:.0f}" if p.seconds else "") for p in peers}
        cards[OURS] = f"{size_mib(index / 'parts'):,.0f} (postings)"
        anserini = Own("SimpleSearcher", "anserini", index, queries)
        ours = [Own(OURS, "tamis", index, queries), Own(NUMBERS, "tamis-numbers", index, queries)]
        engines: list[Engine] = [*ours, anserini, Own("Lucene, bare", "lucene", index, queries), *peers]
        try:
            lucene = anserini.answers("one by one", 10, COMPARED)
            overlap = {}
            for engine in engines:
                found = engine.answers(engine.ways[0], 10, COMPARED)[:COMPARED]
                shared = [len(set(a) & set(b)) / max(len(b), 1) for a, b in zip(found, lucene, strict=True)]
                if any(map(len, found)):
                    overlap[engine.name] = round(sum(shared) / len(shared), 3)
            rates = measure(engines, len(read_queries(queries)), given.rounds)
        finally:
            for engine in engines:
                engine.close()
    notes = "".join(f"\nleft out: {line}" for line in failed)
    text = f"{describe(rates, overlap, cards)}\n{notes}\n\n{machine()}"
    report(text, {"queries_per_second": rates, "overlap": overlap}, given.json)


if __name__ == "__main__":
    main()
