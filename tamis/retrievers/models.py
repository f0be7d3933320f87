"""From a model's address to the part that it encoded, and to the encoder of its queries.

A pipeline names a model, as in ``dense:minilm``, and the index knows which of its parts that model made. Options of model scope
belong to the name; options of search scope do not.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

import numpy as np

from tamis.encoders.base import Passage
from tamis.errors import FingerprintError, MissingResourceError, UsageError
from tamis.families import Address, scoped_address
from tamis.indexer.encoded.entry import EncodedEntry
from tamis.ranking import Queries, Ranking, Rows, Scores
from tamis.stages import DocumentView, PartSource

Encoded = TypeVar("Encoded")


def find_part(source: PartSource, address: Address, options: Any, kind: str) -> Any | None:
    """Return the open part that a model's address means, or None where the index holds none of that model.

    Args:
        source: the index.
        address: as written in the pipeline.
        options: parsed; its ``part``, if given, names the part.
        kind: which kind of part is wanted.

    Raises:
        FingerprintError: the named part was encoded by another model.
        MissingResourceError: there is no part of that name.
        UsageError: several parts fit, or the named one is of another kind.
    """
    model = str(scoped_address(address, type(options), "model"))
    if options.part is not None:
        part = source.part(options.part)
        if part.kind != kind:
            raise UsageError(f"part {options.part!r} is of kind {part.kind!r}, and {model} reads one of kind {kind!r}")
        if part.entry.address != model:
            raise FingerprintError(
                f"part {options.part!r} was encoded by {part.entry.address}, and cannot be searched with {model}: their "
                "vectors mean different things"
            )
        return part
    names = sorted(name for name, maker in source.models().items() if maker == model)
    if len(names) > 1:
        raise UsageError(
            f"parts {', '.join(names)} were all encoded by {model}: choose one, as in  {model}?part={names[0]}"
        )
    return source.part(names[0]) if names else None


def missing_part(source: PartSource, model: str) -> MissingResourceError:
    """Return the error of a model at the head of a pipeline that encoded no part of the index."""
    held = ", ".join(f"{name} ({maker})" for name, maker in sorted(source.models().items())) or "none"
    return MissingResourceError(
        f"the index has no part encoded by {model}; encoded parts: {held}. Make one with  tamis add-part INDEX {model} , or "
        f"re-score candidates, as in  bm25 % 100 >> {model}"
    )


class QueryEncoder:
    """The encoder of a part's queries, opened when the first query comes; remembers what it encoded last.

    Args:
        open_encoder: opens it.
        entry: the part's; an encoder with another fingerprint is refused. None: any will do.

    Attributes:
        seconds: that the model has encoded so far; opening it is not counted.
    """

    def __init__(self, open_encoder: Callable[[], Any], entry: EncodedEntry | None) -> None:
        self._open, self._entry = open_encoder, entry
        self._encoder: Any = None
        self._lock = threading.Lock()
        self._last: tuple[tuple[str, ...], Any] | None = None
        self.seconds = 0.0

    @property
    def encoder(self) -> Any:
        """The encoder.

        Raises:
            FingerprintError: it is another model than the one that encoded the part.
        """
        with self._lock:
            if self._encoder is None:
                self._encoder = self._checked(self._open())
            return self._encoder

    def _checked(self, encoder: Any) -> Any:
        entry = self._entry
        if entry is not None and encoder.identity.fingerprint != entry.fingerprint:
            raise FingerprintError(
                f"{encoder.identity.address} has fingerprint {encoder.identity.fingerprint[:16]} now, but the part was encoded "
                f"by {entry.address} with {entry.fingerprint[:16]}: the checkpoint or its settings changed; put them back, or "
                "encode the part anew (tamis drop-part, tamis add-part)"
            )
        return encoder

    def encode(self, texts: Sequence[str]) -> Any:
        """Return the encoded texts (what the encoder's `encode_queries` returns); the last batch is remembered."""
        key, last = tuple(texts), self._last
        if last is not None and last[0] == key:
            return last[1]
        encoded = self._timed(self.encoder.encode_queries, list(texts))
        self._last = (key, encoded)
        return encoded

    def encode_passages(self, passages: Sequence[Passage]) -> Any:
        """Return encoded documents; what the encoder's `encode_passages` returns."""
        return self._timed(self.encoder.encode_passages, passages)

    def forget(self) -> None:
        """Forget the batch that is remembered."""
        self._last = None

    def cost(self) -> Mapping[str, Any]:
        """Return seconds in the model so far, and the tokens that it read; None where it does not count them."""
        return {"model_seconds": self.seconds, "tokens": getattr(self._encoder, "tokens", None)}

    def _timed(self, encode: Callable[..., Any], given: Any) -> Any:
        begun = time.perf_counter()
        encoded = encode(given)
        self.seconds += time.perf_counter() - begun
        return encoded


class Encoding:
    """A stage with an encoder of queries, which says what that has cost."""

    _encoder: Any  # a QueryEncoder, or what stands in for one

    def cost(self) -> Mapping[str, Any]:
        """Return what the encoder has cost so far; see `QueryEncoder.cost`."""
        cost: Mapping[str, Any] = self._encoder.cost()
        return cost

    def forget(self) -> None:
        """Forget the queries that were encoded last, so that they cost again what they cost a newcomer."""
        self._encoder.forget()


class EncodingFamily:
    """What the families of models that encode documents share."""

    summary: ClassVar[str]
    part_kind: ClassVar[str | None]
    default_part: ClassVar[str | None] = None
    Options: ClassVar[type[Any]]
    checkpoints: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def encoder(cls, address: Address) -> Any:
        """Open the encoder of a model; options of other scopes do not matter to it."""
        from tamis.encoders.registry import open_encoder

        return open_encoder(address)


class CandidateScorer(Encoding, ABC):
    """A `tamis.stages.Rescorer` that encodes the candidates, where the index holds no encodings of the model.

    Args:
        documents: whose texts are encoded.
        encoder: of queries and documents.
        cannot_retrieve: the error for a pipeline that wants it to retrieve.
    """

    def __init__(self, documents: DocumentView, encoder: QueryEncoder, cannot_retrieve: MissingResourceError) -> None:
        self._documents, self._encoder, self.cannot_retrieve = documents, encoder, cannot_retrieve

    def rescore(self, queries: Queries, ranking: Ranking) -> Ranking:
        """Return `ranking` with the model's scores; every candidate is encoded once a call."""
        ranking.require_space(self._documents)
        rows = np.unique(ranking.rows)
        passages = list(map(Passage, self._documents.titles(rows), self._documents.bodies(rows)))
        encoded = self._encoder.encode_passages(passages)
        places = np.searchsorted(rows, ranking.rows)
        own = [places[first:last] for first, last in pairwise(ranking.offsets.tolist())]
        return ranking.with_scores(np.concatenate([np.zeros(0), *self.scores(queries, encoded, own)]))

    @abstractmethod
    def scores(self, queries: Queries, encoded: Any, places: Sequence[Rows]) -> Sequence[Scores]:
        """Return the scores of every query's candidates; a subclass says how two encodings compare.

        Args:
            queries: the batch.
            encoded: what the encoder made of the distinct candidates.
            places: for every query the places of its candidates among them.
        """
