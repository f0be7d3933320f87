"""From a document segment to a small Lucene index: the chunk of work that indexing repeats.

One writer, one thread: Lucene's document order inside a chunk is row order, and stays so through every later merge, so a
document number is a position in the row tables. Texts go from Arrow's buffers into Java byte arrays in one copy a batch, and
one loop there makes and adds the documents; nothing crosses the bridge document by document.

Every document has Anserini's fields: ``id`` (stored, and as doc values for the docid tie rule), ``contents`` (positions and
term vectors, which RM3 and Rocchio read), one like it for every named field, and our ``row`` as doc values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tamis.indexer.lucene.analysis import make_analyzer
from tamis.indexer.lucene.jvm import java, start

RAM_BUFFER_MB = 96.0


@dataclass(frozen=True, slots=True)
class TextColumn:
    """UTF-8 texts of one batch: concatenated bytes, and int32 offsets of length rows + 1."""

    data: np.ndarray[Any, np.dtype[np.uint8]]
    offsets: np.ndarray[Any, np.dtype[np.int32]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to index: their numbers, ids, and one column a Lucene text field."""

    rows: np.ndarray[Any, np.dtype[np.int64]]
    ids: TextColumn
    fields: Sequence[TextColumn]


def index_settings(analyzer: str, *, ram_mb: float = RAM_BUFFER_MB) -> Any:
    """Return a Lucene writer configuration for our indexes."""
    config = java("org.apache.lucene.index.IndexWriterConfig")(make_analyzer(analyzer))
    config.setRAMBufferSizeMB(ram_mb)
    config.setUseCompoundFile(False)
    config.setMergeScheduler(java("org.apache.lucene.index.SerialMergeScheduler")())
    return config


def open_directory(path: Path) -> Any:
    """Return a Lucene directory over `path`."""
    # absolute: Java's working folder is the one that it was started in, whatever Python changed to since
    return java("org.apache.lucene.store.FSDirectory").open(java("java.nio.file.Paths").get(str(path.absolute())))


def build_chunk(folder: Path, batches: Any, fields: Sequence[str], analyzer: str) -> dict[str, int]:
    """Write a Lucene index of `batches` into the empty folder `folder` and commit it.

    Args:
        folder: where to write.
        batches: an iterable of `Batch` in ascending row order.
        fields: names of the Lucene fields, one a text column.
        analyzer: analyser name.

    Returns:
        The chunk's receipt: how many documents were added.
    """
    config = index_settings(analyzer)
    config.setMergePolicy(java("org.apache.lucene.index.NoMergePolicy").INSTANCE)
    directory = open_directory(folder)
    added = 0
    try:
        writer = java("org.apache.lucene.index.IndexWriter")(directory, config)
        try:
            feed = _Feed(writer, fields)
            for batch in batches:
                feed.add(batch)
                added += len(batch.rows)
            writer.commit()
        finally:
            writer.rollback()  # closes; what was committed stays committed, and a failure is not hidden by another
    finally:
        directory.close()
    return {"documents": added}


class _Feed:
    """Hands batches to the writer: every column crosses into Java in one copy."""

    def __init__(self, writer: Any, fields: Sequence[str]) -> None:
        jpype = start()
        self._byte_array, self._int_array = jpype.JArray(jpype.JByte), jpype.JArray(jpype.JInt)
        self._long_array = jpype.JArray(jpype.JLong)
        self._buffers: list[Any] = [None] * (len(fields) + 1)
        self._feed = java("tamis.Feed")(writer, jpype.JArray(jpype.JString)(list(fields)))

    def add(self, batch: Batch) -> None:
        """Add the rows of one batch."""
        rows = self._long_array(len(batch.rows))
        rows[:] = batch.rows
        columns = [self._copy(position, column) for position, column in enumerate((batch.ids, *batch.fields))]
        self._feed.add(rows, [data for data, _ in columns], [offsets for _, offsets in columns])

    def _copy(self, position: int, column: TextColumn) -> tuple[Any, Any]:
        data = column.data.view(np.int8)
        buffer = self._buffers[position]
        if buffer is None or len(buffer) < len(data):
            buffer = self._buffers[position] = self._byte_array(max(len(data) + len(data) // 4, 1 << 16))
        if len(data):
            buffer[: len(data)] = data
        offsets = self._int_array(len(column.offsets))
        offsets[:] = column.offsets
        return buffer, offsets
