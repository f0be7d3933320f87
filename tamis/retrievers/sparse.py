"""Learned sparse retrieval: inner products of weighted dimensions, on the sparse kernel.

Exact by default. With ``approximate=true`` the heaviest weights of a query propose candidates, which get their exact scores: only
which documents are looked at is approximate.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import SparseVectors
from tamis.encoders.options import ImpactsOptions, PruningOptions, SpladeOptions, UhdOptions, UnicoilOptions
from tamis.encoders.sparse_rows import Pruning
from tamis.errors import UsageError
from tamis.families import Address, option, scoped_address
from tamis.indexer.sparse.part import SearchHow, SparsePart
from tamis.ranking import Queries, Ranking, Rows, Scores, check_k
from tamis.retrievers.models import CandidateScorer, Encoding, EncodingFamily, QueryEncoder, find_part, missing_part
from tamis.stages import Evidence, PartSource, RowMask


@dataclass(frozen=True)
class SparseOptions(PruningOptions):
    """How sparse vectors are stored and searched, whatever made them."""

    bits: int | None = option(
        None,
        "bits of a weight: 1 keeps none, as sets do; by default whole numbers as they are, else 8",
        scope="part",
        ge=1,
        le=16,
    )
    min_idf: float | None = option(
        None, "leave dimensions out of queries whose ln(documents / those with it) is not above this; Pyserini's is 0"
    )
    approximate: bool = option(False, "let the heaviest weights of a query propose the documents that are scored")
    query_cut: int | None = option(16, "how many weights propose", ge=1)
    candidates: int = option(100, "how many documents they propose a query (or k, where that is more)", ge=1)
    deadline: float | None = option(None, "seconds a batch may take; then the best so far, marked partial", gt=0)
    part: str | None = option(None, "name of the part to read, where several were encoded by the model")


class TokenQueries:
    """Queries as tokens between white space, each as often as it weighs; tokens that no document has are left out.

    Args:
        part: whose dimensions the tokens name.
    """

    def __init__(self, part: SparsePart) -> None:
        self._part = part

    def encode(self, texts: Sequence[str]) -> SparseVectors:
        """Return weighted dimensions."""
        return named_vectors(self._part, [Counter(text.split()) for text in texts])

    def cost(self) -> Mapping[str, Any]:
        """Return nothing: there is no model."""
        return {}

    def forget(self) -> None:
        """Do nothing: nothing is remembered."""


class SparseRetriever(Encoding):
    """A `Retriever`, `Rescorer` and `Explainer` over a sparse part.

    Args:
        part: the part.
        encoder: of the queries.
        options: of the search.
    """

    def __init__(self, part: SparsePart, encoder: QueryEncoder | TokenQueries, options: SparseOptions) -> None:
        self._part, self._encoder, self._options = part, encoder, options
        self.depth_dependent = options.approximate

    def retrieve(self, queries: Queries, k: int, *, mask: RowMask | None = None) -> Ranking:
        """Return the `k` rows of largest inner product a query; rows that share no dimension with it are not returned.

        Raises:
            UsageError: `k` is below 1.
        """
        check_k(k)
        part, options = self._part, self._options
        deadline = None if options.deadline is None else time.monotonic() + options.deadline
        how = SearchHow(options.candidates if options.approximate else None, options.query_cut, deadline)
        found = part.search(self._vectors(queries), k, part.positions.masks(mask), how)
        rows, scores = part.documents.rows_at(found.docs), found.scores.astype(np.float64)
        return Ranking(part.documents, queries.ids, found.offsets, rows, scores, found.partial)

    def rescore(self, queries: Queries, ranking: Ranking) -> Ranking:
        """Return `ranking` with inner products as scores."""
        part = self._part
        ranking.require_space(part.documents)
        positions = [part.documents.positions_of(ranking.at(i)[0]) for i in range(len(queries))]
        scores = part.scores_of(self._vectors(queries), positions)
        return ranking.with_scores(np.concatenate([np.zeros(0), *scores]))

    def explain(
        self, queries: Queries, rows: NDArray[np.int64], *, mask: RowMask | None = None
    ) -> list[list[Evidence]]:
        """Return what each dimension contributes; see `tamis.stages.Explainer`.

        Details of a dimension: ``query`` and ``document``, its weights.
        """
        part, vectors = self._part, self._vectors(queries)
        allowed = part.positions.allowed(mask)
        found = []
        positions = part.documents.positions_of(rows)
        for i in range(len(queries)):
            span = slice(int(vectors.offsets[i]), int(vectors.offsets[i + 1]))
            dims, weights = vectors.indices[span].astype(np.int64), vectors.values[span]
            scores = part.scores_of(_one(dims, weights), [positions])[0]
            found.append(
                [
                    self._evidence(dims, weights, int(position), float(score))
                    if allowed is None or allowed[position]
                    else Evidence("inner product", None, notes=("the row is deleted or filtered out",))
                    for position, score in zip(positions.tolist(), scores.tolist(), strict=True)
                ]
            )
        return found

    def _evidence(self, dims: NDArray[np.int64], weights: NDArray[np.float32], position: int, total: float) -> Evidence:
        held, values = self._part.row(position)
        _, ours, theirs = np.intersect1d(dims, held, assume_unique=True, return_indices=True)
        children = [
            Evidence(
                self._name(int(dims[i])),
                float(np.float32(weights[i] * values[j])),
                {"query": float(weights[i]), "document": float(values[j])},
            )
            for i, j in zip(ours.tolist(), theirs.tolist(), strict=True)
        ]
        children.sort(key=lambda child: -(child.value or 0.0))
        matched = f"{len(children)} of {len(dims)} dimensions"
        if not children:
            return Evidence(matched, None, notes=("it shares no dimension with the query",))
        return Evidence(matched, total, children=tuple(children))

    def _name(self, dimension: int) -> str:
        names, facts = self._part.names, self._part.entry.facts
        if names is not None:
            return names[dimension]
        if "bucket_layers" not in facts:
            return str(dimension)
        bucket, place = divmod(dimension, int(facts["bucket_dimensions"]))
        return f"{place} of layer {facts['bucket_layers'][bucket]}"

    def _vectors(self, queries: Queries) -> SparseVectors:
        terms = queries.terms
        found = self._encoder.encode(queries.texts) if terms is None else named_vectors(self._part, terms)
        found = Pruning(self._options.query_top, self._options.query_min_weight)(found)
        return found if self._options.min_idf is None else self._rarer(found, self._options.min_idf)

    def _rarer(self, vectors: SparseVectors, least: float) -> SparseVectors:
        """Return queries without the dimensions that too many rows have; those that no row has go too."""
        known, places = np.unique(vectors.indices, return_inverse=True)
        counts = self._part.frequencies(known.astype(np.int64))
        idf = np.log(self._part.positions.starts[-1] / np.maximum(counts, 1))
        keep = ((counts > 0) & (idf > least))[places]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep)])[vectors.offsets]
        return SparseVectors(offsets, vectors.indices[keep], vectors.values[keep], vectors.truncated)


def named_vectors(part: SparsePart, queries: Sequence[Mapping[str, float]]) -> SparseVectors:
    """Return queries given by the names of their dimensions; names that the part does not know are left out.

    Raises:
        UsageError: the part's dimensions have no names.
    """
    if part.names is None:
        raise UsageError(f"part {part.name!r}: its dimensions have no names, so weighted terms mean nothing to it")
    known, rows = part.dimensions_of, []
    for terms in queries:
        held = sorted((known[name], weight) for name, weight in terms.items() if name in known and weight > 0)
        rows.append(held)
    offsets = np.cumsum([0, *map(len, rows)])
    indices = np.array([dim for row in rows for dim, _ in row], np.int32)
    values = np.array([weight for row in rows for _, weight in row], np.float32)
    return SparseVectors(offsets, indices, values, 0)


def _one(dims: NDArray[np.int64], weights: NDArray[np.float32]) -> SparseVectors:
    return SparseVectors(np.array([0, len(dims)]), dims.astype(np.int32), weights, 0)


class SparseScorer(CandidateScorer):
    """A `CandidateScorer` by inner products of sparse vectors."""

    def scores(self, queries: Queries, encoded: Any, places: Sequence[Rows]) -> Sequence[Scores]:
        """See `CandidateScorer`."""
        asked, lists = self._encoder.encode(queries.texts), []
        dense = np.zeros(self._encoder.encoder.dimensions, np.float32)
        for i, own in enumerate(places):
            span = slice(int(asked.offsets[i]), int(asked.offsets[i + 1]))
            dense[asked.indices[span]] = asked.values[span]
            sums = np.concatenate([np.zeros(1), np.cumsum(dense[encoded.indices] * encoded.values, dtype=np.float64)])
            every = sums[encoded.offsets[1:]] - sums[encoded.offsets[:-1]]
            lists.append(every[own].astype(np.float32).astype(np.float64))
            dense[asked.indices[span]] = 0
        return lists


class SparseFamily(EncodingFamily):
    """What the families of sparse models share; one is its options and its name in the registry of encoders."""

    part_kind: ClassVar[str | None] = "sparse"

    @classmethod
    def exported(cls, part: SparsePart, options: Any) -> Any | None:
        """Return the part's exported query encoder; None where there is none, or none that does what is asked."""
        return part.query_encoder(Pruning(options.query_top, options.query_min_weight))

    @classmethod
    def open(cls, source: PartSource, address: Address, options: Any) -> SparseRetriever | SparseScorer:
        """Open the model over the part that it encoded, or over the bare documents."""
        part = find_part(source, address, options, "sparse")
        if part is not None:
            encoder = QueryEncoder(lambda: cls.exported(part, options) or cls.encoder(address), part.entry)
            return SparseRetriever(part, encoder, options)
        model = str(scoped_address(address, cls.Options, "model"))
        encoder = QueryEncoder(lambda: cls.encoder(address), None)
        return SparseScorer(source.documents, encoder, missing_part(source, model))


