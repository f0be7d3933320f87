"""Shards laid end to end: their documents are the positions of an index's row space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tamis.indexer.documents import DocumentStore
from tamis.stages import RowMask

Bitmaps = Sequence[NDArray[np.uint8] | None]
"""The kernel's mask of every shard; None allows all of it."""


class Positions:
    """Which positions a search may return, for every shard.

    Args:
        documents: what positions mean.
        sizes: documents of each shard, in order.
    """

    def __init__(self, documents: DocumentStore, sizes: Sequence[int]) -> None:
        self._documents = documents
        self.starts: list[int] = np.cumsum([0, *sizes]).tolist()

    def allowed(self, mask: RowMask | None) -> NDArray[np.bool_] | None:
        """Return true for every position that may be returned: live, and allowed by a mask over rows. None allows all."""
        live = self._documents.live
        if mask is None:
            return live
        table = self._documents.rows_by_position
        chosen = mask[: self.starts[-1]] if table is None else mask[table]
        return chosen if live is None else chosen & live

    def bitmaps(self, allowed: NDArray[np.bool_] | None) -> Bitmaps:
        """Cut positions into the kernel's mask of every shard."""
        if allowed is None:
            return [None] * (len(self.starts) - 1)
        spans = zip(self.starts[:-1], self.starts[1:], strict=True)
        return [np.packbits(allowed[first:last], bitorder="little") for first, last in spans]

    @cached_property
    def live(self) -> Bitmaps:
        """The masks of an unfiltered search."""
        return self.bitmaps(self._documents.live)

    def masks(self, mask: RowMask | None) -> Bitmaps:
        """Return the masks of a search."""
        return self.live if mask is None else self.bitmaps(self.allowed(mask))
