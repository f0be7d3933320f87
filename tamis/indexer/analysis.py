"""The analyser of an index, by name: in Python where Tamis has it, in Lucene otherwise.

Both give the same terms. Java starts only when an analyser that Tamis has no implementation of is first used.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from tamis.data.sources import replace_surrogates
from tamis.encoders.analysis import ANALYZERS as PORTED
from tamis.encoders.analysis import analyze, analyze_offsets


class TextAnalyzer:
    """Texts to terms. Safe for threads.

    Args:
        name: one of `tamis.indexer.lucene.analysis.ANALYZERS`.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def _lucene(self) -> Any:
        from tamis.indexer.lucene.analysis import make_analyzer

        return make_analyzer(self.name)

    def terms(self, text: str) -> list[str]:
        """Return the terms of a text, in order."""
        if self.name in PORTED:
            return analyze(text, self.name)
        from tamis.indexer.lucene.analysis import tokenize

        return tokenize(self._lucene, replace_surrogates(text))

    def offsets(self, text: str) -> list[tuple[str, int, int]]:
        """Return (term, start, end) for every token of a text; offsets count Python characters."""
        if self.name in PORTED:
            return analyze_offsets(text, self.name)
        from tamis.indexer.lucene.analysis import token_offsets

        return token_offsets(self._lucene, replace_surrogates(text))
