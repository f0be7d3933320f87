"""Lucene as a part of an index: a reader opened when first used, and the way between document numbers and rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from tamis.indexer.lucene.reader import LuceneReader
from tamis.ranking import Rows
from tamis.stages import DocumentView

T = TypeVar("T")
R = TypeVar("R")


class NumberedDocuments(DocumentView, Protocol):
    """Documents whose Lucene document numbers are positions."""

    def rows_at(self, positions: NDArray[Any]) -> Rows:
        """Return the row of each document number."""

    def positions_of(self, rows: Rows) -> NDArray[Any]:
        """Return the document number of each row."""


class LucenePart:
    """One generation's Lucene commit.

    Args:
        folder: the Lucene folder.
        segments_file: the generation's commit; None for the newest (a foreign index).
        analyzer: analyser of the queries.
        fields: default Lucene fields with weights.
        documents: what document numbers mean.
        threads: how many queries of a batch run at a time.
    """

    kind = "lucene"

    def __init__(
        self,
        folder: Path,
        segments_file: str | None,
        analyzer: str,
        fields: Mapping[str, float],
        documents: NumberedDocuments,
        threads: int,
    ) -> None:
        self._folder, self._segments_file, self._analyzer = folder, segments_file, analyzer
        self.fields = dict(fields)
        self.documents = documents
        self.threads = threads
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._reader: LuceneReader | None = None

    @property
    def reader(self) -> LuceneReader:
        """The open reader; starts the virtual machine."""
        if self._reader is None:
            with self._lock:
                if self._reader is None:
                    self._reader = LuceneReader(self._folder, self._segments_file, self._analyzer)
        return self._reader

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Return ``[function(item) …]``, over the part's own threads.

        The threads are kept: every thread that calls Java stays attached to it, so short-lived ones would pile up there.
        """
        work = list(items)
        if self.threads == 1 or len(work) < 2:
            return [function(item) for item in work]
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="tamis-lucene")
        return list(self._pool.map(function, work))

    def close(self) -> None:
        """Close the reader and the threads, if they were opened."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        if self._reader is not None:
            self._reader.close()
