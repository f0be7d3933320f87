"""The English analysis chain: words, possessives, lower case, stop words, stems.

What follows the word breaks depends on one word at a time, so it is remembered by word: text repeats itself, and most
words are looked up, not worked out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from tamis.encoders.analysis.porter import stem
from tamis.encoders.analysis.tables import lower_case
from tamis.encoders.analysis.words import word_spans, words
from tamis.errors import UnknownNameError

DEFAULT_ANALYZER = "english"

_STOP_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to "
    "was will with"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""The English stop set of Lucene's EnglishAnalyzer. Words are compared after lower-casing, before stemming."""

_POSSESSIVES = tuple(apostrophe + s for apostrophe in "'’＇" for s in "sS")
_REMEMBERED = 1 << 16


def _unstemmed(word: str) -> str:
    """Return `word` without a possessive and in lower case; the empty string if it is a stop word."""
    if word.endswith(_POSSESSIVES):
        word = word[:-2]
    word = lower_case(word)
    return "" if word in STOP_WORDS else word


def _stemmed(word: str) -> str:
    """Return the stem of `word`; the empty string if it is a stop word."""
    return stem(_unstemmed(word))


_TERM_OF: dict[str, Callable[[str], str]] = {
    DEFAULT_ANALYZER: lru_cache(_REMEMBERED)(_stemmed),
    "english:none": lru_cache(_REMEMBERED)(_unstemmed),
}

ANALYZERS = tuple(_TERM_OF)
"""The analysers that need no Java."""


def analyze(text: str, analyzer: str = DEFAULT_ANALYZER) -> list[str]:
    """Return the index terms of `text` in order.

    Args:
        text: any text. A surrogate code point standing alone, which no well-formed text holds, separates words.
        analyzer: one of `ANALYZERS`.

    Raises:
        UnknownNameError: no such analyser here (others exist in Lucene only).
    """
    term_of = _term_function(analyzer)
    return [term for word in words(text) if (term := term_of(word))]


def analyze_offsets(text: str, analyzer: str = DEFAULT_ANALYZER) -> list[tuple[str, int, int]]:
    """Return (term, start, end) for every index term of `text`, for highlighting.

    ``text[start:end]`` is the word as written, a possessive included; offsets count characters of the Python string.
    Arguments and errors are those of `analyze`.
    """
    term_of = _term_function(analyzer)
    return [(term, start, end) for start, end in word_spans(text) if (term := term_of(text[start:end]))]


def _term_function(analyzer: str) -> Callable[[str], str]:
    try:
        return _TERM_OF[analyzer]
    except KeyError:
        raise UnknownNameError("analyzer", analyzer, ANALYZERS) from None
