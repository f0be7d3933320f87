"""A sparse part of one generation, opened."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import SparseVectors
from tamis.encoders.sparse_rows import Pruning
from tamis.errors import CorruptIndexError
from tamis.indexer.documents import DocumentStore
from tamis.indexer.encoded.entry import SHARED, EncodedEntry
from tamis.indexer.encoded.queries import QUERY
from tamis.indexer.positions import Bitmaps, Positions
from tamis.indexer.sparse.kind import NAMES
from tamis.indexer.sparse.levels import Levels
from tamis.indexer.sparse.runs import Run, RunEntry
from tamis.indexer.sparse.storage import CODES, SparseRows, open_rows
from tamis.kernels import DocumentRows, Hits, Postings, Queries, RowShard, score, search
from tamis.kernels.searching import merge_hits

PROPOSED_FROM = 1 << 14
"""Rows of a run from which on proposing candidates is quicker than an exact search."""


@dataclass(frozen=True, slots=True)
class SearchHow:
    """How to search.

    Attributes:
        candidates: of an approximate search: how many documents are proposed a query, and then scored exactly; None searches
            exactly. Small runs are searched exactly whatever it is.
        cut: how many weights of a query propose them, the largest; None: all.
        deadline: a time of `time.monotonic`; see `tamis.kernels.search`.
    """

    candidates: int | None = None
    cut: int | None = None
    deadline: float | None = None


class SparsePart:
    """See the module.

    Args:
        folder: of the part.
        name: of the part.
        entry: what the manifest says of it.
        documents: what positions mean.
        threads: threads of a search.
    """

    kind = "sparse"

    def __init__(self, folder: Path, name: str, entry: EncodedEntry, documents: DocumentStore, threads: int) -> None:
        self.folder, self.name, self.entry, self.documents, self.threads = folder, name, entry, documents, threads
        self.levels = Levels.from_json(entry.facts["levels"])
        self.runs = [Run(folder / run["folder"], RunEntry(**run)) for run in entry.facts["runs"]]
        self.positions = Positions(documents, [run.entry.docs for run in self.runs])
        self._starts = np.cumsum([0, *(shard.rows for shard in entry.shards)])
        self._shards: dict[int, SparseRows] = {}
        self._rows: dict[str, DocumentRows] = {}

    def close(self) -> None:
        """Nothing is held but memory maps, which go with the object."""

    @cached_property
    def names(self) -> list[str] | None:
        """What the dimensions are called, None where they have no names."""
        if not self.entry.facts["named"]:
            return None
        path = self.folder / SHARED / NAMES
        try:
            names: list[str] = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise CorruptIndexError(f"{path} is damaged: {error}; run tamis verify") from error
        return names

    @cached_property
    def dimensions_of(self) -> Mapping[str, int]:
        """The dimension of each name."""
        return {name: place for place, name in enumerate(self.names or ())}

    def query_encoder(self, pruning: Pruning) -> Any | None:
        """Return the exported query encoder, None where the part has none.

        Args:
            pruning: which of a query's weights count.
        """
        folder = self.folder / SHARED / QUERY
        if not folder.is_dir():
            return None
        from tamis.encoders.exported_sparse import ExportedSparseEncoder

        return ExportedSparseEncoder(folder, pruning)

    def row(self, position: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return dimensions and weights of a position, as the index keeps them."""
        number = int(np.searchsorted(self._starts, position, "right")) - 1
        dims, codes = self._shard(number).row(position - int(self._starts[number]))
        if codes is None:
            return dims.astype(np.int64), np.ones(len(dims), np.float32)
        return dims.astype(np.int64), (codes.astype(np.float64) * self.levels.scale).astype(np.float32)

    def _shard(self, number: int) -> SparseRows:
        """The rows of a shard, opened once."""
        if number not in self._shards:
            folder = self.folder / self.entry.shards[number].segment
            self._shards[number] = open_rows(folder, None if self.levels.binary else CODES)
        return self._shards[number]

    def _rows_of(self, run: Run) -> DocumentRows:
        """The rows of a run's shards, put together once."""
        name, first = run.entry.folder, run.entry.first
        if name not in self._rows:
            shards = [self._shard(number) for number in range(first, first + run.entry.shards)]
            held = [RowShard(shard.offsets, shard.dimensions, shard.values) for shard in shards]
            self._rows[name] = DocumentRows(run.dims.astype(np.uint32), held)
        return self._rows[name]

    def frequencies(self, dimensions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return in how many rows each dimension is, deleted rows included."""
        counts = np.zeros(len(dimensions), np.int64)
        for run in self.runs:
            terms = run.terms(dimensions)
            held = terms >= 0
            counts[held] += run.postings.frequencies(terms[held])
        return counts

    def search(self, queries: SparseVectors, k: int, masks: Bitmaps, how: SearchHow) -> Hits:
        """Return the `k` positions of largest inner product with each query, lower position first among equals.

        A position is found only if it shares a dimension with the query.

        Args:
            queries: weighted dimensions.
            k: at least 1.
            masks: of every run.
            how: exactly, or among candidates, which get their exact scores.
        """
        n = len(queries.offsets) - 1
        found = [self._search_run(run, queries, k, mask, how) for run, mask in zip(self.runs, masks, strict=True)]
        return merge_hits(found, n, self.positions.starts, k)

    def _search_run(
        self, run: Run, queries: SparseVectors, k: int, mask: NDArray[np.uint8] | None, how: SearchHow
    ) -> Hits:
        prepared = self._queries(run, queries)
        kernel: dict[str, Any] = {"mask": mask, "threads": self.threads, "deadline": how.deadline}
        if how.candidates is None or run.entry.docs < PROPOSED_FROM:
            return search(run.postings, prepared, k, **kernel)
        proposing = prepared if how.cut is None else self._queries(run, Pruning(how.cut)(queries))
        proposed = search(run.postings, proposing, max(k, how.candidates), rounding="units", **kernel)
        return rescored(run.postings, prepared, proposed, k, self._rows_of(run), self.threads)

    def scores_of(self, queries: SparseVectors, positions: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Return the inner product of each query with its positions; 0 where they share no dimension."""
        results = [np.zeros(len(own), np.float32) for own in positions]
        for run, start, end in zip(self.runs, self.positions.starts, self.positions.starts[1:], strict=False):
            inside = [np.flatnonzero((own >= start) & (own < end)) for own in positions]
            docs = [own[places] - start for own, places in zip(positions, inside, strict=True)]
            orders = [np.argsort(own) for own in docs]
            ends = np.cumsum([0, *map(len, docs)])
            ascending = np.concatenate([np.zeros(0, np.int64), *(d[o] for d, o in zip(docs, orders, strict=True))])
            scores = score(
                run.postings,
                self._queries(run, queries),
                ends,
                ascending,
                threads=self.threads,
                rows=self._rows_of(run),
            )
            for i, (places, order) in enumerate(zip(inside, orders, strict=True)):
                results[i][places[order]] = scores[ends[i] : ends[i + 1]]
        return results

    def _queries(self, run: Run, queries: SparseVectors) -> Queries:
        """Return the queries in the run's term numbers; dimensions that it lacks are left out."""
        terms = run.terms(queries.indices.astype(np.int64))
        held = terms >= 0
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(held)])[queries.offsets]
        terms, weights = terms[held], queries.values[held]
        if not run.entry.codes:
            return Queries(offsets, terms, None if bool((weights == 1).all()) else weights)
        table = self.levels.values(run.entry.codes)[None]
        return Queries(offsets, terms, weights, table, np.zeros(len(terms), np.int32))


def rescored(
    postings: Postings, queries: Queries, proposed: Hits, k: int, rows: DocumentRows | None, threads: int
) -> Hits:
    """Return the best `k` of what was proposed, by the scores that `rows`, or `postings`, give."""
    if len(proposed) == 1:  # a single query of a tenth of a millisecond
        docs = np.sort(proposed.docs)
        scores = score(postings, queries, proposed.offsets, docs, threads=threads, rows=rows)
        best = np.lexsort((docs, -scores))[:k]
        return Hits(np.array([0, len(best)]), docs[best], scores[best], proposed.partial)
    lengths = np.diff(proposed.offsets)
    owners = np.repeat(np.arange(len(proposed)), lengths)
    docs = proposed.docs[np.lexsort((proposed.docs, owners))]
    scores = score(postings, queries, proposed.offsets, docs, threads=threads, rows=rows)
    best = np.lexsort((docs, -scores, owners))
    kept = best[np.arange(len(best)) - np.repeat(proposed.offsets[:-1], lengths) < k]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.minimum(lengths, k))])
    return Hits(offsets, docs[kept], scores[kept], proposed.partial)
