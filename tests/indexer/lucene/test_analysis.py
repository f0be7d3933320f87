"""Analysers: Anserini's golden analyses, and offsets for highlighting."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.errors import UnknownNameError
from tamis.indexer.lucene.analysis import ANALYZERS, check_analyzer, make_analyzer, token_offsets, tokenize


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("english", "citi buse run time"),
        ("english:krovetz", "city bus running time"),
        ("english:none", "city buses running time"),
        ("whitespace", "City buses are running on time."),
    ],
)
def test_golden_analyses(name: str, expected: str) -> None:
    assert tokenize(make_analyzer(name), "City buses are running on time.") == expected.split()


def test_accents_are_kept() -> None:
    assert tokenize(make_analyzer("english"), "zoölogy") == ["zoölog"]


@pytest.mark.parametrize("name", ANALYZERS)
def test_every_analyzer_works(name: str) -> None:
    analyzer = make_analyzer(name)
    assert tokenize(analyzer, "") == []
    assert tokenize(analyzer, "tamis 2026 日本語 текст 😀 العربية")


def test_unknown_names_are_refused() -> None:
    for name in ("", "eng", "English", "xx"):
        with pytest.raises(UnknownNameError, match="unknown analyzer"):
            check_analyzer(name)


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_offsets_point_at_what_the_token_came_from(text: str) -> None:
    analyzer = make_analyzer("english:none")
    found = token_offsets(analyzer, text)
    assert [term for term, _, _ in found] == tokenize(analyzer, text)
    for _, start, end in found:
        assert 0 <= start < end <= len(text)


def test_offsets_beyond_the_basic_plane() -> None:
    text = "😀 Drums 𝔘nicode sieves"
    spans = {term: text[start:end] for term, start, end in token_offsets(make_analyzer("english"), text)}
    assert spans["drum"] == "Drums"
    assert spans["siev"] == "sieves"
