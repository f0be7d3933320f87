"""Options that the models over words share, declared once."""

from __future__ import annotations

from dataclasses import dataclass

from tamis.errors import UsageError
from tamis.families import option
from tamis.retrievers.feedback import FeedbackOptions

FLOAT_MAX = 3.4e38
"""Parameters are 32-bit floats, as Lucene's are."""


@dataclass(frozen=True)
class TermOptions:
    """Search options of every model over words."""

    engine: str = option(
        "auto", "kernel, lucene, or auto: the kernel where it can", choices=("auto", "kernel", "lucene")
    )
    deadline: float | None = option(None, "seconds a batch may take; then the best so far, marked partial", gt=0)
    ties: str = option("row", "order of equal scores: row, or docid as Anserini", choices=("row", "docid"))
    fields: str | None = option(None, "fields with weights in place of the index's own, e.g. title^2,body")
    syntax: str = option("text", "text: plain words; lucene: the query language", choices=("text", "lucene"))
    prf: str | None = option(None, "pseudo-relevance feedback", choices=("rm3", "rocchio"))
    fb_docs: int = option(10, "feedback documents", ge=1)
    fb_terms: int = option(10, "expansion terms", ge=1)
    original_weight: float = option(0.5, "RM3: weight of the original query", ge=0, le=1)
    alpha: float = option(1.0, "Rocchio: weight of the original query", ge=0)
    beta: float = option(0.75, "Rocchio: weight of the feedback documents", ge=0)
    gamma: float = option(0.0, "Rocchio: weight of the negative documents, the last of the first pass", ge=0)
    fb_depth: int = option(1000, "Rocchio with gamma: how deep the first pass goes", ge=1)

    def feedback(self) -> FeedbackOptions | None:
        """Return the feedback that the options ask for, or None.

        Raises:
            UsageError: `fb_depth` leaves no room for the feedback documents.
        """
        if self.prf is None:
            return None
        negative = self.prf == "rocchio" and self.gamma > 0
        if negative and self.fb_depth < self.fb_docs:
            raise UsageError(f"fb_depth={self.fb_depth} is below fb_docs={self.fb_docs}")
        return FeedbackOptions(
            method=self.prf,
            docs=self.fb_docs,
            terms=self.fb_terms,
            original_weight=self.original_weight,
            alpha=self.alpha,
            beta=self.beta,
            gamma=self.gamma,
            depth=self.fb_depth if negative else self.fb_docs,
        )
