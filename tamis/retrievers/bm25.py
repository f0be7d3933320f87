"""BM25 (Robertson & Walker, 1994) as Lucene 9 and Anserini compute it.

There is no ``k1 + 1`` numerator, idf is always positive, and document lengths are rounded to a byte. The defaults k1=0.9, b=0.4
are Anserini's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tamis.families import Address, option
from tamis.retrievers.engines import open_term_retriever
from tamis.retrievers.options import FLOAT_MAX, TermOptions
from tamis.retrievers.similarity import BM25Similarity
from tamis.stages import PartSource


@dataclass(frozen=True)
class BM25Options(TermOptions):
    """Options of ``bm25``."""

    k1: float = option(0.9, "term-frequency saturation", ge=0, le=FLOAT_MAX)
    b: float = option(0.4, "length normalisation, 0 to 1", ge=0, le=1)


class BM25:
    """The ``bm25`` family."""

    summary: ClassVar[str] = "BM25 on the sparse kernel or in Lucene, optionally with RM3 or Rocchio feedback"
    part_kind: ClassVar[str | None] = "impact"
    default_part: ClassVar[str | None] = "terms"
    Options: ClassVar[type[BM25Options]] = BM25Options

    @classmethod
    def open(cls, source: PartSource, address: Address, options: BM25Options) -> Any:
        """Open over the part that the address names; see `open_term_retriever`."""
        similarity, model = BM25Similarity(options.k1, options.b), ("bm25", options.k1, options.b)
        return open_term_retriever(source, address, options, similarity, model)
