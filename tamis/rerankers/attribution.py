"""What each word of a pair is worth to a model of pairs: how much the score falls where the word is left out.

Occlusion, as Zeiler and Fergus do it to pictures ("Visualizing and Understanding Convolutional Networks", ECCV 2014) and Li et
al. to words ("Understanding Neural Networks through Representation Erasure", 2016). It needs nothing of a model but its scores,
so it serves every backend; it reads no attention, which tells where a model looks and not what that changes.

Words are left out of the text that the model reads. What a truncated pair loses is found first, by the model's own count of pairs
that are too long; were it left in, each word taken out would let another one in. Where there are more words than texts to spend,
spans of the text are left out first, and then the words of those that matter most.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tamis.encoders.base import Passage
from tamis.rerankers.base import PairScorer
from tamis.stages import Evidence

OCCLUSION = "words left out"
"""What the evidence is called."""

QUERY, TITLE, PASSAGE = "query", "title", "passage"
FIELDS = (QUERY, TITLE, PASSAGE)

SPAN_WORDS = 24
"""Words of a span at most, where there are texts enough to spend."""

ROUNDING = 1e-3
"""By how much, of a score, batches may move it: what differs more is said."""

_NOTHING: Mapping[str, int] = {}
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_CHUNK = re.compile(rf"[{_IDEOGRAPHS}]|[^\s{_IDEOGRAPHS}]+")
_SENTENCE_END = re.compile(r"[.!?…。！？]|\n\s*\n")


class Span(NamedTuple):
    """A piece of a text.

    Attributes:
        start: its first character.
        end: the one behind its last.
    """

    start: int
    end: int


def words_of(text: str) -> list[Span]:
    """Return the words of a text: what stands between white space, less punctuation around it; each ideograph and kana is one."""
    found = []
    for chunk in _CHUNK.finditer(text):
        start, end = chunk.span()
        while start < end and _punctuation(text[start]):
            start += 1
        while start < end and _punctuation(text[end - 1]):
            end -= 1
        if start < end:
            found.append(Span(start, end))
    return found


def _punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PC"


def without(text: str, start: int, end: int) -> str:
    """Return a text without the characters from `start` to `end`, and without the white space that this would double."""
    before, after = text[:start], text[end:]
    if not after.strip():
        return before.rstrip() + after.strip()
    if not before or before[-1].isspace():
        after = after.lstrip()
    return before + after


def spans_of(text: str, words: Sequence[Span], room: int) -> list[tuple[Span, Sequence[Span]]]:
    """Return a text in at most `room` spans, each with its words: sentences, or equal parts where there are too many.

    A sentence of more than `SPAN_WORDS` words is more than one span. A span goes up to the next one's first word.
    """
    if not words or room < 1:
        return []
    groups = list(_sentences(text, words))
    if len(groups) > room:
        size = -(-len(words) // room)
        groups = [words[i : i + size] for i in range(0, len(words), size)]
    starts = [group[0].start for group in groups]
    ends = [*starts[1:], len(text)]
    return [
        (Span(start, start + len(text[start:end].rstrip())), group)
        for start, end, group in zip(starts, ends, groups, strict=True)
    ]


def _sentences(text: str, words: Sequence[Span]) -> Iterator[Sequence[Span]]:
    first = 0
    for place, (word, following) in enumerate(pairwise(words), 1):
        if place - first >= SPAN_WORDS or _SENTENCE_END.search(text, word.end, following.start):
            yield words[first:place]
            first = place
    yield words[first:]


def attribute(scorer: PairScorer, query: str, passage: Passage, score: float, most: int) -> Evidence:
    """Return what each word of a pair is worth.

    A word's value is the score of what the model reads less its score `without` the word: positive where the word speaks for the
    passage. Values do not add up to the score.

    Args:
        scorer: the model; nothing goes to a cache.
        query: the query.
        passage: the passage, or window of it.
        score: that the model gives the pair.
        most: texts with something left out that the model reads at most.

    Returns:
        `OCCLUSION`, with a child a field (`FIELDS`, less those without words), whose children are its words in their order, or
        its spans with theirs. Places of words and spans (``start``, ``end``) are characters of the field's whole text.

    Raises:
        ModelError: as of `PairScorer.score_pairs`.
    """
    work = _Work(scorer, query, passage)
    found = _find(work, most)
    baseline = work.baseline
    fields = tuple(_field(work, name, found[name]) for name in FIELDS if work.whole[name])
    details = {"score": baseline, "texts": work.scored}
    notes = [
        "a word's share is how much the score falls where it is left out; shares do not add up to the score",
        *_unread(work, score),
        *(note for name in FIELDS for note in _unseen(work, name, found[name], most)),
    ]
    if work.failed:
        notes.append(f"{work.failed} texts got no score")
    return Evidence(OCCLUSION, None, details, fields, tuple(notes))


@dataclass
class _Found:
    """What is known of a field.

    Attributes:
        words: its words, each with its share.
        spans: its spans, each with how many words it has, its share, and those of its words that were looked into; none where
            all words of the field are looked into at once.
    """

    words: list[tuple[Span, float]] = field(default_factory=list)
    spans: list[tuple[Span, int, float, list[tuple[Span, float]]]] = field(default_factory=list)


class _Work:
    """The texts that a model reads of a pair, and the scores of those with something left out."""

    def __init__(self, scorer: PairScorer, query: str, passage: Passage) -> None:
        self._scorer = scorer
        self.scored = self.failed = 0
        self._known: dict[tuple[str, ...], float] = {}
        given = {QUERY: query, TITLE: passage.title, PASSAGE: passage.text}
        self.whole = {name: words_of(text) for name, text in given.items()}
        self.texts: Mapping[str, str] = given if self._fits(given) else self._read(given)
        self.words = {name: words_of(text) for name, text in self.texts.items()}
        (self.baseline,) = self._scores([self.texts])

    def shares(self, cuts: Sequence[tuple[str, Span]]) -> list[float]:
        """Return by how much the score falls without a span of a field, for each; not a number where there is no score."""
        variants = [{**self.texts, name: without(self.texts[name], *span)} for name, span in cuts]
        return [self.baseline - score for score in self._scores(variants)]

    def _scores(self, variants: Sequence[Mapping[str, str]]) -> list[float]:
        """Return the score of each text; equal ones are read once."""
        keys = [tuple(texts.values()) for texts in variants]
        new = {key: texts for key, texts in zip(keys, variants, strict=True) if key not in self._known}
        if new:
            self._read_all(new)
        return [self._known[key] for key in keys]

    def _read_all(self, variants: Mapping[tuple[str, ...], Mapping[str, str]]) -> int:
        """Have texts read that have not been; return how many are longer than the model reads."""
        texts = list(variants.values())
        found = self._scorer.score_pairs([one[QUERY] for one in texts], [_passage(one) for one in texts])
        scores = [float(score) if np.isfinite(score) else np.nan for score in found.scores]
        self._known.update(zip(variants, scores, strict=True))
        self.scored += len(texts)
        self.failed += int(np.isnan(scores).sum())
        return found.truncated

    # -- what is read ----------------------------------------------------------------------------------------------

    def _read(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """Return the texts up to the last word that fits into what the model reads, the query's first."""
        titles, bodies = self.whole[TITLE], self.whole[PASSAGE]

        def some(count: int) -> Mapping[str, str]:
            title = _head(given[TITLE], titles, count)
            return {**given, TITLE: title, PASSAGE: _head(given[PASSAGE], bodies, count - len(titles))}

        def of_query(count: int) -> Mapping[str, str]:
            return {QUERY: _head(given[QUERY], self.whole[QUERY], count), TITLE: "", PASSAGE: ""}

        if not self._fits(some(0)):
            most = self._longest(of_query, len(self.whole[QUERY]) + 1)
            given = {**given, QUERY: _head(given[QUERY], self.whole[QUERY], most)}
            if self._fits(given):
                return given
        return some(self._longest(some, len(titles) + len(bodies) + 1))

    def _longest(self, some: Callable[[int], Mapping[str, str]], too_many: int) -> int:
        """Return how many words fit, of which 0 are taken to and `too_many` do not."""
        fitting = 0
        while too_many - fitting > 1:
            middle = (fitting + too_many) // 2
            if self._fits(some(middle)):
                fitting = middle
            else:
                too_many = middle
        return fitting

    def _fits(self, texts: Mapping[str, str]) -> bool:
        return self._read_all({tuple(texts.values()): texts}) == 0


