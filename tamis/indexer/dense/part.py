"""A dense part of one generation, opened: memory-mapped vectors in the order of the index's positions."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import DataError
from tamis.indexer.dense.ann import Ann, open_ann
from tamis.indexer.dense.kind import ANN, FLAT, read_blank
from tamis.indexer.dense.quantise import open_codes
from tamis.indexer.dense.storage import VECTORS, open_vectors
from tamis.indexer.documents import DocumentStore
from tamis.indexer.encoded.entry import SHARED, EncodedEntry
from tamis.indexer.encoded.queries import QUERY
from tamis.kernels.codes import Codes, widen
from tamis.kernels.dense import Masks, rank, score_rows, search_codes, search_flat
from tamis.kernels.searching import Hits
from tamis.ranking import Rows
from tamis.stages import RowMask

if TYPE_CHECKING:
    from tamis.indexer.dense.device import DeviceScan


@dataclass(frozen=True)
class How:
    """How a search goes about it.

    Attributes:
        exact: look at every vector, whatever else the part has.
        oversample: candidates that are scored exactly, for each of the k results; None: what was measured to be enough.
        ef: candidates that a graph search keeps.
        nprobe: inverted lists that are read.
        device: a torch device that holds the vectors and scans them all; None: the processor.
        ann: the GPU that approximate indexes are searched on; None: the processor.
    """

    exact: bool = False
    oversample: int | None = None
    ef: int | None = None
    nprobe: int | None = None
    device: str | None = None
    ann: str | None = None


EXACT = How(exact=True)


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
        self._devices: dict[str, DeviceScan] = {}
        self._anns: dict[str | None, Ann] = {}

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

    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None, how: How = EXACT) -> Hits:
        """Return the `k` positions of largest inner product of every query, lower position first among equals.

        Scores are exact however the positions were found.

        Args:
            queries: as `check_queries` returns them.
            k: at least 1.
            allowed: true for the positions that may be returned; None: all.
            how: exactly, or through what the part was given to be quicker.
        """
        if how.device is not None:
            return self._on_device(how.device).search(queries, k, allowed)
        masks = self._bitmaps(allowed)
        if how.exact or (self.entry.options["index"] == FLAT and self.entry.options["codes"] is None):
            return search_flat(self.vectors, queries, k, mask=masks, threads=self.threads)
        if self.entry.options["index"] != FLAT:
            return self._search_ann(queries, k, masks, how)
        return search_codes(
            self.vectors, self.codes, queries, k, oversample=how.oversample, mask=masks, threads=self.threads
        )

    def _on_device(self, device: str) -> DeviceScan:
        from tamis.indexer.dense.device import DeviceScan

        with self._lock:
            if device not in self._devices:
                self._devices[device] = DeviceScan(self.vectors, self.entry.options["store"], device)
            return self._devices[device]

    def _search_ann(self, queries: NDArray[np.float32], k: int, masks: Masks, how: How) -> Hits:
        """Shards with an approximate index through it, the others exactly."""
        indexed = [i for i, index in enumerate(self.indexes) if index is not None]
        plain = [i for i, index in enumerate(self.indexes) if index is None]
        found: list[tuple[list[int], Hits]] = []
        if indexed:
            ann = self._ann(indexed, how.ann)
            options: dict[str, Any] = {"ef": how.ef, "nprobe": how.nprobe, "oversample": how.oversample or 1}
            options["threads"] = self.threads
            found.append((indexed, ann.search(queries, k, mask=[masks[i] for i in indexed], **options)))
        if plain:
            some, own = [self.vectors[i] for i in plain], [masks[i] for i in plain]
            found.append((plain, search_flat(some, queries, k, mask=own, threads=self.threads)))
        if len(found) == 1 and len(found[0][0]) == len(self.vectors):
            return found[0][1]
        lists = []
        for i in range(len(queries)):
            positions = np.concatenate([self._whole_positions(shards, hits[i][0]) for shards, hits in found])
            lists.append(rank(positions, np.concatenate([hits[i][1] for _, hits in found]), k))
        return Hits.of(lists)

    def _ann(self, indexed: list[int], device: str | None) -> Ann:
        with self._lock:
            if device not in self._anns:
                indexes = [self.indexes[i] for i in indexed]
                self._anns[device] = Ann(indexes, [self.vectors[i] for i in indexed], device)
            return self._anns[device]

    def _whole_positions(self, shards: list[int], positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions among some shards as positions among all."""
        bounds = np.cumsum([0, *(len(self.vectors[i]) for i in shards)])
        which = np.searchsorted(bounds, positions, "right") - 1
        moved: NDArray[np.int64] = positions - bounds[which] + self.starts[np.array(shards)[which]]
        return moved

    @cached_property
    def codes(self) -> list[Codes]:
        """The short codes of every shard."""
        kind = self.entry.options["codes"]
        return [open_codes(kind, self.folder / s.segment, s.rows, self.dimensions) for s in self.entry.shards]

    @cached_property
    def indexes(self) -> list[Any]:
        """The approximate index of every shard, None where it has none."""
        folders = [self.folder / shard.segment for shard in self.entry.shards]
        return [open_ann(folder / ANN) if (folder / ANN).exists() else None for folder in folders]

    def _bitmaps(self, allowed: NDArray[np.bool_] | None) -> list[NDArray[np.uint8] | None]:
        """Cut positions into the kernel's mask of every shard."""
        if allowed is None:
            return [None] * len(self.vectors)
        spans = zip(self.starts[:-1], self.starts[1:], strict=True)
        return [np.packbits(allowed[first:last], bitorder="little") for first, last in spans]

    def query_encoder(self) -> Any | None:
        """Return the exported query encoder, None where the part has none."""
        folder = self.shared / QUERY
        if not folder.is_dir():
            return None
        from tamis.encoders.exported import ExportedEncoder

        return ExportedEncoder(folder)

    def scores_of(self, query: NDArray[np.float32], rows: Rows) -> NDArray[np.float32]:
        """Return the inner product of one query, float32 [dimensions], with each row: what a search gives it."""
        return score_rows(self.vectors, query, self.documents.positions_of(rows))

    def vectors_of(self, rows: Rows) -> NDArray[np.float32]:
        """Return the vectors of rows, float32 [rows, dimensions]."""
        positions = self.documents.positions_of(rows)
        which = np.searchsorted(self.starts, positions, "right") - 1
        found = np.empty((len(positions), self.dimensions), np.float32)
        for number in np.unique(which).tolist():
            chosen = which == number
            found[chosen] = widen(self.vectors[number][positions[chosen] - self.starts[number]])
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
