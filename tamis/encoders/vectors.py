"""``vectors``: vectors that somebody else made, as a part of an index.

``vectors:FILE.npy`` is an array [n, dimensions] and, beside it, ``FILE.ids`` with one id a line. Queries come as vectors
(`tamis.Queries` with `vectors`): there is no model here that could encode a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import DenseVectors, ModelIdentity, Passage, Similarity, Tick, no_tick
from tamis.encoders.options import VectorsOptions
from tamis.errors import DataError, MissingResourceError, UsageError
from tamis.families import Address
from tamis.files import sha256_file

_SHOWN = 3


class VectorFile:
    """A stand-in for a `DenseEncoder` that looks vectors up by id.

    Args:
        identity: of the files.
        vectors: [n, dimensions].
        ids: of the rows.
        similarity: what compares them; with ``cosine`` they are normalised.
    """

    def __init__(
        self, identity: ModelIdentity, vectors: NDArray[Any], ids: Sequence[str], similarity: Similarity
    ) -> None:
        self.identity, self.similarity = identity, similarity
        self.dimensions = int(vectors.shape[1])
        self._vectors, self._places = vectors, {name: place for place, name in enumerate(ids)}

    def vectors_of(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of documents, float32 [ids, dimensions].

        Raises:
            DataError: there is none for an id, or one is not finite.
        """
        missing = [name for name in ids if name not in self._places]
        if missing:
            shown = ", ".join(map(repr, missing[:_SHOWN])) + (" …" if len(missing) > _SHOWN else "")
            raise DataError(f"{self.identity.address} has no vectors for {len(missing)} documents: {shown}")
        found = np.asarray(self._vectors[[self._places[name] for name in ids]], np.float32)
        if not np.isfinite(found).all():
            bad = int(np.flatnonzero(~np.isfinite(found).all(1))[0])
            raise DataError(f"{self.identity.address}: the vector of {ids[bad]!r} is not finite")
        if self.similarity == "cosine":
            found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return np.ascontiguousarray(found, np.float32)

    def encode_passages(self, passages: Sequence[Passage], *, tick: Tick = no_tick) -> DenseVectors:
        """Refuse: nothing here encodes."""
        raise self._refusal()

    def encode_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> DenseVectors:
        """Refuse: nothing here encodes."""
        raise self._refusal()

    def _refusal(self) -> UsageError:
        return UsageError(
            f"{self.identity.address} holds vectors, not a model that could encode a text: search with vectors, as in "
            "index.rank(tamis.Queries(ids, texts, vectors=…), pipeline=…)"
        )


def load(address: Address, options: VectorsOptions) -> VectorFile:
    """Open a file of vectors.

    Raises:
        MissingResourceError: a file is not there.
        DataError: the files do not fit each other.
    """
    path = Path(address.id)
    names = Path(options.ids) if options.ids is not None else path.with_suffix(".ids")
    for file in (path, names):
        if not file.is_file():
            raise MissingResourceError(
                f"{file} is not there: vectors:FILE.npy needs the array, and FILE.ids (or ?ids=) beside it"
            )
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is no array: {error}") from error
    ids = names.read_text("utf-8").splitlines()
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or len(ids) != len(vectors):
        raise DataError(
            f"{path} is {vectors.dtype}{list(vectors.shape)} and {names} has {len(ids):,} ids: floats [n, dimensions] and n ids "
            "are wanted"
        )
    if len(set(ids)) != len(ids):
        raise DataError(f"{names}: ids must be unique")
    similarity: Similarity = "cosine" if options.similarity == "cosine" else "dot"
    files = {path.name: sha256_file(path), names.name: sha256_file(names)}
    identity = ModelIdentity(str(address), files, {"family": "vectors", "similarity": similarity})
    return VectorFile(identity, vectors, ids, similarity)
