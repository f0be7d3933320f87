"""Pseudo-relevance feedback: RM3 and Rocchio, with Anserini's definitions and defaults.

RM3 (Abdul-Jaleel et al., TREC 2004) as in Anserini's `Rm3Reranker`: the term vector of every feedback document keeps terms of
2 to 20 characters a-z, 0-9 that occur in at most a tenth of the documents, is pruned to its `fb_terms` most frequent
terms and then L1-normalised; the relevance model sums them weighted by the first-pass score, is pruned and normalised
again, and is interpolated with the L1-normalised query.

Rocchio (1971) as in `RocchioReranker`: term vectors of whole documents (no alphabet filter) are L2-normalised and averaged,
pruned to `fb_terms` and normalised again; the new query is ``alpha q + beta mean+ - gamma mean-``, positive weights only. The
negative documents are the last ones of the first pass.

Arithmetic is in float32 where the reference's is, since weights reach the scores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tamis.errors import UsageError

_ALPHABET = re.compile(r"[a-z0-9]+")
_RARE = np.float32(0.1)


class VectorSource(Protocol):
    """Term vectors and document frequencies; a `LuceneReader` is one."""

    @property
    def max_doc(self) -> int:
        """Documents that frequencies count: deleted ones too, until they are compacted away."""

    def term_vector(self, doc: int, field: str) -> dict[str, int] | None:
        """Return term frequencies of a document."""

    def document_frequencies(self, field: str, terms: Sequence[str]) -> dict[str, int]:
        """Return document frequencies."""


@dataclass(frozen=True, slots=True)
class FeedbackOptions:
    """How a query is expanded.

    Attributes:
        method: ``rm3`` or ``rocchio``.
        docs: feedback documents.
        terms: expansion terms.
        original_weight: RM3's weight of the original query, 0 to 1.
        alpha: Rocchio's weight of the original query.
        beta: Rocchio's weight of the positive mean.
        gamma: Rocchio's weight of the negative mean; 0 leaves negative documents out.
        depth: how many documents the first pass retrieves; the negative ones are its last.
        field: the Lucene field that feedback reads and expanded queries search.
    """

    method: str
    docs: int = 10
    terms: int = 10
    original_weight: float = 0.5
    alpha: float = 1.0
    beta: float = 0.75
    gamma: float = 0.0
    depth: int = 10
    field: str = "contents"


def expand(
    source: VectorSource,
    tokens: Sequence[str],
    docs: NDArray[Any],
    scores: NDArray[np.float32],
    options: FeedbackOptions,
) -> dict[str, float]:
    """Return the expanded query: term → weight, in ascending order of the terms.

    Args:
        source: where term vectors come from.
        tokens: the analysed query, in order.
        docs: first-pass document numbers, best first.
        scores: their scores.
        options: the method and its parameters.
    """
    query: dict[str, np.float32] = {}
    for token in tokens:
        query[token] = query.get(token, np.float32(0)) + np.float32(1)
    rm3 = options.method == "rm3"
    weights = _rm3(source, query, docs, scores, options) if rm3 else _rocchio(source, query, docs, options)
    return {term: float(weight) for term, weight in sorted(weights.items())}


def _vector(source: VectorSource, doc: int, field: str, *, alphabet: bool) -> dict[str, np.float32]:
    vector = source.term_vector(doc, field)
    if vector is None:
        raise UsageError(
            f"feedback needs term vectors of field {field!r}, and this index stores none: rebuild it with Tamis, "
            "or with Anserini's -storeDocvectors"
        )
    # lengths in UTF-16 units, as Java counts
    sized = {t: f for t, f in vector.items() if 2 <= len(t.encode("utf-16-le")) // 2 <= 20}
    if alphabet:
        sized = {term: count for term, count in sized.items() if _ALPHABET.fullmatch(term)}
    frequencies = source.document_frequencies(field, list(sized))
    documents = np.float32(source.max_doc)
    return {t: np.float32(f) for t, f in sized.items() if np.float32(frequencies[t]) / documents <= _RARE}


def _prune(vector: Mapping[str, np.float32], size: int) -> dict[str, np.float32]:
    return dict(sorted(vector.items(), key=lambda item: (-item[1], item[0]))[:size])


def _scaled(vector: Mapping[str, np.float32], order: int) -> dict[str, np.float32]:
    values = [float(value) for value in vector.values()]
    norm = sum(map(abs, values)) if order == 1 else sum(value * value for value in values) ** 0.5
    if norm == 0:
        return dict(vector)
    return {term: np.float32(float(value) / norm) for term, value in vector.items()}


def _rm3(
    source: VectorSource,
    query: Mapping[str, np.float32],
    docs: NDArray[Any],
    scores: NDArray[np.float32],
    options: FeedbackOptions,
) -> dict[str, np.float32]:
    original = _scaled(query, 1)
    model: dict[str, np.float32] = {}
    for doc, score in zip(docs[: options.docs].tolist(), scores[: options.docs], strict=True):
        vector = _prune(_vector(source, doc, options.field, alphabet=True), options.terms)
        norm = np.float32(sum(float(value) for value in vector.values()))
        if norm > np.float32(0.001):
            for term, count in vector.items():
                model[term] = np.float32(model.get(term, np.float32(0)) + count / norm * np.float32(score))
    model = _scaled(_prune(model, options.terms), 1)
    weight = np.float32(options.original_weight)
    rest, zero = np.float32(1) - weight, np.float32(0)
    return {
        term: np.float32(weight * original.get(term, zero) + rest * model.get(term, zero))
        for term in {**original, **model}
    }


def _rocchio(
    source: VectorSource, query: Mapping[str, np.float32], docs: NDArray[Any], options: FeedbackOptions
) -> dict[str, np.float32]:
    def mean(chosen: NDArray[Any]) -> dict[str, np.float32]:
        vectors = [_scaled(_vector(source, doc, options.field, alphabet=False), 2) for doc in chosen.tolist()]
        total: dict[str, np.float32] = {}
        for vector in vectors:
            for term, value in vector.items():
                total[term] = np.float32(total.get(term, np.float32(0)) + value)
        count = np.float32(max(len(vectors), 1))
        averaged = {term: np.float32(value / count) for term, value in total.items()}
        return _scaled(_prune(averaged, options.terms), 2)

    original = _scaled(query, 2)
    positive = mean(docs[: options.docs])
    negative = mean(docs[-options.docs :]) if options.gamma > 0 and len(docs) else {}
    zero = np.float32(0)
    alpha, beta, gamma = np.float32(options.alpha), np.float32(options.beta), np.float32(options.gamma)
    weights = {
        term: np.float32(
            alpha * original.get(term, zero) + beta * positive.get(term, zero) - gamma * negative.get(term, zero)
        )
        for term in {**original, **positive, **negative}
    }
    return {term: weight for term, weight in weights.items() if weight > 0}
