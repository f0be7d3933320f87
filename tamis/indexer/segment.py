"""A document segment: ids, texts, metadata and parent documents of a range of rows, in memory-mapped Arrow.

    docs.arrow      columns id, title, text, metadata (JSON), document (first row of the row's document), then one column
                    a filterable key and one ``field:NAME`` a named text field
    layout.json     where in docs.arrow the buffers of the string columns lie, so that hits are shown without Arrow
    id_hash.npy     uint64, sorted: hashes of the ids
    id_place.npy    uint32: position in the segment of each
    rows.npy        int64, sorted: row of each position; only where compaction left gaps

Everything is immutable once written. A document's rows never straddle a segment or a record batch.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.data.document import Document
from tamis.data.sources import replace_surrogates
from tamis.errors import CorruptIndexError, DataError
from tamis.files import sync_folder, sync_tree, write_array, write_json
from tamis.indexer.layout import FileEntry, Settings
from tamis.kernels.strings import StringBlock, StringColumn

DOCS = "docs.arrow"
LAYOUT_FILE = "layout.json"
ID_HASH = "id_hash.npy"
ID_PLACE = "id_place.npy"
ROWS = "rows.npy"
FILTER = "filter:"

BATCH_ROWS = 8192
BATCH_BYTES = 32 << 20
_STRINGS = ("id", "title", "text", "metadata")
_MAX_TEXT = (1 << 31) - (64 << 20)
MAX_ID_BYTES = 32_000
"""Lucene's limit of a term is 32,766 bytes."""

_encode_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True, allow_nan=False).encode


