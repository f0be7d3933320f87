"""Models whose vectors only a network of their own can compare: they re-score candidates and retrieve none.

Candidates come from any retriever, as in ``bm25 % 100 >> d2llm:…``. Their vectors come from the part that the model encoded,
where the index has one; else the candidates' texts are encoded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import Passage
from tamis.encoders.options import LengthOptions
from tamis.errors import UsageError
from tamis.families import Address, option, scoped_address
from tamis.indexer.dense.part import DensePart
from tamis.indexer.dense.storage import STORES
from tamis.ranking import Queries, Ranking
from tamis.retrievers.models import Encoding, EncodingFamily, QueryEncoder, find_part
from tamis.stages import DocumentView, Evidence, PartSource, RowMask

Score = Callable[[Any, NDArray[np.float32], NDArray[np.float32]], NDArray[np.float64]]
"""(encoder, query's vector, documents' vectors) → scores."""

_AT_ONCE = 4096


class PairRescorer(Encoding):
    """A `Rescorer` and `Explainer` over precomputed vectors, or over texts.

    Args:
        documents: whose rows are re-scored.
        encoder: a `tamis.encoders.base.PairEncoder`, of queries and, without a part, of documents.
        score: how it compares.
        part: the part that it encoded; None: texts are encoded.
        cannot_retrieve: the error for a pipeline that wants it to retrieve.
    """

    def __init__(
        self,
        documents: DocumentView,
        encoder: QueryEncoder,
        score: Score,
        part: DensePart | None,
        cannot_retrieve: UsageError,
    ) -> None:
        self._documents, self._encoder, self._score, self._part = documents, encoder, score, part
        self.cannot_retrieve = cannot_retrieve

    def rescore(self, queries: Queries, ranking: Ranking) -> Ranking:
        """Return `ranking` with the model's scores; without a part, every candidate is encoded once a call."""
        ranking.require_space(self._documents)
        vectors_of = self._lookup(np.unique(ranking.rows))
        scores = np.zeros(len(ranking.rows))
        for i, query in enumerate(self._queries(queries)):
            span = slice(int(ranking.offsets[i]), int(ranking.offsets[i + 1]))
            scores[span] = self._scores(query, ranking.rows[span], vectors_of)
        return ranking.with_scores(scores)

    def explain(
        self, queries: Queries, rows: NDArray[np.int64], *, mask: RowMask | None = None
    ) -> list[list[Evidence]]:
        """Return the score: what the network did is not a sum of parts; see `tamis.stages.Explainer`."""
        vectors_of = self._lookup(np.unique(rows))
        return [
            [Evidence("interaction", float(score)) for score in self._scores(query, rows, vectors_of)]
            for query in self._queries(queries)
        ]

    def _queries(self, queries: Queries) -> NDArray[np.float32]:
        vectors = queries.vectors if queries.vectors is not None else self._encoder.encode(queries.texts).vectors
        return (
            self._part.check_queries(vectors) if self._part is not None else np.ascontiguousarray(vectors, np.float32)
        )

    def _lookup(self, rows: NDArray[np.int64]) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
        """Return what gives the vectors of some of `rows`."""
        if self._part is not None:
            return self._part.vectors_of
        passages = list(map(Passage, self._documents.titles(rows), self._documents.bodies(rows)))
        encoded = self._encoder.encode_passages(passages).vectors
        return lambda some: encoded[np.searchsorted(rows, some)]

    def _scores(
        self,
        query: NDArray[np.float32],
        rows: NDArray[np.int64],
        vectors_of: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    ) -> NDArray[np.float64]:
        parts = [rows[first : first + _AT_ONCE] for first in range(0, len(rows), _AT_ONCE)]
        encoder = self._encoder.encoder
        return np.concatenate([np.zeros(0), *(self._score(encoder, query, vectors_of(some)) for some in parts)])


@dataclass(frozen=True)
class PairPartOptions(LengthOptions):
    """Options of models that compare by a network of their own."""

    store: str = option("float32", "storage of the vectors", scope="part", choices=STORES)
    part: str | None = option(None, "name of the part to read, where several were encoded by the model")


class PairFamily(EncodingFamily, ABC):
    """What the families of such models share."""

    part_kind: ClassVar[str | None] = "dense"

    @classmethod
    @abstractmethod
    def scoring(cls, options: Any) -> Score:
        """Return how the model compares, as the search options ask."""

    @classmethod
    def open(cls, source: PartSource, address: Address, options: Any) -> PairRescorer:
        """Open the model over the part that it encoded, or over the bare documents."""
        model = scoped_address(address, cls.Options, "model")
        part = find_part(source, address, options, "dense")
        encoder = QueryEncoder(lambda: cls.encoder(address), None if part is None else part.entry)
        refusal = UsageError(
            f"{model} compares vectors by a network of its own, which no index can search: let it re-score candidates, as in  "
            f"bm25 % 100 >> {model}"
        )
        return PairRescorer(source.documents, encoder, cls.scoring(options), part, refusal)


@dataclass(frozen=True)
class _D2LLMOptions(PairPartOptions):
    """Options of ``d2llm``."""

    task: str = option("asymmetric", "what the pairs are", choices=("asymmetric", "symmetric"))


class D2LLM(PairFamily):
    """The ``d2llm`` family."""

    summary = "D2LLM: a language model's vectors, compared by its interaction module; re-scores candidates"
    Options = _D2LLMOptions

    @classmethod
    def scoring(cls, options: Any) -> Score:
        """Take the branch of the task."""
        return lambda encoder, query, documents: encoder.score(query, documents, task=options.task)


@dataclass(frozen=True)
class _DSEOptions(PairPartOptions):
    """Options of ``dse``."""

    positive: int | None = option(None, "which output means relevant, where the head has several", ge=0)


class DSE(PairFamily):
    """The ``dse`` family."""

    summary = "distilled sentence embeddings, compared by a network over both; re-scores candidates"
    Options = _DSEOptions

    @classmethod
    def scoring(cls, options: Any) -> Score:
        """Take the output that means relevant."""
        return lambda encoder, query, documents: encoder.score(query, documents, positive=options.positive)
