"""Short codes of dense vectors, and of queries against them: bfloat16, int8 and one bit a dimension.

A first pass over codes reads 2, 4 or nearly 32 times fewer bytes than one over float32, and its candidates are then scored with
the vectors. `int8`: one scale a vector, codes from -127 to 127 (stored with 128 added). `bit`: RaBitQ (Gao and Long, SIGMOD
2024): the vector minus the mean of all is rotated at random and its signs are kept, with the factor that makes the inner
product of signs and query an unbiased estimate; the query is rotated alike and kept in five bits, as bit planes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from tamis.errors import CorruptIndexError, UnknownNameError, UsageError

CodeKind = Literal["bf16", "int8", "bit"]
KINDS: tuple[CodeKind, ...] = get_args(CodeKind)
PLANES = 5
"""Bits of a query against `bit` codes: rounding to 31 steps adds under 1 % to the variance that the signs leave."""
MAX_DIMENSIONS = 65_536
Floats = NDArray[np.float32]

_DTYPES = {"bf16": np.uint16, "int8": np.uint8, "bit": np.uint64}


def check_kind(kind: str) -> CodeKind:
    """Return the kind.

    Raises:
        UnknownNameError: it is not one of `KINDS`.
    """
    for known in KINDS:
        if kind == known:
            return known
    raise UnknownNameError("kind of codes", kind, KINDS)


def words(dim: int) -> int:
    """The 64-bit words that hold one bit a dimension."""
    return -(-dim // 64)


class QueryCodes(NamedTuple):
    """A query as the scan takes it: a row's integer sum s becomes ``factor * (scale * s) + base``."""

    values: NDArray[Any]
    scale: float = 1.0
    base: float = 0.0
    correction: int = 0


@dataclass(frozen=True, eq=False)
class Codes:
    """The codes of the vectors of one array.

    Args:
        kind: how they were made.
        dim: dimensions of the vectors.
        rows: ``bf16``: uint16 [n, dim]; ``int8``: uint8 [n, dim]; ``bit``: uint64 [n, words], dimension 0 in the lowest bit.
        factors: float32 [n], for ``int8`` and ``bit``.
        centre: float32 [dim], for ``bit``: what was subtracted.
        rotation: float32 [dim, dim], for ``bit``: orthogonal; a row vector times it is rotated.

    Raises:
        UnknownNameError: no such kind.
        CorruptIndexError: the arrays do not fit each other.
    """

    kind: CodeKind
    dim: int
    rows: NDArray[Any]
    factors: Floats | None = None
    centre: Floats | None = None
    rotation: Floats | None = None

    def __post_init__(self) -> None:
        check_kind(self.kind)
        width = words(self.dim) if self.kind == "bit" else self.dim
        wanted: list[tuple[str, NDArray[Any] | None, Any, tuple[int, ...]]] = [
            ("codes", self.rows, _DTYPES[self.kind], (len(self.rows), width))
        ]
        if self.kind != "bf16":
            wanted.append(("factors", self.factors, np.float32, (len(self.rows),)))
        if self.kind == "bit":
            wanted.append(("centre", self.centre, np.float32, (self.dim,)))
            wanted.append(("rotation", self.rotation, np.float32, (self.dim, self.dim)))
        for name, array, dtype, shape in wanted:
            if (
                array is None
                or array.dtype != dtype
                or array.shape != shape
                or not (array.flags.c_contiguous and array.flags.aligned)
            ):
                found = "none" if array is None else f"{array.dtype} {array.shape}"
                raise CorruptIndexError(
                    f"{self.kind} codes: {name} should be contiguous {np.dtype(dtype)} {shape}, not {found}: build them again"
                )

    def __len__(self) -> int:
        return len(self.rows)

    def of_query(self, query: Floats) -> QueryCodes:
        """Encode one query, float32 [dim]."""
        if self.kind == "bf16":
            return QueryCodes(query)
        if self.kind == "int8":
            codes, scale = _integers(query.astype(np.float64), 127)
            return QueryCodes(codes, scale, 0.0, 128 * int(codes.sum(dtype=np.int64)))
        assert self.centre is not None  # noqa: S101  (checked above)
        assert self.rotation is not None  # noqa: S101
        wide = query.astype(np.float64)
        codes, scale = _integers(wide @ self.rotation, 2 ** (PLANES - 1) - 1)
        base = float(np.float32(wide @ self.centre))
        planes = np.zeros((PLANES, words(self.dim)), np.uint64)
        pattern = codes.view(np.uint8)
        for i in range(PLANES):
            planes[i] = pack_bits((pattern >> (PLANES - 1 - i) & 1).astype(np.bool_)[None])[0]
        return QueryCodes(planes, scale, base, int(codes.sum(dtype=np.int64)))


def _integers(values: NDArray[np.float64], highest: int) -> tuple[NDArray[np.int8], float]:
    """The values in -highest … highest, and what one step is worth, as a float32."""
    scale = float(np.float32(np.abs(values).max(initial=0.0) / highest)) or 1.0
    return np.clip(np.rint(values / scale), -highest, highest).astype(np.int8), scale


def pack_bits(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Pack [n, dim] into [n, words], the first dimension in the lowest bit."""
    n, dim = bits.shape
    packed = np.zeros((n, words(dim) * 8), np.uint8)
    packed[:, : -(-dim // 8)] = np.packbits(bits, axis=1, bitorder="little")
    return packed.view("<u8").astype(np.uint64, copy=False)


def widen(rows: NDArray[Any]) -> Floats:
    """Rows of a store as float32, exactly: float32, float16, or bfloat16 held as uint16.

    Raises:
        UsageError: another type.
    """
    if rows.dtype == np.float32:
        return rows
    if rows.dtype == np.float16:
        return rows.astype(np.float32)
    if rows.dtype == np.uint16:
        return (rows.astype(np.uint32) << np.uint32(16)).view(np.float32)
    raise UsageError(
        f"vectors of {rows.dtype}: float32, float16, or bfloat16 held as uint16 are searched; convert them"
    )


def to_bfloat16(rows: Floats) -> NDArray[np.uint16]:
    """Round finite float32 to bfloat16, ties to even, held as uint16."""
    bits = np.ascontiguousarray(rows).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)


def encode_int8(rows: Floats) -> tuple[NDArray[np.uint8], Floats]:
    """Codes [n, dim] and factors [n] of float32 rows."""
    factors = (np.abs(rows).max(axis=1, initial=0) / np.float32(127)).astype(np.float32)
    steps = np.where(factors > 0, factors, np.float32(1))
    codes = np.clip(np.rint(rows / steps[:, None]), -127, 127)
    return (codes + np.float32(128)).astype(np.uint8), factors


def encode_bits(rows: Floats, centre: Floats, rotation: Floats) -> tuple[NDArray[np.uint64], Floats]:
    """Codes [n, words] and factors [n] of float32 rows."""
    turned = (rows - centre) @ rotation
    length = np.einsum("ij,ij->i", turned, turned, dtype=np.float32)
    sums = np.abs(turned).sum(axis=1, dtype=np.float32)
    factors = np.divide(length, sums, out=np.zeros_like(sums), where=sums > 0)
    return pack_bits(turned > 0), factors


def random_rotation(dim: int, seed: int) -> Floats:
    """An orthogonal matrix, drawn uniformly."""
    matrix, triangle = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))
    return np.ascontiguousarray(matrix * np.sign(np.diag(triangle)), np.float32)
