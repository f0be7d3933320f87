"""Taking many short strings out of one mapped file: what turns a thousand hits into a thousand ids."""

from __future__ import annotations

from mmap import mmap

import numpy as np
from numpy.typing import NDArray

from tamis.errors import CorruptIndexError
from tamis.kernels.backend import native


def gather_strings(data: mmap, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> list[str]:
    """Return the strings whose UTF-8 lies at ``data[begins[i]:ends[i]]``.

    Raises:
        CorruptIndexError: one leaves the data, or is no UTF-8.
    """
    extension = native()
    try:
        if extension is not None:
            found: list[str] = extension.strings(data, begins, ends)
            return found
        size = len(data)
        pairs = list(zip(begins.tolist(), ends.tolist(), strict=True))
        if any(not 0 <= begin <= end <= size for begin, end in pairs):
            raise ValueError("a string leaves the data")
        return [data[begin:end].decode() for begin, end in pairs]
    except ValueError as error:  # decoding errors are of this kind too
        raise CorruptIndexError(f"damaged strings: {error}; run tamis verify") from error
