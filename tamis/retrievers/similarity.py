"""What a term contributes to a document's score, as Lucene 9 computes it, to the bit.

A similarity turns the pairs that postings are coded by (term frequency and length byte) into the contribution of each: one table
of float32 a query term, in Lucene's own arithmetic: which operations are float and which double is part of the definition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Frequencies = NDArray[np.int64]
LengthBytes = NDArray[np.uint8]
Table = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TermWeight:
    """A query term before it is scored.

    Attributes:
        boost: its weight in the query, a float32 value.
        frequency: documents that hold the term.
        total: its occurrences in all documents; only query likelihood asks for it.
    """

    boost: float
    frequency: int
    total: int = 0


class Tables(Protocol):
    """Makes the tables of one field's terms for one set of pairs."""

    def row(self, weight: TermWeight) -> Table:
        """Return the contribution of each code."""


class Similarity(Protocol):
    """A scoring formula with its parameters."""

    @property
    def needs_totals(self) -> bool:
        """Whether `TermWeight.total` is used."""

    def tables(self, frequencies: Frequencies, lengths: LengthBytes, docs: int, tokens: int) -> Tables:
        """Return the table maker.

        Args:
            frequencies: term frequency of each code.
            lengths: length byte of each code.
            docs: documents that have the field.
            tokens: tokens of the field in all of them.
        """


@cache
def decoded_lengths() -> NDArray[np.float32]:
    """The field length that each of Lucene's 256 length bytes stands for (`SmallFloat.byte4ToInt`).

    Exact below 40, then with four significant bits.
    """
    values = []
    for byte in range(256):
        rest = byte - 24
        if rest < 0:
            values.append(byte)
            continue
        mantissa, shift = rest & 7, (rest >> 3) - 1
        values.append(24 + (mantissa if shift < 0 else (mantissa | 8) << shift))
    return np.array(values, np.float32)


@dataclass(frozen=True, slots=True)
class BM25Similarity:
    """BM25 (Robertson & Walker, 1994): idf × tf / (tf + k1 (1 - b + b length / average length)), written as Lucene does."""

    k1: float
    b: float
    needs_totals: bool = False

    def tables(self, frequencies: Frequencies, lengths: LengthBytes, docs: int, tokens: int) -> Tables:
        """See `Similarity`."""
        one, k1, b = np.float32(1), np.float32(self.k1), np.float32(self.b)
        average = np.float32(tokens / docs) if docs else one
        with np.errstate(divide="ignore", over="ignore"):
            inverse = one / (k1 * ((one - b) + b * decoded_lengths() / average))
            return _BM25Tables(one + frequencies.astype(np.float32) * inverse[lengths], docs)


@dataclass(frozen=True, slots=True)
class _BM25Tables:
    divisors: Table
    docs: int

    def row(self, weight: TermWeight) -> Table:
        idf = np.float32(math.log(1 + (self.docs - weight.frequency + 0.5) / (weight.frequency + 0.5)))
        w = np.float32(weight.boost) * idf
        row: Table = w - w / self.divisors
        return row


@dataclass(frozen=True, slots=True)
class DirichletSimilarity:
    """Query likelihood with Dirichlet smoothing (Zhai & Lafferty, 2001); a negative contribution counts as 0, as in Lucene."""

    mu: float
    needs_totals: bool = True

    def tables(self, frequencies: Frequencies, lengths: LengthBytes, docs: int, tokens: int) -> Tables:
        """See `Similarity`."""
        mu = float(np.float32(self.mu))
        return _DirichletTables(
            frequencies.astype(np.float64),
            np.log(mu / (decoded_lengths()[lengths].astype(np.float64) + mu)),
            mu,
            tokens,
        )


@dataclass(frozen=True, slots=True)
class _DirichletTables:
    frequencies: NDArray[np.float64]
    norms: NDArray[np.float64]
    mu: float
    tokens: int

    def row(self, weight: TermWeight) -> Table:
        probability = (weight.total + 1) / (self.tokens + 1)
        values = weight.boost * (np.log(1 + self.frequencies / (self.mu * probability)) + self.norms)
        return np.maximum(values, 0).astype(np.float32)
