"""A multi-vector part of one generation, opened: MaxSim over memory-mapped token vectors, by looking at all or at candidates.

Over codes a search narrows as PLAID does (Santhanam et al., CIKM 2022): rows are first scored as if tokens were their centroids,
and the best of them by their codes. Scoring by centroids reads two bytes a token, so that all rows are, up to a size; beyond it
only those in the inverted lists of the `nprobe` centroids nearest to each query token. PLAID leaves out tokens of centroids that
are far from the query; a table of bytes makes looking at them cheaper than a branch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import CorruptIndexError
from tamis.indexer.documents import DocumentStore
from tamis.indexer.encoded.entry import SHARED, EncodedEntry
from tamis.indexer.multivector.codec import Codec
from tamis.indexer.multivector.shards import CodedShard, TokenShard, open_coded, open_plain
from tamis.kernels.late import WholeQuery, centroid_table
from tamis.ranking import Rows
from tamis.stages import RowMask

_TILE_TOKENS = 1 << 16
_MARGIN = 16
_GLANCE_TOKENS = 1 << 25
"""Tokens up to which all rows are scored by their centroids: 30 ms, about."""
_NPROBE = 8
"""Centroids that a query token opens beyond that."""
_SHARE = 256
"""Rows that are worth a thread."""

Found = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Positions and scores, best first."""


@dataclass(frozen=True, slots=True)
class LateHow:
    """How to search.

    Attributes:
        exact: look at every row.
        nprobe: centroids that a query token opens; None looks at the centroids of all rows while they are few enough.
        candidates: rows that are scored by their codes, or twice the results that are wanted if that is more.
    """

    exact: bool = False
    nprobe: int | None = None
    candidates: int = 2048


EXACT = LateHow(exact=True)


