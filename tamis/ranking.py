"""Queries, rankings and the state that flows through a pipeline: columnar, immutable, bound to a document space.

A `Ranking` holds for every query an ordered list of rows with scores. Storage order is rank order and is authoritative.
Rows are integers that mean documents only together with a `DocumentSpace`: a generation of an index, a corpus opened
read-only, or the ids of some run files. Two rankings can be combined only when their spaces have the same key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tamis.errors import DataError, SpaceMismatchError, UsageError

Rows = NDArray[np.int64]
Scores = NDArray[np.float64]

GROUPED = ":documents"
"""What the key of a space of passages gets where its rows stand for their documents: same rows, other ids."""


@runtime_checkable
class DocumentSpace(Protocol):
    """What rows mean. Equal keys promise that equal rows are the same passage."""

    @property
    def key(self) -> str:
        """Identity of the space, e.g. ``index:<uuid>:7``."""

    def ids(self, rows: Rows) -> list[str]:
        """Return the external id of each row."""

    def rows(self, ids: Sequence[str]) -> Rows:
        """Return the row of each id, -1 where the space does not hold it."""


class IdSpace:
    """The space of a given set of ids, numbered in ascending order of the id strings (by code point).

    Ascending numbering makes "lower row first" and "lower id first" the same tie rule for run files.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = sorted(set(ids))
        self._rows = {doc_id: row for row, doc_id in enumerate(self._ids)}
        from hashlib import blake2b

        digest = blake2b("\n".join(self._ids).encode("utf-8", "surrogatepass"), digest_size=16)
        self._key = f"ids:{digest.hexdigest()}"

    @property
    def key(self) -> str:
        """Identity: a digest of the ids."""
        return self._key

    def __len__(self) -> int:
        return len(self._ids)

    def ids(self, rows: Rows) -> list[str]:
        """Return the id of each row."""
        return [self._ids[row] for row in rows.tolist()]

    def rows(self, ids: Sequence[str]) -> Rows:
        """Return the row of each id, -1 where it is not in the space."""
        return np.fromiter((self._rows.get(doc_id, -1) for doc_id in ids), np.int64, len(ids))


