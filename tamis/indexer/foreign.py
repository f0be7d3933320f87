"""A Lucene index that Anserini wrote, opened read-only: its document numbers are the rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import MissingResourceError
from tamis.indexer.lucene.reader import LuceneReader
from tamis.ranking import Rows


def is_lucene_folder(folder: Path) -> bool:
    """Whether `folder` looks like a bare Lucene index."""
    return folder.is_dir() and any(folder.glob("segments_*"))


class ForeignDocuments:
    """A `tamis.stages.DocumentView` over a bare Lucene index: ids, and texts where Anserini stored them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        newest = max(folder.glob("segments_*"), key=lambda path: int(path.name.removeprefix("segments_"), 36))
        self._key = f"lucene:{folder.resolve()}:{newest.name}"
        self.reader: LuceneReader | None = None

    def _open(self) -> LuceneReader:
        if self.reader is None:
            raise MissingResourceError(f"{self._folder}: the Lucene part is not open")
        return self.reader

    @property
    def key(self) -> str:
        """Identity of the space."""
        return self._key

    @property
    def row_limit(self) -> int:
        """One more than the highest document number."""
        return self._open().max_doc

    def rows_at(self, positions: NDArray[Any]) -> Rows:
        """Document numbers are rows."""
        return positions.astype(np.int64)

    def positions_of(self, rows: Rows) -> NDArray[Any]:
        """Rows are document numbers."""
        return rows

    def ids(self, rows: Rows) -> list[str]:
        """Return the stored id of each row."""
        return [self._open().stored(row, "id") or "" for row in np.asarray(rows).tolist()]

    def rows(self, ids: Sequence[str]) -> Rows:
        """Return the row of each id, -1 where the index does not hold it."""
        return np.array([self._open().doc_of(doc_id) for doc_id in ids], np.int64)

    def texts(self, rows: Rows) -> list[str]:
        """Return the stored contents of each row; empty where Anserini stored none."""
        return self.bodies(rows)

    def bodies(self, rows: Rows) -> list[str]:
        """Return the stored ``contents``, or those inside the stored ``raw`` JSON."""
        return [self._text(row) for row in np.asarray(rows).tolist()]

    def _text(self, row: int) -> str:
        contents = self._open().stored(row, "contents")
        if contents is not None:
            return contents
        raw = self._open().stored(row, "raw") or ""
        try:
            return str(json.loads(raw)["contents"])
        except (ValueError, KeyError, TypeError):
            return raw

    def titles(self, rows: Rows) -> list[str]:
        """Return empty titles: Anserini folds them into the contents."""
        return [""] * len(rows)

    def metadata(self, rows: Rows) -> list[Mapping[str, Any]]:
        """Return empty metadata."""
        return [{} for _ in rows]
