"""What an encoder is: text in, representation out, under an identity that an index remembers.

An encoder is bound to nothing of an index. It is given passages (title and text apart, since models differ in how they join
them) or query texts, and returns arrays; what was cut to the model's length is counted. Two encoders with equal fingerprints
give equal representations, so a part that one built may be searched with the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tamis.files import sha256_json

Similarity = Literal["dot", "cosine", "pair"]
"""What compares two vectors: their inner product, that of unit vectors, or a network of the model's own (`PairEncoder`)."""

Tick = Callable[[int], None]
"""Hears how many more texts are done."""


def no_tick(count: int) -> None:
    """Hear nothing."""


class Passage(NamedTuple):
    """A text to encode, as the index holds it; either may be empty."""

    title: str
    text: str

    @property
    def joined(self) -> str:
        """Title and text, joined by a space where both are there."""
        return f"{self.title} {self.text}" if self.title and self.text else self.title or self.text


@dataclass(frozen=True)
class ModelIdentity:
    """Which model, exactly.

    Attributes:
        address: canonical address with model-scope options only, as a pipeline names it.
        files: the checkpoint's files that matter, name → SHA-256; empty where there is none (an endpoint).
        settings: all that changes an encoding besides the weights: prompts, pooling, maximum lengths, numeric mode, the
            encoding version of the code. JSON values only.
    """

    address: str
    files: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of files and settings: the address is only a name."""
        return sha256_json({"files": dict(self.files), "settings": dict(self.settings)})

    def to_json(self) -> dict[str, Any]:
        """Return what a manifest keeps."""
        return {
            "address": self.address,
            "fingerprint": self.fingerprint,
            "files": dict(self.files),
            "settings": dict(self.settings),
        }


class DenseVectors(NamedTuple):
    """One vector a text.

    Attributes:
        vectors: float32 [texts, dimensions], C order.
        truncated: how many of the texts were longer than the model reads.
    """

    vectors: NDArray[np.float32]
    truncated: int


class TokenVectors(NamedTuple):
    """One vector a kept token.

    Attributes:
        vectors: float32 [tokens of all texts, dimensions], C order.
        lengths: int64 [texts], tokens of each.
        truncated: how many of the texts were longer than the model reads.
    """

    vectors: NDArray[np.float32]
    lengths: NDArray[np.int64]
    truncated: int


class SparseVectors(NamedTuple):
    """Weighted dimensions of each text, rows of a sparse matrix.

    Attributes:
        offsets: int64 [texts + 1]; text i has the entries offsets[i] … offsets[i + 1].
        indices: int32 [entries], dimensions, ascending within a text and distinct.
        values: float32 [entries], above 0.
        truncated: how many of the texts were longer than the model reads.
    """

    offsets: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    truncated: int


@runtime_checkable
class DenseEncoder(Protocol):
    """A bi-encoder: a text is one vector, and relevance an inner product.

    With similarity ``cosine`` both sides come normalised, so that the inner product is the cosine. Results do not depend on which
    texts are encoded together, to 1e-5 in float32.
    """

    identity: ModelIdentity
    dimensions: int
    similarity: Similarity

    def encode_passages(self, passages: Sequence[Passage], *, tick: Tick = no_tick) -> DenseVectors:
        """Encode documents.

        Raises:
            ModelError: the model gave numbers that are not finite.
        """

    def encode_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> DenseVectors:
        """Encode queries; errors as in `encode_passages`."""


@runtime_checkable
class PairEncoder(DenseEncoder, Protocol):
    """A `DenseEncoder` of similarity ``pair``: inner products of its vectors mean nothing, and a network compares them."""

    def score(self, query: NDArray[np.float32], documents: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the relevance of documents to a query.

        Args:
            query: float32 [dimensions], as `encode_queries` gives it.
            documents: float32 [documents, dimensions], as `encode_passages` gives them.

        Returns:
            float64 [documents], more for the more relevant.
        """


@runtime_checkable
class MultiVectorEncoder(Protocol):
    """A late-interaction encoder: a text is a vector a token, and relevance the sum of maxima (MaxSim)."""

    identity: ModelIdentity
    dimensions: int

    def encode_passages(self, passages: Sequence[Passage], *, tick: Tick = no_tick) -> TokenVectors:
        """Encode documents.

        Raises:
            ModelError: the model gave numbers that are not finite.
        """

    def encode_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> TokenVectors:
        """Encode queries; errors as in `encode_passages`."""


@runtime_checkable
class SparseEncoder(Protocol):
    """A learned sparse encoder: a text is a few weighted dimensions of a large space, and relevance an inner product."""

    identity: ModelIdentity
    dimensions: int

    def encode_passages(self, passages: Sequence[Passage], *, tick: Tick = no_tick) -> SparseVectors:
        """Encode documents.

        Raises:
            ModelError: the model gave numbers that are not finite.
        """

    def encode_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> SparseVectors:
        """Encode queries; errors as in `encode_passages`."""

    def names(self) -> Sequence[str] | None:
        """What the dimensions are called (word pieces, entities), None where they have no names."""