@dataclass(frozen=True, slots=True)
class Queries:
    """A batch of queries, columnar. Every column that is present has one entry a query.

    Attributes:
        ids: external query ids, unique.
        texts: query texts as the user wrote them.
        terms: analysed term weights, where a query stage (feedback, expansion) made them.
        vectors: float32 of shape (queries, dimensions), where a caller or stage made them.
        entities: linked entity ids with weights, where a linker made them.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    terms: tuple[Mapping[str, float], ...] | None = None
    vectors: NDArray[np.float32] | None = None
    entities: tuple[Mapping[str, float], ...] | None = None

    def __post_init__(self) -> None:
        for name in ("texts", "terms", "vectors", "entities"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.ids):
                raise DataError(f"queries: column {name!r} has {len(column)} entries for {len(self.ids)} queries")
        if len(set(self.ids)) != len(self.ids):
            seen: set[str] = set()
            twice = next(i for i in self.ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
            raise DataError(f"query id {twice!r} occurs twice: query ids must be unique")

    @classmethod
    def of(cls, queries: str | Mapping[str, str] | Iterable[tuple[str, str]] | Queries) -> Queries:
        """Build from one text (id ``"1"``), a mapping id → text, or pairs of them."""
        if isinstance(queries, Queries):
            return queries
        if isinstance(queries, str):
            return cls(("1",), (queries,))
        pairs = list(queries.items() if isinstance(queries, Mapping) else queries)
        return cls(tuple(i for i, _ in pairs), tuple(t for _, t in pairs))

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: Sequence[int]) -> Queries:
        """Return the queries at `positions`, in that order."""
        chosen = list(positions)

        def pick(column: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
            return None if column is None else tuple(column[i] for i in chosen)

        return Queries(
            tuple(self.ids[i] for i in chosen),
            tuple(self.texts[i] for i in chosen),
            pick(self.terms),
            None if self.vectors is None else self.vectors[chosen],
            pick(self.entities),
        )


class Hit(NamedTuple):
    """One line of a ranking: external id, row, score, rank from 1."""

    id: str
    row: int
    score: float
    rank: int


def tie_order(scores: Scores, rows: Rows) -> NDArray[np.int64]:
    """Return the order of one result list: scores descending, equal scores lower row first."""
    return np.lexsort((rows, -scores))


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ordered rows with scores for every query of a batch.

    Attributes:
        space: what the rows mean.
        query_ids: one entry a query; queries without results are kept, with an empty list.
        offsets: int64 of shape (queries + 1,); query i owns entries offsets[i]:offsets[i+1].
        rows: int64, in rank order.
        scores: float64, finite, same length as `rows`.
        partial: bool a query; true where a deadline cut the work short.
    """

    space: DocumentSpace
    query_ids: tuple[str, ...]
    offsets: NDArray[np.int64]
    rows: Rows
    scores: Scores
    partial: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def __post_init__(self) -> None:
        queries = len(self.query_ids)
        if len(self.partial) != queries:
            object.__setattr__(self, "partial", np.zeros(queries, np.bool_))
        if len(self.offsets) != queries + 1 or len(self.rows) != len(self.scores) or self.offsets[-1] != len(self.rows):
            raise DataError(
                f"ranking: {queries} queries, {len(self.offsets)} offsets, {len(self.rows)} rows and "
                f"{len(self.scores)} scores do not fit together"
            )
        if not np.isfinite(self.scores).all():
            bad = int(np.flatnonzero(~np.isfinite(self.scores))[0])
            query = self.query_ids[int(np.searchsorted(self.offsets, bad, "right")) - 1]
            raise DataError(f"query {query!r} has the score {self.scores[bad]}: scores must be finite numbers")

    @classmethod
    def from_lists(
        cls,
        space: DocumentSpace,
        query_ids: Sequence[str],
        lists: Iterable[tuple[Any, Any]],
        *,
        sort: bool = False,
        partial: Sequence[bool] | None = None,
    ) -> Ranking:
        """Build from one (rows, scores) pair a query, in rank order or to be sorted by the tie rule."""
        all_rows: list[Rows] = []
        all_scores: list[Scores] = []
        for rows, scores in lists:
            r, s = np.asarray(rows, np.int64), np.asarray(scores, np.float64)
            if sort:
                order = tie_order(s, r)
                r, s = r[order], s[order]
            all_rows.append(r)
            all_scores.append(s)
        offsets = np.zeros(len(all_rows) + 1, np.int64)
        np.cumsum([len(r) for r in all_rows], out=offsets[1:])
        return cls(
            space,
            tuple(query_ids),
            offsets,
            np.concatenate(all_rows) if all_rows else np.zeros(0, np.int64),
            np.concatenate(all_scores) if all_scores else np.zeros(0, np.float64),
            np.asarray(partial, np.bool_) if partial is not None else np.zeros(len(all_rows), np.bool_),
        )

    def __len__(self) -> int:
        return len(self.query_ids)

    def at(self, position: int) -> tuple[Rows, Scores]:
        """Return rows and scores of the query at `position`, as views in rank order."""
        part = slice(int(self.offsets[position]), int(self.offsets[position + 1]))
        return self.rows[part], self.scores[part]

    def lists(self) -> Iterator[tuple[str, Rows, Scores]]:
        """Yield (query id, rows, scores) for every query."""
        for position, query_id in enumerate(self.query_ids):
            rows, scores = self.at(position)
            yield query_id, rows, scores

    def __getitem__(self, query_id: str) -> list[Hit]:
        """Return the hits of one query.

        Raises:
            KeyError: the ranking has no such query.
        """
        try:
            position = self.query_ids.index(query_id)
        except ValueError:
            raise KeyError(query_id) from None
        rows, scores = self.at(position)
        ids = self.space.ids(rows)
        return list(map(Hit, ids, rows.tolist(), scores.tolist(), range(1, len(rows) + 1)))

    def cut(self, k: int) -> Ranking:
        """Keep the first `k` of every list.

        Raises:
            UsageError: `k` is below 1.
        """
        check_k(k)
        if len(self.rows) <= k:
            return self
        lengths = np.diff(self.offsets)
        if int(lengths.max(initial=0)) <= k:
            return self
        position = np.arange(len(self.rows)) - np.repeat(self.offsets[:-1], lengths)
        keep = position < k
        offsets = np.zeros_like(self.offsets)
        np.cumsum(np.minimum(lengths, k), out=offsets[1:])
        return replace(self, offsets=offsets, rows=self.rows[keep], scores=self.scores[keep])

    def with_scores(self, scores: Scores) -> Ranking:
        """Replace all scores (storage order) and re-sort every list by the tie rule."""
        lists = (
            (self.rows[a:b], scores[a:b])
            for a, b in zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True)
        )
        return Ranking.from_lists(self.space, self.query_ids, lists, sort=True, partial=self.partial.tolist())

    def take(self, positions: Sequence[int]) -> Ranking:
        """Return the queries at `positions`, in that order."""
        return Ranking.from_lists(
            self.space,
            [self.query_ids[i] for i in positions],
            [self.at(i) for i in positions],
            partial=[bool(self.partial[i]) for i in positions],
        )

    def rebind(self, space: DocumentSpace) -> Ranking:
        """Express the same documents in another space; ids that it does not hold are dropped."""
        if space.key == self.space.key:
            return self
        lists = []
        for _, rows, scores in self.lists():
            moved = space.rows(self.space.ids(rows))
            lists.append((moved[moved >= 0], scores[moved >= 0]))
        return Ranking.from_lists(space, self.query_ids, lists, partial=self.partial.tolist())

    def require_space(self, space: DocumentSpace) -> None:
        """Check that rows of this ranking may be used with `space`.

        Raises:
            SpaceMismatchError: the spaces differ.
        """
        if self.space.key != space.key:
            raise SpaceMismatchError(
                f"a ranking over {self.space.key} cannot be used with {space.key}: rows would mean other documents; "
                "search again, or map it by ids with Ranking.rebind"
            )


@dataclass(frozen=True, slots=True)
class State:
    """What flows between stages: the queries, and a ranking once a retriever has filled it."""

    queries: Queries
    ranking: Ranking | None = None


def check_k(k: int) -> None:
    """Check a result count.

    Raises:
        UsageError: `k` is not a whole number of at least 1.
    """
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise UsageError(f"k={k!r}: the number of results must be a whole number of at least 1")