def hash_ids(ids: Sequence[str]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of every id (BLAKE2b), the same on all machines."""
    digest = hashlib.blake2b
    joined = b"".join([digest(doc_id.encode(), digest_size=8).digest() for doc_id in ids])
    return np.frombuffer(joined, "<u8").astype(np.uint64)


def size_of(value: Any) -> int:
    """Return about how many characters a document, or a metadata value, holds; memory is bounded by it."""
    if isinstance(value, Document):
        size = len(value.text) + len(value.title)
        return size + size_of(value.metadata) if value.metadata else size
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(str(key)) + size_of(item) for key, item in value.items())
    if isinstance(value, list):
        return sum(map(size_of, value))
    return 8


class SegmentWriter:
    """Writes one segment: `add` documents (each a list of passages), then `finish`."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._settings = settings
        self._extra = [name for name, _ in settings.fields if name not in ("contents", "title", "body")]
        self._pending: list[tuple[int, Document]] = []
        self._tables: list[Any] = []
        self._filters: dict[str, list[Any]] = {name: [] for name in settings.filterable}
        self._pending_bytes = 0
        self.rows = 0

    def add(self, first_row: int, passages: Sequence[Document]) -> None:
        """Add one document's rows, numbered from `first_row`."""
        size = size_of(passages[0]) if len(passages) == 1 else sum(map(size_of, passages))
        if size > _MAX_TEXT // 4:
            raise DataError(
                f"document {passages[0].id!r} has {size:,} characters; at most {_MAX_TEXT // 4:,} are supported"
            )
        longest = passages[-1].id
        if len(longest) > MAX_ID_BYTES // 4 and len(longest.encode()) > MAX_ID_BYTES:
            raise DataError(
                f"document id {longest[:40]!r}… has {len(longest.encode()):,} bytes; at most {MAX_ID_BYTES:,} are supported"
            )
        if self._pending and (
            len(self._pending) + len(passages) > BATCH_ROWS or self._pending_bytes + size > BATCH_BYTES
        ):
            self._flush()
        self._pending.extend((first_row, passage) for passage in passages)
        self._pending_bytes += size

    def _flush(self) -> None:
        import pyarrow as pa

        docs = [doc for _, doc in self._pending]
        columns: dict[str, Any] = {
            "id": pa.array([d.id for d in docs], pa.string()),
            "title": _strings([d.title for d in docs]),
            "text": _strings([d.text for d in docs]),
            "metadata": _strings([_metadata_text(d) for d in docs]),
            "document": pa.array([first for first, _ in self._pending], pa.int64()),
        }
        for name in self._extra:
            columns[f"field:{name}"] = _strings([_field_text(d.metadata.get(name)) for d in docs])
        for name, values in self._filters.items():
            values.extend(d.metadata.get(name) for d in docs)
        self._tables.append(pa.table(columns))
        self.rows += len(docs)
        self._pending, self._pending_bytes = [], 0

    def finish(self, rows: NDArray[np.int64] | None = None) -> dict[str, FileEntry]:
        """Write the files, flush them to the device, and return their sizes and hashes."""
        import pyarrow as pa

        if self._pending:
            self._flush()
        filters = {name: typed_column(values) for name, values in self._filters.items()}
        tables, start = [], 0
        for table in self._tables:
            for name, column in filters.items():
                table = table.append_column(f"{FILTER}{name}", column.slice(start, table.num_rows))
            start += table.num_rows
            tables.append(table)
        return write_tables(self.folder, pa, tables, rows)


def write_tables(folder: Path, pa: Any, tables: Sequence[Any], rows: NDArray[np.int64] | None) -> dict[str, FileEntry]:
    """Write tables of one schema as a segment's files, one record batch a table."""
    with pa.OSFile(str(folder / DOCS), "wb") as sink, pa.ipc.new_file(sink, tables[0].schema) as writer:
        for table in tables:
            writer.write_batch(table.combine_chunks().to_batches()[0])
    layout = _buffer_places(folder / DOCS, pa)
    write_json(folder / LAYOUT_FILE, layout)
    ids = [doc_id for table in tables for doc_id in table.column("id").to_pylist()]
    hashes = hash_ids(ids)
    order = np.argsort(hashes, kind="stable")
    write_array(folder / ID_HASH, hashes[order])
    write_array(folder / ID_PLACE, order.astype(np.uint32))
    if rows is not None:
        write_array(folder / ROWS, rows)
    sync_tree(folder)
    sync_folder(folder.parent)
    return {path.name: describe_file(path) for path in sorted(folder.iterdir())}


def describe_file(path: Path) -> FileEntry:
    """Return a file's size and SHA-256."""
    from tamis.files import sha256_file

    return FileEntry(path.stat().st_size, sha256_file(path))


def _field_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(_field_text(item) for item in value)
    return str(value)


def _strings(values: list[str | None]) -> Any:
    """A string column; a lone surrogate, which UTF-8 cannot hold, becomes U+FFFD."""
    import pyarrow as pa

    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        return pa.array([None if v is None else replace_surrogates(v) for v in values], pa.string())


def _metadata_text(document: Document) -> str:
    if not document.metadata:
        return ""
    try:
        return _encode_json(dict(document.metadata))
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"document {document.id!r}: its metadata are no JSON values: {error}") from error


def typed_column(values: list[Any]) -> Any:
    """A typed Arrow column: bool, int64, float64, string, list of strings, or null where all values are missing.

    Whatever does not keep its meaning in one of these (values of several kinds, lists of other things than strings, objects) is
    kept as text in a large_string column: its type says that the metadata are to be asked.
    """
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pa.nulls(len(values))
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int} and all(-(1 << 63) <= v < 1 << 63 for v in values if v is not None):
        return pa.array(values, pa.int64())
    if kinds <= {int, float} and all(type(v) is float or abs(v) <= 1 << 53 for v in values if v is not None):
        return pa.array(values, pa.float64())
    if kinds == {list} and all(type(item) is str for v in values if v is not None for item in v):
        lists = [None if v is None else [replace_surrogates(item) for item in v] for v in values]
        return pa.array(lists, pa.list_(pa.string()))
    texts = _strings([None if v is None else _field_text(v) for v in values])
    return texts if kinds == {str} else texts.cast(pa.large_string())


