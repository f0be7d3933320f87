"""Documents row by row, beside postings of the same documents: what a few candidates are scored by."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tamis.errors import UsageError
from tamis.kernels.backend import native
from tamis.kernels.postings import damage

if TYPE_CHECKING:
    from tamis.kernels._native import Rows


class RowShard(NamedTuple):
    """Some documents, perhaps memory-mapped.

    Attributes:
        starts: int64 [documents + 1]; document i has the entries starts[i] … starts[i + 1].
        dims: uint16 or uint32 [entries], ascending within a document.
        codes: uint8 or uint16 [entries], those of the postings; None where these have none.
    """

    starts: NDArray[np.int64]
    dims: NDArray[np.uint16] | NDArray[np.uint32]
    codes: NDArray[np.uint8] | NDArray[np.uint16] | None


class DocumentRows:
    """All documents of some postings, numbered alike. Rows are checked as they are read.

    Args:
        term_dims: uint32 [terms], ascending; what the rows call each term of the postings.
        shards: the documents, one shard after another.

    Raises:
        UsageError: `term_dims` do not ascend.
    """

    def __init__(self, term_dims: NDArray[np.uint32], shards: Sequence[RowShard]) -> None:
        self._term_dims, self._shards = np.ascontiguousarray(term_dims, np.uint32), list(shards)
        if (self._term_dims[1:] <= self._term_dims[:-1]).any():
            raise UsageError("the dimensions of terms must ascend, as the terms do")

    @cached_property
    def native(self) -> Rows | None:
        """The rows inside the compiled kernel; None where there is no compiled kernel.

        Raises:
            CorruptIndexError: the arrays of a shard do not fit each other.
        """
        extension = native()
        if extension is None:
            return None
        try:
            rows: Rows = extension.Rows(self._term_dims, self._shards)
        except ValueError as error:
            raise damage(error) from error
        return rows
