"""What a peer's process runs: ``python engines.py ENGINE FOLDER``, then one JSON request a line on standard input.

A request is [way, k, number of queries, answers wanted]; the answer is seconds, or the documents of every query. The first line
that is written is {"ways": …, "seconds": build time or null, "bytes": …}. It stands alone: the peers' environment need not hold
the project. Every engine runs as its own documentation says is fast.

Folders hold, for text, corpus/*.jsonl and queries.tsv (`benchmarks.zipf`); for vectors, data.npz (`benchmarks.sparse_peers`).
"""

# ruff: noqa: D102 - what a method does is said once, by Engine

from __future__ import annotations

import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

Search = Callable[[Any, int], list[list[int]]]
"""Queries and depth to document numbers; what is empty was not asked for."""


def size_of(folder: Path) -> int:
    if folder.is_file():
        return folder.stat().st_size
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    for file in sorted((folder / "corpus").glob("*.jsonl")):
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                document = json.loads(line)
                yield document["id"], document["contents"]


def text_queries(folder: Path) -> list[str]:
    return [line.split("\t")[1] for line in (folder / "queries.tsv").read_text("utf-8").splitlines()]


class Engine(ABC):
    """An engine over a collection: builds its index unless it is there, and searches."""

    def __init__(self, folder: Path, index: Path) -> None:
        self.folder, self.index = folder, index

    def build(self) -> None:  # noqa: B027 - some have nothing to make
        """Make the index."""

    def open(self) -> None:  # noqa: B027 - some are open when they are built
        """Open it."""

    def queries(self) -> list[Any]:
        """The queries in its own form."""
        return text_queries(self.folder)

    @abstractmethod
    def ways(self) -> dict[str, Search]:
        """How it searches, by name."""


class Bm25s(Engine):
    """bm25s with its numba backend, Lucene's formula."""

    def build(self) -> None:
        import bm25s

        tokens = bm25s.tokenize([text for _, text in texts(self.folder)], stopwords=None, show_progress=False)
        retriever = bm25s.BM25(method="lucene", k1=0.9, b=0.4, backend="numba")
        retriever.index(tokens, show_progress=False)
        retriever.save(str(self.index))

    def open(self) -> None:
        import bm25s

        self._bm25s = bm25s
        self._retriever = bm25s.BM25.load(str(self.index), mmap=False)
        self._retriever.backend = "numba"
        self._retriever.activate_numba_scorer()

    def ways(self) -> dict[str, Search]:
        def batch(threads: int) -> Search:
            def search(queries: Any, k: int) -> list[list[int]]:
                tokens = self._bm25s.tokenize(queries, stopwords=None, show_progress=False)
                found: Any = self._retriever.retrieve(tokens, k=k, show_progress=False, n_threads=threads)[0]
                return found

            return search

        one = batch(1)
        return {
            "one by one": lambda queries, k: [one([query], k)[0] for query in queries],
            "batch, 1 thread": one,
            "batch, 2 threads": batch(2),
        }


class Tantivy(Engine):
    """tantivy, searching only: document addresses, no ids (its k1 and b are fixed at 1.2 and 0.75)."""

    def build(self) -> None:
        import tantivy

        schema = tantivy.SchemaBuilder()
        schema.add_text_field("id", stored=True, tokenizer_name="raw")
        schema.add_text_field("c", stored=False, tokenizer_name="default", index_option="freq")
        self.index.mkdir()
        index = tantivy.Index(schema.build(), path=str(self.index))
        writer = index.writer(heap_size=1_000_000_000, num_threads=2)
        for name, text in texts(self.folder):
            writer.add_document(tantivy.Document(id=name, c=text))
        writer.commit()
        writer.wait_merging_threads()

    def open(self) -> None:
        import tantivy

        self._index = tantivy.Index.open(str(self.index))
        self._searcher = self._index.searcher()

    def ways(self) -> dict[str, Search]:
        from concurrent.futures import ThreadPoolExecutor

        def one(query: str, k: int) -> list[int]:
            self._searcher.search(self._index.parse_query(query, ["c"]), k)
            return []

        def two(queries: Any, k: int) -> list[list[int]]:
            with ThreadPoolExecutor(2) as pool:
                return list(pool.map(lambda query: one(query, k), queries))

        return {"one by one": lambda queries, k: [one(query, k) for query in queries], "batch, 2 threads": two}