def _passage(texts: Mapping[str, str]) -> Passage:
    return Passage(texts[TITLE], texts[PASSAGE])


def _head(text: str, words: Sequence[Span], count: int) -> str:
    """Return a text up to the beginning of its word number `count`, counted from 0; of its last one the end; else all of it."""
    if count <= 0:
        return ""
    if count == len(words):
        return text[: words[-1].end]
    return text if count > len(words) else text[: words[count].start].rstrip()


# -- looking into it -----------------------------------------------------------------------------------------------


def _find(work: _Work, most: int) -> dict[str, _Found]:
    """Leave out words, or spans and then words, `most` in all."""
    found = {name: _Found() for name in FIELDS}
    total = sum(map(len, work.words.values()))
    if total <= most:
        at_once, coarse = list(FIELDS), list[str]()
    else:
        at_once = [name for name in (QUERY, TITLE) if len(work.words[name]) <= most // 4]
        coarse = [name for name in FIELDS if name not in at_once]
    left = most - sum(len(work.words[name]) for name in at_once)
    long = sum(len(work.words[name]) for name in coarse)
    spans = [
        (name, span, words)
        for name in coarse
        for span, words in spans_of(
            work.texts[name], work.words[name], left // 2 * len(work.words[name]) // max(long, 1)
        )
    ]
    cuts = [(name, word) for name in at_once for word in work.words[name]]
    shares = work.shares([*cuts, *((name, span) for name, span, _ in spans)])
    for (name, word), share in zip(cuts, shares, strict=False):
        found[name].words.append((word, share))
    of_spans = shares[len(cuts) :]
    chosen = _chosen([len(words) for _, _, words in spans], of_spans, left - len(spans))
    inner = [(spans[i][0], word) for i in chosen for word in spans[i][2]]
    of_words = dict(zip(inner, work.shares(inner), strict=True))
    for (name, span, words), share in zip(spans, of_spans, strict=True):
        known = [(word, of_words[name, word]) for word in words if (name, word) in of_words]
        found[name].spans.append((span, len(words), share, known))
    return found


def _chosen(sizes: Sequence[int], shares: Sequence[float], left: int) -> list[int]:
    """Return the spans whose words are looked into, those first that move the score most, as long as they fit into `left`."""
    chosen = []
    for i in sorted(range(len(sizes)), key=lambda i: (-np.nan_to_num(abs(shares[i]), nan=-1.0), i)):
        if sizes[i] <= left:
            chosen.append(i)
            left -= sizes[i]
    return sorted(chosen)


# -- telling it ----------------------------------------------------------------------------------------------------


def _field(work: _Work, name: str, found: _Found) -> Evidence:
    text = work.texts[name]
    words = tuple(_piece(text, span, share) for span, share in found.words)
    spans = tuple(
        _piece(text, span, share, {"words": size}, [_piece(text, *word) for word in known])
        for span, size, share, known in found.spans
    )
    looked = len(words) + sum(len(span.children) for span in spans)
    counts = {"words": len(work.whole[name]), "read": len(work.words[name]), "looked into": looked}
    return Evidence(name, None, {"text": text, **counts}, words + spans)


def _piece(
    text: str, span: Span, share: float, more: Mapping[str, int] = _NOTHING, children: Sequence[Evidence] = ()
) -> Evidence:
    value = None if np.isnan(share) else share
    details = {"start": span.start, "end": span.end, **more}
    return Evidence(text[span.start : span.end], value, details, tuple(children))


def _unread(work: _Work, score: float) -> Iterator[str]:
    short = False
    for name in FIELDS:
        whole, read = len(work.whole[name]), len(work.words[name])
        if read < whole:
            short = True
            yield f"{name}: {whole - read} of {whole} words are behind what the model reads, and have no share"
    if short and abs(work.baseline - score) > ROUNDING * max(1.0, abs(score)):
        yield (
            f"shares are of {work.baseline:.4f}, the score of the words that are read whole; of all that it reads the model "
            f"gives {score:.4f}: half a word more, or less of a long query"
        )


def _unseen(work: _Work, name: str, found: _Found, most: int) -> Iterator[str]:
    whole, into = len(found.spans), sum(bool(words) for *_, words in found.spans)
    if into < whole:
        yield f"{name}: the words of {into} of {whole} spans were looked into, of those that matter most (occlusions={most})"
    if work.words[name] and not found.words and not whole:
        yield f"{name}: not looked into (occlusions={most})"
