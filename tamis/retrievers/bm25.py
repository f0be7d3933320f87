"""BM25 (Robertson & Walker, 1994) as Lucene 9 and Anserini compute it.

There is no ``k1 + 1`` numerator, idf is always positive, and document lengths are rounded to a byte. The defaults k1=0.9, b=0.4
are Anserini's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from tamis.families import Address, option
from tamis.retrievers.lucene import LuceneRetriever, lucene_part
from tamis.retrievers.options import LuceneOptions
from tamis.stages import PartSource


@dataclass(frozen=True)
class BM25Options(LuceneOptions):
    """Options of ``bm25``."""

    k1: float = option(0.9, "term-frequency saturation", ge=0)
    b: float = option(0.4, "length normalisation, 0 to 1", ge=0, le=1)


class BM25(LuceneRetriever):
    """The ``bm25`` family."""

    summary: ClassVar[str] = "BM25 over the index's Lucene part, optionally with RM3 or Rocchio feedback"
    part_kind: ClassVar[str | None] = "lucene"
    default_part: ClassVar[str | None] = "lucene"
    Options: ClassVar[type[BM25Options]] = BM25Options

    @classmethod
    def open(cls, source: PartSource, address: Address, options: BM25Options) -> Self:
        """Open over the part that the address names, ``lucene`` if it names none."""
        part = lucene_part(source, address.id or "lucene")
        model = ("bm25", options.k1, options.b)
        return cls(
            part,
            model,
            ties=options.ties,
            fields=options.fields,
            syntax=options.syntax,
            feedback=options.feedback(),
        )
