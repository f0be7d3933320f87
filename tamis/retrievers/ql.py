"""Query likelihood with Dirichlet smoothing (Zhai & Lafferty, 2001), as Lucene computes it; mu=1000 is Anserini's default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from tamis.families import Address, option
from tamis.retrievers.lucene import LuceneRetriever, lucene_part
from tamis.retrievers.options import LuceneOptions
from tamis.stages import PartSource


@dataclass(frozen=True)
class QueryLikelihoodOptions(LuceneOptions):
    """Options of ``ql``."""

    mu: float = option(1000.0, "Dirichlet smoothing", gt=0)


class QueryLikelihood(LuceneRetriever):
    """The ``ql`` family."""

    summary: ClassVar[str] = "query likelihood with Dirichlet smoothing over the index's Lucene part"
    part_kind: ClassVar[str | None] = "lucene"
    default_part: ClassVar[str | None] = "lucene"
    Options: ClassVar[type[QueryLikelihoodOptions]] = QueryLikelihoodOptions

    @classmethod
    def open(cls, source: PartSource, address: Address, options: QueryLikelihoodOptions) -> Self:
        """Open over the part that the address names, ``lucene`` if it names none."""
        return cls(
            lucene_part(source, address.id or "lucene"),
            ("ql", options.mu, 0.0),
            ties=options.ties,
            fields=options.fields,
            syntax=options.syntax,
            feedback=options.feedback(),
        )
