"""tamis.data.tsv: the two MS MARCO forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis.data import Document, open_corpus
from tamis.errors import BadRecordError


def test_passages(tmp_path: Path) -> None:
    path = tmp_path / "collection.tsv"
    path.write_bytes(b'0\tThe "presence" of\r\n\n1\t\n')
    assert list(open_corpus(path)) == [Document("0", 'The "presence" of'), Document("1", "")]


def test_documents(tmp_path: Path) -> None:
    path = tmp_path / "docs.tsv"
    path.write_text("D1\thttps://x\tTitle\tBody text\n")
    assert list(open_corpus(path)) == [Document("D1", "Body text", "Title", {"url": "https://x"})]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"1\ta\tb\n", r":1: 3 tab-separated columns, expected 2 \(id, text\) or 4"),
        (b"no tab\n", ":1: 1 tab-separated columns"),
        (b"1\ta\n2\tu\tt\tb\n", ":2: 4 tab-separated columns, expected 2, as in the lines before"),
        (b"1\ta\n2 x\tb\n", ":2: document id '2 x': an id must not be empty or hold white space"),
        (b"1\ta\n2\t\xff\n", r":2: invalid UTF-8 at byte 3 of the line \(0xff\)"),
    ],
)
def test_malformed_lines(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "c.tsv"
    path.write_bytes(content)
    with pytest.raises(BadRecordError, match=r"c\.tsv" + problem):
        list(open_corpus(path))


def test_a_skipped_first_line_does_not_decide_the_form(tmp_path: Path) -> None:
    path = tmp_path / "c.tsv"
    path.write_text("header\n1\ta\n2\tb\n")
    corpus = open_corpus(path, on_bad_line="skip")
    assert [document.text for document in corpus] == ["a", "b"]
    assert corpus.report.skipped == 1