def _buffer_places(path: Path, pa: Any) -> dict[str, Any]:
    """Where each record batch's string buffers lie in the file: {"batches": [{rows, columns: {name: [offsets, data]}}]}."""
    with pa.memory_map(str(path)) as source:
        base = source.read_buffer().address
        source.seek(0)
        reader = pa.ipc.open_file(source)
        batches = []
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            columns = {}
            for name in _STRINGS:
                _, offsets, data = batch.column(name).buffers()
                columns[name] = [offsets.address - base, data.address - base if data is not None and data.size else -1]
            batches.append({"rows": batch.num_rows, "columns": columns})
        return {"batches": batches}


class Segment:
    """A written segment, opened for reading; nothing is loaded before it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._columns: dict[str, StringColumn] = {}

    @cached_property
    def _map(self) -> mmap.mmap:
        with (self.folder / DOCS).open("rb") as handle:
            return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)

    @cached_property
    def _batches(self) -> list[dict[str, Any]]:
        try:
            batches: list[dict[str, Any]] = json.loads((self.folder / LAYOUT_FILE).read_bytes())["batches"]
        except (OSError, ValueError, KeyError) as error:
            raise CorruptIndexError(f"{self.folder / LAYOUT_FILE} is damaged: {error}; run tamis verify") from error
        return batches

    def __len__(self) -> int:
        return sum(batch["rows"] for batch in self._batches)

    @cached_property
    def row_table(self) -> NDArray[np.int64] | None:
        """Row of each position where compaction left gaps, otherwise None."""
        path = self.folder / ROWS
        return np.load(path, mmap_mode="r") if path.exists() else None

    def strings(self, column: str, positions: NDArray[np.int64]) -> list[str]:
        """Return a string column (id, title, text or metadata) at `positions`."""
        if column not in self._columns:
            self._columns[column] = StringColumn(self.string_blocks(column))
        return self._columns[column].take(positions)

    def string_blocks(self, column: str) -> list[StringBlock]:
        """Where a string column lies, a record batch each."""
        return [
            StringBlock(self._map, offsets_at, max(data_at, 0), batch["rows"])
            for batch in self._batches
            for offsets_at, data_at in [batch["columns"][column]]
        ]

    @cached_property
    def _hashes(self) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
        return np.load(self.folder / ID_HASH, mmap_mode="r"), np.load(self.folder / ID_PLACE, mmap_mode="r")

    @property
    def id_hashes(self) -> NDArray[np.uint64]:
        """Sorted hashes of all ids."""
        return self._hashes[0]

    def find(self, ids: Sequence[str], hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the position of each id, -1 where the segment does not hold it."""
        sorted_hashes, places = self._hashes
        found = np.full(len(ids), -1, np.int64)
        first = np.searchsorted(sorted_hashes, hashes, "left")
        last = np.searchsorted(sorted_hashes, hashes, "right")
        for i in np.flatnonzero(last > first).tolist():
            candidates = places[first[i] : last[i]].astype(np.int64)
            for position, held in zip(candidates.tolist(), self.strings("id", candidates), strict=True):
                if held == ids[i]:
                    found[i] = position
                    break
        return found

    def table(self) -> Any:
        """Return the whole segment as a memory-mapped Arrow table."""
        import pyarrow as pa

        return pa.ipc.open_file(pa.memory_map(str(self.folder / DOCS))).read_all()

    def batches(self) -> Iterator[Any]:
        """Yield the Arrow record batches, memory-mapped."""
        import pyarrow as pa

        with pa.memory_map(str(self.folder / DOCS)) as source:
            reader = pa.ipc.open_file(source)
            for i in range(reader.num_record_batches):
                yield reader.get_batch(i)

    @cached_property
    def first_rows(self) -> NDArray[np.int64]:
        """First row of the document that each position belongs to."""
        columns = [batch.column("document").to_numpy() for batch in self.batches()]
        return np.concatenate(columns) if columns else np.zeros(0, np.int64)


def metadata_of(text: str) -> Mapping[str, Any]:
    """Return a stored metadata string as a mapping."""
    if not text:
        return {}
    value: Mapping[str, Any] = json.loads(text)
    return value
