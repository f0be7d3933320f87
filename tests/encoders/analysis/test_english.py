"""The whole chain: published analyses, hand-computed cases, and equality with Lucene on any text."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.encoders.analysis import ANALYZERS, analyze, analyze_offsets
from tamis.encoders.analysis.english import STOP_WORDS
from tamis.errors import UnknownNameError

# Of every word-break class several characters, the neighbours of the classes' edges, and what the later filters look at.
TRICKY = (
    "aAsStzéÉıİIΣσςßẞǅ\U00010400\U0001d41a0159٠٣０\U0001d7ce_‿＿ "
    "\"'’＇‘.․,;:·：׳״/-@\n\t\0\u00a0\u200b\ufeff\x85"
    "\u0301\u0308\u00ad\u200c\u200d\u200e\u2060\u20e3\ufe0e\ufe0f\U000e0020\U000e0067\U000e007f\U000e0001\U000e0100"
    "אבשײ\u05b0יִ漢字々〇\U00020000ひ゛ーカヵｶﾞ〱한ᄀ\u1100\u1161ﾡ"
    "กข\u0e31ํກမᨀក\u17b6"
    "☃❤©®™‼ℹⓂ🅰🅱🅾👍👩🏻🏿🇦🇿🏴#*👨🏽🔥〰㊗"
    "\ud7ff\ue000\ufffd\uffff\U0010ffff"
)
ANY = st.characters(exclude_categories=["Cs"])
# Mostly from one handful of characters a text, so that sequences come up; the rest from anywhere.
TEXTS = st.one_of(
    st.text(st.sampled_from(TRICKY), max_size=60),
    st.sets(st.sampled_from(TRICKY), min_size=1, max_size=5).flatmap(
        lambda few: st.text(st.sampled_from(sorted(few)), max_size=40)
    ),
    st.text(st.one_of(st.sampled_from(TRICKY), ANY), max_size=40),
    st.lists(
        st.sampled_from(["it's ", "O’Neill’S", "RELATIONAL", " the ", "runs"]) | st.sampled_from(TRICKY), max_size=20
    ).map("".join),
)
LONG_TEXTS = st.lists(
    st.tuples(
        st.text(st.sampled_from(TRICKY), min_size=1, max_size=2),
        st.sampled_from([1, 2, 62, 63, 64, 84, 85, 126, 127, 128, 253, 254, 255, 256, 510]),
    ).map(lambda part: part[0] * part[1]),
    max_size=5,
).map("".join)

GOLDEN = "City buses are running on time."


def test_published_analyses() -> None:
    assert analyze(GOLDEN) == ["citi", "buse", "run", "time"]
    assert analyze(GOLDEN, "english:none") == ["city", "buses", "running", "time"]
    assert analyze("zoölogy") == ["zoölog"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the O'Neill's dogs' barks", ["o'neill", "dogs", "barks"]),
        ("JAMES’S ＇s cat＇s it's", ["james", "s", "cat"]),  # "it's" ends as the stop word "it"
        ("To be, or NOT to be", []),
        ("İstanbul ΣΟΦΟΣ Straße", ["istanbul", "σοφοσ", "straße"]),  # one character each: no final sigma, no added dot
        ("ǅ Ⅷ \U00010400 ẞ", ["ǆ", "ⅷ", "\U00010428", "ß"]),
        ("\U0001e900 \u1c89", ["\U0001e922"]),  # Adlam is cased; a letter of Unicode 16 is not known yet
    ],
)
def test_filters(text: str, expected: list[str]) -> None:
    assert analyze(text, "english:none") == expected


def test_offsets_keep_the_possessive_and_count_characters() -> None:
    text = "👍 The \U0001d400's running"
    found = analyze_offsets(text)
    assert found == [("👍", 0, 1), ("\U0001d400", 6, 9), ("run", 10, 17)]
    assert text[6:9] == "\U0001d400's"


def test_terms_and_offsets_agree_when_remembered() -> None:
    for _ in range(2):  # the second time every word is looked up
        for name in ANALYZERS:
            assert [term for term, _, _ in analyze_offsets(GOLDEN, name)] == analyze(GOLDEN, name)


def test_unknown_analyzer_names_the_valid_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'english:krovetz'.*valid: english, english:none"):
        analyze("text", "english:krovetz")


def test_import_is_light() -> None:
    """A query is analysed with neither the virtual machine nor NumPy, and without reading a table if it is ASCII."""
    code = (
        "import sys\n"
        "from tamis.encoders.analysis import analyze, tables\n"
        "assert analyze('City buses') == ['citi', 'buse']\n"
        "assert not tables.word_break_classes.cache_info().currsize\n"
        "heavy = {'jpype', 'numpy', 'pyarrow', 'torch', 'unicodedata', 'importlib.resources'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert not [name for name in sys.modules if name.startswith(('tamis.indexer', 'tamis.retrievers'))]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_stop_words_are_lucenes(lucene: Any) -> None:
    assert len(STOP_WORDS) == 33
    assert lucene.analyze(" ".join(sorted(STOP_WORDS)), "english:none") == []
    from tamis.indexer.lucene.jvm import java

    assert java("org.apache.lucene.analysis.en.EnglishAnalyzer").ENGLISH_STOP_WORDS_SET.size() == 33


@settings(max_examples=1500, deadline=None)
@given(text=TEXTS)
def test_any_text_equals_lucene(lucene: Any, text: str) -> None:
    for name in ANALYZERS:
        assert analyze(text, name) == lucene.analyze(text, name)


@settings(max_examples=400, deadline=None)
@given(text=LONG_TEXTS)
def test_long_words_equal_lucene(lucene: Any, text: str) -> None:
    assert analyze(text, "english:none") == lucene.analyze(text, "english:none")


@settings(max_examples=400, deadline=None)
@given(text=TEXTS | LONG_TEXTS)
def test_offsets_equal_lucene(lucene: Any, text: str) -> None:
    assert analyze_offsets(text) == lucene.analyze_offsets(text)
