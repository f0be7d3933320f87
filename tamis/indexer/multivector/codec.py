"""Residual codes of token vectors (ColBERTv2; Santhanam et al., NAACL 2022).

A vector is the number of its nearest centroid, and for each dimension which of 2^bits buckets the difference falls into. The
buckets hold equally many of the differences of a sample, and stand for its quantile in their middle. Decoded vectors are
normalised. The centroids are chosen by k-means on unit vectors from the first rows that a part sees, and stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tamis.errors import CorruptIndexError, UsageError
from tamis.files import write_array

BITS = (1, 2, 4)
CENTROIDS, CUTOFFS, WEIGHTS = "centroids.npy", "cutoffs.npy", "weights.npy"
ROUNDS = 6
PER_CENTROID = 64
"""Sampled vectors a centroid, at most."""
_BLOCK = 1 << 13


def centroids_for(tokens: int) -> int:
    """Return how many centroids a collection of so many tokens gets: a power of two near four times its root."""
    return int(2 ** np.clip(np.floor(np.log2(4 * np.sqrt(max(tokens, 1)))), 0, 16))


@dataclass(frozen=True, eq=False)
class Codec:
    """See the module.

    Attributes:
        centroids: float32 [centroids, dimensions], unit vectors.
        cutoffs: float32 [2^bits - 1], ascending: where the buckets meet.
        weights: float32 [2^bits]: what a bucket stands for.
    """

    centroids: NDArray[np.float32]
    cutoffs: NDArray[np.float32]
    weights: NDArray[np.float32]

    @property
    def bits(self) -> int:
        """Of a dimension."""
        return int(np.log2(len(self.weights)))

    @classmethod
    def train(cls, tokens: NDArray[np.float32], bits: int, total: int, *, seed: int = 0) -> Self:
        """Learn from a sample.

        Args:
            tokens: float32 [sample, dimensions], unit vectors.
            bits: one of `BITS`.
            total: how many tokens the part will have, about; the number of centroids follows from it.
            seed: of the sample and the first centroids.

        Raises:
            UsageError: other bits, or dimensions that do not fill whole bytes.
        """
        dimensions = tokens.shape[1]
        if bits not in BITS or dimensions * bits % 8:
            raise UsageError(f"bits={bits} of {dimensions} dimensions: one of {BITS} that fills whole bytes")
        random = np.random.default_rng(seed)
        count = min(centroids_for(total), max(len(tokens), 1))
        some = tokens
        if len(tokens) > PER_CENTROID * count:
            some = tokens[np.sort(random.choice(len(tokens), PER_CENTROID * count, replace=False))]
        centroids = _k_means(some, count, random)
        differences = some - centroids[nearest(some, centroids)]
        levels = 1 << bits
        held = differences.ravel() if differences.size else np.zeros(1, np.float32)
        cutoffs = np.quantile(held, np.arange(1, levels) / levels).astype(np.float32)
        weights = np.quantile(held, (np.arange(levels) + 0.5) / levels).astype(np.float32)
        return cls(centroids, cutoffs, weights)

    def encode(self, tokens: NDArray[np.float32]) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
        """Return centroids, uint32 [tokens], and packed buckets, uint8 [tokens, dimensions × bits / 8]."""
        ids = nearest(tokens, self.centroids)
        each = 8 // self.bits
        packed = np.zeros((len(tokens), tokens.shape[1] // each), np.uint8)
        for first in range(0, len(tokens), _BLOCK):
            span = slice(first, first + _BLOCK)
            buckets = np.searchsorted(self.cutoffs, tokens[span] - self.centroids[ids[span]]).astype(np.uint8)
            for place in range(each):
                packed[span] |= buckets[:, place::each] << (place * self.bits)
        return ids.astype(np.uint32), packed

    @cached_property
    def _table(self) -> NDArray[np.float32]:
        """What a byte stands for: float32 [256, dimensions a byte]."""
        shifts = np.arange(8 // self.bits) * self.bits
        table: NDArray[np.float32] = self.weights[np.arange(256)[:, None] >> shifts & len(self.weights) - 1]
        return table

    def decode(self, ids: NDArray[Any], packed: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return unit vectors, float32 [tokens, dimensions]."""
        vectors: NDArray[np.float32] = self.centroids[ids]
        vectors += self._table[packed].reshape(vectors.shape)
        vectors /= np.maximum(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)), 1e-12)[:, None]
        return vectors

    def save(self, folder: Path) -> None:
        """Write the codec."""
        for name, array in ((CENTROIDS, self.centroids), (CUTOFFS, self.cutoffs), (WEIGHTS, self.weights)):
            write_array(folder / name, array)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read a codec.

        Raises:
            CorruptIndexError: a file is damaged.
        """
        arrays = []
        for name in (CENTROIDS, CUTOFFS, WEIGHTS):
            try:
                arrays.append(np.load(folder / name, allow_pickle=False))
            except (OSError, ValueError) as error:
                raise CorruptIndexError(f"{folder / name} is damaged: {error}; run tamis verify") from error
        if arrays[0].ndim != 2 or len(arrays[1]) + 1 != len(arrays[2]) or len(arrays[2]) not in [1 << b for b in BITS]:
            raise CorruptIndexError(f"{folder} holds no codec: its files do not fit each other; run tamis verify")
        return cls(*arrays)


def nearest(tokens: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the centroid of largest inner product with each token, the lowest among equals."""
    found = np.zeros(len(tokens), np.int64)
    for first in range(0, len(tokens), _BLOCK):
        span = slice(first, first + _BLOCK)
        found[span] = (tokens[span] @ centroids.T).argmax(1)
    return found


def _k_means(tokens: NDArray[np.float32], count: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Spherical k-means (Dhillon and Modha, 2001); a centroid without tokens stays where it is."""
    if not len(tokens):
        centroid = np.zeros((1, tokens.shape[1]), np.float32)
        centroid[0, 0] = 1
        return centroid
    centroids = tokens[np.sort(random.choice(len(tokens), count, replace=False))].copy()
    for _ in range(ROUNDS):
        owners = nearest(tokens, centroids)
        order = np.argsort(owners, kind="stable")
        held, starts = np.unique(owners[order], return_index=True)
        sums = np.add.reduceat(tokens[order], starts, axis=0, dtype=np.float64)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        good = lengths[:, 0] > 0
        centroids[held[good]] = (sums[good] / lengths[good]).astype(np.float32)
    return centroids
