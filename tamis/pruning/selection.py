"""Which rows go: the lowest by quality, under a threshold, with what is protected kept.

Rows go in one fixed order, lowest quality first; among equals in the order of a hash of their ids, which is the same on all
machines and favours nobody by name or place. So a deeper cut drops all that a milder one does.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from tamis.errors import MissingResourceError, UsageError
from tamis.indexer.documents import DocumentStore
from tamis.indexer.segment import hash_ids
from tamis.pruning.part import QualityPart
from tamis.ranking import Rows


class Candidates:
    """The live rows of an index in the order in which they may go.

    Args:
        documents: of the index.
        quality: of its rows; None leaves only the choice by ids.
        keep_last: never drop the last passage of a document: its best one is protected. Nothing could go from an index
            whose rows are whole documents.
        keep: ids of documents or passages that never go.

    Attributes:
        rows: all live rows, ascending.
        total: how many there are.

    Raises:
        MissingResourceError: an id to keep is not in the index.
    """

    def __init__(
        self,
        documents: DocumentStore,
        quality: QualityPart | None = None,
        *,
        keep_last: bool = False,
        keep: Collection[str] = (),
    ) -> None:
        if keep_last and not documents.has_passages:
            raise UsageError(
                "every row of this index is the last of its document, so keeping last passages keeps all: leave it out"
            )
        self._documents = documents
        positions = (
            np.arange(documents.manifest.rows) if documents.live is None else np.flatnonzero(documents.live)
        ).astype(np.int64)
        self.rows: Rows = documents.rows_at(positions)
        self.total = len(self.rows)
        self._protected = np.isin(self.rows, self._rows_of(keep)) if keep else np.zeros(self.total, np.bool_)
        self._order: NDArray[np.int64] | None = None
        if quality is not None:
            self._scores = quality.scores[positions]
            self._order = np.lexsort((hash_ids(documents.ids(self.rows)), self._scores))
            if keep_last:
                self._protected[self._best_of_each()] = True
            self._order = self._order[~self._protected[self._order]]

    @property
    def droppable(self) -> int:
        """How many rows are not protected."""
        return int((~self._protected).sum())

    def lowest(self, share: float) -> Rows:
        """Return the lowest rows by quality, ascending: `share` of all live rows, as far as protection allows.

        Raises:
            UsageError: the share is not above 0 and below 1.
        """
        if not 0 < share < 1:
            raise UsageError(f"drop={share:g}: write the share that goes, above 0 and below 1; 0.3 drops 30 %")
        return self.first(math.floor(share * self.total + 1e-9))

    def first(self, count: int) -> Rows:
        """Return the `count` lowest rows by quality, ascending, as far as protection allows."""
        return np.sort(self.rows[self._ordered()[:count]])

    def below(self, score: float) -> Rows:
        """Return the rows whose quality is below a score, ascending.

        Raises:
            UsageError: that would drop everything, or the score is not a number.
        """
        if math.isnan(score):
            raise UsageError("below=nan: write a score in the quality model's own units")
        rows = self.first(int(np.count_nonzero(self._scores[self._ordered()] < score)))
        if len(rows) == self.total:
            raise UsageError(
                f"below={score:g} would drop all {self.total:,} rows: the scores lie between {self._scores.min():g} and "
                f"{self._scores.max():g} (those of some models are log-probabilities, below 0); a share is safer: --drop 0.3"
            )
        return rows

    def named(self, ids: Iterable[str]) -> Rows:
        """Return the rows of documents or passages by their ids, ascending, without those that are to be kept.

        Raises:
            MissingResourceError: an id is not in the index.
            UsageError: that would drop everything.
        """
        rows = np.unique(self._rows_of(ids))
        rows = rows[~self._protected[np.searchsorted(self.rows, rows)]]
        if len(rows) == self.total:
            raise UsageError(f"the list names all {self.total:,} rows: nothing would be left")
        return rows

    def _ordered(self) -> NDArray[np.int64]:
        if self._order is None:
            raise UsageError("a choice by quality needs a quality model: name one with --quality")
        return self._order

    def _best_of_each(self) -> NDArray[np.int64]:
        """Places of the row of every document that would go last."""
        assert self._order is not None  # noqa: S101 - set by the only caller
        parents = self._documents.parents(self.rows)
        _, last = np.unique(parents[self._order[::-1]], return_index=True)
        return self._order[::-1][last]

    def _rows_of(self, ids: Iterable[str]) -> Rows:
        wanted = list(dict.fromkeys(ids))
        single = self._documents.rows(wanted)
        found = [single[single >= 0]]
        unknown = [wanted[i] for i in np.flatnonzero(single < 0).tolist()]
        if unknown and self._documents.has_passages:
            rows = self._documents.document_rows(unknown)
            found += rows
            unknown = [doc_id for doc_id, own in zip(unknown, rows, strict=True) if not len(own)]
        if unknown:
            shown = ", ".join(map(repr, unknown[:5])) + (" …" if len(unknown) > 5 else "")
            raise MissingResourceError(f"{len(unknown)} of the ids are not in the index: {shown}")
        return np.concatenate(found)
