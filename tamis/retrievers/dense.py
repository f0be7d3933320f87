"""Dense retrieval: a query's vector against the vectors of a part, by inner product.

At the head of a pipeline the model retrieves from the part that it encoded; after ``>>`` it re-scores candidates, with the part's
vectors where there are any, else by encoding the candidates' texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.options import DenseOptions, EncoderOptions, OpenAIOptions, PairOptions, SparOptions, VectorsOptions
from tamis.families import Address, option, scoped_address
from tamis.indexer.dense.part import EXACT, DensePart, How
from tamis.indexer.dense.storage import STORES
from tamis.kernels.codes import KINDS
from tamis.kernels.dense import score_rows
from tamis.ranking import Queries, Ranking, Rows, Scores, check_k
from tamis.retrievers.models import CandidateScorer, Encoding, EncodingFamily, QueryEncoder, find_part, missing_part
from tamis.stages import Evidence, PartSource, RowMask


@dataclass(frozen=True)
class DensePartOptions:
    """How the vectors of a model are kept, and searched."""

    store: str = option("float32", "storage of the vectors", scope="part", choices=STORES)
    codes: str | None = option(None, "short codes for a quick first pass", scope="part", choices=KINDS)
    index: str = option("flat", "flat, auto, or a faiss factory string such as HNSW32", scope="part")
    exact: bool = option(False, "look at every vector, whatever the part has to be quicker")
    oversample: int | None = option(None, "candidates of a quick search, for each result", ge=1)
    ef: int | None = option(None, "candidates that a graph search keeps", ge=1)
    nprobe: int | None = option(None, "inverted lists that are read", ge=1)
    scan: str = option("cpu", "what looks at the vectors: cpu, or a torch device such as cuda, which then holds them")
    ann: str = option("cpu", "what searches an approximate index: cpu, or a GPU such as cuda, by faiss-gpu")
    part: str | None = option(None, "name of the part to read, where several were encoded by the model")

    def how(self) -> How:
        """Return what the search options ask for."""
        device = None if self.scan == "cpu" else self.scan
        ann = None if self.ann == "cpu" else self.ann
        return How(self.exact or device is not None, self.oversample, self.ef, self.nprobe, device, ann)


class DenseRetriever(Encoding):
    """A `Retriever` and `Rescorer` over a dense part.

    Args:
        part: the part.
        encoder: of the queries.
        how: how the part is searched.
    """

    def __init__(self, part: DensePart, encoder: QueryEncoder, how: How = EXACT) -> None:
        self._part, self._encoder, self._how = part, encoder, how
        # an approximate search looks harder where more is asked of it
        self.depth_dependent = not how.exact and (
            part.entry.options["index"] != "flat" or part.entry.options["codes"] is not None
        )

    def retrieve(self, queries: Queries, k: int, *, mask: RowMask | None = None) -> Ranking:
        """Return the `k` rows of largest inner product a query; blank rows are never among them.

        Raises:
            UsageError: `k` is below 1.
            DataError: query vectors that do not fit the part.
        """
        check_k(k)
        part = self._part
        found = part.search(self._vectors(queries), k, part.allowed(mask), self._how)
        rows, scores = part.documents.rows_at(found.docs), found.scores.astype(np.float64)
        return Ranking(part.documents, queries.ids, found.offsets, rows, scores)

    def rescore(self, queries: Queries, ranking: Ranking) -> Ranking:
        """Return `ranking` with inner products as scores."""
        ranking.require_space(self._part.documents)
        scores = np.zeros(len(ranking.rows))
        for i, query in enumerate(self._vectors(queries)):
            span = slice(int(ranking.offsets[i]), int(ranking.offsets[i + 1]))
            scores[span] = self._part.scores_of(query, ranking.rows[span])
        return ranking.with_scores(scores)

    def explain(
        self, queries: Queries, rows: NDArray[np.int64], *, mask: RowMask | None = None
    ) -> list[list[Evidence]]:
        """Return the similarity; see `tamis.stages.Explainer`."""
        part = self._part
        allowed = part.allowed(mask)
        positions = part.documents.positions_of(rows)
        held = np.ones(len(rows), np.bool_) if allowed is None else allowed[positions]
        found = []
        for query in self._vectors(queries):
            scores = part.scores_of(query, rows)
            found.append(
                [
                    _evidence(part.entry.facts["similarity"], float(score) if searched else None, query)
                    for score, searched in zip(scores, held, strict=True)
                ]
            )
        return found

    def _vectors(self, queries: Queries) -> NDArray[np.float32]:
        if queries.vectors is not None:
            return self._part.check_queries(queries.vectors)
        return self._part.check_queries(self._encoder.encode(queries.texts).vectors)


def _evidence(similarity: str, score: float | None, query: NDArray[np.float32]) -> Evidence:
    if score is None:
        return Evidence(similarity, None, notes=("the row is blank, deleted or filtered out: no search returns it",))
    return Evidence(similarity, score, {"query length": round(float(np.linalg.norm(query)), 4)})


class DenseScorer(CandidateScorer):
    """A `CandidateScorer` by inner products."""

    def scores(self, queries: Queries, encoded: Any, places: Sequence[Rows]) -> Sequence[Scores]:
        """See `CandidateScorer`."""
        vectors = queries.vectors if queries.vectors is not None else self._encoder.encode(queries.texts).vectors
        pairs = zip(np.ascontiguousarray(vectors, np.float32), places, strict=True)
        return [score_rows([encoded.vectors], query, own).astype(np.float64) for query, own in pairs]


class DenseFamily(EncodingFamily):
    """What the families of dense models share; one is its options and its name in the registry of encoders."""

    part_kind: ClassVar[str | None] = "dense"

    @classmethod
    def query_encoder(cls, address: Address, options: Any) -> Any:
        """Open the encoder with what the search options ask of its queries."""
        return cls.encoder(address)

    @classmethod
    def open(cls, source: PartSource, address: Address, options: Any) -> DenseRetriever | DenseScorer:
        """Open the model over the part that it encoded, or over the bare documents."""
        model = scoped_address(address, cls.Options, "model")
        part = find_part(source, address, options, "dense")
        if part is None:
            encoder = QueryEncoder(lambda: cls.query_encoder(address, options), None)
            return DenseScorer(source.documents, encoder, missing_part(source, str(model)))
        encoder = QueryEncoder(lambda: part.query_encoder() or cls.query_encoder(address, options), part.entry)
        return DenseRetriever(part, encoder, options.how())


@dataclass(frozen=True)
class _SentenceOptions(DensePartOptions, DenseOptions):
    """Options of ``dense``."""


class Dense(DenseFamily):
    """The ``dense`` family: sentence-transformers checkpoints; ``dense:minilm`` needs no network."""

    summary = "bi-encoder of any sentence-transformers checkpoint; dense:minilm is the offline default"
    Options = _SentenceOptions
    checkpoints = ("minilm", "sentence-transformers/all-MiniLM-L6-v2", "BAAI/bge-base-en-v1.5")


@dataclass(frozen=True)
class _PairOptions(DensePartOptions, PairOptions):
    """Options of ``dpr``."""


class DPR(DenseFamily):
    """The ``dpr`` family: an address names the context encoder."""

    summary = "dense passage retrieval: a question and a context encoder, title and text as a pair"
    Options = _PairOptions
    checkpoints = ("facebook/dpr-ctx_encoder-single-nq-base", "facebook/dpr-ctx_encoder-multiset-base")


@dataclass(frozen=True)
class _EncoderOptions(DensePartOptions, EncoderOptions):
    """Options of ``tct-colbert`` and ``cort``."""


class TctColbert(DenseFamily):
    """The ``tct-colbert`` family, versions 1 and 2."""

    summary = "TCT-ColBERT: one encoder, mean over all states behind the marker, [MASK]-filled queries"
    Options = _EncoderOptions
    checkpoints = ("castorini/tct_colbert-msmarco", "castorini/tct_colbert-v2-hnp-msmarco")


@dataclass(frozen=True)
class _VectorsOptions(DensePartOptions, VectorsOptions):
    """Options of ``vectors``."""


class Vectors(DenseFamily):
    """The ``vectors`` family: an array that somebody else made; queries are vectors too."""

    summary = "your own vectors: FILE.npy with FILE.ids beside it; queries come as vectors"
    Options = _VectorsOptions


class Cort(DenseFamily):
    """The ``cort`` family."""

    summary = "CoRT, which complements BM25: interleave(cort:FOLDER, bm25)"
    Options = _EncoderOptions


@dataclass(frozen=True)
class _OpenAIOptions(DensePartOptions, OpenAIOptions):
    """Options of ``openai``."""


class OpenAI(DenseFamily):
    """The ``openai`` family: an address names a model, and its option ``endpoint`` who serves it."""

    summary = "bi-encoder behind an OpenAI-compatible embeddings endpoint, with ?endpoint=URL&key=ENVIRONMENT_VARIABLE"
    Options = _OpenAIOptions
    checkpoints = ("text-embedding-3-small?dimensions=512", "BAAI/bge-m3?endpoint=http://localhost:8000/v1")


@dataclass(frozen=True)
class _SparOptions(DensePartOptions, SparOptions):
    """Options of ``spar``."""

    weight: float = option(1.0, "weight of the lexical model's half of the query")


class Spar(DenseFamily):
    """The ``spar`` family: an address names the lexical model's context encoder."""

    summary = "SPAR: a dense retriever joined with a dense model of a lexical one, weighted at search"
    Options = _SparOptions
    checkpoints = (
        "facebook/spar-paq-bm25-lexmodel-context-encoder?base=dpr:facebook/dpr-ctx_encoder-multiset-base",
        "facebook/spar-marco-bm25-lexmodel-context-encoder?base=dense:facebook/contriever?similarity=dot",
    )

    @classmethod
    def query_encoder(cls, address: Address, options: Any) -> Any:
        """Weight the lexical half."""
        return cls.encoder(address).weighted(options.weight)
