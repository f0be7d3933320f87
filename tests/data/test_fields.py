"""tamis.data.fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.data import Document, Field, parse_fields
from tamis.errors import ParseError


def test_names_weights_and_order() -> None:
    assert parse_fields("title^2, text ,author ^ 0.5") == (
        Field("title", 2),
        Field("body", 1),
        Field("author", 0.5),
    )
    assert ",".join(map(str, parse_fields("title^2,text"))) == "title^2,body"


def test_contents_is_title_and_body_in_one() -> None:
    (contents,) = parse_fields("contents")
    assert contents.text(Document("1", "the body", "The title")) == "The title the body"


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "a field name is expected"),
        ("title,", 6, "a field name is expected"),
        ("title, ,body", 7, "a field name is expected"),
        ("^2", 0, "a field name is expected"),
        ("title^x", 6, "the weight 'x' of field 'title' must be a number above 0"),
        ("title^", 6, "the weight '' of field 'title'"),
        ("title^0", 6, "must be a number above 0"),
        ("title^-1", 6, "must be a number above 0"),
        ("title^nan", 6, "must be a number above 0"),
        ("title^inf", 6, "must be a number above 0"),
        ("title^2^3", 7, "',' is expected after field 'title'"),
        ("title body", 6, "',' is expected after field 'title'"),
        ("body,text^2", 5, "field 'body' is named twice"),
    ],
)
def test_faults_carry_their_position(text: str, position: int, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_fields(text)
    assert message in str(caught.value)
    assert caught.value.position == position


@given(st.text())
def test_anything_parses_or_is_refused(text: str) -> None:
    try:
        fields = parse_fields(text)
    except ParseError:
        return
    assert fields
    assert all(field.weight > 0 for field in fields)


def test_the_text_of_a_field() -> None:
    document = Document("a", "body", "title", {"year": 1999, "authors": ["Ada", None, ["Bob"]], "none": None})
    texts = {f.name: f.text(document) for f in parse_fields("title,body,year,authors,none,absent")}
    assert texts == {"title": "title", "body": "body", "year": "1999", "authors": "Ada Bob", "none": "", "absent": ""}
