"""``impacts``: sparse vectors that somebody else made (uniCOIL, DeepImpact, SPLADE …), as a part of an index.

``impacts:PATH`` is a file of JSON lines, or a folder of such files, plain or gzipped, as Anserini reads them:
``{"id": …, "vector": {"token": weight, …}}``. A query is given as tokens between white space, each as often as it weighs (what
Anserini's pre-tokenised topics are), or as weighted terms (`tamis.Queries` with `terms`).

Weights stay as they are, or become whole by a rule (``rounding``, ``factor``): Anserini's loader cuts fractions off.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tamis.encoders.base import ModelIdentity, Passage, SparseVectors, Tick, no_tick
from tamis.encoders.options import ImpactsOptions
from tamis.encoders.whole_weights import whole_weights
from tamis.errors import DataError, MissingResourceError, UsageError
from tamis.families import Address
from tamis.files import sha256_file

_SHOWN = 3
SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz")


class ImpactFile:
    """A stand-in for a `SparseEncoder` that looks vectors up by id. The vectors are held in memory, 8 bytes an entry.

    Args:
        identity: of the files.
        ids: of the vectors.
        vectors: of each id.
        tokens: the name of each dimension.
    """

    def __init__(self, identity: ModelIdentity, ids: Sequence[str], vectors: SparseVectors, tokens: list[str]) -> None:
        self.identity, self.dimensions = identity, len(tokens)
        self._vectors, self._tokens = vectors, tokens
        self._places = {name: place for place, name in enumerate(ids)}

    def names(self) -> Sequence[str]:
        """The tokens."""
        return self._tokens

    def vectors_of(self, ids: Sequence[str]) -> SparseVectors:
        """Return the vectors of documents.

        Raises:
            DataError: there is none for an id.
        """
        missing = [name for name in ids if name not in self._places]
        if missing:
            shown = ", ".join(map(repr, missing[:_SHOWN])) + (" …" if len(missing) > _SHOWN else "")
            raise DataError(f"{self.identity.address} has no vectors for {len(missing)} documents: {shown}")
        rows = np.array([self._places[name] for name in ids], np.int64)
        lengths = np.diff(self._vectors.offsets)[rows]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        places = np.repeat(self._vectors.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return SparseVectors(offsets, self._vectors.indices[places], self._vectors.values[places], 0)

    def encode_passages(self, passages: Sequence[Passage], *, tick: Tick = no_tick) -> SparseVectors:
        """Refuse: nothing here encodes."""
        raise UsageError(f"{self.identity.address} holds vectors, not a model that could encode a text")

    def encode_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> SparseVectors:
        """Refuse: a part encodes such queries itself, by the names of its dimensions."""
        raise UsageError(f"{self.identity.address} holds vectors, not a model that could encode a text")


def read_vectors(files: Sequence[Path]) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield id and vector of every line.

    Raises:
        DataError: a line is no such thing; names the file and the line.
    """
    for file in files:
        opener: Any = gzip.open if file.name.endswith(".gz") else open
        with opener(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    value = json.loads(line)
                    name, vector = str(value["id"]), {str(k): float(v) for k, v in value["vector"].items()}
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise DataError(
                        f'{file}:{number}: not a line {{"id": …, "vector": {{token: weight}}}} ({error})'
                    ) from error
                bad = next((k for k, v in vector.items() if not 0 <= v < float("inf")), None)
                if bad is not None:
                    raise DataError(f"{file}:{number}: the weight of {bad!r} is {vector[bad]}: 0 or more is wanted")
                yield name, vector


def load(address: Address, options: ImpactsOptions) -> ImpactFile:
    """Read a collection of sparse vectors.

    Raises:
        MissingResourceError: nothing is there.
        DataError: a line is malformed, or an id occurs twice.
        UsageError: a factor without a rounding.
    """
    if options.rounding is None and options.factor != 1:
        raise UsageError(f"factor={options.factor:g} is for weights that are made whole: give rounding= too")
    path = Path(address.id)
    files = [path] if path.is_file() else sorted(p for p in path.glob("*") if p.name.endswith(SUFFIXES))
    if not files:
        raise MissingResourceError(
            f"{path} is not there: impacts:PATH needs a file of JSON lines, or a folder of {', '.join(SUFFIXES)}"
        )
    ids, known, ends = list[str](), dict[str, int](), [0]
    dims, weights = [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
    for name, vector in read_vectors(files):
        held = {token: weight for token, weight in vector.items() if weight > 0}
        if options.rounding is not None:
            made = whole_weights(np.array(list(held.values())), options.factor, options.rounding).tolist()
            held = {token: weight for token, weight in zip(held, made, strict=True) if weight > 0}
        dims.append(np.array([known.setdefault(token, len(known)) for token in held], np.int32))
        weights.append(np.array(list(held.values()), np.float32))
        ids.append(name)
        ends.append(ends[-1] + len(held))
    if len(set(ids)) != len(ids):
        raise DataError(f"{path}: ids must be unique, and {len(ids) - len(set(ids))} occur again")
    tokens = sorted(known)
    place = np.empty(len(known), np.int32)
    place[[known[token] for token in tokens]] = np.arange(len(known))
    offsets = np.array(ends, np.int64)
    indices, values = place[np.concatenate(dims)], np.concatenate(weights)
    order = np.lexsort((indices, np.repeat(np.arange(len(ids)), np.diff(offsets))))
    settings: dict[str, Any] = {"family": "impacts"}
    if options.rounding is not None:
        settings |= {"rounding": options.rounding, "factor": options.factor}
    identity = ModelIdentity(str(address), {f.name: sha256_file(f) for f in files}, settings)
    return ImpactFile(identity, ids, SparseVectors(offsets, indices[order], values[order], 0), tokens)
