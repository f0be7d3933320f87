"""Codes of token vectors: the number of a centroid, and a byte for each of some groups of dimensions of what is left over.

As in ColBERTv2 (Santhanam et al., NAACL 2022) a vector is its nearest centroid plus a coded residual. Its buckets, cut at
quantiles of single dimensions, are replaced by codewords of a product quantiser in a space where distances are errors of scores;
`quantise` says how they are learnt, docs/benchmarks.md what that gains. All is kept as whole numbers of 13 bits times one scale,
so that a score over codes is a sum of integers, the same on every machine (`tamis.kernels.late`).

The sum of centroid and codewords is the mean of what has such a code, and so shorter than one: a last byte says by how much.
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
from tamis.indexer.multivector.quantise import (
    ROUNDS,
    WIDEST,
    WORD_ROUNDS,
    WORDS,
    deal,
    k_means,
    nearest,
    principal,
    rates,
    stretch,
)
from tamis.kernels.late import HIGHEST, LENGTH_STEPS, LENGTH_ZERO, Words

BITS = (1, 8)
CENTROIDS, BOOKS, BOUNDS, TURN, SCALE = "centroids.npy", "books.npy", "bounds.npy", "turn.npy", "scale.npy"
PER_CENTROID = 64
"""Sampled vectors a centroid, at most."""
_WORD_SAMPLE = 1 << 15
_BLOCK = 1 << 13


def centroids_for(tokens: int) -> int:
    """Return how many centroids a collection of so many tokens gets: a power of two near four times its root.

    ColBERTv2 takes four times as many; of a million tokens of 128 dimensions they would add 1.6 bytes a token to the table of
    centroids, where a codeword is one, and building would take four times as long.
    """
    return int(2 ** np.clip(np.floor(np.log2(4 * np.sqrt(max(tokens, 1)))), 0, 16))


def check_bits(bits: float, dimensions: int) -> int:
    """Return the bytes of a vector's residual.

    Raises:
        UsageError: they are not whole, or not 1 to 8 bits a dimension.
    """
    width = dimensions * bits / 8
    if not BITS[0] <= bits <= BITS[1] or width != int(width):
        whole = f"{min(max(-(-dimensions // 8), round(width)), dimensions) * 8 / dimensions:g}"
        raise UsageError(
            f"bits={bits:g} of {dimensions} dimensions: {BITS[0]} to {BITS[1]} that fill whole bytes, such as {whole}"
        )
    return int(width)


@dataclass(frozen=True, eq=False)
class Codec:
    """See the module.

    Attributes:
        turn: float32 [dimensions, dimensions]: a row vector times it lies in the codec's space.
        centroids: int16 [centroids, dimensions], in the codec's space, over `scale`.
        books: int16 [groups, 256, 8], the codewords over `scale`, zero past the dimensions of a group.
        bounds: int64 [groups + 1]: where the dimensions of each group begin.
        scale: what a whole number is worth.
    """

    turn: NDArray[np.float32]
    centroids: NDArray[np.int16]
    books: NDArray[np.int16]
    bounds: NDArray[np.int64]
    scale: float

    @property
    def width(self) -> int:
        """Bytes of a vector besides its centroid: a codeword for each group, and its length."""
        return len(self.books) + 1

    @classmethod
    def train(cls, tokens: NDArray[np.float32], bits: float, total: int, *, seed: int = 0) -> Self:
        """Learn from a sample.

        Args:
            tokens: float32 [sample, dimensions], unit vectors.
            bits: a dimension; see `check_bits`.
            total: how many tokens the part will have, about; the number of centroids follows from it.
            seed: of the samples and the first centroids.

        Raises:
            UsageError: as `check_bits` says.
        """
        groups = check_bits(bits, tokens.shape[1])
        random = np.random.default_rng(seed)
        count = min(centroids_for(total), max(len(tokens), 1))
        some = _sample(tokens, PER_CENTROID * count, random)
        stretched = stretch(some)
        points = (some @ stretched).astype(np.float32)
        centroids = k_means(points, count, ROUNDS, random)
        residuals = points - centroids[nearest(points, centroids)]
        variances, directions = principal(residuals)
        dealt = deal(rates(variances, 8 * groups), groups)
        directions = directions[:, np.concatenate(dealt)]
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(group) for group in dealt])])
        left = _sample(residuals, _WORD_SAMPLE, random) @ directions.astype(np.float32)
        books = np.zeros((groups, WORDS, WIDEST), np.float32)
        for group, (first, last) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
            own = np.ascontiguousarray(left[:, first:last])
            books[group, :, : last - first] = k_means(own, WORDS, WORD_ROUNDS, random)
        middles = centroids @ directions.astype(np.float32)
        scale = float(np.abs(middles).max(initial=0) + np.abs(books).max()) / (HIGHEST * 0.8) or 1.0
        whole, words = (np.rint(array / scale).astype(np.int16) for array in (middles, books))
        return cls((stretched @ directions).astype(np.float32), whole, words, bounds, scale)

    @cached_property
    def words(self) -> Words:
        """What the kernel reads."""
        return Words(self.centroids, self.books, self.bounds)

    @cached_property
    def middles(self) -> NDArray[np.float32]:
        """The centroids as the codec's space has them, float32 [centroids, dimensions]."""
        return self.centroids.astype(np.float32) * np.float32(self.scale)

    @cached_property
    def back(self) -> NDArray[np.float64]:
        """The inverse of `turn`: a query times its transpose has the same inner products with turned vectors."""
        return np.linalg.inv(self.turn.astype(np.float64))

    def encode(self, tokens: NDArray[np.float32]) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
        """Return centroids, uint32 [tokens], and the other bytes, uint8 [tokens, width]."""
        points = tokens @ self.turn
        ids = nearest(points, self.middles)
        codes = np.zeros((len(tokens), self.width), np.uint8)
        books = self.books.astype(np.float32) * np.float32(self.scale)
        for first in range(0, len(tokens), _BLOCK):
            span = slice(first, first + _BLOCK)
            left = points[span] - self.middles[ids[span]]
            for group in range(len(self.books)):
                low, high = self.bounds[group], self.bounds[group + 1]
                codes[span, group] = nearest(np.ascontiguousarray(left[:, low:high]), books[group, :, : high - low])
        codes[:, -1] = LENGTH_ZERO
        for first in range(0, len(tokens), _BLOCK):
            span = slice(first, first + _BLOCK)
            lengths = np.linalg.norm(self.decode(ids[span], codes[span]), axis=1)
            longer = np.rint((1 / np.maximum(lengths, 0.5) - 1) * LENGTH_STEPS) + LENGTH_ZERO
            codes[span, -1] = np.clip(longer, 0, 255).astype(np.uint8)
        return ids.astype(np.uint32), codes

    def decode(self, ids: NDArray[Any], codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return vectors of a length near one, float32 [tokens, dimensions]."""
        whole = self.words.decode(ids, codes).astype(np.float64)
        return (whole @ (self.back * self.scale)).astype(np.float32)

    def turned(self, query: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return a query's vectors, float64 [tokens, dimensions], as they are compared with turned vectors."""
        return query.astype(np.float64) @ self.back.T

    def save(self, folder: Path) -> None:
        """Write the codec."""
        write_array(folder / CENTROIDS, self.centroids)
        write_array(folder / BOOKS, self.books)
        write_array(folder / BOUNDS, self.bounds)
        write_array(folder / TURN, self.turn)
        write_array(folder / SCALE, np.array([self.scale], np.float64))

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read a codec.

        Raises:
            CorruptIndexError: a file is damaged.
        """
        found = []
        for name in (CENTROIDS, BOOKS, BOUNDS, TURN, SCALE):
            try:
                found.append(np.ascontiguousarray(np.load(folder / name, allow_pickle=False)))
            except (OSError, ValueError) as error:
                raise CorruptIndexError(f"{folder / name} is damaged: {error}; run tamis verify") from error
        centroids, books, bounds, turn, scale = found
        dimensions = turn.shape[-1]
        good = turn.dtype == np.float32 and turn.shape == (dimensions, dimensions)
        good = good and centroids.dtype == np.int16 and centroids.ndim == 2 and centroids.shape[1] == dimensions
        good = good and books.dtype == np.int16 and books.ndim == 3 and books.shape[1:] == (WORDS, WIDEST)
        good = good and bounds.dtype == np.int64 and bounds.shape == (len(books) + 1,) and len(centroids) > 0
        good = good and bounds[0] == 0 and bounds[-1] == dimensions and scale.shape == (1,)
        steps = np.diff(bounds) if good else np.zeros(1)
        if not good or steps.min() < 1 or steps.max() > WIDEST:
            raise CorruptIndexError(f"{folder} holds no codec: its files do not fit each other; run tamis verify")
        return cls(turn, centroids, books, bounds, float(scale[0]))


def _sample(rows: NDArray[np.float32], most: int, random: np.random.Generator) -> NDArray[np.float32]:
    if len(rows) <= most:
        return rows
    return rows[np.sort(random.choice(len(rows), most, replace=False))]
