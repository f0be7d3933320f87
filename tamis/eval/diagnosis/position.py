"""Position bias: how a document fares when its relevant passage is moved from the beginning to the end.

The moving-passage test of Coelho et al., "Dwell in the Beginning: How Language Models Embed Long Documents for Dense
Retrieval", ACL 2024. The passage is cut out of the document and put back at the places ``(i - 1) (l_d - l_p) / (n -
1)``, i = 1 … n, where l_d and l_p are the lengths of document and passage; the document keeps its words and so its
length. Places are counted in words as white space divides them, so that the tokens of a word stay together. All other
documents stay as they are.

A model that counts words gives a flat line; one that reads only the beginning gives a step where it stops reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import Passage
from tamis.errors import DataError, UsageError
from tamis.eval.diagnosis.intervals import Mean
from tamis.eval.diagnosis.models import TextModel
from tamis.eval.diagnosis.passages import best_window, locate, word_weights
from tamis.eval.diagnosis.sampling import LEAST, aligned, relevant_ids
from tamis.eval.diagnosis.texts import Texts, passages_of
from tamis.ranking import Queries, Ranking, Rows
from tamis.stages import DocumentView

DEPTH = 100
"""Rank beyond which a document is worth nothing, as in the paper."""

Qrels = Mapping[str, Mapping[str, int]]
Known = Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class PositionOptions:
    """How passages are moved.

    Attributes:
        positions: places that the passage is moved to, n above.
        passage: words of a passage that is found by the query's words.
        words: words that are kept of every document: a long one's are those around its passage; None: all.
        rel: least grade of a relevant document.
        seed: of the choice among equally relevant documents, and of the bootstrap.

    Raises:
        UsageError: a number is out of its range.
    """

    positions: int = 10
    passage: int = 50
    words: int | None = None
    rel: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.positions < LEAST:
            raise UsageError(f"positions={self.positions}: at least 2 are needed, the beginning and the end")
        if self.passage < 1:
            raise UsageError(f"passage={self.passage}: a passage has at least 1 word")
        if self.words is not None and self.words < self.passage + self.positions - 1:
            raise UsageError(
                f"words={self.words}: a passage of {self.passage} words cannot be moved to {self.positions} places in "
                f"so short "
                f"a document; at least {self.passage + self.positions - 1} are needed"
            )


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the passage stood, and what came of it.

    Attributes:
        position: 0 at the beginning to 1 at the end; None: where it stood by itself.
        score: the model's score of the document.
        rr: reciprocal rank of the document among the query's candidates, 0 beyond rank 100.
        found: whether it is among the first 10.
    """

    position: float | None
    score: Mean
    rr: Mean
    found: Mean


