"""Signals of a dense vector: ``magnitude``, its length, and ``centroid``, its cosine with the collection's mean vector.

Encoders that were trained with inner products put some of what they know of a passage into the length of its vector (the
latent signals of Chang, Mishra, Macdonald and MacAvaney, SIGIR 2024). An encoder that normalises its vectors has no lengths to
compare: its vectors are then taken before that.

The model is named by its encoder: ``magnitude:dense:minilm``, with the encoder's options. Vectors of an index's part that this
very encoder made are used as they are, and no text is encoded again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from tamis.encoders.base import DenseEncoder, ModelIdentity, Tick, no_tick
from tamis.encoders.registry import encoder_options, open_encoder
from tamis.errors import UsageError
from tamis.families import Address
from tamis.indexer.encoded.kinds import Texts
from tamis.pruning.base import Arrays, Floats
from tamis.pruning.options import VectorOptions


class Vectors:
    """What both signals share: vectors of rows, from a part or from the encoder.

    Args:
        address: of the model.
        encoder: that makes the vectors.
        settings: of the model's identity.
    """

    def __init__(self, address: Address, encoder: DenseEncoder, **settings: Any) -> None:
        self.encoder = encoder
        inner = encoder.identity
        stated = {"family": address.family, "encoder": dict(inner.settings), **settings}
        self.identity = ModelIdentity(str(address), dict(inner.files), stated)
        self._part: Any = None

    def attach(self, part: Any) -> bool:
        """Take vectors from an open `DensePart` if they are those that the encoder would make; say whether they are."""
        if part.entry.fingerprint != self.encoder.identity.fingerprint or "lengths" in self.identity.settings:
            return False
        self._part = part
        return True

    def vectors(self, texts: Texts, tick: Tick) -> Floats:
        """Return a vector a row; zeros for rows that are blank."""
        blank = texts.blank
        found = np.zeros((len(blank), self.encoder.dimensions), np.float32)
        if self._part is not None:
            rows = self._part.documents.rows(texts.ids)
            held = rows >= 0  # a deleted row's score is never asked for
            found[held] = self._part.vectors_of(rows[held])
            tick(len(blank))
        else:
            chosen = [passage for passage, empty in zip(texts.passages, blank, strict=True) if not empty]
            found[~blank] = self.encoder.encode_passages(chosen, tick=tick).vectors
        return found


class Magnitude(Vectors):
    """A `tamis.pruning.base.RowModel`."""

    def score_rows(self, texts: Texts, tick: Tick = no_tick) -> Floats:
        """Return the length of each vector."""
        lengths: Floats = np.linalg.norm(self.vectors(texts, tick).astype(np.float64), axis=1).astype(np.float32)
        return lengths


class Centroid(Vectors):
    """A `tamis.pruning.base.CollectionModel`: notes are the vectors."""

    statistic = "centroid"

    def note(self, texts: Texts, tick: Tick = no_tick) -> Arrays:
        """Return the vectors."""
        return {"vectors": self.vectors(texts, tick)}

    def settings(self) -> Arrays:
        """Nothing."""
        return {}


class CentroidStatistic:
    """A `tamis.pruning.base.Statistic`."""

    def collect(self, notes: Iterable[Arrays], settings: Arrays) -> Arrays:
        """Return the sum of all vectors, whose direction is their mean's."""
        total: Any = 0.0
        for one in notes:
            total = total + one["vectors"].astype(np.float64).sum(axis=0)
        return {"centroid": np.asarray(total, np.float64)}

    def score(self, notes: Arrays, collected: Arrays) -> Floats:
        """Return the cosine of each vector with the centroid; 0 for a vector of zeros."""
        vectors, centre = notes["vectors"].astype(np.float64), collected["centroid"]
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(centre)
        products = vectors @ centre
        cosines: Floats = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0).astype(
            np.float32
        )
        return cosines


def encoder_address(address: Address) -> Address:
    """Return the address of the encoder that a model of vectors names, the options being the encoder's.

    Raises:
        UsageError: it names none.
    """
    if not address.id:
        raise UsageError(f"{address} names no encoder: write {address.family}:dense:minilm, for example")
    inner = replace(Address.parse(address.id), revision=address.revision, options=address.options)
    encoder_options(inner.family)
    return inner


def load(address: Address, options: VectorOptions) -> Vectors:
    """Return the model.

    Raises:
        UsageError: the encoder makes no vectors that have a direction, or for ``magnitude`` a length.
    """
    inner = encoder_address(address)
    encoder = open_encoder(inner)
    similarity = getattr(encoder, "similarity", None)
    if similarity not in ("dot", "cosine"):
        raise UsageError(f"{inner} makes no vectors that an inner product compares: {address} has nothing to go by")
    if address.family == "centroid":
        return Centroid(address, encoder)
    if getattr(encoder, "normalise", similarity == "cosine"):
        if not hasattr(encoder, "normalise"):
            raise UsageError(
                f"{inner} gives all vectors the same length: their magnitude says nothing; take centroid:{inner}"
            )
        encoder.normalise = False
        return Magnitude(address, encoder, lengths="before normalisation")
    return Magnitude(address, encoder)
