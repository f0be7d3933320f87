"""From a filter to the rows that it allows, evaluated on the typed filterable columns of the document segments.

A column of one kind is compared in Arrow. One whose values are of several kinds is kept as text and says so by its type
(`tamis.indexer.segment.typed_column`); its values are then read from the metadata, which is slower and gives the same
answer. So what a filter allows depends on the documents alone, not on how they lie in segments.
"""

from __future__ import annotations

import math
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.data.filters import And, Comparison, Condition, Filter, IsNull, Membership, Not, Or, kind_of
from tamis.errors import UsageError
from tamis.indexer.documents import DocumentStore
from tamis.indexer.segment import FILTER, Segment, metadata_of
from tamis.stages import RowMask

_CACHE_BYTES = 256 << 20
_Bools = NDArray[np.bool_]


class FilterMasks:
    """The row masks of one generation's filters, remembered by their canonical spelling. Safe to share between threads."""

    def __init__(self, documents: DocumentStore) -> None:
        self._documents = documents
        self._masks: OrderedDict[str, RowMask] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def mask(self, chosen: Filter) -> RowMask:
        """Return the rows that are live and that `chosen` allows: bool of length ``documents.row_limit``, read-only.

        Raises:
            UsageError: the filter names a key that the index does not keep as a column.
        """
        spelling = str(chosen)
        with self._lock:
            known = self._masks.get(spelling)
            if known is not None:
                self._masks.move_to_end(spelling)
                return known
        made = make_mask(self._documents, chosen)
        made.flags.writeable = False
        with self._lock:
            if spelling not in self._masks:
                self._masks[spelling] = made
                self._bytes += made.nbytes
            while self._bytes > _CACHE_BYTES and len(self._masks) > 1:
                self._bytes -= self._masks.popitem(last=False)[1].nbytes
        return made


def make_mask(documents: DocumentStore, chosen: Filter) -> RowMask:
    """Return the mask of a filter; see `FilterMasks.mask`."""
    check_keys(documents, chosen)
    parts = [_evaluate(chosen, _Columns(segment)) for segment in documents.segments()]
    positions = np.concatenate([np.zeros(0, np.bool_), *parts])
    if documents.live is not None:
        positions &= documents.live
    mask = np.zeros(documents.row_limit, np.bool_)
    table = documents.rows_by_position
    mask[slice(0, len(positions)) if table is None else table] = positions
    return mask


def check_keys(documents: DocumentStore, chosen: Filter) -> None:
    """Check that an index keeps every key of a filter as a column.

    Raises:
        UsageError: it does not; the message lists the keys that it keeps.
    """
    kept = documents.manifest.settings.filterable
    for key in chosen.keys():  # noqa: SIM118 - a filter is no mapping
        if key not in kept:
            listed = f"this index keeps {', '.join(map(repr, kept))}" if kept else "this index keeps none"
            wanted = ",".join([*kept, key])
            raise UsageError(
                f"the filter names {key!r}, which is no filterable key: {listed}; to filter by it, index the corpus again "
                f"with --filterable {wanted}"
            )