class MultiVectorPart:
    """See the module.

    Args:
        folder: of the part.
        name: of the part.
        entry: what the manifest says of it.
        documents: what positions mean.
        threads: over the rows of one query, or over queries; products of a part without codes run in BLAS's own.
    """

    kind = "multivector"

    def __init__(self, folder: Path, name: str, entry: EncodedEntry, documents: DocumentStore, threads: int) -> None:
        self.folder, self.name, self.entry, self.documents = folder, name, entry, documents
        self.dimensions, self.threads = int(entry.facts["dimensions"]), threads
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

    def alignment(self, query: NDArray[np.float32], position: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return for every query token the token of a position that matches it best, and their inner product.

        The products' sum is what `search` returns, rounded to float32.
        """
        if not self.coded:
            return alignment(query, self.tokens_of(position))
        whole = WholeQuery.of(self.codec.turned(query))
        number = int(np.searchsorted(self.starts, position, "right")) - 1
        shard, local = self.shards[number], position - int(self.starts[number])
        assert isinstance(shard, CodedShard)  # noqa: S101 - a coded part's are
        span = slice(int(shard.offsets[local]), int(shard.offsets[local + 1]))
        tokens = self.codec.words.decode(shard.ids[span], shard.residuals[span])
        products = whole.values.astype(np.int64) @ tokens.T.astype(np.int64)
        best = products.argmax(1)
        return best, products[np.arange(len(best)), best] * (whole.scale * self.codec.scale)

    def _exact(self, query: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
        if not len(positions):
            return np.zeros(0, np.float32)
        if self.coded:
            return self._coded_scores(self.codec.turned(query), positions, self.threads)
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
        return self._guarded(query, k, allowed, how, self.threads)

    def _guarded(
        self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_], how: LateHow, threads: int
    ) -> Found:
        try:
            return self._search(query, k, allowed, how, threads)
        except (
            IndexError
        ) as error:  # a centroid or a row that there is not: looking for them beforehand would read it all
            raise CorruptIndexError(f"part {self.name!r} is damaged: {error}; run tamis verify") from error

    def search_all(
        self, queries: Sequence[NDArray[np.float32]], k: int, allowed: NDArray[np.bool_], how: LateHow = EXACT
    ) -> list[Found]:
        """Return what `search` does for each of some queries, several at once where there are codes and threads."""
        if not self.coded or self.threads < 2 or len(queries) < 2:
            return [self.search(query, k, allowed, how) for query in queries]
        self.codec, self.shards  # noqa: B018 - opened once, before the threads
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(lambda query: self._guarded(query, k, allowed, how, 1), queries))

    def _search(
        self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_], how: LateHow, threads: int
    ) -> Found:
        if not self.coded:
            return self._best(query, k, self._tiles(query, allowed))
        turned, positions = self.codec.turned(query), np.flatnonzero(allowed)
        if not how.exact:
            positions = self._candidates(turned, max(how.candidates, 2 * k), how.nprobe, positions, allowed, threads, k)
        scores = self._coded_scores(turned, positions, threads)
        kept = _first(scores, k)
        order = np.lexsort((positions[kept], -scores[kept]))
        return positions[kept][order], scores[kept][order]

    def _coded_scores(
        self, turned: NDArray[np.float64], positions: NDArray[np.int64], threads: int
    ) -> NDArray[np.float32]:
        whole = WholeQuery.of(turned)
        sums = self._over_rows(lambda shard, rows: shard.scores(whole, rows), positions, threads)
        return (sums * (whole.scale * self.codec.scale)).astype(np.float32)

    def _over_rows(
        self,
        work: Callable[[CodedShard, NDArray[np.int64]], NDArray[np.int64]],
        positions: NDArray[np.int64],
        threads: int,
    ) -> NDArray[np.int64]:
        """What `work` says of positions, shard by shard and share by share."""
        which = np.searchsorted(self.starts, positions, "right") - 1
        tasks: list[tuple[int, NDArray[np.int64]]] = []
        for number in np.unique(which).tolist():
            places = np.flatnonzero(which == number)
            shares = max(1, min(threads, len(places) // _SHARE))
            tasks += [(number, share) for share in np.array_split(places, shares)]

        def run(task: tuple[int, NDArray[np.int64]]) -> NDArray[np.int64]:
            number, places = task
            shard = self.shards[number]
            assert isinstance(shard, CodedShard)  # noqa: S101 - a coded part's are
            return work(shard, positions[places] - int(self.starts[number]))

        found = np.zeros(len(positions), np.int64)
        if threads > 1 and len(tasks) > 1:
            with ThreadPoolExecutor(threads) as pool:
                parts = list(pool.map(run, tasks))
        else:
            parts = [run(task) for task in tasks]
        for (_, places), part in zip(tasks, parts, strict=True):
            found[places] = part
        return found

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
        self,
        turned: NDArray[np.float64],
        wanted: int,
        nprobe: int | None,
        positions: NDArray[np.int64],
        allowed: NDArray[np.bool_],
        threads: int,
        k: int,
    ) -> NDArray[np.int64]:
        """Of the allowed positions those whose centroids promise most, ascending."""
        if len(positions) <= wanted:
            return positions
        near = turned.astype(np.float32) @ self.codec.middles.T
        if nprobe is None and sum(int(shard.offsets[-1]) for shard in self.shards) > _GLANCE_TOKENS:
            nprobe = _NPROBE
        if nprobe is not None:
            opened = self._opened(near, nprobe, allowed)
            positions = opened if len(opened) >= k else positions
        if len(positions) <= wanted:
            return positions
        table = centroid_table(near)
        sums = self._over_rows(lambda shard, rows: shard.glance(table, rows), positions, threads)
        return positions[_first(sums, wanted)]

    def _opened(self, near: NDArray[np.float32], nprobe: int, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The allowed positions that have a token of one of the `nprobe` centroids nearest to a query token, ascending."""
        probes, seen = min(nprobe, near.shape[1]), np.zeros(len(allowed), np.bool_)
        for centroid in np.unique(np.argsort(-near, axis=1, kind="stable")[:, :probes]).tolist():
            for start, shard in zip(self.starts.tolist(), self.shards, strict=False):
                assert isinstance(shard, CodedShard)  # noqa: S101 - a coded part's are
                seen[shard.rows_of(centroid).astype(np.int64) + start] = True
        return np.flatnonzero(seen & allowed)


def _first(scores: NDArray[Any], count: int) -> NDArray[np.int64]:
    """The places of the `count` largest scores, ascending; the lower place among equals."""
    if len(scores) <= count:
        return np.arange(len(scores))
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    above = np.flatnonzero(scores > least)
    return np.sort(np.concatenate([above, np.flatnonzero(scores == least)[: count - len(above)]]))


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
