"""Columns of strings in mapped files: what turns a thousand hits into a thousand ids."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from mmap import mmap
from struct import unpack_from
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tamis.errors import CorruptIndexError
from tamis.kernels.backend import native


class StringBlock(NamedTuple):
    """Where a run of strings lies in a file, in Arrow's layout.

    Attributes:
        data: the mapped file.
        offsets_at: where its rows + 1 little-endian int32 begin; string i spans the bytes offsets[i] … offsets[i + 1].
        data_at: what the offsets count from.
        rows: number of strings.
    """

    data: mmap
    offsets_at: int
    data_at: int
    rows: int


class StringColumn:
    """The strings of some blocks, numbered one after another.

    Args:
        blocks: in order.

    Raises:
        CorruptIndexError: a block leaves its file.
    """

    def __init__(self, blocks: Sequence[StringBlock]) -> None:
        extension = native()
        try:
            self._column = _Blocks(blocks) if extension is None else extension.StringColumn(list(blocks))
        except ValueError as error:
            raise _damage(error) from error

    def __len__(self) -> int:
        return len(self._column)

    def take(self, positions: NDArray[np.int64]) -> list[str]:
        """Return the strings at int64 `positions`, in their order.

        Raises:
            IndexError: a position is negative, or there are not so many strings.
            CorruptIndexError: an offset leaves the file, or what lies there is no UTF-8.
        """
        try:
            return self._column.take(positions)
        except ValueError as error:  # decoding errors are of this kind too
            raise _damage(error) from error


def _damage(error: ValueError) -> CorruptIndexError:
    return CorruptIndexError(f"damaged strings: {error}; run tamis verify")


class _Blocks:
    """The same without the extension."""

    def __init__(self, blocks: Sequence[StringBlock]) -> None:
        for block in blocks:
            size, end = len(block.data), block.offsets_at + 4 * (block.rows + 1)
            if block.rows < 0 or not 0 <= block.offsets_at < end <= size or not 0 <= block.data_at <= size:
                raise ValueError("a block of strings leaves the data")
        self._blocks = list(blocks)
        self._starts = list(accumulate((block.rows for block in blocks), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def take(self, positions: NDArray[np.int64]) -> list[str]:
        return [self._string(position) for position in positions.tolist()]

    def _string(self, position: int) -> str:
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} of {len(self)}")
        number = bisect_right(self._starts, position) - 1
        block = self._blocks[number]
        begin, end = unpack_from("<ii", block.data, block.offsets_at + 4 * (position - self._starts[number]))
        if not 0 <= begin <= end <= len(block.data) - block.data_at:
            raise ValueError("a string leaves the data")
        return block.data[block.data_at + begin : block.data_at + end].decode()
