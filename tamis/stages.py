"""What a stage can do, as small protocols: a pipeline asks an object what it is, never its class.

A family's class (see `tamis.families`) makes objects of one or more of these kinds. At the head of a pipeline a
`Retriever` is wanted; after ``>>`` a `Rescorer`; a `QueryStage` may stand anywhere. Any of them may be an `Explainer` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
class SearchingRescorer(Protocol):
    """A `Rescorer` that may search by itself before it scores (feedback): under a row filter that search keeps to it too."""

    def rescore_within(self, queries: Queries, ranking: Ranking, mask: RowMask) -> Ranking:
        """Return what `Rescorer.rescore` would, its own search kept to the rows of `mask`.

        Raises:
            UsageError: it searches, and cannot honour a mask.
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


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a score is made of: a tree, the same for every kind of stage.

    Attributes:
        name: what it is about: a term, a query token and its nearest document token, an input of a fusion …
        value: what it adds, in the stage's own units; None where it adds nothing that could be counted: at the root, where
            the query does not match the row at all.
        details: named figures behind the value (``tf``, ``df`` …): JSON values, the same names for all children of a node.
        children: the parts.
        notes: sentences for people.
    """

    name: str
    value: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    children: tuple[Evidence, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "name": self.name,
            "value": self.value,
            "details": dict(self.details),
            "children": [child.to_dict() for child in self.children],
            "notes": list(self.notes),
        }


@runtime_checkable
class Explainer(Protocol):
    """Says what its scores are made of; a `Retriever` or `Rescorer` that can do so is one too."""

    def explain(
        self, queries: Queries, rows: NDArray[np.int64], *, mask: RowMask | None = None
    ) -> list[list[Evidence]]:
        """Return for each query, for each of `rows`, the evidence of the score that the stage gives, whatever its rank.

        The root's value is the score itself, to float32 rounding, and None where the query does not match the row.

        Args:
            queries: the batch.
            rows: live rows of the space that the stage speaks.
            mask: as for `Retriever.retrieve`: a first pass inside the stage (feedback) keeps to it.
        """


@runtime_checkable
class CandidateExplainer(Protocol):
    """A `Rescorer` whose scores mean something within their list only, and that says what they are made of."""

    def explain_candidates(self, queries: Queries, ranking: Ranking) -> list[list[Evidence]]:
        """Return for each query the evidence of each candidate of its list, in the list's order."""


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
