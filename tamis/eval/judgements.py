"""Relevance judgements beside ranked lists: the one canonical order, and which of its documents are judged.

A ranked list is put into one order before any measure sees it, because measure implementations break ties differently
(trec_eval by descending document id, the MS MARCO script by rank, others by ascending id): one run could otherwise be
ranked in two ways in one table. After this step the document ids play no role: a list is an array of positions into the
query's judged documents.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tamis.errors import DataError, UnknownNameError
from tamis.ranking import DocumentSpace, Ranking, Rows, Scores

Ties = Literal["trec_eval", "stable", "docid"]
QrelsLike = Mapping[str, Mapping[str, int]]

UNJUDGED = -1


def check_ties(ties: str) -> None:
    """Check the name of a tie rule.

    Raises:
        UnknownNameError: it is none of `Ties`.
    """
    if ties not in get_args(Ties):
        raise UnknownNameError("tie rule", ties, get_args(Ties))


def canonical_order(space: DocumentSpace, rows: Rows, scores: Scores, ties: Ties = "trec_eval") -> NDArray[np.int64]:
    """Return the positions of one result list in canonical order.

    Args:
        space: what the rows mean.
        rows: int64 of shape (documents,), in rank order.
        scores: float64, same shape.
        ties: ``trec_eval``: score descending, then document id descending; ``docid``: then document id ascending;
            ``stable``: the list's own order, whatever its scores.
    """
    if ties == "stable" or len(rows) < 2 or bool((scores[1:] < scores[:-1]).all()):
        return np.arange(len(rows), dtype=np.int64)
    ids = space.ids(rows)
    # Code point order of str is byte order of UTF-8, which is what trec_eval's strcmp compares.
    by_id = sorted(range(len(ids)), key=ids.__getitem__, reverse=ties == "trec_eval")
    place = np.empty(len(ids), np.int64)
    place[by_id] = np.arange(len(ids))
    return np.lexsort((place, -scores))


@dataclass(frozen=True, slots=True)
class JudgedList:
    """One result list in canonical order.

    Attributes:
        judged: int64 of shape (documents,): position among the query's judged documents, `UNJUDGED` where there is none.
        scores: float64, same shape: the scores as retrieved.
    """

    judged: NDArray[np.int64]
    scores: Scores

    def __len__(self) -> int:
        return len(self.judged)


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """The lists of one ranking for all queries of the qrels, and what was left out of them.

    Attributes:
        lists: one a query of the qrels; None where it has no results.
        own: how many results were dropped because their id is the query's own.
        beyond: how many results lie below the depth that is looked at, and were dropped.
        own_first: in how many queries the first result is the query itself, dropped or not.
    """

    lists: list[JudgedList | None]
    own: int = 0
    beyond: int = 0
    own_first: int = 0

    @property
    def answered(self) -> int:
        """Number of queries with results."""
        return sum(found is not None for found in self.lists)


class Judgements:
    """Qrels as arrays. Query order is that of the qrels."""

    def __init__(self, qrels: QrelsLike) -> None:
        if not qrels:
            raise DataError("the qrels hold no queries: nothing can be evaluated against them")
        self.query_ids: tuple[str, ...] = tuple(qrels)
        self.positions: dict[str, int] = {query_id: i for i, query_id in enumerate(self.query_ids)}
        self._doc_ids: list[tuple[str, ...]] = [tuple(qrels[query_id]) for query_id in self.query_ids]
        self.grades: list[NDArray[np.int64]] = []
        for query_id in self.query_ids:
            try:
                grades = [operator.index(grade) for grade in qrels[query_id].values()]
            except TypeError:
                bad = next((d, g) for d, g in qrels[query_id].items() if not hasattr(g, "__index__"))
                raise DataError(
                    f"qrels: query {query_id!r} grades document {bad[0]!r} {bad[1]!r}: grades must be whole numbers"
                ) from None
            self.grades.append(np.asarray(grades, np.int64))

    def __len__(self) -> int:
        return len(self.query_ids)

    def judge(self, ranking: Ranking, ties: Ties, *, ignore_self: bool = False, depth: int | None = None) -> JudgedRun:
        """Return the ranking's lists in canonical order.

        Args:
            ranking: what to judge; queries that the qrels lack are passed over.
            ties: how equal scores are ordered.
            ignore_self: drop the result whose id is the query's own.
            depth: drop what is left below this rank.

        Raises:
            DataError: a query, or a document of one query, occurs twice in the ranking.
        """
        lists: list[JudgedList | None] = [None] * len(self)
        seen: set[str] = set()
        own = beyond = own_first = 0
        own_rows = ranking.space.rows(ranking.query_ids).tolist()
        for (query_id, rows, scores), own_row in zip(ranking.lists(), own_rows, strict=True):
            if query_id in seen:
                raise DataError(f"the ranking holds query {query_id!r} twice")
            seen.add(query_id)
            position = self.positions.get(query_id)
            if position is None or not len(rows):
                continue
            _check_distinct(ranking.space, query_id, rows)
            order = canonical_order(ranking.space, rows, scores, ties)
            if own_row >= 0:
                others = order[rows[order] != own_row]
                own_first += bool(rows[order[0]] == own_row)
                if ignore_self:
                    own += len(order) - len(others)
                    order = others
            if depth is not None:
                beyond += max(0, len(order) - depth)
                order = order[:depth]
            if not len(order):
                continue
            lists[position] = JudgedList(self._judged(position, ranking.space, rows[order]), scores[order])
        return JudgedRun(lists, own, beyond, own_first)

    def judged_relevant(self, doc_id: str, position: int, threshold: int = 1) -> bool:
        """Whether a document is judged relevant for the query at `position`."""
        ids = self._doc_ids[position]
        return doc_id in ids and bool(self.grades[position][ids.index(doc_id)] >= threshold)

    @property
    def highest_grade(self) -> int:
        """The highest grade that any document has; 0 where nothing is judged."""
        return max((int(grades.max()) for grades in self.grades if len(grades)), default=0)

    def _judged(self, position: int, space: DocumentSpace, rows: Rows) -> NDArray[np.int64]:
        known = space.rows(self._doc_ids[position])
        order = np.argsort(known, kind="stable")
        if not len(order):
            return np.full(len(rows), UNJUDGED, np.int64)
        nearest = order[np.minimum(np.searchsorted(known[order], rows), len(order) - 1)]
        return np.where(known[nearest] == rows, nearest, UNJUDGED)

    def condensed(self, position: int, found: JudgedList) -> JudgedList:
        """Drop the documents without a judgement, and those graded below 0 ("pooled, not judged"), as trec_eval does."""
        keep = found.judged != UNJUDGED
        keep[keep] = self.grades[position][found.judged[keep]] >= 0
        return JudgedList(found.judged[keep], found.scores[keep])


def _check_distinct(space: DocumentSpace, query_id: str, rows: Rows) -> None:
    ordered = np.sort(rows)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise DataError(f"query {query_id!r}: document {space.ids(twice[:1])[0]!r} is ranked twice")
