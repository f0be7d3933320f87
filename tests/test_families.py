"""Addresses and options: one spelling, typed values, limits, and messages that name the fault."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis import families
from tamis.errors import UnknownNameError, UsageError
from tamis.families import Address, family, option, option_values, parse_options

words = st.text(st.characters(codec="ascii", categories=["L", "N"], include_characters="-_."), min_size=1, max_size=8)
values = st.text(max_size=12).filter(lambda text: text.isprintable())


@dataclass(frozen=True)
class Options:
    rate: float = option(0.5, "a rate", scope="model", ge=0, le=1)
    count: int = option(3, "a count", scope="part", ge=1)
    limit: float = option(1.0, "a limit", gt=0)
    mode: str = option("a", "a mode", choices=("a", "b"))
    flag: bool = option(False, "a flag")
    name: str | None = option(None, "a name")


def parse(text: str) -> Options:
    return parse_options(Options, Address.parse(f"x?{text}").options, of="x")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("bm25", ("bm25", "", None, ())),
        ("bm25?k1=0.9&b=0.4", ("bm25", "", None, (("b", "0.4"), ("k1", "0.9")))),
        ("dense:minilm", ("dense", "minilm", None, ())),
        (
            "tct-colbert:castorini/tct_colbert-v2-hnp-msmarco",
            ("tct-colbert", "castorini/tct_colbert-v2-hnp-msmarco", None, ()),
        ),
        ("cross:a/b@main?depth=50", ("cross", "a/b", "main", (("depth", "50"),))),
        ("uhd:./my-uhd", ("uhd", "./my-uhd", None, ())),
        ("x:a?note=a%20b%26c", ("x", "a", None, (("note", "a b&c"),))),
    ],
)
def test_addresses(text: str, parts: tuple[object, ...]) -> None:
    address = Address.parse(text)
    assert (address.family, address.id, address.revision, address.options) == parts
    assert Address.parse(str(address)) == address


@given(words, words | st.just(""), st.dictionaries(words, values, max_size=3))
def test_the_canonical_spelling_parses_to_the_same(name: str, identifier: str, given_options: dict[str, str]) -> None:
    address = Address(name, identifier, None, tuple(sorted(given_options.items())))
    assert Address.parse(str(address)) == address
    assert not set(str(address)) & set(" \t\n,()\"'")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no family"),
        (":minilm", "names no family"),
        ("bm25?k1", "'k1' is not option=value"),
        ("bm25?=1", "is not option=value"),
        ("bm25?k1=1&k1=2", "option 'k1' is given twice"),
        ("cross:a@", "'@' separates an id from its revision"),
        ("cross:@main", "'@' separates an id from its revision"),
        ("./no/such/folder", "names no family and has no tamis.json"),
    ],
)
def test_what_is_no_address(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Address.parse(text)


def test_a_folder_states_its_family(tmp_path: Path) -> None:
    (tmp_path / "tamis.json").write_text(json.dumps({"family": "dense"}))
    address = Address.parse(f"{tmp_path}?depth=5")
    assert (address.family, address.id) == ("dense", str(tmp_path))
    (tmp_path / "tamis.json").write_text("{}")
    with pytest.raises(UsageError, match='not a checkpoint card with a "family" entry'):
        Address.parse(str(tmp_path))


def test_options_are_typed() -> None:
    assert parse("rate=0.25&count=7&mode=b&flag=yes&name=n") == Options(0.25, 7, 1.0, "b", True, "n")
    assert parse_options(Options, [], of="x") == Options()
    assert parse("name=none").name is None
    assert [parse(f"flag={text}").flag for text in ("true", "1", "False", "no")] == [True, True, False, False]
    assert option_values(Options()) == {"rate": 0.5, "count": 3, "limit": 1.0, "mode": "a", "flag": False, "name": None}
    assert option_values(Options(), "model") == {"rate": 0.5}
    assert option_values(Options(), "part") == {"count": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate=1.01", r"x\?rate=1.01: must be at most 1"),
        ("rate=-0.1", "must be at least 0"),
        ("rate=nan", "must be a finite number"),
        ("limit=inf", "must be a finite number"),
        ("limit=0", "must be above 0"),
        ("count=0", "must be at least 1"),
        ("count=two", r"x\?count: 'two' is not a whole number"),
        ("rate=half", r"x\?rate: 'half' is not a number"),
        ("flag=maybe", r"x\?flag: 'maybe' is not true or false"),
        ("mode=c", "valid: a, b"),
        ("rat=1", "unknown option of x 'rat': did you mean 'rate'"),
    ],
)
def test_wrong_values_are_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text)


def test_the_registry() -> None:
    assert {"bm25", "ql"} <= set(families.families())
    assert family("bm25").__name__ == "BM25"
    with pytest.raises(UnknownNameError, match="unknown family 'bm52': did you mean 'bm25'"):
        family("bm52")


def test_third_parties_register_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine:
        Options = Options

    monkeypatch.setattr(families, "_entry_points", lambda: {"mine": lambda: Mine})
    assert "mine" in families.families()
    assert family("mine") is Mine
