"""What a stage can do, as small protocols: a pipeline asks an object what it is, never its class.

A family's class (see `tamis.families`) makes objects of one or more of these kinds. At the head of a pipeline a
`Retriever` is wanted; after ``>>`` a `Rescorer`; a `QueryStage` may stand anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tamis.ranking import DocumentSpace, Queries, Ranking, State

RowMask = NDArray[np.bool_]
"""True where a row may be returned; of length `DocumentView.row_limit`."""


@runtime_checkable
class Retriever(Protocol):
    """Fills the ranking.

    The first 100 of 1000 results are taken to be its best 100, so that one run may serve several depths. A retriever for which
    that does not hold (an approximate search that looks harder for more results) sets ``depth_dependent = True``.
    """

    def retrieve(self, queries: Queries, k: int, *, mask: RowMask | None = None) -> Ranking:
        """Return the best `k` rows a query (fewer where fewer match), in rank order.

        Args:
            queries: the batch.
            k: results a query, at least 1.
            mask: rows that may be returned; None allows all live rows. A retriever that cannot honour a mask raises
                `UsageError`; it never cuts a result list afterwards.
        """


@runtime_checkable
class Rescorer(Protocol):
    """Gives the same candidates new scores."""

    def rescore(self, queries: Queries, ranking: Ranking) -> Ranking:
        """Return `ranking`'s rows with new scores, re-sorted; no row is added or lost.

        `queries` and `ranking` hold the same query ids in the same order.
        """


@runtime_checkable
class QueryStage(Protocol):
    """Rewrites the queries (feedback, expansion, linking, translation)."""

    def rewrite(self, state: State) -> Queries:
        """Return the queries for the stages that follow; ids and their order stay."""


@runtime_checkable
class Grouper(Protocol):
    """Turns rows into fewer things, such as passages into their documents."""

    def group(self, ranking: Ranking) -> Ranking:
        """Return a ranking of the groups, best first, over their own document space; `query_ids` stay."""


class DocumentView(DocumentSpace, Protocol):
    """A document space that can also show its documents: an open index, or a corpus opened read-only."""

    @property
    def row_limit(self) -> int:
        """One more than the highest row."""

    def titles(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the title of each row; empty where it has none."""

    def bodies(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the body of each row."""

    def texts(self, rows: NDArray[np.int64]) -> list[str]:
        """Return title and body of each row, joined by a space where both are there."""


class PartSource(Protocol):
    """What a family is opened on: the documents, and the index's parts by name."""

    @property
    def documents(self) -> DocumentView:
        """The documents."""

    def part(self, name: str) -> Any:
        """Return the open part called `name`.

        Raises:
            MissingResourceError: the index holds no such part; the message lists those it holds.
        """

    def models(self) -> Mapping[str, str]:
        """Return the parts that a model encoded, by name, with the model's address."""