class Pisa(Engine):
    """PISA through pyterrier-pisa."""

    algorithm = "block_max_wand"

    def build(self) -> None:
        self._made().index({"docno": name, "contents": text} for name, text in texts(self.folder))

    def _made(self) -> Any:
        from pyterrier_pisa import PisaIndex

        return PisaIndex(str(self.index), text_field="contents", stemmer="none", stops="none", threads=2)

    def open(self) -> None:
        self._pisa = self._made()

    def ways(self) -> dict[str, Search]:
        import pandas as pd

        def batch(threads: int) -> Search:
            made: dict[int, Any] = {}

            def search(queries: Any, k: int) -> list[list[int]]:
                if k not in made:
                    made[k] = self._pisa.bm25(
                        k1=0.9, b=0.4, num_results=k, threads=threads, query_algorithm=self.algorithm
                    )
                frame = pd.DataFrame({"qid": [str(i) for i in range(len(queries))], "query": queries})
                found = made[k].transform(frame)
                numbers = found["docno"].str[1:].astype(int)
                grouped = numbers.groupby(found["qid"].astype(int)).apply(list)
                return [grouped.get(i, []) for i in range(len(queries))]

            return search

        return {"batch, 1 thread": batch(1), "batch, 2 threads": batch(2)}


class PisaMaxScore(Pisa):
    """The same, MaxScore."""

    algorithm = "maxscore"


class Vectors(Engine):
    """An engine over sparse vectors."""

    def load(self) -> dict[str, Any]:
        import numpy as np

        return dict(np.load(self.folder / "data.npz"))

    def queries(self) -> list[Any]:
        data = self.load()
        ends = data["query_offsets"].tolist()
        pairs = pairwise(ends)
        return [(data["query_terms"][a:b].tolist(), data["query_weights"][a:b].tolist()) for a, b in pairs]

    def rows(self) -> Iterator[tuple[Any, Any]]:
        data = self.load()
        ends, terms, weights = data["offsets"].tolist(), data["terms"], data["weights"]
        for a, b in pairwise(ends):
            yield terms[a:b], weights[a:b]


class Seismic(Vectors):
    """pyseismic-lsr; the way names query_cut and heap_factor."""

    settings: tuple[tuple[int, float], ...] = ((5, 0.9), (8, 0.9), (10, 1.0), (10, 0.9), (10, 0.8), (15, 0.7))

    def build(self) -> None:
        import numpy as np
        from seismic import SeismicDataset, SeismicIndex, get_seismic_string

        names = np.array([str(i) for i in range(int(self.load()["dimensions"]))], dtype=get_seismic_string())
        dataset = SeismicDataset()
        for number, (terms, weights) in enumerate(self.rows()):
            dataset.add_document(str(number), names[terms], weights.astype(np.float32))
        self.index.mkdir()
        SeismicIndex.build_from_dataset(dataset, n_postings=3500).save(str(self.index / "index"))

    def open(self) -> None:
        import numpy as np
        from seismic import SeismicIndex, get_seismic_string

        self._kind = get_seismic_string()
        file = next(path for path in self.index.iterdir())
        self._seismic = SeismicIndex.load(str(file))
        self._names = np.array([str(i) for i in range(int(self.load()["dimensions"]))], dtype=self._kind)

    def queries(self) -> list[Any]:
        import numpy as np

        return [(self._names[terms], np.array(weights, np.float32)) for terms, weights in super().queries()]

    def ways(self) -> dict[str, Search]:
        def way(cut: int, factor: float) -> Search:
            def search(queries: Any, k: int) -> list[list[int]]:
                return [
                    [
                        int(hit[2])
                        for hit in self._seismic.search(
                            "q", terms, weights, k=k, query_cut=cut, heap_factor=factor, sorted=True
                        )
                    ]
                    for terms, weights in queries
                ]

            return search

        return {f"query_cut={cut} heap_factor={factor}": way(cut, factor) for cut, factor in self.settings}


class Bmp(Vectors):
    """BMP; weights of queries divided by 16, since it keeps 16-bit scores."""

    def build(self) -> None:
        import bmp

        writer = bmp.Indexer(str(self.index), bsize=32, compress_range=True)
        for number, (terms, weights) in enumerate(self.rows()):
            vector = {str(t): int(w) for t, w in zip(terms.tolist(), weights.tolist(), strict=True)}
            writer.add_document(str(number), vector)
        writer.finish()

    def open(self) -> None:
        import bmp

        self._bmp = bmp.Searcher(str(self.index))

    def queries(self) -> list[Any]:
        return [
            {str(t): max(1.0, float(round(w / 16))) for t, w in zip(*query, strict=True)} for query in super().queries()
        ]

    def ways(self) -> dict[str, Search]:
        def way(alpha: float, beta: float) -> Search:
            def search(queries: Any, k: int) -> list[list[int]]:
                return [[int(x) for x in self._bmp.search(query, k=k, alpha=alpha, beta=beta)[0]] for query in queries]

            return search

        return {"alpha=1 beta=1": way(1.0, 1.0), "alpha=0.9 beta=1": way(0.9, 1.0), "alpha=0.8 beta=0.8": way(0.8, 0.8)}


