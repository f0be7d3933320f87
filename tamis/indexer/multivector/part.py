"""A multi-vector part of one generation, opened: MaxSim over memory-mapped token vectors, by looking at all or at candidates.

Candidates come from centroids (PLAID; Santhanam et al., CIKM 2022): each query token opens the inverted lists of its `nprobe`
nearest centroids. A row gets, for every token, the best of its centroids' scores among these, and where it has none of them the
score of the best centroid that was not opened (imputation as in WARP; Scheerer et al., SIGIR 2025). The rows with the largest
sums are decoded and scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamis.errors import CorruptIndexError
from tamis.indexer.documents import DocumentStore
from tamis.indexer.encoded.entry import SHARED, EncodedEntry
from tamis.indexer.multivector.codec import Codec
from tamis.indexer.multivector.shards import CodedShard, TokenShard, open_coded, open_plain
from tamis.ranking import Rows
from tamis.stages import RowMask

_TILE_TOKENS = 1 << 16
_MARGIN = 16

Found = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Positions and scores, best first."""


@dataclass(frozen=True, slots=True)
class LateHow:
    """How to search.

    Attributes:
        exact: look at every row.
        nprobe: centroids that a query token opens.
        candidates: rows that are decoded and scored, or twice the results that are wanted if that is more.
    """

    exact: bool = False
    nprobe: int = 4
    candidates: int = 512


