"""How vectors lie on disk: float32, float16, or bfloat16 (as uint16, since NumPy has no such type)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import CorruptIndexError, UnknownNameError
from tamis.kernels.codes import to_bfloat16

VECTORS = "vectors.npy"

_TYPES: dict[str, Any] = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}
STORES = tuple(_TYPES)


def storage_type(store: str) -> Any:
    """Return the array type of a storage name.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if store not in _TYPES:
        raise UnknownNameError("vector storage", store, STORES)
    return _TYPES[store]


def to_storage(vectors: NDArray[np.float32], store: str) -> NDArray[Any]:
    """Return vectors in a storage type, rounded to nearest even."""
    if store == "bfloat16":
        return to_bfloat16(vectors)
    converted: NDArray[Any] = np.ascontiguousarray(vectors, storage_type(store))
    return converted


def open_vectors(path: Path, dimensions: int, store: str) -> NDArray[Any]:
    """Map a file of vectors.

    Raises:
        CorruptIndexError: it is damaged, or not of this shape and type.
    """
    try:
        array = np.load(path, mmap_mode="r")
    except Exception as error:  # numpy evaluates the header: damage shows as any kind of error
        raise CorruptIndexError(f"{path} is damaged: {error}; run tamis verify") from error
    if array.dtype != storage_type(store) or array.ndim != 2 or array.shape[1] != dimensions:
        raise CorruptIndexError(f"{path} is damaged: {array.dtype}{list(array.shape)}; run tamis verify")
    return np.asarray(array)