@dataclass(frozen=True)
class PositionBias:
    """What moving the passage does.

    Attributes:
        model: its address.
        options: how passages were moved.
        queries: whose documents were changed.
        left_out: how many queries were not used, by reason.
        places: the unchanged documents first, then from beginning to end.
        slope: of the reciprocal rank over the position from 0 to 1: what it loses (below 0) from beginning to end.
        score_slope: the same of the score.
        ratio: reciprocal rank at the beginning / at the end; None where it is 0 at the end.
        share: mean place of the passages in the unchanged documents, from 0 to 1.
    """

    model: str
    options: PositionOptions
    queries: tuple[str, ...]
    left_out: Mapping[str, int]
    places: tuple[Placed, ...]
    slope: Mean
    score_slope: Mean
    ratio: float | None
    share: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, unrounded."""
        options = self.options
        return {
            "model": self.model,
            "positions": options.positions,
            "passage": options.passage,
            "words": options.words,
            "rel": options.rel,
            "seed": options.seed,
            "queries": len(self.queries),
            "left_out": dict(self.left_out),
            "places": [
                {
                    "position": place.position,
                    "score": place.score.to_dict(),
                    "RR@100": place.rr.to_dict(),
                    "found@10": place.found.to_dict(),
                }
                for place in self.places
            ],
            "slope": self.slope.to_dict(),
            "score_slope": self.score_slope.to_dict(),
            "ratio": self.ratio,
            "unchanged_position": self.share,
        }


class _Moved(NamedTuple):
    """A query's document in all its forms.

    Attributes:
        query: number of the query.
        row: of the document.
        forms: unchanged first.
        share: where the passage stands in the unchanged form, from 0 to 1.
    """

    query: int
    row: int
    forms: list[Passage]
    share: float


def insertion_points(length: int, passage: int, positions: int) -> list[int]:
    """Return where a passage goes: words of the rest of the document before it."""
    return [round(i * (length - passage) / (positions - 1)) for i in range(positions)]


def move(words: Sequence[str], first: int, size: int, place: int) -> list[str]:
    """Return words with those from `first` on, `size` of them, cut out and put back behind `place` of the others."""
    rest = [*words[:first], *words[first + size :]]
    return [*rest[:place], *words[first : first + size], *rest[place:]]


def position_bias(
    model: TextModel,
    documents: DocumentView,
    queries: Queries,
    candidates: Ranking,
    qrels: Qrels,
    options: PositionOptions,
    *,
    known: Known | None = None,
) -> PositionBias:
    """Move the relevant passage of a relevant document of every query, and score each form among the query's candidates.

    Of a query's relevant documents the best graded are taken, and one of them by the seed; the others are left out of the
    candidates. A candidate with the same score as the document counts as ranked before it.

    Args:
        model: scores a query and a document, or encodes them.
        documents: where texts come from.
        queries: judged ones.
        candidates: over `documents`, what each query's document is ranked among.
        qrels: judgements.
        options: how passages are moved.
        known: texts of the relevant passages; if given, queries without one are left out. If not, they are found by the words of
            the query.

    Raises:
        UsageError: the model scores a query's candidates together.
        DataError: fewer than two queries have a document whose passage can be moved.
        ModelError: the model failed.
    """
    if model.kind == "lists":
        raise UsageError(
            f"{model.name} scores a query's candidates together: position is about models of one document; see "
            f"diagnose listwise"
        )
    candidates = aligned(candidates, queries)
    candidates.require_space(documents)
    moved, left_out = _moved_documents(documents, queries, candidates, qrels, options, known)
    if len(moved) < LEAST:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "there are no others"
        raise DataError(
            f"{len(moved)} of {len(queries)} queries have a document whose passage can be moved, and at least {LEAST} "
            f"are needed; "
            f"of the others: {reasons}"
        )
    scores, others = _scored(model, documents, queries, candidates, qrels, moved, options)
    return _summary(model.name, options, queries, moved, left_out, scores, others)


def _moved_documents(
    documents: DocumentView,
    queries: Queries,
    candidates: Ranking,
    qrels: Qrels,
    options: PositionOptions,
    known: Known | None,
) -> tuple[list[_Moved], dict[str, int]]:
    generator = np.random.default_rng(options.seed)
    chosen = [_choose(documents, query, qrels, options.rel, known, generator) for query in queries.ids]
    rows = np.unique(np.concatenate([candidates.rows, [row for row, _ in chosen if row >= 0]]).astype(np.int64))
    weights = {} if known is not None else word_weights(p.joined for p in passages_of(documents, rows))
    moved: list[_Moved] = []
    left_out: dict[str, int] = {}
    for i, (row, text) in enumerate(chosen):
        if row < 0:
            reason = "with no passage given" if known is not None else "with no relevant document in the index"
        else:
            (passage,) = passages_of(documents, np.array([row], np.int64))
            words = passage.text.split()
            span = _find(queries.texts[i], words, options, weights) if text is None else locate(text, words)
            if len(words) < (options.passage if text is None else len(text.split())) + options.positions - 1:
                reason = "whose document is too short"
            elif span is None:
                reason = (
                    "whose words are not in the document" if text is None else "whose passage is not in the document"
                )
            elif not len(_others(documents, candidates.at(i)[0], row, queries.ids[i], qrels, options.rel)):
                reason = "without other candidates"
            else:
                moved.append(_forms(i, row, passage.title, words, span, options))
                continue
        left_out[reason] = left_out.get(reason, 0) + 1
    return moved, left_out


def _choose(
    documents: DocumentView,
    query: str,
    qrels: Qrels,
    rel: int,
    known: Known | None,
    generator: np.random.Generator,
) -> tuple[int, str | None]:
    """The row of the document to change, -1 if there is none, and its passage where that is given."""
    grades = qrels.get(query, {})
    names = sorted(relevant_ids(grades, rel))
    if known is not None:
        names = [name for name in names if (query, name) in known]
    rows = documents.rows(names)
    held = [(name, int(row)) for name, row in zip(names, rows.tolist(), strict=True) if row >= 0]
    if not held:
        return -1, None
    best = max(grades[name] for name, _ in held)
    top = [(name, row) for name, row in held if grades[name] == best]
    name, row = top[int(generator.integers(len(top)))]
    return row, None if known is None else known[query, name]


def _others(documents: DocumentView, rows: Rows, row: int, query: str, qrels: Qrels, rel: int) -> Rows:
    """The candidates of a query that are not relevant."""
    relevant = documents.rows(relevant_ids(qrels[query], rel))
    others: Rows = rows[~np.isin(rows, relevant) & (rows != row)]
    return others


def _find(
    query: str, words: Sequence[str], options: PositionOptions, weights: Mapping[str, float]
) -> tuple[int, int] | None:
    if len(words) <= options.passage:
        return None
    first = best_window(query, words, options.passage, weights)
    return None if first is None else (first, options.passage)


def _forms(
    query: int, row: int, title: str, words: list[str], span: tuple[int, int], options: PositionOptions
) -> _Moved:
    first, size = span
    if options.words is not None and len(words) > options.words:
        begin = max(0, min(first - (options.words - size) // 2, len(words) - options.words))
        words, first = words[begin : begin + options.words], first - begin
    places = insertion_points(len(words), size, options.positions)
    texts = [words, *(move(words, first, size, place) for place in places)]
    return _Moved(query, row, [Passage(title, " ".join(text)) for text in texts], first / (len(words) - size))


def _scored(
    model: TextModel,
    documents: DocumentView,
    queries: Queries,
    candidates: Ranking,
    qrels: Qrels,
    moved: Sequence[_Moved],
    options: PositionOptions,
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Return the scores of every form, [queries, forms], and those of the other candidates of each query."""
    passages: list[Passage] = []
    lists: list[NDArray[np.int64]] = []
    known: dict[int, int] = {}
    for one in moved:
        own, name = candidates.at(one.query)[0], queries.ids[one.query]
        rows = _others(documents, own, one.row, name, qrels, options.rel).tolist()
        new = [row for row in rows if row not in known]
        for row, passage in zip(new, passages_of(documents, np.array(new, np.int64)), strict=True):
            known[row] = len(passages)
            passages.append(_kept(passage, options.words))
        lists.append(np.array([known[row] for row in rows], np.int64))
    forms = len(moved[0].forms)
    starts = len(passages) + forms * np.arange(len(moved))
    passages += [form for one in moved for form in one.forms]
    view = Texts(passages)
    whole = [np.concatenate([own, start + np.arange(forms)]) for own, start in zip(lists, starts.tolist(), strict=True)]
    asked = queries.take([one.query for one in moved])
    given = Ranking.from_lists(view, asked.ids, [(rows, -np.arange(len(rows), dtype=np.float64)) for rows in whole])
    found = model.over(view).rescore(asked, given)
    scores, others = np.empty((len(moved), forms)), []
    for i, start in enumerate(starts.tolist()):
        rows, values = found.at(i)
        by_row = dict(zip(rows.tolist(), values.tolist(), strict=True))
        scores[i] = [by_row[start + form] for form in range(forms)]
        others.append(np.array([by_row[row] for row in lists[i].tolist()], np.float64))
    return scores, others


