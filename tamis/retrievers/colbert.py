"""Late interaction: ColBERT retrieves, or re-scores candidates.

Scores are MaxSim over token vectors as the part keeps them: as they are, where a search looks at every document, or as residual
codes (``bits``), where centroids propose candidates. Put a quicker retriever before a part without codes if the collection is
large, as in ``bm25 % 1000 >> colbert:…``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import TokenVectors
from tamis.encoders.options import ColbertOptions
from tamis.families import Address, option, scoped_address
from tamis.indexer.dense.storage import STORES
from tamis.indexer.multivector.part import EXACT, LateHow, MultiVectorPart, maxsim
from tamis.ranking import Queries, Ranking, Rows, Scores, check_k
from tamis.retrievers.models import CandidateScorer, Encoding, EncodingFamily, QueryEncoder, find_part, missing_part
from tamis.stages import Evidence, PartSource, RowMask


@dataclass(frozen=True)
class _Options(ColbertOptions):
    """Options of ``colbert``."""

    store: str = option("float16", "storage of the vectors", scope="part", choices=STORES)
    bits: float | None = option(
        None,
        "codes of so many bits a dimension, 1 to 8, that fill whole bytes; none by default",
        scope="part",
    )
    exact: bool = option(False, "look at every document, whatever the part has to be quicker")
    nprobe: int | None = option(
        None, "centroids that a query token opens; by default all while the part is of moderate size", ge=1
    )
    candidates: int = option(2048, "documents that are scored by their codes and not only by their centroids", ge=1)
    part: str | None = option(None, "name of the part to read, where several were encoded by the model")


def split(encoded: TokenVectors) -> list[NDArray[np.float32]]:
    """Return one array [tokens, dimensions] a text."""
    return np.split(encoded.vectors, np.cumsum(encoded.lengths)[:-1]) if len(encoded.lengths) else []


class LateRetriever(Encoding):
    """A `Retriever`, `Rescorer` and `Explainer` over a multi-vector part.

    Args:
        part: the part.
        encoder: of the queries.
        how: looks at all documents, or at candidates.
    """

    def __init__(self, part: MultiVectorPart, encoder: QueryEncoder, how: LateHow = EXACT) -> None:
        self._part, self._encoder, self._how = part, encoder, how
        self.depth_dependent = part.coded and not how.exact

    def retrieve(self, queries: Queries, k: int, *, mask: RowMask | None = None) -> Ranking:
        """Return the `k` rows of largest MaxSim a query.

        Raises:
            UsageError: `k` is below 1.
        """
        check_k(k)
        part, allowed = self._part, self._part.allowed(mask)
        found = part.search_all(split(self._encoder.encode(queries.texts)), k, allowed, self._how)
        lists = [(part.documents.rows_at(positions), scores) for positions, scores in found]
        return Ranking.from_lists(part.documents, queries.ids, lists)

    def rescore(self, queries: Queries, ranking: Ranking) -> Ranking:
        """Return `ranking` with MaxSim as scores."""
        ranking.require_space(self._part.documents)
        vectors = split(self._encoder.encode(queries.texts))
        scores = [self._part.scores_of(query, ranking.at(i)[0]) for i, query in enumerate(vectors)]
        return ranking.with_scores(np.concatenate([np.zeros(0), *scores]))

    def explain(
        self, queries: Queries, rows: NDArray[np.int64], *, mask: RowMask | None = None
    ) -> list[list[Evidence]]:
        """Return which document token each query token matched; see `tamis.stages.Explainer`."""
        part, allowed = self._part, self._part.allowed(mask)
        positions = part.documents.positions_of(rows).tolist()
        vectors = split(self._encoder.encode(queries.texts))
        return [
            [self._evidence(query, position, held=bool(allowed[position])) for position in positions]
            for query in vectors
        ]

    def _evidence(self, query: NDArray[np.float32], position: int, *, held: bool) -> Evidence:
        if not held:
            return Evidence("maxsim", None, notes=("the row is blank, deleted or filtered out: no search returns it",))
        best, values = self._part.alignment(query, position)
        children = tuple(
            Evidence(f"query token {i}", float(value), {"document token": int(token)})
            for i, (token, value) in enumerate(zip(best, values, strict=True))
        )
        return Evidence("maxsim", float(np.float32(values.sum())), children=children)


class LateScorer(CandidateScorer):
    """A `CandidateScorer` by MaxSim."""

    def scores(self, queries: Queries, encoded: Any, places: Sequence[Rows]) -> Sequence[Scores]:
        """See `CandidateScorer`."""
        tokens = split(encoded)
        pairs = zip(split(self._encoder.encode(queries.texts)), places, strict=True)
        scores = [[np.float32(maxsim(query, tokens[place])) for place in own.tolist()] for query, own in pairs]
        return [np.array(own, np.float64) for own in scores]


class Colbert(EncodingFamily):
    """The ``colbert`` family."""

    summary: ClassVar[str] = (
        "ColBERT: a vector a token, MaxSim; at the head over all documents, after >> over candidates"
    )
    part_kind: ClassVar[str | None] = "multivector"
    Options: ClassVar[type[Any]] = _Options
    checkpoints: ClassVar[tuple[str, ...]] = ("colbert-ir/colbertv2.0",)

    @classmethod
    def open(cls, source: PartSource, address: Address, options: Any) -> LateRetriever | LateScorer:
        """Open the model over the part that it encoded, or over the bare documents."""
        part = find_part(source, address, options, "multivector")
        if part is None:
            model = str(scoped_address(address, cls.Options, "model"))
            encoder = QueryEncoder(lambda: cls.encoder(address), None)
            return LateScorer(source.documents, encoder, missing_part(source, model))
        how = LateHow(options.exact, options.nprobe, options.candidates)
        return LateRetriever(part, QueryEncoder(lambda: cls.encoder(address), part.entry), how)
