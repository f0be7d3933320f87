"""Position bias without queries: which part of a document its vector is made of.

The substring test of Coelho et al., "Dwell in the Beginning", ACL 2024: a document is cut into equal segments, each is
encoded, and its cosine with the vector of the whole document is taken. Segments are counted in words as white space
divides them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import DenseVectors, Passage
from tamis.errors import DataError, UsageError
from tamis.eval.diagnosis.intervals import INTERVAL, Mean
from tamis.eval.diagnosis.models import TextModel
from tamis.eval.diagnosis.position import slopes
from tamis.eval.diagnosis.sampling import LEAST
from tamis.eval.diagnosis.texts import passages_of
from tamis.eval.tables import Cell, Table
from tamis.ranking import Rows
from tamis.stages import DocumentView


@dataclass(frozen=True)
class SegmentBias:
    """How much of a document's vector each part of the document is.

    Attributes:
        model: its address.
        documents: that were cut.
        too_short: that have fewer words than segments.
        truncated: of those cut, how many are longer than the model reads.
        words: words that were kept of every document; None: all.
        seed: of the bootstrap.
        cosines: of each segment with the whole, from beginning to end.
        slope: of the cosine over the position from 0 to 1.
        ratio: cosine of the first segment / of the last; None where the last is not above 0.
    """

    model: str
    documents: int
    too_short: int
    truncated: int
    words: int | None
    seed: int
    cosines: tuple[Mean, ...]
    slope: Mean
    ratio: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, unrounded."""
        return {
            "model": self.model,
            "documents": self.documents,
            "too_short": self.too_short,
            "truncated": self.truncated,
            "words": self.words,
            "seed": self.seed,
            "cosines": [cosine.to_dict() for cosine in self.cosines],
            "slope": self.slope.to_dict(),
            "ratio": self.ratio,
        }


def split_words(words: list[str], segments: int) -> list[list[str]]:
    """Return words in consecutive segments whose lengths differ by one at most."""
    edges = [round(i * len(words) / segments) for i in range(segments + 1)]
    return [words[first:last] for first, last in itertools.pairwise(edges)]


def segment_bias(
    model: TextModel,
    documents: DocumentView,
    rows: Rows,
    *,
    segments: int = 10,
    words: int | None = None,
    seed: int = 0,
) -> SegmentBias:
    """Compare the segments of documents with the whole; titles are left out.

    Args:
        model: a dense encoder.
        documents: where texts come from.
        rows: documents to cut.
        segments: of a document.
        words: words that are kept of every document; None: all.
        seed: of the bootstrap.

    Raises:
        UsageError: the model makes no vector of a text, or one that no inner product compares; or there are too few segments.
        DataError: fewer than two documents are long enough.
    """
    if segments < LEAST:
        raise UsageError(f"segments={segments}: at least 2 are needed, the beginning and the end")
    if model.kind != "encoder":
        raise UsageError(f"{model.name} makes no vector of a document: segments are about dense encoders")
    texts = [passage.text.split()[:words] for passage in passages_of(documents, rows)]
    long = [own for own in texts if len(own) >= segments]
    if len(long) < LEAST:
        raise DataError(
            f"{len(long)} of {len(texts)} documents have {segments} words or more, and at least {LEAST} are needed: "
            f"ask for fewer "
            "segments, or name longer documents"
        )
    encoder = model.network()
    whole = encoder.encode_passages([Passage("", " ".join(own)) for own in long])
    if not isinstance(whole, DenseVectors) or getattr(encoder, "similarity", "pair") == "pair":
        raise UsageError(
            f"{model.name} makes no single vector that a cosine compares: segments are about dense encoders"
        )
    parts = encoder.encode_passages(
        [Passage("", " ".join(part)) for own in long for part in split_words(own, segments)]
    )
    by_document = _unit(parts.vectors).reshape(len(long), segments, -1)
    cosines = np.einsum("dsv,dv->ds", by_document, _unit(whole.vectors))
    means = tuple(Mean.of(cosines[:, i], seed) for i in range(segments))
    last = means[-1].mean
    return SegmentBias(
        model.name,
        len(long),
        len(texts) - len(long),
        int(whole.truncated),
        words,
        seed,
        means,
        Mean.of(slopes(cosines), seed),
        means[0].mean / last if last > 0 else None,
    )


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12))


def segment_table(found: SegmentBias) -> Table:
    """Return one row a segment."""
    count = len(found.cosines)
    rows = tuple((Cell(f"{i + 1} of {count}"), *cosine.cells()) for i, cosine in enumerate(found.cosines))
    ratio = "none, since the last is not above 0" if found.ratio is None else f"{found.ratio:.2f}"
    notes = [
        f"{found.model}: cosine of each segment with the whole document, {found.documents} documents.",
        f"Slope from beginning to end: {found.slope.spelled()}; first / last: {ratio}.",
        INTERVAL.format(unit="documents", seed=found.seed),
    ]
    if found.truncated:
        notes.append(f"{found.truncated} of the documents are longer than the model reads: it has not seen their ends.")
    if found.too_short:
        notes.append(f"Left out: {found.too_short} documents of fewer words than segments.")
    return Table(("segment", "cosine", "cosine low", "cosine high"), rows, tuple(notes))


def segment_chart(found: SegmentBias) -> str:
    """Return the cosine by segment as SVG."""
    from tamis.eval.charts import Series, line_chart

    cosines = found.cosines
    low = [cosine.mean if cosine.low is None else cosine.low for cosine in cosines]
    high = [cosine.mean if cosine.high is None else cosine.high for cosine in cosines]
    line = Series(found.model, list(range(1, len(cosines) + 1)), [cosine.mean for cosine in cosines], low, high)
    return line_chart([line], x_label="segment of the document", y_label="cosine with the whole", title=found.model)
