"""Rewriting segments without their deleted rows. Row numbers stay: a rewritten segment carries a table of its rows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.events import Advanced, Finished, Listener, Started
from tamis.executor import Receipts
from tamis.files import sha256_json, sync_folder
from tamis.indexer.documents import DocumentStore
from tamis.indexer.layout import SEGMENTS, FileEntry, SegmentEntry
from tamis.indexer.segment import DOCS, FILTER, metadata_of, typed_column, write_tables

SEGMENT_ROWS = 200_000
SEGMENT_BYTES = 256 << 20


def compacted_segments(
    folder: Path, store: DocumentStore, job: Path, listener: Listener
) -> Iterator[tuple[SegmentEntry, Mapping[str, FileEntry], NDArray[np.int64]]]:
    """Write and yield segments that hold all live rows of `store`, each with its files and its rows; receipts go into `job`."""
    receipts = Receipts(job / "receipts")
    listener(Started("compact", len(store), "rows"))
    for number, (tables, rows) in enumerate(_groups(store)):
        name = f"documents-{number:05d}"
        receipt = receipts.get(name)
        if receipt is not None and (folder / SEGMENTS / receipt["segment"]["id"]).is_dir():
            entry = SegmentEntry(**receipt["segment"])
            files = {file: FileEntry(**known) for file, known in receipt["files"].items()}
        else:
            entry, files = _write(folder, tables, rows)
            receipts.put(name, {"segment": asdict(entry), "files": {k: asdict(v) for k, v in files.items()}})
        listener(Advanced("compact", entry.rows))
        yield entry, files, rows
    listener(Finished("compact"))


def _groups(store: DocumentStore) -> Iterator[tuple[list[Any], NDArray[np.int64]]]:
    """Live record batches, gathered into segments of a good size."""
    import pyarrow as pa

    tables: list[Any] = []
    rows: list[NDArray[np.int64]] = []
    count = size = position = 0
    for number, segment in enumerate(store.segments()):
        gone = store.deleted_of(number)
        local = 0
        for batch in segment.batches():
            keep = ~gone[local : local + batch.num_rows]
            places = np.flatnonzero(keep) + position + local
            local += batch.num_rows
            if not len(places):
                continue
            table = pa.Table.from_batches([batch]).filter(pa.array(keep))
            if count and (count + len(places) > SEGMENT_ROWS or size + table.nbytes > SEGMENT_BYTES):
                yield tables, np.concatenate(rows)
                tables, rows, count, size = [], [], 0, 0
            tables.append(table)
            rows.append(store.rows_at(places))
            count, size = count + len(places), size + table.nbytes
        position += local
    if tables:
        yield tables, np.concatenate(rows)


def _write(folder: Path, tables: list[Any], rows: NDArray[np.int64]) -> tuple[SegmentEntry, dict[str, FileEntry]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    tables = _under_one_schema(tables)
    blank = sum(
        int(pc.sum(pc.and_(_blank(table["title"], pc), _blank(table["text"], pc))).as_py() or 0) for table in tables
    )
    documents = sum(len(pc.unique(table["document"])) for table in tables)
    temporary = folder / SEGMENTS / f"compact-{int(rows[0])}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    files = write_tables(temporary, pa, tables, rows)
    identity = sha256_json([files[DOCS].sha256, rows.tolist()])[:32]
    final = folder / SEGMENTS / identity
    if final.exists():
        shutil.rmtree(temporary)
    else:
        temporary.rename(final)
    sync_folder(folder / SEGMENTS)
    return SegmentEntry(identity, int(rows[0]), int(rows[-1]), len(rows), documents, blank), files


def _under_one_schema(tables: list[Any]) -> list[Any]:
    """Type anew, from the metadata, the filterable columns that segments have typed differently."""
    for name in tables[0].column_names:
        if not name.startswith(FILTER) or len({table.schema.field(name).type for table in tables}) == 1:
            continue
        key = name.removeprefix(FILTER)
        values = [metadata_of(text).get(key) for table in tables for text in table["metadata"].to_pylist()]
        column, start = typed_column(values), 0
        for i, table in enumerate(tables):
            place = table.schema.get_field_index(name)
            tables[i] = table.set_column(place, name, column.slice(start, table.num_rows))
            start += table.num_rows
    return tables


def _blank(column: Any, pc: Any) -> Any:
    return pc.equal(pc.binary_length(pc.utf8_trim_whitespace(column)), 0)
