"""An impact part of one generation, opened: its shards, the statistics that scores depend on, and the documents they number.

Documents of the shards, put one after another, are the positions of the index's row space, as Lucene's document numbers are.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.indexer.analysis import TextAnalyzer
from tamis.indexer.documents import DocumentStore
from tamis.indexer.impact.shard import ImpactShard, ShardEntry, key_of
from tamis.kernels import Queries, search
from tamis.kernels.searching import Hits
from tamis.stages import RowMask

_REMEMBERED = 1 << 17


@dataclass(frozen=True, slots=True)
class FieldStatistics:
    """What scoring knows of a field: documents that have it, and tokens in all of them. The deleted count until compaction."""

    docs: int
    tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """A term of the vocabulary; equal only to itself, so that it is a quick key.

    Attributes:
        field: its field.
        text: the term.
        numbers: its number in every shard, -1 where the shard lacks it.
        frequency: documents that hold it.
    """

    field: str
    text: str
    numbers: tuple[int, ...]
    frequency: int


class ImpactPart:
    """One generation's postings.

    Args:
        folder: of the part.
        entry: the manifest's entry.
        statistics: of every field.
        analyzer: analyser of the texts.
        fields: default fields with weights.
        documents: what document numbers mean.
        threads: threads of a search.
    """

    kind = "impact"

    def __init__(
        self,
        folder: Path,
        entry: Mapping[str, Any],
        statistics: Mapping[str, FieldStatistics],
        analyzer: str,
        fields: Mapping[str, float],
        documents: DocumentStore,
        threads: int,
    ) -> None:
        self.shards = [ImpactShard(folder / shard["id"], ShardEntry(**shard)) for shard in entry["shards"]]
        self.starts = np.cumsum([0, *(shard.entry.docs for shard in self.shards)]).tolist()
        self.statistics = dict(statistics)
        self.analyzer = TextAnalyzer(analyzer)
        self.fields = dict(fields)
        self.documents = documents
        self.threads = threads
        self._numbers = {field: number for number, field in enumerate(entry["fields"])}
        self._terms: dict[tuple[str, str], Term | None] = {}
        self._totals: dict[Term, int] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Nothing is held but memory maps, which go with the object."""

    def term(self, field: str, text: str) -> Term | None:
        """Look a term up; None where no document holds it."""
        key = (field, text)
        try:
            return self._terms[key]
        except KeyError:
            pass
        number = self._numbers.get(field)
        found = None
        if number is not None:
            numbers = [int(shard.vocabulary.find([key_of(number, text)])[0]) for shard in self.shards]
            frequency = sum(shard.frequency(n) for shard, n in zip(self.shards, numbers, strict=True) if n >= 0)
            found = Term(field, text, tuple(numbers), frequency) if frequency else None
        with self._lock:
            if len(self._terms) >= _REMEMBERED:
                self._terms.clear()
            self._terms[key] = found
        return found

    def term_frequency(self, term: Term) -> int:
        """Return how often a term occurs in all documents together."""
        if term not in self._totals:
            shards = zip(self.shards, term.numbers, strict=True)
            self._totals[term] = sum(shard.term_frequency(number) for shard, number in shards if number >= 0)
        return self._totals[term]

    # -- documents -------------------------------------------------------------------------------------------------

    def allowed(self, mask: RowMask | None) -> NDArray[np.bool_] | None:
        """Return true for every position that may be returned: live, and allowed by a mask over rows. None allows all."""
        live = self.documents.live
        if mask is None:
            return live
        table = self.documents.rows_by_position
        chosen = mask[: self.starts[-1]] if table is None else mask[table]
        return chosen if live is None else chosen & live

    def bitmaps(self, allowed: NDArray[np.bool_] | None) -> list[NDArray[np.uint8] | None]:
        """Cut positions into the kernel's mask of every shard."""
        if allowed is None:
            return [None] * len(self.shards)
        spans = zip(self.starts[:-1], self.starts[1:], strict=True)
        return [np.packbits(allowed[first:last], bitorder="little") for first, last in spans]

    @cached_property
    def live_bitmaps(self) -> list[NDArray[np.uint8] | None]:
        """The masks of an unfiltered search."""
        return self.bitmaps(self.documents.live)

    # -- searching -------------------------------------------------------------------------------------------------

    def search(
        self,
        batches: Sequence[Queries],
        n_queries: int,
        k: int,
        masks: Sequence[NDArray[np.uint8] | None],
        *,
        deadline: float | None = None,
    ) -> Hits:
        """Return the best `k` positions of every query, scores summed and rounded as Lucene does; ties: lower position first.

        Args:
            batches: the same queries for every shard, in its own terms.
            n_queries: how many.
            k: how many, at least 1.
            masks: of every shard.
            deadline: see `tamis.kernels.search`.
        """
        found = [
            search(shard.postings, queries, k, mask=mask, threads=self.threads, deadline=deadline, rounding="once")
            for shard, queries, mask in zip(self.shards, batches, masks, strict=True)
        ]
        return _merged(found, n_queries, self.starts, k)


def _merged(found: Sequence[Hits], n_queries: int, starts: Sequence[int], k: int) -> Hits:
    """The best k of every query over shards, whose documents ascend from shard to shard."""
    if len(found) == 1:
        return found[0]
    if not found:
        nothing = np.zeros(0, np.int64)
        return Hits(
            np.zeros(n_queries + 1, np.int64), nothing, nothing.astype(np.float32), np.zeros(n_queries, np.bool_)
        )
    lengths = np.concatenate([np.diff(hits.offsets) for hits in found])
    owners = np.repeat(np.tile(np.arange(n_queries), len(found)), lengths)
    docs = np.concatenate([hits.docs + start for hits, start in zip(found, starts[:-1], strict=True)])
    scores = np.concatenate([hits.scores for hits in found])
    order = np.lexsort((docs, -scores, owners))
    counts = np.bincount(owners, minlength=n_queries)
    ranks = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    order = order[ranks < k]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.minimum(counts, k))])
    partial = np.logical_or.reduce([hits.partial for hits in found])
    return Hits(offsets, docs[order], scores[order], partial)
