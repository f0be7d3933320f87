"""The part of a text that answers a query best, and where in it the query's terms stand.

Matching is by the index's own analyser, so that "diving" lights up for "dive"; where there is none (an index without a
Lucene part) words match by their beginnings. The window is the one with the most distinct terms, then the most matches, then
the earliest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tamis.cli.drawing import clean

Span = tuple[str, int, int]
"""Term, start, end."""

Analyse = Callable[[str], Sequence[Span]]
"""Returns the terms of a text with their offsets."""

ANALYSED_CHARACTERS = 6000
"""Longer texts are narrowed to a window of this size by plain word beginnings first: analysing costs a call a token."""

SNIPPET_CHARACTERS = 240
_LEAD = 40  # characters shown before the first match
_PREFIX = 4
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Snippet:
    """A clean piece of text on one line, and the offsets in it of what matched."""

    text: str
    matches: tuple[tuple[int, int], ...] = ()

    def marked(self, mark: str = "**") -> str:
        """Return the text with `mark` on both sides of every match."""
        out, last = [], 0
        for start, end in self.matches:
            out += [self.text[last:start], mark, self.text[start:end], mark]
            last = end
        return "".join([*out, self.text[last:]])


class Highlighter:
    """Finds a query's terms in texts.

    Args:
        query: the query as typed.
        analyse: the index's analyser, or None to match words by their beginnings.
    """

    def __init__(self, query: str, analyse: Analyse | None = None) -> None:
        query = clean(query)
        self._analyse = analyse
        self._terms = {term for term, _, _ in analyse(query)} if analyse else set()
        prefixes = {_prefix(word) for word in _WORD.findall(query.casefold())}
        self._beginning = (
            re.compile(r"\b(?:" + "|".join(sorted(map(re.escape, prefixes))) + r")\w*", re.IGNORECASE)
            if prefixes
            else None
        )

    def whole(self, text: str) -> Snippet:
        """Return all of a short text, such as a title."""
        text = clean(text)
        return Snippet(text, tuple((start, end) for _, start, end in self._spans(text)))

    def snippet(self, text: str, size: int = SNIPPET_CHARACTERS) -> Snippet:
        """Return the best window of about `size` characters."""
        text = clean(text)
        if len(text) > ANALYSED_CHARACTERS:
            text = self._narrow(text)
        spans = self._spans(text)
        if len(text) <= size:
            return Snippet(text, tuple((start, end) for _, start, end in spans))
        begin = best_window(spans, size - _LEAD)
        start, end = _at_words(text, max(0, min(begin - _LEAD, len(text) - size)), size)
        before, after = "… " if start else "", " …" if end < len(text) else ""
        shift = len(before) - start
        inside = tuple((a + shift, b + shift) for _, a, b in spans if a >= start and b <= end)
        return Snippet(before + text[start:end] + after, inside)

    def _spans(self, text: str) -> list[Span]:
        if self._analyse is None:
            return self._beginnings(text)
        found: list[Span] = []
        for term, start, end in self._analyse(text):
            if term in self._terms and end > start and (not found or start >= found[-1][2]):
                found.append((term, start, end))
        return found

    def _beginnings(self, text: str) -> list[Span]:
        if self._beginning is None:
            return []
        return [(_prefix(m[0].casefold()), m.start(), m.end()) for m in self._beginning.finditer(text)]

    def _narrow(self, text: str) -> str:
        begin = best_window(self._beginnings(text), ANALYSED_CHARACTERS // 2)
        start = max(0, begin - ANALYSED_CHARACTERS // 4)
        start, end = _at_words(text, start, ANALYSED_CHARACTERS)
        return ("… " if start else "") + text[start:end] + (" …" if end < len(text) else "")


def best_window(spans: Sequence[Span], size: int) -> int:
    """Return where the window of `size` characters begins that holds most distinct terms, then most matches; 0 if none."""
    best, begin = (0, 0), 0
    inside: dict[str, int] = {}
    last = 0
    for first, (term, start, _) in enumerate(spans):
        while last < len(spans) and spans[last][2] <= start + size:
            inside[spans[last][0]] = inside.get(spans[last][0], 0) + 1
            last += 1
        value = (len(inside), last - first)
        if value > best:
            best, begin = value, start
        if last > first:
            inside[term] -= 1
            if not inside[term]:
                del inside[term]
        else:  # one token longer than the window
            last = first + 1
    return begin


def _at_words(text: str, start: int, size: int) -> tuple[int, int]:
    """Move both ends of a window inwards to the nearest white space, if there is one near."""
    end = min(start + size, len(text))
    if start and (space := text.find(" ", start, start + _LEAD)) >= 0:
        start = space + 1
    if end < len(text) and (space := text.rfind(" ", end - _LEAD, end)) > start:
        end = space
    return start, end


def _prefix(word: str) -> str:
    return word[: max(_PREFIX, len(word) * 2 // 3)]
