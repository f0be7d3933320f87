"""Word breaks by hand-computed cases; test_grammar.py and test_english.py compare with Lucene."""

from __future__ import annotations

import time

import pytest

from tamis.encoders.analysis.words import MAX_UNITS, word_spans, words

ASTRAL = "\U0001d400"  # a mathematical letter: two UTF-16 units


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" -/ ", []),
        ("can't stop", ["can't", "stop"]),
        ("'tis o' clock'", ["tis", "o", "clock"]),
        ("can’t", ["can’t"]),
        ("3.14 1,000;5 4. 5", ["3.14", "1,000;5", "4", "5"]),
        ("e.g. a.b:c a,b 1:2", ["e.g", "a.b:c", "a", "b", "1", "2"]),
        ("x_1 _x_ __ _", ["x_1", "_x_"]),
        ("B2B mp3", ["B2B", "mp3"]),
        ("foo@bar.com C++ wi-fi", ["foo", "bar.com", "C", "wi", "fi"]),
        ("naïve zoölogy", ["naïve", "zoölogy"]),
        ("e\u0301te\u0301 \u0301x", ["e\u0301te\u0301", "x"]),
        ("co\u00adop", ["co\u00adop"]),
        ("東京 ひら カタカナ", ["東", "京", "ひ", "ら", "カタカナ"]),
        ("カ_タ カa", ["カ_タ", "カ", "a"]),
        ("한국어", ["한국어"]),
        ("ภาษาไทย x", ["ภาษาไทย", "x"]),
        ('צה"ל ג\' "א"', ['צה"ל', "ג'", "א"]),
        ("☃ 👍🏽👍", ["☃", "👍🏽", "👍"]),
        ("👩\u200d👩\u200d👧 ❤\ufe0f\u200d🔥", ["👩\u200d👩\u200d👧", "❤\ufe0f\u200d🔥"]),
        ("🇫🇷🇩🇪🇮", ["🇫🇷", "🇩🇪"]),
        ("1\ufe0f\u20e3 #\ufe0f\u20e3 * #", ["1\ufe0f\u20e3", "#\ufe0f\u20e3"]),
        ("x\ud83dy", ["x", "y"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_spans_are_in_characters() -> None:
    text = f"a {ASTRAL}b, 👍🏽 c"
    assert list(word_spans(text)) == [(0, 1), (2, 4), (6, 8), (9, 10)]


@pytest.mark.parametrize("length", [1, 254, 255, 256, 510, 511])
def test_a_long_word_is_split_not_dropped(length: int) -> None:
    found = words("x" * length + " y")
    assert "".join(found[:-1]) == "x" * length
    assert [len(word) for word in found[:-1]] == [MAX_UNITS] * (length // 255) + (
        [length % 255] if length % 255 else []
    )


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        (ASTRAL * 127, [127]),
        (ASTRAL * 128, [127, 1]),  # the 128th would end at unit 256
        ("a" + ASTRAL * 127, [128]),
        ("a" + ASTRAL * 128, [128, 1]),
        ("a" * 254 + ASTRAL, [254, 1]),  # never half a character
        ("a" * 254 + "'b", [254, 1]),  # the joining mark fits, what it joins does not
        ("a" * 253 + "'b", [255]),
        ("_" * 254 + "a", [255]),
        ("_" * 255 + "a", [255]),  # the first underscore sees no letter in its window, the second does
    ],
)
def test_the_limit_counts_utf16_units(text: str, lengths: list[int]) -> None:
    assert [len(word) for word in words(text)] == lengths
    assert [end - start for start, end in word_spans(text)] == lengths


@pytest.mark.parametrize("unit", ["a", "_", "\u200d", "_\u0e31", "\U0001f3fb", "a'", "ℹ\u200d", 'א"\u200d', "#\ufe0f"])
def test_time_is_linear(unit: str) -> None:
    """Texts whose matching looks far ahead at every character; a quadratic scan would take minutes."""
    started = time.perf_counter()
    words(unit * (200_000 // len(unit)))
    assert time.perf_counter() - started < 20
