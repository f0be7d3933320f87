"""Query likelihood with Dirichlet smoothing (Zhai & Lafferty, 2001), as Lucene computes it; mu=1000 is Anserini's default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tamis.families import Address, option
from tamis.retrievers.engines import open_term_retriever
from tamis.retrievers.options import FLOAT_MAX, TermOptions
from tamis.retrievers.similarity import DirichletSimilarity
from tamis.stages import PartSource


@dataclass(frozen=True)
class QueryLikelihoodOptions(TermOptions):
    """Options of ``ql``."""

    mu: float = option(1000.0, "Dirichlet smoothing", gt=0, le=FLOAT_MAX)


class QueryLikelihood:
    """The ``ql`` family."""

    summary: ClassVar[str] = "query likelihood with Dirichlet smoothing, on the sparse kernel or in Lucene"
    part_kind: ClassVar[str | None] = "impact"
    default_part: ClassVar[str | None] = "terms"
    Options: ClassVar[type[QueryLikelihoodOptions]] = QueryLikelihoodOptions

    @classmethod
    def open(cls, source: PartSource, address: Address, options: QueryLikelihoodOptions) -> Any:
        """Open over the part that the address names; see `open_term_retriever`."""
        similarity, model = DirichletSimilarity(options.mu), ("ql", options.mu, 0.0)
        return open_term_retriever(source, address, options, similarity, model)
