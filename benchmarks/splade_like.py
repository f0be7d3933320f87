"""Synthetic sparse vectors: SPLADE-like, in independent draws or in clusters, and binary; and real ones from files.

SPLADE-like: 120 impacts (1 to 255) a document over 30,000 dimensions of skewed frequency, queries of 40 weighted terms. Binary:
160 of 65,536 dimensions a document, queries of 32. Independent draws have no document order to exploit; clustered ones draw half
of a document's dimensions from those of one of 2,000 topics, and queries likewise.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tamis.kernels import Queries

QUERIES = 200
BLOCK = 50_000
TOPICS, TOPIC_DIMENSIONS = 2000, 300


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


def make_data(size: int, seed: int, *, binary: bool = False, clustered: bool = False) -> Data:
    """Draw documents and queries."""
    rng = np.random.default_rng(seed)
    dimensions, per_document, per_query = (65_536, 160, 32) if binary else (30_000, 120, 40)
    popularity = np.ones(dimensions) if binary else 1 / (np.arange(dimensions) + 25) ** 0.8
    cumulative = np.cumsum(popularity / popularity.sum())

    def general(*shape: int) -> np.ndarray[Any, Any]:
        return np.searchsorted(cumulative, rng.random(shape)).astype(np.int64)

    topics = general(TOPICS, TOPIC_DIMENSIONS) if clustered else None

    def draw(count: int, each: int) -> np.ndarray[Any, Any]:
        drawn = general(count, each)
        if topics is not None:
            own = topics[rng.integers(0, TOPICS, count)]
            half = each // 2
            drawn[:, :half] = np.take_along_axis(own, rng.integers(0, TOPIC_DIMENSIONS, (count, half)), 1)
        return drawn

    terms, lengths = [], []
    for first in range(0, size, BLOCK):
        count = min(BLOCK, size - first)
        drawn = draw(count, per_document)
        keys = np.unique(np.repeat(np.arange(count, dtype=np.int64), per_document) * dimensions + drawn.ravel())
        terms.append((keys % dimensions).astype(np.int32))
        lengths.append(np.bincount(keys // dimensions, minlength=count))
    every = np.concatenate(terms)
    weights = (
        np.ones(len(every), np.uint8) if binary else np.minimum(rng.geometric(0.03, len(every)), 255).astype(np.uint8)
    )
    wanted = [np.unique(row) for row in draw(QUERIES, per_query)]
    queries = [(w, np.ones(len(w)) if binary else rng.integers(1, 256, len(w)).astype(np.float64)) for w in wanted]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths))])
    return Data(offsets, every, weights, dimensions, queries, binary)


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
