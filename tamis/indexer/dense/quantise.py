"""Files of short codes beside a store of vectors: made in one or two passes over it, opened memory-mapped.

    build_codes(vectors, "int8", folder)
    codes = open_codes("int8", folder, len(vectors), vectors.shape[1])

`int8-codes.npy` and so on: one array of `tamis.kernels.codes.Codes` a file. Memory does not grow with the store.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import CorruptIndexError, MissingResourceError, UsageError
from tamis.files import atomic_write, write_array
from tamis.kernels.codes import (
    MAX_DIMENSIONS,
    CodeKind,
    Codes,
    check_kind,
    encode_bits,
    encode_int8,
    random_rotation,
    to_bfloat16,
    widen,
    words,
)
from tamis.kernels.dense import check_finite

SEED = 20_240_527
_ROWS = 8192
_ARRAYS = {"bf16": ("codes",), "int8": ("codes", "factors"), "bit": ("codes", "factors", "centre", "rotation")}


def build_codes(vectors: NDArray[Any], kind: str, out: Path | str, *, seed: int = SEED) -> list[Path]:
    """Write the codes of a store's vectors, and return the files written.

    Args:
        vectors: [n, dim], float32, float16, or bfloat16 held as uint16; typically memory-mapped.
        kind: ``bf16``, ``int8`` or ``bit``; see `tamis.kernels.codes`.
        out: an existing folder.
        seed: of the rotation for ``bit``.

    Raises:
        UnknownNameError: no such kind.
        UsageError: `vectors` is no such array.
        DataError: a vector is not finite, or too large for a code of it.
        StorageError: the disk is full or refuses the write.
    """
    known, folder = check_kind(kind), Path(out)
    widen(vectors[:0])
    if vectors.ndim != 2 or not 1 <= vectors.shape[1] <= MAX_DIMENSIONS:
        raise UsageError(f"vectors of shape {vectors.shape}: 1 to {MAX_DIMENSIONS:,} dimensions are encoded")
    n, dim = vectors.shape
    if known == "bf16":
        return [_write(folder, known, "codes", np.dtype(np.uint16), (n, dim), vectors, to_bfloat16)]
    if known == "int8":
        # Two passes: both arrays are streams, and the file system need not hold them open at once.
        return [
            _write(folder, known, "codes", np.dtype(np.uint8), (n, dim), vectors, lambda rows: encode_int8(rows)[0]),
            _write(folder, known, "factors", np.dtype(np.float32), (n,), vectors, lambda rows: encode_int8(rows)[1]),
        ]
    centre, rotation = _mean(vectors), random_rotation(dim, seed)
    factors = np.zeros(n, np.float32)
    done = 0

    def encode(rows: NDArray[np.float32]) -> NDArray[Any]:
        nonlocal done
        codes, factors[done : done + len(rows)] = encode_bits(rows, centre, rotation)
        done += len(rows)
        return codes

    files = [_write(folder, known, "codes", np.dtype(np.uint64), (n, words(dim)), vectors, encode)]
    for name, array in (("factors", factors), ("centre", centre), ("rotation", rotation)):
        write_array(_path(folder, known, name), array)
        files.append(_path(folder, known, name))
    return files


def open_codes(kind: str, folder: Path | str, n: int, dim: int) -> Codes:
    """Open the codes of a store of `n` vectors of `dim` dimensions, memory-mapped.

    Raises:
        UnknownNameError: no such kind.
        MissingResourceError: a file is not there.
        CorruptIndexError: a file cannot be read, or does not fit.
    """
    known = check_kind(kind)
    arrays: dict[str, NDArray[Any]] = {}
    for name in _ARRAYS[known]:
        path = _path(Path(folder), known, name)
        try:
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise MissingResourceError(f"{path} is missing: build the {known} codes again") from None
        except (ValueError, EOFError, OSError) as error:
            raise CorruptIndexError(f"{path} cannot be read ({error}): build the {known} codes again") from error
    made = Codes(known, dim, arrays.pop("codes"), **arrays)
    if len(made) != n:
        raise CorruptIndexError(f"{folder}: {known} codes of {len(made)} vectors for {n}: build them again")
    return made


def codes_of(vectors: NDArray[Any], kind: str, *, seed: int = SEED) -> Codes:
    """The codes of a few vectors, in memory."""
    known = check_kind(kind)
    check_finite(vectors)
    rows, dim = widen(vectors), vectors.shape[1]
    if known == "bf16":
        return Codes(known, dim, to_bfloat16(rows))
    if known == "int8":
        return Codes(known, dim, *encode_int8(rows))
    centre, rotation = _mean(vectors), random_rotation(dim, seed)
    return Codes(known, dim, *encode_bits(rows, centre, rotation), centre, rotation)


def _path(folder: Path, kind: CodeKind, name: str) -> Path:
    return folder / f"{kind}-{name}.npy"


def _mean(vectors: NDArray[Any]) -> NDArray[np.float32]:
    total = np.zeros(vectors.shape[1], np.float64)
    for first in range(0, len(vectors), _ROWS):
        total += widen(vectors[first : first + _ROWS]).sum(axis=0, dtype=np.float64)
    return (total / max(1, len(vectors))).astype(np.float32)


def _write(
    folder: Path,
    kind: CodeKind,
    name: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    vectors: NDArray[Any],
    encode: Callable[[NDArray[np.float32]], NDArray[Any]],
) -> Path:
    """Stream one array into its file."""
    path = _path(folder, kind, name)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with atomic_write(path) as handle:
        np.lib.format.write_array_header_1_0(handle, header)
        for first in range(0, shape[0], _ROWS):
            part = vectors[first : first + _ROWS]
            check_finite(part, first)
            handle.write(np.ascontiguousarray(encode(widen(part)), dtype).tobytes())
    return path
