"""A dense part of one generation, opened: memory-mapped vectors in the order of the index's positions."""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import DataError
from tamis.indexer.dense.kind import QUERY, read_blank
from tamis.indexer.dense.storage import VECTORS, from_storage, open_vectors
from tamis.indexer.documents import DocumentStore
from tamis.indexer.encoded.entry import SHARED, EncodedEntry
from tamis.kernels.searching import Hits
from tamis.ranking import Rows
from tamis.stages import RowMask


class DensePart:
    """See the module.

    Args:
        folder: of the part.
        name: of the part.
        entry: what the manifest says of it.
        documents: what positions mean.
        threads: threads of a search.
    """

    kind = "dense"

    def __init__(self, folder: Path, name: str, entry: EncodedEntry, documents: DocumentStore, threads: int) -> None:
        self.folder, self.name, self.entry = folder, name, entry
        self.documents, self.threads = documents, threads
        self.dimensions = int(entry.facts["dimensions"])
        self.starts = np.cumsum([0, *(shard.rows for shard in entry.shards)])
        self._lock = threading.Lock()

    def close(self) -> None:
        """Nothing is held but memory maps, which go with the object."""

    @property
    def shared(self) -> Path:
        """Folder of what the shards share."""
        return self.folder / SHARED

    @cached_property
    def vectors(self) -> list[NDArray[np.float32]]:
        """The stored vectors of every shard, [rows, dimensions]."""
        store = self.entry.options["store"]
        return [
            open_vectors(self.folder / shard.segment / VECTORS, self.dimensions, store) for shard in self.entry.shards
        ]

    @cached_property
    def searchable(self) -> NDArray[np.bool_] | None:
        """True for every position that a search may return: live, and with text. None allows all."""
        blank = [
            read_blank(self.folder / s.segment) + start
            for s, start in zip(self.entry.shards, self.starts, strict=False)
        ]
        empty = np.concatenate([np.zeros(0, np.int64), *blank])
        live = self.documents.live
        if not len(empty):
            return live
        allowed = np.ones(self.starts[-1], np.bool_) if live is None else live.copy()
        allowed[empty] = False
        return allowed

    def allowed(self, mask: RowMask | None) -> NDArray[np.bool_] | None:
        """Return `searchable`, narrowed by a mask over rows."""
        if mask is None:
            return self.searchable
        table = self.documents.rows_by_position
        chosen = mask[: self.starts[-1]] if table is None else mask[table]
        return chosen if self.searchable is None else chosen & self.searchable

    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None) -> Hits:
        """Return the `k` positions of largest inner product of every query, lower position first among equals.

        Args:
            queries: as `check_queries` returns them.
            k: at least 1.
            allowed: true for the positions that may be returned; None: all.
        """
        chosen = np.arange(self.starts[-1]) if allowed is None else np.flatnonzero(allowed)
        stored = np.concatenate([from_storage(v) for v in self.vectors] or [np.zeros((0, self.dimensions), np.float32)])
        scores = (queries @ stored[chosen].T).astype(np.float32)
        best = [np.lexsort((chosen, -row))[:k] for row in scores]
        offsets = np.cumsum([0, *(len(places) for places in best)])
        found = np.concatenate([np.zeros(0, np.int64), *(chosen[places] for places in best)])
        values = np.concatenate([np.zeros(0, np.float32), *(row[b] for row, b in zip(scores, best, strict=True))])
        return Hits(offsets, found, values, np.zeros(len(queries), np.bool_))

    def query_encoder(self) -> Any | None:
        """Return the exported query encoder, None where the part has none."""
        folder = self.shared / QUERY
        if not folder.is_dir():
            return None
        from tamis.encoders.exported import ExportedEncoder

        return ExportedEncoder(folder)

    def vectors_of(self, rows: Rows) -> NDArray[np.float32]:
        """Return the vectors of rows, float32 [rows, dimensions]."""
        positions = self.documents.positions_of(rows)
        which = np.searchsorted(self.starts, positions, "right") - 1
        found = np.empty((len(positions), self.dimensions), np.float32)
        for number in np.unique(which).tolist():
            chosen = which == number
            found[chosen] = from_storage(self.vectors[number][positions[chosen] - self.starts[number]])
        return found

    def check_queries(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return query vectors as this part can use them.

        Raises:
            DataError: they have other dimensions, or hold numbers that are not finite.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dimensions:
            raise DataError(
                f"query vectors of shape {list(queries.shape)}: part {self.name!r} has {self.dimensions} dimensions"
            )
        if not np.isfinite(queries).all():
            raise DataError(f"query vector {int(np.flatnonzero(~np.isfinite(queries).all(1))[0])} is not finite")
        return np.ascontiguousarray(queries, np.float32)
