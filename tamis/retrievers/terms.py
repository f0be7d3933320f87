"""Retrieval by weighted terms on the sparse kernel: BM25, query likelihood and their feedback, with no Java in the process.

Scores and order are those of the same query in Lucene: contributions are Lucene's floats (`tamis.retrievers.similarity`),
summed in double precision and rounded once, or once a field where a field has a weight of its own.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tamis.data.fields import parse_fields
from tamis.errors import UnknownNameError
from tamis.indexer.impact.part import ImpactPart, Term
from tamis.indexer.positions import Bitmaps
from tamis.kernels import Queries as KernelQueries
from tamis.kernels.queries import ValueTables
from tamis.kernels.searching import Hits
from tamis.ranking import Queries, Ranking, check_k
from tamis.retrievers.feedback import FeedbackOptions, expand
from tamis.retrievers.similarity import Similarity, Table, Tables, TermWeight, decoded_lengths
from tamis.stages import Evidence, RowMask

_TABLE_BYTES = 64 << 20
_TIE_SLACK = 64
_REMEMBERED_VECTORS = 4096
"""Feedback documents whose term vectors are kept: queries of a topic share them."""


class Clause(NamedTuple):
    """A term of a query with its weight, and the group whose scores Lucene rounds together."""

    term: Term
    boost: float
    group: int


class TermRetriever:
    """A `Retriever`, `Rescorer` and `Explainer` over an impact part.

    Args:
        part: the part.
        similarity: how a term scores.
        ties: ``row`` or ``docid``.
        fields: ``title^2,body`` in place of the part's own weights, or None.
        feedback: pseudo-relevance feedback, or None.
        deadline: seconds a batch may take; what is found by then is returned and marked partial.
    """

    def __init__(
        self,
        part: ImpactPart,
        similarity: Similarity,
        *,
        ties: str,
        fields: str | None,
        feedback: FeedbackOptions | None,
        deadline: float | None = None,
    ) -> None:
        self._part, self._similarity, self._ties, self._deadline = part, similarity, ties, deadline
        self._fields = {f.name: f.weight for f in parse_fields(fields)} if fields else part.fields
        self._feedback = feedback
        self._vectors = _AnalysedDocuments(part)
        for name in self._fields if fields else ():
            if name not in part.statistics:
                raise UnknownNameError("index field", name, part.statistics)
        grouped = any(weight != 1 for weight in self._fields.values())
        self._shards = [_ShardTables(part, i, similarity, grouped=grouped) for i in range(len(part.shards))]

    def retrieve(self, queries: Queries, k: int, *, mask: RowMask | None = None) -> Ranking:
        """Return the best `k` rows a query.

        Raises:
            UsageError: `k` is below 1.
        """
        check_k(k)
        part = self._part
        deadline = None if self._deadline is None else time.monotonic() + self._deadline
        masks = part.positions.masks(mask)
        found = self._search(self._clauses(queries, masks), k, masks, deadline)
        rows, scores = part.documents.rows_at(found.docs), found.scores.astype(np.float64)
        return Ranking(part.documents, queries.ids, found.offsets, rows, scores, found.partial)

    def rescore(self, queries: Queries, ranking: Ranking) -> Ranking:
        """Return `ranking` with this model's scores; a row that a query does not match scores 0."""
        return self._rescore(queries, ranking, self._part.positions.live)

    def rescore_within(self, queries: Queries, ranking: Ranking, mask: RowMask) -> Ranking:
        """Like `rescore`; feedback learns from the rows of `mask` alone."""
        return self._rescore(queries, ranking, self._part.positions.masks(mask))

    def _rescore(self, queries: Queries, ranking: Ranking, masks: Bitmaps) -> Ranking:
        part = self._part
        ranking.require_space(part.documents)
        lists = []
        for i, clauses in enumerate(self._clauses(queries, masks)):
            rows, _ = ranking.at(i)
            positions, scores = part.documents.positions_of(rows), np.zeros(len(rows))
            if len(rows) and clauses:
                chosen = np.zeros(part.positions.starts[-1], np.bool_)
                chosen[positions] = True
                docs, found = self._search([clauses], len(rows), part.positions.bitmaps(chosen), None)[0]
                order = np.argsort(docs)
                if len(docs):
                    places = np.minimum(np.searchsorted(docs, positions, sorter=order), len(docs) - 1)
                    hit = docs[order[places]] == positions
                    scores[hit] = found[order[places[hit]]]
            lists.append((rows, scores))
        return Ranking.from_lists(ranking.space, ranking.query_ids, lists, sort=True, partial=ranking.partial.tolist())

    def explain(
        self, queries: Queries, rows: NDArray[np.int64], *, mask: RowMask | None = None
    ) -> list[list[Evidence]]:
        """Return each term's contribution; see `tamis.stages.Explainer`.

        Details of a term: ``field``, ``tf`` in the row, ``df``, ``length`` of the field as scoring sees it, ``weight`` in the
        query, and ``from``: the query or the feedback.
        """
        part = self._part
        masks = part.positions.masks(mask)
        positions = part.documents.positions_of(rows).tolist()
        found = []
        for i, clauses in enumerate(self._clauses(queries, masks)):
            own = self._own_terms(queries, i)
            held = {clause.term.text for clause in clauses}
            absent = [text for text in own if text not in held]
            notes = (f"in no document: {', '.join(absent)}",) if absent else ()
            found.append([self._evidence(clauses, own, position, notes) for position in positions])
        return found

    def _own_terms(self, queries: Queries, position: int) -> list[str]:
        if queries.terms is not None:
            return list(queries.terms[position])
        return list(_counts(self._part.analyzer.terms(queries.texts[position])))

    def _evidence(
        self, clauses: Sequence[Clause], own: Sequence[str], position: int, notes: tuple[str, ...]
    ) -> Evidence:
        part = self._part
        number = bisect_right(part.positions.starts, position) - 1
        shard, tables = part.shards[number], self._shards[number]
        children, groups = [], dict[int, float]()
        for clause in clauses:
            term = clause.term
            code = shard.code(term.numbers[number], position - part.positions.starts[number])
            value, tf, length = 0.0, 0, None
            if code is not None:
                frequencies, lengths = shard.pairs
                tf, length = int(frequencies[code]), int(decoded_lengths()[lengths[code]])
                value = float(tables.row(term, clause.boost)[code])
                groups[clause.group] = groups.get(clause.group, 0.0) + value
            details = {
                "field": term.field,
                "tf": tf,
                "df": term.frequency,
                "length": length,
                "weight": clause.boost,
                "from": "query" if term.text in own else "feedback",
            }
            children.append(Evidence(term.text, value, details))
        children.sort(key=lambda child: -(child.value or 0.0))
        grouped = any(weight != 1 for weight in self._fields.values())
        # a field with a weight is a group, whose sum Lucene rounds before it adds it
        total = sum(float(np.float32(value)) if grouped else value for value in groups.values())
        matched = f"{sum(child.details['tf'] > 0 for child in children)} of {len(children)} terms"
        if not groups:
            return Evidence(matched, None, {}, tuple(children), ("no term of the query occurs in it", *notes))
        return Evidence(matched, float(np.float32(total)), {}, tuple(children), notes)

    def expanded_terms(self, text: str) -> dict[str, float]:
        """Return the weighted terms that a query text becomes."""
        tokens = self._part.analyzer.terms(text)
        if self._feedback is None:
            return {token: float(count) for token, count in _counts(tokens).items()}
        return self._expanded([tokens], [self._plain(tokens)], self._part.positions.live)[0]

    # -- queries ---------------------------------------------------------------------------------------------------

    def _clauses(self, queries: Queries, masks: Bitmaps) -> list[list[Clause]]:
        """The terms that queries become; `masks` are those of the documents that feedback may learn from."""
        if queries.terms is not None:
            return [self._weighted(terms, self._fields) for terms in queries.terms]
        tokens = [self._part.analyzer.terms(text) for text in queries.texts]
        plain = [self._plain(words) for words in tokens]
        if self._feedback is None:
            return plain
        field = {self._feedback.field: 1.0}
        return [self._weighted(terms, field) for terms in self._expanded(tokens, plain, masks)]

    def _plain(self, tokens: Sequence[str]) -> list[Clause]:
        """A bag of words over the fields, as Anserini builds it: a field of weight 1 is no group of its own in Lucene."""
        clauses: list[Clause] = []
        counts = _counts(tokens)
        for field, weight in self._fields.items():
            whole = len(clauses) if weight != 1 else None
            for text, count in counts.items():
                term = self._part.term(field, text)
                if term is not None:
                    group = len(clauses) if whole is None else whole
                    boost = float(np.float32(weight) * np.float32(count)) if weight != 1 else float(count)
                    clauses.append(Clause(term, boost, group))
        return clauses

    def _weighted(self, terms: Mapping[str, float], fields: Mapping[str, float]) -> list[Clause]:
        clauses: list[Clause] = []
        for field, field_weight in fields.items():
            for text, weight in terms.items():
                term = self._part.term(field, text)
                if term is not None:
                    clauses.append(Clause(term, float(np.float32(weight * field_weight)), len(clauses)))
        return clauses

    def _expanded(
        self, tokens: Sequence[Sequence[str]], plain: Sequence[list[Clause]], masks: Bitmaps
    ) -> list[dict[str, float]]:
        feedback = self._feedback
        assert feedback is not None  # noqa: S101 - the callers looked
        found = self._search(plain, feedback.depth, masks, None)
        return [expand(self._vectors, words, *found[i], feedback) for i, words in enumerate(tokens)]

    # -- searching -------------------------------------------------------------------------------------------------

    def _search(
        self,
        clauses: Sequence[list[Clause]],
        k: int,
        masks: Bitmaps,
        deadline: float | None,
    ) -> Hits:
        if self._ties == "docid":
            return self._search_by_id(clauses, k, masks, deadline)
        batches = [shard.queries(clauses) for shard in self._shards]
        return self._part.search(batches, len(clauses), k, masks, deadline=deadline)

    def _search_by_id(
        self,
        clauses: Sequence[list[Clause]],
        k: int,
        masks: Bitmaps,
        deadline: float | None,
    ) -> Hits:
        """Equal scores by ascending id: all that tie with the k-th are fetched, then ordered."""
        results: list[tuple[NDArray[np.int64], NDArray[np.float32], bool]] = [None] * len(clauses)  # type: ignore[list-item]
        left, depth = list(range(len(clauses))), k + _TIE_SLACK
        while left:
            batches = [shard.queries([clauses[i] for i in left]) for shard in self._shards]
            found = self._part.search(batches, len(left), depth, masks, deadline=deadline)
            more = []
            for place, i in enumerate(left):
                docs, scores = found[place]
                if len(docs) == depth and scores[k - 1] == scores[-1]:
                    more.append(i)
                else:
                    results[i] = (*self._ordered_by_id(docs, scores, k), bool(found.partial[place]))
            left, depth = more, depth * 4
        lengths = [len(docs) for docs, _, _ in results]
        return Hits(
            np.cumsum([0, *lengths]),
            np.concatenate([np.zeros(0, np.int64), *(docs for docs, _, _ in results)]),
            np.concatenate([np.zeros(0, np.float32), *(scores for _, scores, _ in results)]),
            np.array([partial for _, _, partial in results], np.bool_),
        )

    def _ordered_by_id(
        self, docs: NDArray[np.int64], scores: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The first k by descending score, then ascending id string."""
        if len(docs) > k:
            kept = int(np.searchsorted(-scores, -scores[k - 1], "right"))
            docs, scores = docs[:kept], scores[:kept]
        ids = self._part.documents.ids(self._part.documents.rows_at(docs))
        levels = np.concatenate([np.zeros(1, np.int64), np.cumsum(scores[1:] != scores[:-1])])[: len(docs)].tolist()
        order = sorted(range(len(docs)), key=lambda i: (levels[i], ids[i]))[:k]
        return docs[order], scores[order]


class _Prepared:
    """Weighted terms with their number in the shard (-1 where it lacks them) and their row of the tables."""

    def __init__(self, n_codes: int) -> None:
        self.tables = ValueTables(n_codes)
        self.places: dict[tuple[Term, float], tuple[int, int]] = {}


class _ShardTables:
    """The value tables of a shard's terms, remembered by term and weight."""

    def __init__(self, part: ImpactPart, number: int, similarity: Similarity, *, grouped: bool) -> None:
        self._part, self._number, self._similarity, self._grouped = part, number, similarity, grouped
        self._width = max(part.shards[number].entry.codes, 1)
        self._makers: dict[str, Tables] = {}
        self._prepared = _Prepared(self._width)
        self._lock = threading.Lock()

    def queries(self, clauses: Sequence[list[Clause]]) -> KernelQueries:
        """Return a batch in the shard's own terms; those that it lacks are left out."""
        prepared = self._roomy()
        places = prepared.places
        offsets, terms, rows, groups = [0], list[int](), list[int](), list[int]()
        for query in clauses:
            for term, boost, group in query:
                place = places.get((term, boost)) or self._add(prepared, term, boost)
                if place[0] >= 0:
                    terms.append(place[0])
                    rows.append(place[1])
                    groups.append(group)
            offsets.append(len(terms))
        return KernelQueries.prepared(offsets, terms, prepared.tables, rows, groups if self._grouped else None)

    def row(self, term: Term, boost: float) -> Table:
        """Return what each code of a term contributes."""
        prepared = self._roomy()
        _, row = prepared.places.get((term, boost)) or self._add(prepared, term, boost)
        values: Table = prepared.tables.values[row]
        return values

    def _roomy(self) -> _Prepared:
        """What is remembered, or a new start where that is much; who holds the old one goes on with it."""
        with self._lock:
            if len(self._prepared.tables) * self._width * 4 > _TABLE_BYTES:
                self._prepared = _Prepared(self._width)
            return self._prepared

    def _add(self, prepared: _Prepared, term: Term, boost: float) -> tuple[int, int]:
        with self._lock:
            place = prepared.places.get((term, boost))
            if place is None:
                place = term.numbers[self._number], prepared.tables.add(self._values(term, boost))
                prepared.places[term, boost] = place
            return place

    def _values(self, term: Term, boost: float) -> Table:
        maker = self._makers.get(term.field)
        if maker is None:
            statistics = self._part.statistics[term.field]
            pairs = self._part.shards[self._number].pairs
            maker = self._similarity.tables(*pairs, statistics.docs, statistics.tokens)
            self._makers[term.field] = maker
        total = self._part.term_frequency(term) if self._similarity.needs_totals else 0
        return maker.row(TermWeight(boost, term.frequency, total))


class _AnalysedDocuments:
    """Term vectors by analysing stored texts again (`tamis.retrievers.feedback.VectorSource`)."""

    def __init__(self, part: ImpactPart) -> None:
        self._part = part
        self._counts: dict[int, dict[str, int]] = {}

    @property
    def max_doc(self) -> int:
        """Documents that frequencies count."""
        return int(self._part.positions.starts[-1])

    def term_vector(self, doc: int, field: str) -> dict[str, int] | None:
        """Return term frequencies of the text of a document, terms in the order of their bytes."""
        if field != "contents":
            return None
        known = self._counts.get(doc)
        if known is None:
            documents = self._part.documents
            counts = _counts(
                self._part.analyzer.terms(documents.texts(documents.rows_at(np.array([doc], np.int64)))[0])
            )
            known = {term: counts[term] for term in sorted(counts)}
            if len(self._counts) >= _REMEMBERED_VECTORS:
                self._counts.clear()
            self._counts[doc] = known
        return known

    def document_frequencies(self, field: str, terms: Sequence[str]) -> dict[str, int]:
        """Return document frequencies."""
        found = {text: self._part.term(field, text) for text in terms}
        return {text: term.frequency if term else 0 for text, term in found.items()}


def _counts(tokens: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for token in tokens:
        counts[token] = counts.get(token, 0) + 1
    return counts
