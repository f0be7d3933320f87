"""From a document segment to a small Lucene index: the chunk of work that indexing repeats.

One writer, one thread: Lucene's document order inside a chunk is row order, and stays so through every later merge, so a
document number is a position in the row tables. Texts go from Arrow's buffers into Java byte arrays in one copy a batch, and
one method-handle loop makes and adds the documents; nothing crosses the bridge document by document.

Every document has Anserini's fields: ``id`` (stored, and as doc values for the docid tie rule), ``contents`` (positions and
term vectors, which RM3 and Rocchio read), one like it for every named field, and our ``row`` as doc values.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tamis.indexer.lucene.analysis import make_analyzer
from tamis.indexer.lucene.jvm import java, start
from tamis.indexer.lucene.loops import Loop

_DOCUMENT = "org.apache.lucene.document."
_FIELD = _DOCUMENT + "Field"
RAM_BUFFER_MB = 96.0

_programs: dict[int, Any] = {}
_programs_lock = threading.Lock()


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


def _text_field_type() -> Any:
    kind = java(_DOCUMENT + "FieldType")()
    kind.setStored(False)
    kind.setTokenized(True)
    kind.setStoreTermVectors(True)
    kind.setStoreTermVectorPositions(True)
    kind.setIndexOptions(java("org.apache.lucene.index.IndexOptions").DOCS_AND_FREQS_AND_POSITIONS)
    return kind


class _Feed:
    """One reusable Lucene document, and the loop that fills it row by row and hands it to the writer."""

    def __init__(self, writer: Any, fields: Sequence[str]) -> None:
        jpype = start()
        self._byte_array, self._int_array = jpype.JArray(jpype.JByte), jpype.JArray(jpype.JInt)
        self._long_array = jpype.JArray(jpype.JLong)
        self._writer = writer
        self._buffers: list[Any] = [None] * (len(fields) + 1)
        text_type = _text_field_type()
        self._id = java(_DOCUMENT + "StringField")("id", "", java(_FIELD + "$Store").YES)
        self._id_values = java(_DOCUMENT + "BinaryDocValuesField")("id", java("org.apache.lucene.util.BytesRef")())
        self._row = java(_DOCUMENT + "NumericDocValuesField")("row", jpype.JLong(0))
        self._texts = [java(_FIELD)(name, "", text_type) for name in fields]
        self._document = java(_DOCUMENT + "Document")()
        for field in (self._id, self._id_values, self._row, *self._texts):
            self._document.add(field)
        with _programs_lock:
            if len(fields) not in _programs:
                _programs[len(fields)] = _indexing_loop(len(fields))
        self._run = _programs[len(fields)]

    def add(self, batch: Batch) -> None:
        """Add the rows of one batch."""
        rows = self._long_array(len(batch.rows))
        rows[:] = batch.rows
        arguments: list[Any] = [rows]
        for position, column in enumerate((batch.ids, *batch.fields)):
            arguments += self._copy(position, column)
        self._run(*arguments, self._writer, self._document, self._id, self._id_values, self._row, *self._texts)

    def _copy(self, position: int, column: TextColumn) -> list[Any]:
        data = column.data.view(np.int8)
        buffer = self._buffers[position]
        if buffer is None or len(buffer) < len(data):
            buffer = self._buffers[position] = self._byte_array(max(len(data) + len(data) // 4, 1 << 16))
        if len(data):
            buffer[: len(data)] = data
        offsets = self._int_array(len(column.offsets))
        offsets[:] = column.offsets
        return [buffer, offsets]


def _indexing_loop(fields: int) -> Any:
    """The program "for every row: set the fields, add the document" for a number of text fields."""
    parameters = {"rows": "[J", "id_data": "[B", "id_offsets": "[I"}
    for i in range(fields):
        parameters |= {f"data{i}": "[B", f"offsets{i}": "[I"}
    parameters |= {
        "writer": "org.apache.lucene.index.IndexWriter",
        "document": _DOCUMENT + "Document",
        "id": _FIELD,
        "id_values": _FIELD,
        "row": _FIELD,
    }
    for i in range(fields):
        parameters[f"field{i}"] = _FIELD
    loop = Loop(**parameters)
    utf8 = loop.constant("java.nio.charset.Charset", java("java.nio.charset.StandardCharsets").UTF_8)
    one = loop.constant("int", start().JInt(1))

    def text(data: str, offsets: str) -> Any:
        first = loop.item(offsets, loop.index)
        length = loop.subtract(loop.item(offsets, loop.add(loop.index, one)), first)
        kinds = "[B,int,int,java.nio.charset.Charset"
        return loop.new("java.lang.String", kinds, loop.parameter(data), first, length, utf8)

    def set_string(field: str, value: Any) -> Any:
        return loop.call(loop.parameter(field), _FIELD, "setStringValue", "void(java.lang.String)", value)

    identifier = text("id_data", "id_offsets")
    bytes_type = "org.apache.lucene.util.BytesRef"
    id_bytes = loop.new(bytes_type, "java.lang.CharSequence", identifier, seen_as="java.lang.String")
    steps = [
        set_string("id", identifier),
        loop.call(loop.parameter("id_values"), _FIELD, "setBytesValue", f"void({bytes_type})", id_bytes),
        loop.call(loop.parameter("row"), _FIELD, "setLongValue", "void(long)", loop.item("rows", loop.index)),
    ]
    steps += [set_string(f"field{i}", text(f"data{i}", f"offsets{i}")) for i in range(fields)]
    document = loop.parameter("document").asType(
        loop.parameter("document").type().changeReturnType(java("java.lang.Iterable").class_)
    )
    writer = "org.apache.lucene.index.IndexWriter"
    steps.append(loop.call(loop.parameter("writer"), writer, "addDocument", "long(java.lang.Iterable)", document))
    return loop.build(loop.length("rows"), loop.sequence(*steps))
