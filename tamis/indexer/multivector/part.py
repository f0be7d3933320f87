"""A multi-vector part of one generation, opened: exact MaxSim over memory-mapped token vectors."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.indexer.documents import DocumentStore
from tamis.indexer.encoded.entry import EncodedEntry
from tamis.indexer.multivector.kind import open_shard
from tamis.kernels.codes import widen
from tamis.ranking import Rows
from tamis.stages import RowMask

_TILE_TOKENS = 1 << 16
_MARGIN = 16


class MultiVectorPart:
    """See the module.

    Args:
        folder: of the part.
        name: of the part.
        entry: what the manifest says of it.
        documents: what positions mean.
        threads: of other kinds of part; products here run in BLAS's own.
    """

    kind = "multivector"

    def __init__(self, folder: Path, name: str, entry: EncodedEntry, documents: DocumentStore, threads: int) -> None:
        self.folder, self.name, self.entry, self.documents = folder, name, entry, documents
        self.dimensions = int(entry.facts["dimensions"])
        self.starts = np.cumsum([0, *(shard.rows for shard in entry.shards)])

    def close(self) -> None:
        """Nothing is held but memory maps, which go with the object."""

    @cached_property
    def shards(self) -> list[tuple[NDArray[Any], NDArray[np.int64]]]:
        """Token vectors and offsets of every shard."""
        store = self.entry.options["store"]
        return [open_shard(self.folder / shard.segment, self.dimensions, store) for shard in self.entry.shards]

    def allowed(self, mask: RowMask | None) -> NDArray[np.bool_]:
        """Return true for every position that a search may return: live, with tokens, and allowed by a mask over rows."""
        held = np.concatenate([np.zeros(0, np.bool_), *(np.diff(offsets) > 0 for _, offsets in self.shards)])
        if self.documents.live is not None:
            held &= self.documents.live
        if mask is not None:
            table = self.documents.rows_by_position
            held &= mask[: len(held)] if table is None else mask[table]
        return held

    def tokens_of(self, position: int) -> NDArray[np.float32]:
        """Return the vectors of a position's tokens, float32 [tokens, dimensions]."""
        number = int(np.searchsorted(self.starts, position, "right")) - 1
        tokens, offsets = self.shards[number]
        local = position - int(self.starts[number])
        return widen(np.ascontiguousarray(tokens[offsets[local] : offsets[local + 1]]))

    def scores_of(self, query: NDArray[np.float32], rows: Rows) -> NDArray[np.float32]:
        """Return the MaxSim of one query, float32 [tokens, dimensions], with each row; 0 for a row without tokens."""
        positions = self.documents.positions_of(rows).tolist()
        return np.array([maxsim(query, self.tokens_of(position)) for position in positions], np.float32)

    def search(
        self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the `k` positions of largest MaxSim with one query, lower position first among equals, by looking at all.

        Args:
            query: float32 [tokens, dimensions].
            k: at least 1.
            allowed: true for the positions that may be returned.
        """
        best_positions, best_scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
        wanted = k + _MARGIN  # products in float32 are rounded otherwise than the scores that are returned
        for positions, scores in self._tiles(query, allowed):
            best_positions = np.concatenate([best_positions, positions])
            best_scores = np.concatenate([best_scores, scores])
            if len(best_scores) > wanted:
                kept = np.lexsort((best_positions, -best_scores))[:wanted]
                best_positions, best_scores = best_positions[kept], best_scores[kept]
        exact = np.array([maxsim(query, self.tokens_of(position)) for position in best_positions.tolist()], np.float32)
        order = np.lexsort((best_positions, -exact))[:k]
        return best_positions[order], exact[order]

    def _tiles(
        self, query: NDArray[np.float32], allowed: NDArray[np.bool_]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield positions and float32 MaxSim of the allowed rows, some tokens at a time."""
        for start, (tokens, offsets) in zip(self.starts.tolist(), self.shards, strict=False):
            chosen = np.flatnonzero(allowed[start : start + len(offsets) - 1])
            first = 0
            while first < len(chosen):
                limit = offsets[chosen[first]] + _TILE_TOKENS
                last = max(first + 1, int(np.searchsorted(offsets[chosen + 1], limit, "right")))
                some = chosen[first:last]
                spans = [tokens[offsets[i] : offsets[i + 1]] for i in some.tolist()]
                products = query @ widen(np.concatenate(spans)).T
                bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(span) for span in spans])[:-1]])
                yield some + start, np.maximum.reduceat(products, bounds, axis=1).sum(0)
                first = last


def maxsim(query: NDArray[np.float32], tokens: NDArray[np.float32]) -> float:
    """Return the sum over query tokens of the largest inner product with a document token, summed in double precision."""
    if not len(tokens):
        return 0.0
    return float((query.astype(np.float64) @ tokens.T.astype(np.float64)).max(1).sum())


def alignment(query: NDArray[np.float32], tokens: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return for every query token the document token that matches it best, and their inner product."""
    products = query.astype(np.float64) @ tokens.T.astype(np.float64)
    best = products.argmax(1)
    return best, products[np.arange(len(query)), best]
