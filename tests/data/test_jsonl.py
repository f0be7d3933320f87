"""tamis.data.jsonl: spellings, metadata, and every way in which a line can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.data import Document, open_corpus
from tamis.data.jsonl import document_of, parse_object
from tamis.errors import BadRecordError


def read_one(tmp_path: Path, line: str | bytes) -> Document:
    path = tmp_path / "c.jsonl"
    path.write_bytes(line if isinstance(line, bytes) else line.encode())
    (document,) = open_corpus(path)
    return document


@pytest.mark.parametrize("id_key", ["_id", "id", "docid"])
@pytest.mark.parametrize("text_key", ["text", "contents", "body"])
def test_the_spellings(id_key: str, text_key: str) -> None:
    assert document_of({id_key: "a", text_key: "t", "title": "h", "n": [1]}) == Document("a", "t", "h", {"n": [1]})


def test_the_first_spelling_wins_and_the_others_are_metadata() -> None:
    record: dict[str, Any] = {"body": "B", "id": 2, "text": "T", "_id": 1}
    assert document_of(record) == Document("1", "T", "", {"id": 2, "body": "B"})


def test_missing_or_null_text_is_empty() -> None:
    assert document_of({"_id": "a"}) == Document("a", "")
    assert document_of({"_id": "a", "text": None, "title": None}) == Document("a", "")


def test_a_metadata_object_is_unfolded() -> None:
    assert document_of({"_id": "a", "metadata": {"url": "u", "n": 1}, "n": 2}).metadata == {"url": "u", "n": 2}
    assert document_of({"_id": "a", "metadata": "m"}).metadata == {"metadata": "m"}
    assert document_of({"_id": "a", "metadata": {}}).metadata == {}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("not json", r"broken JSON: Expecting value \(column 1\)"),
        ('{"_id": "a", }', "broken JSON: .* \\(column 14\\)"),
        ('{"_id": "a"} x', "broken JSON: Extra data"),
        ('["a"]', r"a JSON array where an object \{…\} is expected"),
        ("3", "a JSON number where an object"),
        ('{"text": "x", "n": 1}', r"no id: expected the key '_id' or 'id' or 'docid' among \['n', 'text'\]"),
        ('{"_id": "a b"}', "document id 'a b': an id must not be empty or hold white space"),
        ('{"_id": ""}', "document id '': an id must not be empty"),
        ('{"_id": null}', "document id None: an id must be a string or a whole number"),
        ('{"_id": 1.5}', "document id 1.5: an id must be a string or a whole number"),
        ('{"_id": true}', "document id True: an id must be a string or a whole number"),
        ('{"_id": "\\ud800x"}', None),
        ('{"_id": "a", "text": 3}', "text is a JSON number, not a string"),
        ('{"_id": "a", "text": ["x"]}', "text is a JSON array, not a string"),
        ('{"_id": "a", "title": {}}', "title is a JSON object, not a string"),
        ('{"_id": "a", "n": NaN}', "unusable JSON: NaN is not a JSON value"),
        ('{"_id": "a", "n": ' + "9" * 5000 + "}", "unusable JSON: Exceeds the limit"),
        ("[" * 100_000, "unusable JSON: maximum recursion"),
        (b'{"_id": "a", "text": "caf\xe9"}', r"invalid UTF-8 at byte 26 of the line \(0xe9\)"),
    ],
)
def test_malformed_lines_name_file_and_line(tmp_path: Path, line: str | bytes, problem: str | None) -> None:
    raw = line if isinstance(line, bytes) else line.encode()
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"_id": "ok"}\n\n' + raw + b"\n")
    if problem is None:  # a lone surrogate becomes U+FFFD, in an id as well
        assert [document.id for document in open_corpus(path)] == ["ok", "\ufffdx"]
        return
    with pytest.raises(BadRecordError, match=r"c\.jsonl:3: " + problem):
        list(open_corpus(path))


def test_lone_surrogates_become_replacement_characters_everywhere(tmp_path: Path) -> None:
    line = r'{"_id": "a", "text": "x\ud83dy\ud83d\ude00", "t\uDc00": {"k": ["\udfff"]}}'
    document = read_one(tmp_path, line)
    assert document.text == "x\ufffdy\U0001f600"
    assert document.metadata == {"t\ufffd": {"k": ["\ufffd"]}}


def test_nul_and_control_characters_stay(tmp_path: Path) -> None:
    assert read_one(tmp_path, r'{"_id": "a", "text": "x\u0000\u0007\u2028y"}').text == "x\0\x07\u2028y"


def test_a_ten_megabyte_document(tmp_path: Path) -> None:
    text = "word " * 2_000_000
    assert read_one(tmp_path, json.dumps({"_id": "big", "text": text})).text == text


def test_windows_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    assert read_one(tmp_path, b'\xef\xbb\xbf{"_id": "a", "text": "x"}\r\n').text == "x"


@given(text=st.text(st.characters(codec=None)), title=st.text(), ascii_only=st.booleans())
def test_any_text_round_trips_or_is_made_encodable(text: str, title: str, ascii_only: bool) -> None:
    line = json.dumps({"_id": "a", "title": title, "text": text}, ensure_ascii=ascii_only)
    raw = line.encode("utf-8", "surrogatepass")
    try:
        raw.decode()
    except UnicodeDecodeError:
        return  # lone surrogates as bytes are not UTF-8: a malformed line, tested above
    document = document_of(parse_object(raw))
    document.text.encode()
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert document.title == title
    assert document.text == expected
