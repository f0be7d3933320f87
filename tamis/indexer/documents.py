"""The documents of one generation: the row space that every part, mask and ranking of an index speaks.

Rows ascend over the segments. A deleted row keeps its number and stays in the files until compaction; it is not live, so it
is never found by its id and never returned by a search.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import DataError, MissingResourceError
from tamis.indexer.layout import DELETES, SEGMENTS, Manifest
from tamis.indexer.segment import Segment, hash_ids, metadata_of
from tamis.kernels.strings import StringColumn
from tamis.ranking import Rows


class DocumentStore:
    """A `tamis.stages.DocumentView` over the segments that a manifest names."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self.manifest = manifest
        self._segments = [Segment(folder / SEGMENTS / entry.id) for entry in manifest.segments]
        self._first = np.array([entry.first_row for entry in manifest.segments], np.int64)
        self._counts = np.array([entry.rows for entry in manifest.segments], np.int64)
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(self._counts)])
        self._columns: dict[str, StringColumn] = {}

    @property
    def key(self) -> str:
        """Identity of the space: rows mean the same in every generation, but not every generation holds the same."""
        return f"index:{self.manifest.index}:{self.manifest.generation}"

    @property
    def row_limit(self) -> int:
        """One more than the highest row."""
        return self.manifest.next_row

    def __len__(self) -> int:
        """Live rows."""
        return self.manifest.rows - self.manifest.deleted

    @cached_property
    def rows_by_position(self) -> Rows | None:
        """Row of every position of the concatenated segments; None where row and position are the same."""
        if all(s.row_table is None for s in self._segments) and self._gapless:
            return None
        tables = [
            s.row_table if s.row_table is not None else np.arange(first, first + count)
            for s, first, count in zip(self._segments, self._first.tolist(), self._counts.tolist(), strict=True)
        ]
        return np.concatenate(tables).astype(np.int64) if tables else np.zeros(0, np.int64)

    @property
    def _gapless(self) -> bool:
        return bool(np.array_equal(self._first, self._starts[:-1]))

    def rows_at(self, positions: NDArray[np.int64]) -> Rows:
        """Return the row of each position of the concatenated segments (what a Lucene document number is)."""
        table = self.rows_by_position
        return positions.astype(np.int64) if table is None else table[positions]

    def positions_of(self, rows: Rows) -> NDArray[np.int64]:
        """Return the position of each row in the concatenated segments.

        Raises:
            DataError: a row is not held (it was compacted away, or never given out).
        """
        table = self.rows_by_position
        if table is None:
            size = int(self._starts[-1])
            if len(rows) and (rows.min() < 0 or rows.max() >= size):
                raise DataError(f"rows outside 0 … {size - 1} were asked for")
            return rows.astype(np.int64)
        positions = np.minimum(np.searchsorted(table, rows), max(len(table) - 1, 0))
        if len(rows) and not (len(table) and np.array_equal(table[positions], rows)):
            raise DataError("a row was asked for that this generation does not hold")
        return positions.astype(np.int64)

    @cached_property
    def live(self) -> NDArray[np.bool_] | None:
        """Bool a position, true where it is live; None while nothing is deleted."""
        if not self.manifest.deleted:
            return None
        parts = []
        for entry in self.manifest.segments:
            gone = np.load(self._folder / DELETES / entry.deletes) if entry.deletes else np.zeros(entry.rows, np.bool_)
            parts.append(~gone)
        return np.concatenate(parts)

    def _strings(self, column: str, rows: Rows) -> list[str]:
        if column not in self._columns:
            blocks = [block for segment in self._segments for block in segment.string_blocks(column)]
            self._columns[column] = StringColumn(blocks)
        strings, rows = self._columns[column], np.asarray(rows, np.int64)
        if self.rows_by_position is not None:
            return strings.take(self.positions_of(rows))
        try:
            return strings.take(rows)
        except IndexError as error:
            raise DataError(f"rows outside 0 … {len(strings) - 1} were asked for") from error

    def ids(self, rows: Rows) -> list[str]:
        """Return the id of each row; of a passage, ``DOCUMENT#n``."""
        return self._strings("id", rows)

    def titles(self, rows: Rows) -> list[str]:
        """Return the title of each row."""
        return self._strings("title", rows)

    def bodies(self, rows: Rows) -> list[str]:
        """Return the body of each row."""
        return self._strings("text", rows)

    def metadata(self, rows: Rows) -> list[Mapping[str, Any]]:
        """Return the metadata of each row."""
        return [metadata_of(text) for text in self._strings("metadata", rows)]

    def texts(self, rows: Rows) -> list[str]:
        """Return title and body of each row, joined by a space where both are there."""
        pairs = zip(self.titles(rows), self.bodies(rows), strict=True)
        return [f"{title} {body}" if title and body else title or body for title, body in pairs]

    def rows(self, ids: Sequence[str]) -> Rows:
        """Return the live row of each id, -1 where there is none."""
        return self.rows_hashed(ids, hash_ids(ids))

    def rows_hashed(self, ids: Sequence[str], hashes: NDArray[np.uint64]) -> Rows:
        """Like `rows`, where the hashes of the ids are at hand."""
        found = np.full(len(ids), -1, np.int64)
        for number, segment in enumerate(self._segments):
            places = segment.find(ids, hashes)
            hit = np.flatnonzero(places >= 0)
            if not len(hit):
                continue
            positions = places[hit] + self._starts[number]
            if self.live is not None:
                keep = self.live[positions]
                hit, positions = hit[keep], positions[keep]
            found[hit] = self.rows_at(positions)
        return found

    @property
    def has_passages(self) -> bool:
        """Whether a row is a passage rather than a whole document."""
        return self.manifest.settings.passages is not None

    def parents(self, rows: Rows) -> Rows:
        """Return the first row of the document that each row belongs to: the first that is held, if some were pruned."""
        positions = self.positions_of(np.asarray(rows, np.int64))
        which = np.searchsorted(self._starts, positions, "right") - 1
        found = np.empty(len(positions), np.int64)
        for number in np.unique(which).tolist():
            chosen, firsts = which == number, self._segments[number].first_rows
            start = self._starts[number]
            heads = np.searchsorted(firsts, firsts[positions[chosen] - start])
            found[chosen] = self.rows_at(heads + start)
        return found

    @cached_property
    def _headless(self) -> dict[str, int]:
        """Documents whose first passage was pruned: the first row that is held of each."""
        found = [np.zeros(0, np.int64)]
        for segment, start in zip(self._segments, self._starts.tolist(), strict=False):
            if segment.row_table is not None:  # only compaction takes rows out
                heads = np.flatnonzero(np.diff(segment.first_rows, prepend=-1))
                rows = self.rows_at(heads + start)
                found.append(rows[rows != segment.first_rows[heads]])
        rows = np.concatenate(found)
        return {passage.rpartition("#")[0]: row for passage, row in zip(self.ids(rows), rows.tolist(), strict=True)}

    def heads(self, ids: Sequence[str]) -> Rows:
        """Return the first live row of each document of an index of passages, -1 where it is not held."""
        first = self.rows([f"{doc_id}#0" for doc_id in ids])
        for i in np.flatnonzero(first < 0).tolist():
            row = self._headless.get(ids[i], -1)
            if row >= 0 and (self.live is None or self.live[self.positions_of(np.array([row]))[0]]):
                first[i] = row
        return first

    def document_rows(self, ids: Sequence[str]) -> list[Rows]:
        """Return all live rows of each document, in order; empty where it is not held."""
        chunked = self.has_passages
        first = self.heads(ids) if chunked else self.rows(ids)
        if not chunked:
            return [np.array([row], np.int64) if row >= 0 else np.zeros(0, np.int64) for row in first.tolist()]
        found = []
        for row in first.tolist():
            if row < 0:
                found.append(np.zeros(0, np.int64))
                continue
            position = int(self.positions_of(np.array([row]))[0])
            number = int(np.searchsorted(self._starts, position, "right")) - 1
            firsts, local = self._segments[number].first_rows, position - int(self._starts[number])
            count = int(np.searchsorted(firsts[local:], firsts[local], "right"))
            found.append(self.rows_at(np.arange(position, position + count)))
        return found

    def require(self, doc_id: str) -> int:
        """Return the first row of a document or passage.

        Raises:
            MissingResourceError: the index does not hold it.
        """
        row = int(self.rows([doc_id])[0])
        if row < 0:
            rows = self.document_rows([doc_id])[0]
            if not len(rows):
                raise MissingResourceError(f"no document {doc_id!r} in {self._folder}")
            row = int(rows[0])
        return row

    def segments(self) -> Iterator[Segment]:
        """Yield the segments in row order."""
        yield from self._segments

    def deleted_of(self, number: int) -> NDArray[np.bool_]:
        """Return the deletion bitmap of a segment by its number."""
        entry = self.manifest.segments[number]
        if entry.deletes is None:
            return np.zeros(entry.rows, np.bool_)
        loaded: NDArray[np.bool_] = np.load(self._folder / DELETES / entry.deletes)
        return loaded

    def by_segment(self, rows: Rows) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield (segment number, positions within it) for the segments that `rows` lie in."""
        positions = self.positions_of(rows)
        which = np.searchsorted(self._starts, positions, "right") - 1
        for number in np.unique(which).tolist():
            yield number, positions[which == number] - self._starts[number]
