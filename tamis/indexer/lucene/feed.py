"""What of a document segment goes into Lucene: Arrow's own buffers, as text columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tamis.indexer.layout import Settings
from tamis.indexer.lucene.build import Batch, TextColumn
from tamis.indexer.segment import Segment

CONTENTS = "contents"


def lucene_fields(settings: Settings) -> list[str]:
    """Return the Lucene text fields of an index: ``contents``, then the named ones."""
    return [CONTENTS, *(name for name, _ in settings.fields if name != CONTENTS)]


def segment_batches(segment: Segment, first_row: int, fields: Sequence[str]) -> Iterator[Batch]:
    """Yield a fresh segment's batches as Lucene wants them.

    Args:
        segment: without row table: rows ascend from `first_row` without gaps.
        first_row: row of its first position.
        fields: from `lucene_fields`.
    """
    row = first_row
    for batch in segment.batches():
        columns = [_text_column(_field(batch, name)) for name in fields]
        rows = np.arange(row, row + batch.num_rows, dtype=np.int64)
        yield Batch(rows, _text_column(batch.column("id")), columns)
        row += batch.num_rows


def _field(batch: Any, name: str) -> Any:
    import pyarrow.compute as pc

    if name == CONTENTS:
        title, text = batch.column("title"), batch.column("text")
        joined = pc.binary_join_element_wise(title, text, " ")
        joined = pc.if_else(pc.equal(pc.binary_length(title), 0), text, joined)
        return pc.if_else(pc.equal(pc.binary_length(text), 0), title, joined)
    return batch.column({"title": "title", "body": "text"}.get(name, f"field:{name}"))


def _text_column(array: Any) -> TextColumn:
    """View an Arrow string array's buffers; they must begin at the array's first element."""
    _, offsets, data = array.buffers()
    places = np.frombuffer(offsets, np.int32, len(array) + 1, 4 * array.offset)
    if places[0]:
        return TextColumn(np.frombuffer(data, np.uint8)[places[0] : places[-1]], places - places[0])
    contents = np.frombuffer(data, np.uint8, int(places[-1])) if places[-1] else np.zeros(0, np.uint8)
    return TextColumn(contents, places)