EXACT = LateHow(exact=True)


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

    @property
    def coded(self) -> bool:
        """Whether the vectors are residual codes."""
        return self.entry.options.get("bits") is not None

    @cached_property
    def codec(self) -> Codec:
        """The codec of a coded part."""
        return Codec.open(self.folder / SHARED)

    @cached_property
    def shards(self) -> Sequence[TokenShard]:
        """Every shard."""
        folders = [self.folder / shard.segment for shard in self.entry.shards]
        if self.coded:
            return [open_coded(folder, self.codec) for folder in folders]
        return [open_plain(folder, self.dimensions, self.entry.options["store"]) for folder in folders]

    def allowed(self, mask: RowMask | None) -> NDArray[np.bool_]:
        """Return true for every position that a search may return: live, with tokens, and allowed by a mask over rows."""
        held = np.concatenate([np.zeros(0, np.bool_), *(np.diff(shard.offsets) > 0 for shard in self.shards)])
        if self.documents.live is not None:
            held &= self.documents.live
        if mask is not None:
            table = self.documents.rows_by_position
            held &= mask[: len(held)] if table is None else mask[table]
        return held

    def tokens_of(self, position: int) -> NDArray[np.float32]:
        """Return the vectors of a position's tokens, float32 [tokens, dimensions]."""
        return self._tokens_of([position])[0]

    def _tokens_of(self, positions: Sequence[int]) -> list[NDArray[np.float32]]:
        """The vectors of some positions, in their order."""
        found: list[NDArray[np.float32]] = [np.zeros((0, self.dimensions), np.float32)] * len(positions)
        which = np.searchsorted(self.starts, positions, "right") - 1
        for number in np.unique(which).tolist():
            places = np.flatnonzero(which == number).tolist()
            shard, start = self.shards[number], int(self.starts[number])
            local = [positions[place] - start for place in places]
            spans = [(int(shard.offsets[i]), int(shard.offsets[i + 1])) for i in local]
            parts = np.split(shard.vectors(spans), np.cumsum([last - first for first, last in spans])[:-1])
            for place, part in zip(places, parts, strict=True):
                found[place] = part
        return found

    def scores_of(self, query: NDArray[np.float32], rows: Rows) -> NDArray[np.float32]:
        """Return the MaxSim of one query, float32 [tokens, dimensions], with each row; 0 for a row without tokens."""
        return self._exact(query, self.documents.positions_of(rows))

    def _exact(self, query: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
        if not len(positions):
            return np.zeros(0, np.float32)
        return np.array([maxsim(query, tokens) for tokens in self._tokens_of(positions.tolist())], np.float32)

    def search(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_], how: LateHow = EXACT) -> Found:
        """Return the `k` positions of largest MaxSim with one query, lower position first among equals.

        Args:
            query: float32 [tokens, dimensions].
            k: at least 1.
            allowed: true for the positions that may be returned.
            how: by looking at all, which a part without codes always does, or at candidates; where these are fewer than k,
                all are looked at after all.

        Raises:
            CorruptIndexError: codes name a centroid or a row that there is not.
        """
        try:
            return self._search(query, k, allowed, how)
        except (
            IndexError
        ) as error:  # a centroid or a row that there is not: looking for them beforehand would read it all
            raise CorruptIndexError(f"part {self.name!r} is damaged: {error}; run tamis verify") from error

    def _search(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_], how: LateHow) -> Found:
        if self.coded and not how.exact:
            positions = self._candidates(query, max(how.candidates, 2 * k), how.nprobe, allowed)
            if len(positions) >= min(k, int(allowed.sum())):
                return self._best(query, k, [self._products(query, positions)])
        return self._best(query, k, self._tiles(query, allowed))

    def _best(self, query: NDArray[np.float32], k: int, tiles: Sequence[Found] | Iterator[Found]) -> Found:
        """The best of scored positions: products in float32 are rounded otherwise than the scores that are returned."""
        best_positions, best_scores, wanted = np.zeros(0, np.int64), np.zeros(0, np.float32), k + _MARGIN
        for positions, scores in tiles:
            best_positions = np.concatenate([best_positions, positions])
            best_scores = np.concatenate([best_scores, scores])
            if len(best_scores) > wanted:
                kept = np.lexsort((best_positions, -best_scores))[:wanted]
                best_positions, best_scores = best_positions[kept], best_scores[kept]
        exact = self._exact(query, best_positions)
        order = np.lexsort((best_positions, -exact))[:k]
        return best_positions[order], exact[order]

    def _tiles(self, query: NDArray[np.float32], allowed: NDArray[np.bool_]) -> Iterator[Found]:
        """Yield positions and float32 MaxSim of the allowed rows, some tokens at a time."""
        for start, shard in zip(self.starts.tolist(), self.shards, strict=False):
            offsets = shard.offsets
            chosen = np.flatnonzero(allowed[start : start + len(offsets) - 1])
            first = 0
            while first < len(chosen):
                limit = offsets[chosen[first]] + _TILE_TOKENS
                last = max(first + 1, int(np.searchsorted(offsets[chosen + 1], limit, "right")))
                yield self._products(query, chosen[first:last] + start)
                first = last

    def _products(self, query: NDArray[np.float32], positions: NDArray[np.int64]) -> Found:
        """The positions with their MaxSim in float32; each has tokens."""
        parts = self._tokens_of(positions.tolist())
        if not parts:
            return positions, np.zeros(0, np.float32)
        products = query @ np.concatenate(parts).T
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(part) for part in parts])[:-1]])
        return positions, np.maximum.reduceat(products, bounds, axis=1).sum(0)

    def _candidates(
        self, query: NDArray[np.float32], wanted: int, nprobe: int, allowed: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """The allowed positions whose centroids promise most, ascending; only such as have an opened centroid."""
        near = query @ self.codec.centroids.T
        probes = min(nprobe, near.shape[1])
        order = np.argsort(-near, axis=1, kind="stable")[:, : probes + 1]
        sums = np.zeros(len(allowed), np.float32)
        seen = np.zeros(len(allowed), np.bool_)
        for token, centroids in enumerate(order.tolist()):
            missed = near[token, centroids[-1]] if len(centroids) > probes else -1.0
            # the worst first, so that a row that has several keeps the best
            gain = np.zeros(len(allowed), np.float32)
            for centroid in reversed(centroids[:probes]):
                for start, shard in zip(self.starts.tolist(), self.shards, strict=False):
                    assert isinstance(shard, CodedShard)  # noqa: S101 - a coded part's are
                    rows = shard.rows_of(centroid).astype(np.int64) + start
                    gain[rows] = near[token, centroid] - missed
                    seen[rows] = True  # also where the centroid is no better than one that was not opened
            sums += gain
        held = np.flatnonzero(seen & allowed)
        if len(held) > wanted:
            held = np.sort(held[np.argsort(-sums[held], kind="stable")[:wanted]])
        return held


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
