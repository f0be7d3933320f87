"""tamis.data.trec_topics: the classic form, closed and unclosed, and the XML of later tracks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis.data import read_topics
from tamis.errors import BadRecordError

UNCLOSED = """
<top>
<head> Tipster Topic Description
<num> Number:  051
<dom> Domain: International Economics
<title> Topic:  Airbus
   Subsidies

<desc> Description:

Document will discuss AT&amp;T's aid.

<narr> Narrative:
A relevant document will cite <b>any</b> aid.
</top>

<top>

<num> Number: 301
<title> Organized Crime: Topic: two

<desc> Description:
Identify organizations.

<narr> Narrative:
</top>
"""
CLOSED = """<topics>
<top>
<num>351</num>
<title>
Falkland petroleum
</title>
<desc>What is there?</desc>
<narr>Any document.</narr>
</top></topics>"""
WEB = """<?xml version="1.0" encoding="UTF-8"?>
<webtrack2009>
<topic number="1" type="faceted">
<query>obama &quot;family&quot; tree</query>
<description>Find information.
  </description>
<subtopic number="1" type="nav">Find a page.</subtopic>
<subtopic number="2" type="inf">Who?</subtopic>
</topic>
<topic type="single" number='07'><query>air</query><description>Travel</description></topic>
</webtrack2009>"""


def topics(tmp_path: Path, content: str | bytes, field: str = "title") -> dict[str, str]:
    path = tmp_path / "topics.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    queries = read_topics(path, field=field)
    return dict(zip(queries.ids, queries.texts, strict=True))


def test_unclosed_tags(tmp_path: Path) -> None:
    assert topics(tmp_path, UNCLOSED) == {"51": "Airbus Subsidies", "301": "Organized Crime: Topic: two"}
    assert topics(tmp_path, UNCLOSED, "desc") == {
        "51": "Document will discuss AT&T's aid.",
        "301": "Identify organizations.",
    }
    assert topics(tmp_path, UNCLOSED, "title+desc")["301"] == "Organized Crime: Topic: two Identify organizations."
    assert topics(tmp_path, UNCLOSED, "narr") == {"51": "A relevant document will cite any aid.", "301": ""}


def test_closed_tags(tmp_path: Path) -> None:
    assert topics(tmp_path, CLOSED) == {"351": "Falkland petroleum"}
    assert topics(tmp_path, CLOSED, "narrative+title") == {"351": "Any document. Falkland petroleum"}


def test_web_track_xml(tmp_path: Path) -> None:
    assert topics(tmp_path, WEB) == {"1": 'obama "family" tree', "07": "air"}
    assert topics(tmp_path, WEB, "desc") == {"1": "Find information.", "07": "Travel"}


def test_topics_without_elements(tmp_path: Path) -> None:
    assert topics(tmp_path, '<topics><topic number="1">\n A 58-year-old\nwoman </topic></topics>') == {
        "1": "A 58-year-old woman"
    }


def test_latin_1(tmp_path: Path) -> None:
    assert topics(tmp_path, "<top><num>1<title>café</top>".encode("latin-1")) == {"1": "café"}


@pytest.mark.parametrize(
    ("content", "field", "message"),
    [
        ("<top>\n<title>x\n</top>", "title", r"topics\.txt:1: the topic that begins here has no number"),
        (CLOSED + CLOSED, "title", r"topics\.txt:10: query id '351' occurs twice"),
        (WEB, "narr", r"topics\.txt:3: the topic has no field 'narr'; it has desc, subtopic, title"),
        (UNCLOSED, "title+xyz", r"topics\.txt:2: the topic has no field 'xyz'; it has desc, dom, head, narr, title"),
        ("<top><num>1 2<title>x</top>", "title", r"topics\.txt:1: query id '1 2'"),
    ],
)
def test_malformed_topics(tmp_path: Path, content: str, field: str, message: str) -> None:
    with pytest.raises(BadRecordError, match=message):
        topics(tmp_path, content, field)
