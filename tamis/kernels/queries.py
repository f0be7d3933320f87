"""A batch of weighted queries, columnar, as the kernel takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tamis.errors import UsageError

_LIMIT = float(np.finfo(np.float32).max) / 2
"""What the contributions of a query may sum to: float32 overflow would break the order of results."""


class ValueTables:
    """Value tables that many batches share: a row is added once and used from then on.

    Adding is not safe between threads; searching with rows that are there already is, whatever is added meanwhile.

    Args:
        n_codes: length of a row.
    """

    def __init__(self, n_codes: int) -> None:
        self._rows = np.zeros((0, n_codes), np.float32)
        self._count = 0
        self.largest = 0.0

    def __len__(self) -> int:
        return self._count

    @property
    def values(self) -> NDArray[np.float32]:
        """The rows, float32 [n, n_codes]."""
        return self._rows[: self._count]

    def add(self, row: NDArray[np.float32]) -> int:
        """Add a row, float32 [n_codes], and return its number.

        Raises:
            UsageError: a value is not finite.
        """
        largest = float(np.abs(row).max(initial=0))
        if not largest < _LIMIT:
            raise UsageError(f"a contribution of {largest}: it must be finite and stay below 1.7e38")
        if self._count == len(self._rows):
            grown = np.empty((max(2 * self._count, 64), self._rows.shape[1]), np.float32)
            grown[: self._count] = self._rows
            self._rows = grown
        self._rows[self._count] = row
        self._count += 1
        self.largest = max(self.largest, largest)
        return self._count - 1


@dataclass(frozen=True, eq=False)
class Queries:
    """Terms, weights and value tables of a batch of queries.

    The contribution of term i to a document is ``weights[i] * tables[rows[i], code]``, one float32 product; without tables
    (binary postings) it is the weight. A document's score is the float32 sum of its contributions in the order of the query's
    terms. Contributions of zero or less are as good as any: a document matches if it holds one of the terms. A term that
    stands in a query twice counts twice. Without weights and tables the score is the number of terms that match.

    Args:
        offsets: int64 [n + 1]; the terms of query i are terms[offsets[i]:offsets[i + 1]].
        terms: int64; numbers of terms in the postings' vocabulary.
        weights: float32, one a term; None means 1.
        tables: float32 [rows, n_codes]; None for postings without codes.
        rows: int32, one a term: which table it uses; None means that there are as many tables as terms, in order.
        groups: int32, one a term, ascending within a query: terms whose sum is rounded together, before it is added to the
            others' (only for ``rounding="once"``); None means that each term stands alone.

    Raises:
        UsageError: the arrays do not fit each other, or a score could leave the range of float32.
    """

    offsets: NDArray[np.int64]
    terms: NDArray[np.int64]
    weights: NDArray[np.float32] | None = None
    tables: NDArray[np.float32] | None = None
    rows: NDArray[np.int32] | None = None
    groups: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        for name, kind in (
            ("offsets", np.int64),
            ("terms", np.int64),
            ("weights", np.float32),
            ("tables", np.float32),
            ("rows", np.int32),
            ("groups", np.int32),
        ):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, np.ascontiguousarray(value, kind))
        self._check_shapes()
        self._check_range()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def prepared(
        cls,
        offsets: Sequence[int],
        terms: Sequence[int],
        tables: ValueTables,
        rows: Sequence[int],
        groups: Sequence[int] | None = None,
    ) -> Queries:
        """Make a batch whose columns were filled together, so that only the range of its sums is left to check.

        The kernel still refuses numbers that leave its arrays. Single queries of a tenth of a millisecond are made this way.

        Raises:
            UsageError: a score could leave the range of float32.
        """
        arrays: dict[str, Any] = {
            "offsets": np.array(offsets, np.int64),
            "terms": np.array(terms, np.int64),
            "weights": None,
            "tables": tables.values,
            "rows": np.array(rows, np.int32),
            "groups": None if groups is None else np.array(groups, np.int32),
        }
        made = object.__new__(cls)
        made.__dict__.update(arrays)
        if not tables.largest * len(terms) < _LIMIT:
            made._check_range()
        return made

    @classmethod
    def of(cls, queries: Sequence[tuple[ArrayLike, ArrayLike | None]]) -> Queries:
        """Make a batch from (terms, tables) pairs, a table [n_codes] for each term; tables None counts terms.

        Raises:
            UsageError: as for the class, or only some of the queries have tables.
        """
        lists = [np.asarray(terms, np.int64).reshape(-1) for terms, _ in queries]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(terms) for terms in lists], dtype=np.int64)])
        terms = np.concatenate([np.empty(0, np.int64), *lists])
        given = [np.atleast_2d(np.asarray(tables, np.float32)) for _, tables in queries if tables is not None]
        if given and len(given) != len(queries):
            raise UsageError(f"{len(given)} of {len(queries)} queries have value tables: give them to all or to none")
        widths = {table.shape[1] for table, owner in zip(given, lists, strict=False) if len(owner)}
        if len(widths) > 1:
            raise UsageError(f"value tables of different lengths {sorted(widths)}: all must have one value a code")
        kept = [table for table, owner in zip(given, lists, strict=False) if len(owner)]
        return cls(offsets, terms, tables=np.concatenate(kept) if kept else None)

    def _check_shapes(self) -> None:
        n = len(self.terms)
        ok = (
            self.offsets.ndim == self.terms.ndim == 1
            and len(self.offsets)
            and self.offsets[0] == 0
            and self.offsets[-1] == n
        )
        if not ok or (self.offsets[1:] < self.offsets[:-1]).any():
            raise UsageError(f"query offsets must ascend from 0 to the number of terms, {n}")
        for name in ("weights", "rows", "groups"):
            value = getattr(self, name)
            if value is not None and value.shape != (n,):
                raise UsageError(f"{name} of shape {value.shape}: one for each of {n} terms is wanted")
        if self.tables is not None:
            wanted = int(self.rows.max(initial=-1)) + 1 if self.rows is not None else n
            if self.tables.ndim != 2 or len(self.tables) < wanted or (self.rows is None and len(self.tables) != n):
                raise UsageError(
                    f"value tables of shape {self.tables.shape}: {wanted} rows of one value a code are wanted"
                )
        if self.rows is not None and (self.tables is None or self.rows.min(initial=0) < 0):
            raise UsageError("rows name value tables by number, from 0: give tables too")

    def _check_range(self) -> None:
        """Sums must stay finite whatever documents hold; float32 overflow would also break the order of ties."""
        parts: list[Any] = [array for array in (self.weights, self.tables) if array is not None]
        if not parts or not len(self.terms):
            return
        sizes = np.ones(len(self.terms))
        if self.weights is not None:
            sizes *= np.abs(self.weights.astype(np.float64))
        if self.tables is not None:
            tops = np.abs(self.tables).max(axis=1, initial=0).astype(np.float64)
            sizes *= tops if self.rows is None else tops[self.rows]
        starts = self.offsets[:-1][self.offsets[1:] > self.offsets[:-1]]
        largest = np.add.reduceat(sizes, starts).max()
        if not largest < _LIMIT:
            raise UsageError(f"contributions of a query sum to {largest}: they must be finite and stay below 1.7e38")