class _Columns:
    """The columns of one segment that a filter asks for."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._table: Any = None
        self._metadata: list[Mapping[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self._segment)

    def column(self, key: str) -> Any:
        if self._table is None:
            self._table = self._segment.table()
        return self._table[f"{FILTER}{key}"]

    def values(self, key: str) -> list[Any]:
        """The values of a key, read from the metadata."""
        if self._metadata is None:
            self._metadata = [metadata_of(text) for text in self._table["metadata"].to_pylist()]
        return [metadata.get(key) for metadata in self._metadata]


def _evaluate(node: Filter, columns: _Columns) -> _Bools:
    if isinstance(node, Condition):
        return _condition(node, columns)
    if isinstance(node, Not):
        return ~_evaluate(node.inner, columns)
    if isinstance(node, (And, Or)):
        join = np.logical_and if isinstance(node, And) else np.logical_or
        found: _Bools = join.reduce([_evaluate(part, columns) for part in node.inputs])
        return found
    raise TypeError(f"no such filter: {node!r}")


def _condition(node: Condition, columns: _Columns) -> _Bools:
    import pyarrow as pa

    column = columns.column(node.key)
    kind = column.type
    if isinstance(node, IsNull):
        return _bools(column.is_valid() if node.negated else column.is_null())
    if pa.types.is_large_string(kind):
        return np.fromiter(map(node.holds, columns.values(node.key)), np.bool_, len(columns))
    if not pa.types.is_list(kind):
        return _typed(node, column)
    import pyarrow.compute as pc

    array = column.combine_chunks()
    positive = Membership(node.key, node.values) if isinstance(node, Membership) else node
    hits = _typed(positive, pc.list_flatten(array))
    found = np.zeros(len(array), np.bool_)
    found[pc.list_parent_indices(array).to_numpy(zero_copy_only=False)[hits]] = True
    if isinstance(node, Membership) and node.negated:
        return _bools(array.is_valid()) & ~found
    return found


def _typed(node: Condition, column: Any) -> _Bools:
    """Compare a column of one kind."""
    import pyarrow as pa
    import pyarrow.compute as pc

    types, kind = pa.types, column.type
    if types.is_null(kind):
        return np.zeros(len(column), np.bool_)
    name = "bool" if types.is_boolean(kind) else "string" if types.is_string(kind) else "number"
    if isinstance(node, Comparison):
        if kind_of(node.value) != name:
            return np.zeros(len(column), np.bool_)
        symbol, bound = node.symbol, node.value
        if name == "number":
            symbol, bound = _bound(symbol, node.value, whole=types.is_integer(kind))  # type: ignore[arg-type]
        compare = {"<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal}[symbol]
        return _bools(compare(column, pa.scalar(bound, kind)))
    if not isinstance(node, Membership):
        raise TypeError(f"no such condition: {node!r}")
    wanted: list[Any] = [value for value in node.values if kind_of(value) == name]
    if name == "number":
        wanted = [value for value in wanted if _representable(value, whole=types.is_integer(kind))]
        wanted = [int(value) if types.is_integer(kind) else float(value) for value in wanted]
        if types.is_floating(kind) and 0.0 in wanted:  # Arrow finds them by their bits, and zero has two
            wanted += [0.0, -0.0]
    found = _bools(pc.is_in(column, value_set=pa.array(wanted, kind), skip_nulls=True))
    return _bools(column.is_valid()) & ~found if node.negated else found


def _bound(symbol: str, value: int | float, *, whole: bool) -> tuple[str, int | float]:
    """Say a comparison with a number that the column's type may not hold by one that it does, exactly."""
    low, high = (-(1 << 63), (1 << 63) - 1) if whole else (-math.inf, math.inf)
    if _representable(value, whole=whole):
        return symbol, int(value) if whole else float(value)
    # What is below a number between two values of the type is at most the lower of them.
    if symbol in ("<", "<="):
        return ("<", low) if value < low else ("<=", _below(value, whole=whole) if value < high else high)
    return (">", high) if value > high else (">", _below(value, whole=whole)) if value > low else (">=", low)


def _below(value: int | float, *, whole: bool) -> int | float:
    """The largest value of the type that is below `value`."""
    if whole:
        return math.floor(value)
    if abs(value) > sys.float_info.max:
        return sys.float_info.max if value > 0 else -math.inf
    near = float(value)
    return near if near < value else math.nextafter(near, -math.inf)


def _representable(value: int | float, *, whole: bool) -> bool:
    if whole:
        return value == math.floor(value) and -(1 << 63) <= value < 1 << 63
    return isinstance(value, float) or (abs(value) <= sys.float_info.max and int(float(value)) == value)


def _bools(array: Any) -> _Bools:
    """An Arrow array of booleans as numpy's, null as false."""
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # an empty one stays chunked
        return np.zeros(0, np.bool_)
    found: _Bools = array.fill_null(False).to_numpy(zero_copy_only=False).astype(np.bool_)
    return found
