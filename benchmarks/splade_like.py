"""Synthetic sparse vectors, SPLADE-like or binary; and real ones from files.

SPLADE-like: some 120 impacts (1 to 255) a document over 30,000 dimensions of which the most frequent is in about half of the
documents. Every document has one of 3,000 topics: half of its dimensions come from the topic's 400, with larger weights, and
common dimensions weigh less. A query of 40 dimensions takes half of them from the heaviest of a document, with weights of 0.3
and more, and half at random with small ones, as encoders expand. `independent` data have none of this: dimensions and weights are
drawn alike for all. Binary: 160 of 65,536 dimensions a document, queries of 32, independent.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tamis.kernels import Queries

QUERIES = 200
BLOCK = 50_000
TOPICS, TOPIC_DIMENSIONS = 3000, 400
DIMENSIONS, BINARY_DIMENSIONS = 30_000, 65_536


@dataclass(frozen=True)
class Data:
    """Document-ordered vectors, and queries.

    Attributes:
        offsets: [documents + 1].
        terms: dimensions, ascending within a document.
        weights: 1 to 255, or more in real data; all 1 if binary.
        dimensions: how many there are.
        queries: terms, ascending, and weights of each.
        binary: whether weights say nothing.
    """

    offsets: np.ndarray[Any, Any]
    terms: np.ndarray[Any, Any]
    weights: np.ndarray[Any, Any]
    dimensions: int
    queries: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]
    binary: bool

    @property
    def docs(self) -> np.ndarray[Any, Any]:
        """The document of every entry."""
        return np.repeat(np.arange(len(self.offsets) - 1, dtype=np.int32), np.diff(self.offsets))

    def batch(self, chosen: range) -> Queries:
        """Return some queries as the kernel takes them; a code is a weight."""
        offsets = np.cumsum([0, *(len(self.queries[i][0]) for i in chosen)])
        terms = np.concatenate([self.queries[i][0] for i in chosen]).astype(np.int64)
        if self.binary:
            return Queries(offsets, terms)
        weights = np.concatenate([self.queries[i][1] for i in chosen]).astype(np.float32)
        values = np.arange(int(self.weights.max()) + 1, dtype=np.float32)[None]
        return Queries(offsets, terms, weights, values, np.zeros(len(terms), np.int32))

    def save(self, folder: Path) -> None:
        """Write data.npz, as the peers read it."""
        terms, weights = zip(*self.queries, strict=True)
        np.savez(
            folder / "data.npz",
            offsets=self.offsets,
            terms=self.terms.astype(np.int32),
            weights=self.weights.astype(np.int32),
            dimensions=self.dimensions,
            query_offsets=np.cumsum([0, *map(len, terms)]),
            query_terms=np.concatenate(terms).astype(np.int32),
            query_weights=np.concatenate(weights).astype(np.float32),
        )


def _cumulative(count: int, shift: float, exponent: float) -> np.ndarray[Any, Any]:
    """The distribution function of Zipf and Mandelbrot's law."""
    shares = 1 / (np.arange(count) + shift) ** exponent
    return np.asarray(np.cumsum(shares / shares.sum()))


