"""Models over words, searched by Lucene: a Lucene part, batches over threads, feedback, re-scoring of candidates."""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.data.fields import parse_fields
from tamis.errors import UnknownNameError, UsageError
from tamis.indexer.lucene.part import LucenePart
from tamis.ranking import Queries, Ranking, check_k
from tamis.retrievers.feedback import FeedbackOptions, expand
from tamis.stages import RowMask

Model = tuple[str, float, float]


class LuceneRetriever:
    """A `Retriever` and `Rescorer` over a Lucene part.

    Args:
        part: the part.
        model: name and parameters of the similarity, as `LuceneReader.search` takes them.
        ties: ``row`` or ``docid``.
        fields: ``title^2,body`` in place of the part's own weights, or None.
        syntax: ``text`` (no character has a meaning) or ``lucene`` (the query language).
        feedback: pseudo-relevance feedback, or None.
    """

    def __init__(
        self,
        part: LucenePart,
        model: Model,
        *,
        ties: str,
        fields: str | None,
        syntax: str,
        feedback: FeedbackOptions | None,
    ) -> None:
        self._part, self._model, self._ties, self._syntax = part, model, ties, syntax
        self._fields = {f.name: f.weight for f in parse_fields(fields)} if fields else part.fields
        self._feedback = feedback
        self._reader = part.reader  # opened here, so that the first query does not pay for it
        for name in self._fields if fields else ():
            if name not in self._reader.fields:
                raise UnknownNameError("index field", name, set(self._reader.fields) - {"id", "row"})
        if syntax == "lucene" and feedback is not None:
            raise UsageError("syntax=lucene and prf= exclude each other: feedback rewrites plain-text queries")

    def retrieve(self, queries: Queries, k: int, *, mask: RowMask | None = None) -> Ranking:
        """Return the best `k` rows a query.

        Raises:
            UsageError: `k` is below 1; a mask is given, which Lucene cannot honour from Python; or, with
                ``syntax=lucene``, a query does not parse.
        """
        check_k(k)
        if mask is not None:
            raise UsageError("Lucene cannot be given a row filter from Python: search without one")
        lists = self._part.map(lambda i: self._search(queries, i, k), range(len(queries)))
        return Ranking.from_lists(self._part.documents, queries.ids, lists)

    def rescore(self, queries: Queries, ranking: Ranking) -> Ranking:
        """Return `ranking` with this model's scores; a row that a query does not match scores 0."""
        ranking.require_space(self._part.documents)

        def score(position: int) -> Any:
            rows, _ = ranking.at(position)
            docs = self._part.documents.positions_of(rows).astype(np.int32)
            return rows, self._reader.score(self._query(queries, position), docs, self._model)

        lists = self._part.map(score, range(len(queries)))
        return Ranking.from_lists(ranking.space, ranking.query_ids, lists, sort=True, partial=ranking.partial.tolist())

    def rescore_within(self, queries: Queries, ranking: Ranking, mask: RowMask) -> Ranking:
        """Like `rescore`.

        Raises:
            UsageError: with feedback, whose search Lucene cannot keep to a mask.
        """
        if self._feedback is not None:
            raise UsageError("Lucene cannot be given a row filter from Python: leave engine=lucene, or prf=, out")
        return self.rescore(queries, ranking)

    def _search(self, queries: Queries, position: int, k: int) -> tuple[Any, Any]:
        query = self._query(queries, position)
        docs, scores = self._reader.search(query, k, self._model, ties=self._ties)
        return self._part.documents.rows_at(docs), scores

    def _query(self, queries: Queries, position: int) -> Any:
        reader = self._reader
        if queries.terms is not None:
            return reader.term_query(queries.terms[position], self._fields)
        text = queries.texts[position]
        if self._syntax == "lucene":
            return reader.syntax_query(text, next(iter(self._fields)))
        query = reader.text_query(text, self._fields)
        if self._feedback is None:
            return query
        docs, scores = reader.search(query, self._feedback.depth, self._model, ties=self._ties)
        terms = expand(reader, reader.tokenize(text), docs, scores, self._feedback)
        return reader.term_query(terms, {self._feedback.field: 1.0})

    def expanded_terms(self, text: str) -> dict[str, float]:
        """Return the weighted terms that a query text becomes."""
        reader = self._reader
        tokens = reader.tokenize(text)
        if self._feedback is None:
            return {token: float(tokens.count(token)) for token in dict.fromkeys(tokens)}
        docs, scores = reader.search(
            reader.text_query(text, self._fields), self._feedback.depth, self._model, ties=self._ties
        )
        return expand(reader, tokens, docs, scores, self._feedback)
