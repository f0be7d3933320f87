"""tamis.data.sgml: TREC documents, in the spellings of the TREC disks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis.data import Document, open_corpus
from tamis.errors import BadRecordError

TWO = """<?xml version="1.0"?>
<DOC>
<DOCNO> FT911-1 </DOCNO>
<DATE>910514</DATE>
<HEADLINE>
<P>
FT  14 MAY 91 / Law &amp; order
</P>
</HEADLINE>
<TEXT>
Profits rose 5 &lt; 6 per&hyph;cent. AT&T; R&D <F P=106> stays </F>.
<!-- a comment -->
x < y and y > z
</TEXT>
</DOC>
ignored between
<doc><docno>B</docno><HEAD>One</HEAD><HEAD>Two</HEAD><TEXT>caf&eacute;</TEXT></doc>
"""


def test_two_documents(tmp_path: Path) -> None:
    path = tmp_path / "ft.trec"
    path.write_text(TWO)
    first, second = open_corpus(path)
    assert (first.id, first.title) == ("FT911-1", "FT 14 MAY 91 / Law & order")
    words = " ".join(first.text.split())
    assert words == "910514 Profits rose 5 < 6 per-cent. AT&T; R&D stays . x < y and y > z"
    assert second == Document("B", "café", "One Two")


def test_documents_sharing_lines(tmp_path: Path) -> None:
    path = tmp_path / "d"
    path.write_text("<DOC><DOCNO>1</DOCNO>a</DOC><DOC><DOCNO>2</DOCNO>b\nc</DOC> <DOC id=3><DOCNO>3</DOCNO></DOC>")
    assert [(document.id, document.text) for document in open_corpus(path)] == [("1", "a"), ("2", "b\nc"), ("3", "")]


def test_what_is_not_utf8_is_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "d.sgml"
    path.write_bytes("<DOC><DOCNO>1</DOCNO>é</DOC>\n".encode() + "<DOC><DOCNO>2</DOCNO>é</DOC>\n".encode("latin-1"))
    assert [document.text for document in open_corpus(path)] == ["é", "é"]


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        ("<DOC>\nx\n</DOC>\n", 1, "the document that begins here has no <DOCNO>"),
        ("\n<DOC>\n<DOCNO>a b</DOCNO></DOC>", 2, "document id 'a b'"),
        ("<DOC><DOCNO>1</DOCNO>\n<DOC><DOCNO>2</DOCNO></DOC>", 1, "the document that begins here is not closed"),
        ("<DOC><DOCNO>1</DOCNO></DOC>\n<DOC><DOCNO>2</DOCNO>", 2, "the document that begins here is not closed"),
        ("<TEXT>\n</DOC>\n", 2, "</DOC> without a <DOC>"),
    ],
)
def test_malformed_documents(tmp_path: Path, content: str, line: int, problem: str) -> None:
    path = tmp_path / "d.trec"
    path.write_text(content)
    with pytest.raises(BadRecordError, match=rf"d\.trec:{line}: {problem}"):
        list(open_corpus(path))


def test_malformed_documents_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "d.trec"
    path.write_text("</DOC><DOC>no id</DOC><DOC><DOCNO>1</DOCNO>open\n<DOC><DOCNO>2</DOCNO>good</DOC>")
    corpus = open_corpus(path, on_bad_line="skip")
    assert [document.text for document in corpus] == ["good"]
    assert corpus.report.skipped == 3