@dataclass(frozen=True)
class _ImpactsOptions(SparseOptions, ImpactsOptions):
    """Options of ``impacts``."""


class Impacts(SparseFamily):
    """The ``impacts`` family: vectors that somebody else made; a search needs only the part."""

    summary: ClassVar[str] = "sparse vectors made elsewhere (Anserini's JSON lines), queries as weighted tokens"
    Options: ClassVar[type[Any]] = _ImpactsOptions

    @classmethod
    def open(cls, source: PartSource, address: Address, options: Any) -> SparseRetriever:
        """Open the part that the vectors became.

        Raises:
            MissingResourceError: they became none.
        """
        part = find_part(source, address, options, "sparse")
        if part is None:
            raise missing_part(source, str(scoped_address(address, cls.Options, "model")))
        return SparseRetriever(part, TokenQueries(part), options)


@dataclass(frozen=True)
class _SpladeOptions(SparseOptions, SpladeOptions):
    """Options of ``splade``."""


class Splade(SparseFamily):
    """The ``splade`` family."""

    summary: ClassVar[str] = (
        "SPLADE: word pieces weighted by a masked language model; queries alike, or without a model"
    )
    Options: ClassVar[type[Any]] = _SpladeOptions
    checkpoints: ClassVar[tuple[str, ...]] = (
        "naver/splade-v3",
        "naver/splade-cocondenser-ensembledistil",
        "naver/efficient-splade-VI-BT-large-doc?query=naver/efficient-splade-VI-BT-large-query",
        "opensearch-project/opensearch-neural-sparse-encoding-doc-v3-distill",
    )


@dataclass(frozen=True)
class _UnicoilOptions(SparseOptions, UnicoilOptions):
    """Options of ``unicoil``."""


class Unicoil(SparseFamily):
    """The ``unicoil`` family."""

    summary: ClassVar[str] = "uniCOIL: a weight a token, over texts that were expanded beforehand"
    Options: ClassVar[type[Any]] = _UnicoilOptions
    checkpoints: ClassVar[tuple[str, ...]] = ("castorini/unicoil-msmarco-passage",)


@dataclass(frozen=True)
class _UhdOptions(SparseOptions, UhdOptions):
    """Options of ``uhd``."""


class Uhd(SparseFamily):
    """The ``uhd`` family; unless it has ``binary=false`` the index keeps sets, without weights."""

    summary: ClassVar[str] = "UHD: sets of winning dimensions of very wide layers, without weights"
    Options: ClassVar[type[Any]] = _UhdOptions

    @classmethod
    def exported(cls, part: SparsePart, options: Any) -> Any | None:
        """See `SparseFamily`; other winners than the model's need the model."""
        return super().exported(part, options) if options.query_winners is None else None
