from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.cli.snippets import ANALYSED_CHARACTERS, Highlighter, Snippet, best_window


def stems(text: str) -> list[tuple[str, int, int]]:
    """A stand-in analyser: lower-cased words without a final s."""
    return [(m[0].lower().removesuffix("s"), m.start(), m.end()) for m in re.finditer(r"\w+", text)]


def matched(snippet: Snippet) -> list[str]:
    return [snippet.text[a:b] for a, b in snippet.matches]


def test_terms_match_as_the_analyser_says():
    assert matched(Highlighter("sieve", stems).whole("Sieves, a sieve and sievert")) == ["Sieves", "sieve"]


def test_without_an_analyser_words_match_by_their_beginnings():
    assert matched(Highlighter("ranked").whole("Ranking ranks rank")) == ["Ranking", "ranks", "rank"]


def test_the_window_with_most_distinct_terms_wins_over_the_one_with_most_matches():
    text = "cat " * 60 + "filler " * 60 + "a cat and a dog met. " + "filler " * 60
    found = Highlighter("dog cat", stems).snippet(text)
    assert matched(found) == ["cat", "dog"]
    assert found.text.startswith("… ")
    assert found.text.endswith(" …")


def test_a_short_text_is_whole():
    assert Highlighter("x", stems).snippet("just this") == Snippet("just this")


def test_a_match_deep_in_a_huge_text_is_found_with_few_calls_of_the_analyser():
    seen: list[int] = []

    def counted(text: str) -> list[tuple[str, int, int]]:
        seen.append(len(text))
        return stems(text)

    found = Highlighter("needle", counted).snippet("hay stack " * 500_000 + "the needle is here " + "hay " * 500_000)
    assert matched(found) == ["needle"]
    assert max(seen) <= ANALYSED_CHARACTERS + 4


def test_marks():
    assert Snippet("a cat sat", ((2, 5),)).marked() == "a **cat** sat"


@pytest.mark.parametrize(
    ("spans", "size", "begin"),
    [
        ([], 10, 0),
        ([("a", 3, 5)], 10, 3),
        ([("a", 0, 1), ("a", 2, 3), ("a", 20, 21), ("b", 25, 26)], 10, 20),
        ([("a", 0, 30), ("b", 40, 41)], 10, 40),
        ([("a", 0, 1), ("a", 50, 51)], 10, 0),
    ],
)
def test_best_window(spans, size, begin):
    assert best_window(spans, size) == begin


@given(st.text(), st.text(max_size=3000), st.sampled_from([stems, None]))
def test_any_text_gives_a_clean_line_with_matches_inside(query, text, analyse):
    highlighter = Highlighter(query, analyse)
    for found in (highlighter.whole(text), highlighter.snippet(text, 80)):
        assert not re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", found.text)
        last = 0
        for start, end in found.matches:
            assert last <= start < end <= len(found.text)
            last = end
