"""An impact part of one generation, opened: its shards, the statistics that scores depend on, and the documents they number.

Documents of the shards, put one after another, are the positions of the index's row space, as Lucene's document numbers are.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamis.indexer.analysis import TextAnalyzer
from tamis.indexer.documents import DocumentStore
from tamis.indexer.impact.shard import ImpactShard, ShardEntry, key_of
from tamis.indexer.positions import Bitmaps, Positions
from tamis.kernels import Queries, search
from tamis.kernels.searching import Hits, merge_hits

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
        self.positions = Positions(documents, [shard.entry.docs for shard in self.shards])
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

    def search(
        self,
        batches: Sequence[Queries],
        n_queries: int,
        k: int,
        masks: Bitmaps,
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
        return merge_hits(found, n_queries, self.positions.starts, k)