class Scipy(Vectors):
    """A sparse product, one query at a time, and a partial sort."""

    def open(self) -> None:
        import numpy as np
        from scipy import sparse

        data = self.load()
        shape = (len(data["offsets"]) - 1, int(data["dimensions"]))
        rows = sparse.csr_matrix((data["weights"].astype(np.float32), data["terms"], data["offsets"]), shape)
        self._matrix = rows.T.tocsr()

    def ways(self) -> dict[str, Search]:
        import numpy as np
        from scipy import sparse

        def one(query: Any, k: int) -> list[int]:
            terms, weights = query
            vector = sparse.csr_matrix(
                (np.array(weights, np.float32), terms, [0, len(terms)]), (1, self._matrix.shape[0])
            )
            found = vector @ self._matrix
            best = np.argpartition(-found.data, min(k, len(found.data)) - 1)[:k]
            order = best[np.lexsort((found.indices[best], -found.data[best]))]
            numbers: list[int] = found.indices[order].tolist()
            return numbers

        return {"one by one": lambda queries, k: [one(query, k) for query in queries]}


class PisaImpacts(Vectors):
    """PISA's quantised scoring of given weights."""

    def _made(self) -> Any:
        from pyterrier_pisa import PisaIndex

        return PisaIndex(str(self.index), stemmer="none", stops="none", threads=2)

    def build(self) -> None:
        documents = (
            {
                "docno": str(n),
                "toks": {f"t{t}": float(w) for t, w in zip(terms.tolist(), weights.tolist(), strict=True)},
            }
            for n, (terms, weights) in enumerate(self.rows())
        )
        self._made().toks_indexer(scale=1.0).index(documents)

    def open(self) -> None:
        self._pisa = self._made()

    def ways(self) -> dict[str, Search]:
        import pandas as pd

        made: dict[tuple[int, int], Any] = {}

        def batch(threads: int) -> Search:
            def search(queries: Any, k: int) -> list[list[int]]:
                if (k, threads) not in made:
                    made[k, threads] = self._pisa.quantized(
                        num_results=k, threads=threads, query_algorithm="maxscore", query_weighted=True
                    )
                toks = [{f"t{t}": float(w) for t, w in zip(*query, strict=True)} for query in queries]
                frame = pd.DataFrame({"qid": [str(i) for i in range(len(queries))], "query_toks": toks})
                found = made[k, threads].transform(frame)
                grouped = found["docno"].astype(int).groupby(found["qid"].astype(int)).apply(list)
                return [grouped.get(i, []) for i in range(len(queries))]

            return search

        return {"batch, 1 thread": batch(1), "batch, 2 threads": batch(2)}


ENGINES: dict[str, type[Engine]] = {
    "bm25s": Bm25s,
    "tantivy": Tantivy,
    "pisa": Pisa,
    "pisa-maxscore": PisaMaxScore,
    "seismic": Seismic,
    "bmp": Bmp,
    "scipy": Scipy,
    "pisa-impacts": PisaImpacts,
}
SHARED_INDEX = {"pisa-maxscore": "pisa"}


def serve(engine: Engine) -> None:
    """Build the index if it is not there, open it, and answer requests."""
    out = os.fdopen(os.dup(1), "w")  # engines print of their own accord: that goes to standard error
    os.dup2(2, 1)
    card = engine.index.with_name(f"{engine.index.name}.seconds")  # so that a kept index remembers what it took
    if not engine.index.exists():
        begun = time.perf_counter()
        engine.build()
        card.write_text(repr(time.perf_counter() - begun), "ascii")
    seconds = float(card.read_text("ascii")) if card.exists() else None
    engine.open()
    queries, ways = engine.queries(), engine.ways()
    print(json.dumps({"ways": list(ways), "seconds": seconds, "bytes": size_of(engine.index)}), file=out, flush=True)
    for line in sys.stdin:
        way, k, count, wanted = json.loads(line)
        begun = time.perf_counter()
        found = ways[way](queries[:count], k)
        taken = time.perf_counter() - begun
        answer = [[int(doc) for doc in docs] for docs in found] if wanted else taken
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    chosen, where = sys.argv[1], Path(sys.argv[2])
    serve(ENGINES[chosen](where, where / f"{SHARED_INDEX.get(chosen, chosen)}-index"))