class _Drawing:
    """Draws documents and queries."""

    def __init__(self, seed: int, *, binary: bool, independent: bool) -> None:
        self.random = np.random.default_rng(seed)
        self.binary, self.topical = binary, not (binary or independent)
        self.dimensions = BINARY_DIMENSIONS if binary else DIMENSIONS
        self.per_document, self.per_query = (160, 32) if binary else (120, 40)
        self._general = np.linspace(0, 1, self.dimensions + 1)[1:] if binary else _cumulative(self.dimensions, 12, 1.0)
        self._topics = self.random.integers(0, self.dimensions, (TOPICS, TOPIC_DIMENSIONS))
        self._of_topic = _cumulative(TOPIC_DIMENSIONS, 10, 1.0)

    def _draw(self, *shape: int) -> np.ndarray[Any, Any]:
        drawn = np.searchsorted(self._general, self.random.random(shape))
        return np.minimum(drawn, self.dimensions - 1)

    def documents(self, count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Entries a document, dimensions and weights (before they are whole numbers)."""
        each = int(1.12 * self.per_document) if self.topical else self.per_document
        dims = self._draw(count, each)
        weights = self.random.gamma(1.3, 0.35, (count, each)) if not self.binary else np.ones((count, each))
        if self.topical:
            own = self.random.random((count, each)) < 0.5
            chosen = np.searchsorted(self._of_topic, self.random.random((count, each)))
            topic = self._topics[self.random.integers(0, TOPICS, count)]
            common = 0.3 + 0.7 * np.minimum(1, dims / 400)
            dims = np.where(own, np.take_along_axis(topic, np.minimum(chosen, TOPIC_DIMENSIONS - 1), 1), dims)
            weights *= np.where(own, 2.2, common)
        keys, first = np.unique(np.arange(count)[:, None] * self.dimensions + dims, return_index=True)
        found = np.clip(weights.ravel()[first], 0.02, 3.0)
        return np.bincount(keys // self.dimensions, minlength=count), keys % self.dimensions, found

    def query(self, dims: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
        """A query, after a document if there are topics."""
        if not self.topical:
            wanted = np.unique(self._draw(self.per_query))
            heavy = (
                np.ones(len(wanted)) if self.binary else self.random.integers(1, 256, len(wanted)).astype(np.float64)
            )
            return wanted, heavy
        noisy = weights + self.random.normal(0, 0.5, len(weights))
        own = dims[np.argsort(-noisy)[: self.per_query // 2]]
        drawn = np.setdiff1d(self._draw(self.per_query), own)
        extra = self.random.permutation(drawn)[: self.per_query - len(own)]
        heavy = np.concatenate(
            [self.random.gamma(2, 0.5, len(own)) + 0.3, self.random.gamma(1, 0.15, len(extra)) + 0.02]
        )
        wanted = np.concatenate([own, extra])
        order = np.argsort(wanted)
        return wanted[order], np.clip(np.rint(60 * heavy[order]), 1, 255)


@dataclass(frozen=True)
class Block:
    """Some documents in a row, and queries made after them; attributes as `Data` has them, `lengths` are entries a document."""

    lengths: np.ndarray[Any, Any]
    terms: np.ndarray[Any, Any]
    weights: np.ndarray[Any, Any]
    queries: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]


def draw_blocks(size: int, seed: int, *, binary: bool = False, independent: bool = False) -> Iterator[Block]:
    """Draw documents and queries, block by block."""
    drawing = _Drawing(seed, binary=binary, independent=independent)
    starts = range(0, size, BLOCK)
    for number, first in enumerate(starts):
        count = min(BLOCK, size - first)
        each, dims, found = drawing.documents(count)
        ends = np.cumsum(each)
        queries = []
        for _ in range(QUERIES * (number + 1) // len(starts) - QUERIES * number // len(starts)):
            i = int(drawing.random.integers(count))
            span = slice(ends[i] - each[i], ends[i])
            terms, heavy = drawing.query(dims[span], found[span])
            queries.append((terms, heavy))
        whole = np.ones(len(dims)) if binary else np.clip(np.rint(85 * found), 1, 255)
        yield Block(each, dims.astype(np.int32), whole.astype(np.uint8), queries)


def make_data(size: int, seed: int, *, binary: bool = False, independent: bool = False) -> Data:
    """Draw documents and queries."""
    blocks = list(draw_blocks(size, seed, binary=binary, independent=independent))
    return Data(
        np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate([block.lengths for block in blocks]))]),
        np.concatenate([block.terms for block in blocks]),
        np.concatenate([block.weights for block in blocks]),
        BINARY_DIMENSIONS if binary else DIMENSIONS,
        [query for block in blocks for query in block.queries],
        binary,
    )


def read_data(vectors: Path, queries: Path) -> Data:
    """Read Anserini's JSON lines and pre-tokenised topics, plain or gzipped."""

    def lines(path: Path) -> list[str]:
        opener: Any = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as handle:
            return list(handle)

    known: dict[str, int] = {}
    rows = []
    for line in lines(vectors):
        vector = json.loads(line)["vector"]
        rows.append(sorted((known.setdefault(token, len(known)), int(weight)) for token, weight in vector.items()))
    asked = []
    for line in lines(queries):
        counts = Counter(token for token in line.rstrip("\n").split("\t")[1].split() if token in known)
        if counts:
            pairs = sorted((known[token], count) for token, count in counts.items())
            asked.append((np.array([t for t, _ in pairs]), np.array([c for _, c in pairs], np.float64)))
    offsets = np.cumsum([0, *map(len, rows)])
    terms = np.array([t for row in rows for t, _ in row], np.int32)
    weights = np.array([w for row in rows for _, w in row], np.uint16)
    return Data(offsets, terms, weights, len(known), asked, binary=False)
