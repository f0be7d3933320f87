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

    def judge(self, ranking: Ranking, ties: Ties) -> list[JudgedList | None]:
        """Return the ranking's list for every query of the qrels, None where it has no results.

        Raises:
            DataError: a query, or a document of one query, occurs twice in the ranking.
        """
        lists: list[JudgedList | None] = [None] * len(self)
        seen: set[str] = set()
        for query_id, rows, scores in ranking.lists():
            if query_id in seen:
                raise DataError(f"the ranking holds query {query_id!r} twice")
            seen.add(query_id)
            position = self.positions.get(query_id)
            if position is None or not len(rows):
                continue
            _check_distinct(ranking.space, query_id, rows)
            order = canonical_order(ranking.space, rows, scores, ties)
            lists[position] = JudgedList(self._judged(position, ranking.space, rows[order]), scores[order])
        return lists

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