def _kept(passage: Passage, words: int | None) -> Passage:
    if words is None:
        return passage
    return Passage(passage.title, " ".join(passage.text.split()[:words]))


def _summary(
    model: str,
    options: PositionOptions,
    queries: Queries,
    moved: Sequence[_Moved],
    left_out: Mapping[str, int],
    scores: NDArray[np.float64],
    others: Sequence[NDArray[np.float64]],
) -> PositionBias:
    pairs = list(zip(scores, others, strict=True))
    ranks = np.array([1 + (values[:, None] >= own).sum(axis=0) for own, values in pairs])
    rr = np.where(ranks <= DEPTH, 1 / ranks, 0.0)
    where = [None, *np.linspace(0, 1, options.positions).tolist()]
    seed = options.seed
    places = tuple(
        Placed(position, Mean.of(scores[:, i], seed), Mean.of(rr[:, i], seed), Mean.of((ranks[:, i] <= 10) * 1.0, seed))
        for i, position in enumerate(where)
    )
    last = places[-1].rr.mean
    return PositionBias(
        model,
        options,
        tuple(queries.ids[one.query] for one in moved),
        dict(left_out),
        places,
        Mean.of(slopes(rr[:, 1:]), seed),
        Mean.of(slopes(scores[:, 1:]), seed),
        places[1].rr.mean / last if last else None,
        float(np.mean([one.share for one in moved])),
    )


def slopes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the least-squares slope of each row over places from 0 to 1; exactly 0 where a row does not change."""
    places = np.linspace(-0.5, 0.5, values.shape[1])
    centred = values - values[:, :1]  # a constant row must not leave rounding behind
    return np.asarray(centred @ places / (places @ places))
