"""Lucene's own analysers, to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tamis.errors import PrerequisiteError


@dataclass(frozen=True)
class Lucene:
    """The analysers of one name each, kept: making one is slow."""

    analyzers: dict[str, Any]

    def analyze(self, text: str, analyzer: str = "english") -> list[str]:
        from tamis.indexer.lucene.analysis import tokenize

        return tokenize(self.analyzers[analyzer], text)

    def analyze_offsets(self, text: str, analyzer: str = "english") -> list[tuple[str, int, int]]:
        from tamis.indexer.lucene.analysis import token_offsets

        return token_offsets(self.analyzers[analyzer], text)


@pytest.fixture(scope="session")
def lucene() -> Lucene:
    """Lucene in the virtual machine, or a skip that says what is missing."""
    from tamis.indexer.lucene.analysis import make_analyzer

    try:
        return Lucene({name: make_analyzer(name) for name in ("english", "english:none")})
    except PrerequisiteError as error:
        pytest.skip(str(error))
