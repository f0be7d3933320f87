"""From passages to documents: MaxP, FirstP and SumP (Dai and Callan, SIGIR 2019), as pipeline stages.

On an index that was made with ``--passages``, rows are passages ``DOCUMENT#n``; judgements speak of documents. After one of these
stages a result is a document under its own id: ``bm25 % 5000 >> maxp % 1000``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from tamis.errors import UsageError
from tamis.families import Address
from tamis.ranking import GROUPED, Ranking, Rows
from tamis.stages import PartSource


class ParentSpace:
    """The documents of an index of passages: a document is known by its first row."""

    def __init__(self, passages: Any) -> None:
        self._passages = passages

    @property
    def key(self) -> str:
        """Identity: the passages' own, as documents."""
        return f"{self._passages.key}{GROUPED}"

    def ids(self, rows: Rows) -> list[str]:
        """Return the id of each document."""
        return [passage.rpartition("#")[0] for passage in self._passages.ids(rows)]

    def rows(self, ids: Sequence[str]) -> Rows:
        """Return the first row of each document, -1 where it is not held."""
        found: Rows = self._passages.heads(ids)
        return found


@dataclass(frozen=True)
class NoOptions:
    """A family without options."""


class _Passages(ABC):
    """What the three stages share: finding each row's document, and adding up by it."""

    part_kind: ClassVar[str | None] = None
    default_part: ClassVar[str | None] = None
    Options: ClassVar[type[NoOptions]] = NoOptions

    def __init__(self, passages: Any) -> None:
        self._documents = passages
        self._parents = ParentSpace(passages)

    @classmethod
    def open(cls, source: PartSource, address: Address, options: NoOptions) -> Self:
        """Open over an index of passages.

        Raises:
            UsageError: its rows are whole documents.
        """
        if not getattr(source.documents, "has_passages", False):
            raise UsageError(
                f"{address} groups passages into documents, but every row of this index is a whole document: "
                "make the index with --passages, or leave the stage out"
            )
        return cls(source.documents)

    def group(self, ranking: Ranking) -> Ranking:
        """Return the ranking of the documents; equal scores keep the document of the lower row first."""
        ranking.require_space(self._documents)
        parents = self._documents.parents(ranking.rows)
        lists = []
        for first, last in zip(ranking.offsets[:-1].tolist(), ranking.offsets[1:].tolist(), strict=True):
            lists.append(self._group(parents[first:last], ranking.rows[first:last], ranking.scores[first:last]))
        return Ranking.from_lists(self._parents, ranking.query_ids, lists, sort=True, partial=ranking.partial.tolist())

    @abstractmethod
    def _group(self, parents: Any, rows: Any, scores: Any) -> tuple[Any, Any]:
        """Return the documents of one result list, by first row, and their scores."""


class MaxP(_Passages):
    """The ``maxp`` family: a document scores as its best passage."""

    summary: ClassVar[str] = "passages into documents, by the best passage"

    def _group(self, parents: Any, rows: Any, scores: Any) -> tuple[Any, Any]:
        documents, members = np.unique(parents, return_inverse=True)
        best = np.full(len(documents), -np.inf)
        np.maximum.at(best, members, scores)
        return documents, best


class SumP(_Passages):
    """The ``sump`` family: a document scores the sum of its retrieved passages."""

    summary: ClassVar[str] = "passages into documents, by the sum of the retrieved passages"

    def _group(self, parents: Any, rows: Any, scores: Any) -> tuple[Any, Any]:
        documents, members = np.unique(parents, return_inverse=True)
        return documents, np.bincount(members, scores, len(documents)).astype(np.float64)


class FirstP(_Passages):
    """The ``firstp`` family: a document scores as its first passage, and is found only by it.

    Of a document whose first passage was pruned, the first that is left stands for it.
    """

    summary: ClassVar[str] = "passages into documents, by the first passage alone"

    def _group(self, parents: Any, rows: Any, scores: Any) -> tuple[Any, Any]:
        first = parents == rows
        return rows[first], scores[first]
