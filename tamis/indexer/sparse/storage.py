"""Sparse vectors row by row, on disk: what a chunk and a shard hold.

offsets.npy      int64 [rows + 1]
dimensions.npy   uint16 or uint32 [entries], ascending within a row
weights.npy      float32 [entries] in a chunk; codes.npy, uint8 or uint16 [entries], in a shard, none if the part is binary
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import CorruptIndexError
from tamis.files import write_array

OFFSETS, DIMENSIONS, WEIGHTS, CODES = "offsets.npy", "dimensions.npy", "weights.npy", "codes.npy"
_COPIED = 1 << 22


@dataclass(frozen=True, eq=False)
class SparseRows:
    """Rows of a sparse matrix, perhaps memory-mapped.

    Attributes:
        offsets: int64 [rows + 1].
        dimensions: unsigned [entries].
        values: float32 weights, or codes, [entries]; None where all are 1.
    """

    offsets: NDArray[np.int64]
    dimensions: NDArray[Any]
    values: NDArray[Any] | None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, number: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Return dimensions and values of a row."""
        span = slice(int(self.offsets[number]), int(self.offsets[number + 1]))
        return self.dimensions[span], None if self.values is None else self.values[span]

    def take(self, rows: NDArray[np.int64]) -> SparseRows:
        """Return some rows, in that order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        places = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return SparseRows(offsets, self.dimensions[places], None if self.values is None else self.values[places])

    def blocks(self, entries: int = _COPIED) -> Iterator[tuple[int, SparseRows]]:
        """Yield the first row's number and some rows, of about so many entries together."""
        first = 0
        while first < len(self):
            last = int(np.searchsorted(self.offsets, self.offsets[first] + entries, "right")) - 1
            last = min(max(last, first + 1), len(self))
            span = slice(int(self.offsets[first]), int(self.offsets[last]))
            offsets = self.offsets[first : last + 1] - self.offsets[first]
            yield (
                first,
                SparseRows(offsets, self.dimensions[span], None if self.values is None else self.values[span]),
            )
            first = last


def narrow(values: NDArray[Any], kinds: Sequence[type[Any]]) -> NDArray[Any]:
    """Return non-negative integers in the first of `kinds` that holds them all."""
    largest = int(values.max(initial=0))
    kind = next(kind for kind in kinds if largest <= np.iinfo(kind).max)
    return values.astype(kind)


def write_rows(folder: Path, rows: SparseRows, values_file: str | None) -> None:
    """Write rows; `values_file` is where their values go."""
    write_array(folder / OFFSETS, rows.offsets)
    write_array(folder / DIMENSIONS, narrow(rows.dimensions, (np.uint16, np.uint32)))
    if values_file is not None and rows.values is not None:
        write_array(folder / values_file, rows.values)


def open_rows(folder: Path, values_file: str | None) -> SparseRows:
    """Map the rows of a chunk or shard.

    Raises:
        CorruptIndexError: a file is damaged, or they do not fit each other.
    """
    names = [OFFSETS, DIMENSIONS] + ([] if values_file is None else [values_file])
    arrays = []
    for name in names:
        path = folder / name
        try:
            array = np.load(path, mmap_mode="r" if path.stat().st_size > 4096 else None, allow_pickle=False)
        except Exception as error:  # numpy evaluates the header: damage shows as any kind of error
            raise CorruptIndexError(f"{path} is damaged: {error}; run tamis verify") from error
        arrays.append(np.asarray(array))
    offsets, dimensions = arrays[0], arrays[1]
    values = arrays[2] if len(arrays) > 2 else None
    good = offsets.dtype == np.int64 and offsets.ndim == 1 and len(offsets) > 0 and dimensions.ndim == 1
    good = good and dimensions.dtype in (np.uint16, np.uint32) and (values is None or values.shape == dimensions.shape)
    if not good or offsets[0] != 0 or offsets[-1] != len(dimensions) or (np.diff(offsets) < 0).any():
        raise CorruptIndexError(f"{folder} holds no sparse rows: its files do not fit each other; run tamis verify")
    return SparseRows(offsets, dimensions, values)


def join_rows(parts: Sequence[SparseRows]) -> SparseRows:
    """Return the rows of several, one after another."""
    lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(part.offsets) for part in parts)])
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    dimensions = np.concatenate([np.zeros(0, np.uint16), *(part.dimensions for part in parts)])
    held = [part.values for part in parts if part.values is not None]
    return SparseRows(offsets, dimensions, np.concatenate(held) if held else None)
