"""The filter grammar: what is read, what it means for a document, and where the faults are said to be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.data.filters import And, Comparison, Filter, IsNull, Membership, Not, Or, parse_filter
from tamis.errors import ParseError

YEAR, LANG = Comparison("year", ">=", 1970), Membership("lang", ("en",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('year >= 1970 and lang == "en"', And((YEAR, LANG))),
        ("year>=1970 and lang=='en'", And((YEAR, LANG))),
        ('year >= 1970 or lang == "en" and not year >= 1970', Or((YEAR, And((LANG, Not(YEAR)))))),
        ('(year >= 1970 or lang == "en") and year >= 1970', And((Or((YEAR, LANG)), YEAR))),
        ('year >= 1970 and (lang == "en" and year >= 1970)', And((YEAR, LANG, YEAR))),
        ("not not not year >= 1970", Not(YEAR)),
        ("lang in ['en', \"d\\\"e\", 'en']", Membership("lang", ("en", 'd"e'))),
        ("lang not in [1, true]", Membership("lang", (1, True), negated=True)),
        ("x != -1.5e2", Membership("x", (-150,), negated=True)),
        ("x == .5", Membership("x", (0.5,))),
        ("open == true", Membership("open", (True,))),
        ("x is null", IsNull("x")),
        ("x == null", IsNull("x")),
        ("x is not null", IsNull("x", negated=True)),
        ("meta.pub-year < 3", Comparison("meta.pub-year", "<", 3)),
        ("'a key' < 3", Comparison("a key", "<", 3)),
        ('"and" < "z"', Comparison("and", "<", "z")),
        ("größe <= 3", Comparison("größe", "<=", 3)),
        ("nothing is null", IsNull("nothing")),
    ],
)
def test_what_is_read(text: str, expected: Filter) -> None:
    found = parse_filter(text)
    assert found == expected
    assert parse_filter(str(found)) == found


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "expected a metadata key"),
        ("year", 4, "expected =="),
        ("year = 3", 5, "equality is written =="),
        ("year == en", 8, "found 'en'"),
        ("year == ", 8, "expected a value"),
        ("year == 3 lang == 2", 10, "expected and, or"),
        ("year == 3 and", 13, "expected a metadata key"),
        ("1970 <= year", 0, "the key stands on the left"),
        ("(year == 3", 10, "'(' is never closed"),
        ("year == 3)", 9, "closes nothing"),
        ("year < true", 7, "compares numbers or strings, not true"),
        ("year >= null", 8, "not null"),
        ("lang in en", 8, "expected a list"),
        ('lang in ["en"', 13, "expected ',' or ']'"),
        ("lang in []", 9, "expected a value"),
        ("lang in [null]", 9, "is null"),
        ('lang == "en', 8, "never closed"),
        ("lang is nil", 8, "null or not null"),
        ("lang not 3", 9, "expected in"),
        ("x == 1e999", 5, "too large"),
        ("x == 1 and " * 200 + "x == 1", 2200, "more than 200"),
    ],
)
def test_faults_point_at_the_character(text: str, position: int, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_filter(text)
    assert caught.value.position == position
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("k == 1970", 1970, True),
        ("k == 1970", 1970.0, True),
        ("k == 1970", "1970", False),
        ('k == "1970"', 1970, False),
        ("k != 1970", "1970", True),
        ("k == 1", True, False),
        ("k == true", True, True),
        ("k == true", 1, False),
        ("k < 5", "3", False),
        ('k < "b"', "a", True),
        ('k >= "2020-01"', "2020-02-01", True),
        *[(f"k {symbol} 3", None, False) for symbol in ("==", "!=", "<", "<=", ">", ">=")],
        ("k not in [3]", None, False),
        ("not k == 3", None, True),
        ("k is null", None, True),
        ("k is null", "", False),
        ("k is null", [], False),
        ("k == 'a'", ["b", "a"], True),
        ("k != 'a'", ["b", "a"], False),
        ("k != 'a'", [], True),
        ("k > 5", [1, 9], True),
        ("k > 5", [], False),
        ("k == 'a'", {"a": 1}, False),
        ("k != 'a'", {"a": 1}, True),
        ("k in ['a', 3]", 3, True),
        ("k == 9007199254740993", 9007199254740992.0, False),
        ("k > 9007199254740992", 9007199254740993, True),
    ],
)
def test_what_a_value_satisfies(text: str, value: Any, expected: bool) -> None:
    assert parse_filter(text).accepts({"k": value}) is expected
    if value is None:
        assert parse_filter(text).accepts({}) is expected


_KEYS = st.sampled_from(["a", "b.c", "d e", "not", 'q"\\'])
_VALUES = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=4))
_LEAVES = st.one_of(
    st.builds(IsNull, _KEYS, st.booleans()),
    st.builds(Membership, _KEYS, st.lists(_VALUES, min_size=1, max_size=3, unique_by=repr).map(tuple), st.booleans()),
    st.builds(Comparison, _KEYS, st.sampled_from(["<", "<=", ">", ">="]), st.integers() | st.text(max_size=4)),
)
_FILTERS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


@given(_FILTERS, st.dictionaries(_KEYS, st.none() | _VALUES | st.lists(_VALUES, max_size=2)))
def test_the_canonical_spelling_means_the_same(chosen: Filter, metadata: dict[str, Any]) -> None:
    read = parse_filter(str(chosen))
    assert read.accepts(metadata) == chosen.accepts(metadata)
    assert str(parse_filter(str(read))) == str(read)
