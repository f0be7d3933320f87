"""What words are worth, as people read it: the strongest on either side, marks in the text, and what is not shown."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tamis.cli.explain_words import words_view
from tamis.encoders.base import ModelIdentity, Passage
from tamis.rerankers.attribution import attribute
from tamis.rerankers.base import PairScores

_PLACE = Path(__file__).resolve().parents[1] / "rerankers" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("rerankers_conftest", _PLACE)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return f"cross:{_MODULE.save_cross(tmp_path_factory.mktemp('model') / 'tiny')}"


class Weighing:
    """A scorer without a model: words of the passage have weights of their own, and so has each word of the query."""

    identity = ModelIdentity("weighing:1")
    WEIGHTS = {"good": 1.0, "fair": 0.4, "bad": -0.6, "faint": 0.001}  # noqa: RUF012

    def score_pairs(self, queries, passages, *, tick=None):
        found = [
            len(query.split()) + sum(self.WEIGHTS.get(word, 0.0) for word in passage.joined.split())
            for query, passage in zip(queries, passages, strict=True)
        ]
        return PairScores(np.array(found, np.float32), 0)


def view(passage, query="a query", title="", most=256):
    return words_view(attribute(Weighing(), query, Passage(title, passage), 2.0, most)).splitlines()


def test_the_strongest_words_stand_in_order_and_in_the_text():
    lines = view("it is good , fair and bad ; faint too", title="a bad title")
    assert lines[0] == "words left out: what the score 2.2010 loses without each; + is for, - against (14 texts read)"
    assert lines[1:6] == [
        "  query     a +1.0000, query +1.0000",
        "  for       good +1.0000, fair +0.4000",
        "  against   bad -0.6000, bad -0.6000",
        "  title     a [--bad] title",
        "  passage   it is [++good] , [+fair] and [--bad] ; faint too",
    ]
    assert "shares do not add up" in lines[6]


def test_nothing_to_say():
    assert view("it is")[1:5] == [
        "  query     a +1.0000, query +1.0000",
        "  for       none",
        "  against   none",
        "  passage   it is",
    ]
    assert view("", query="a")[1:4] == ["  query     a +1.0000", "  for       none", "  against   none"]


def test_long_texts_are_cut_around_their_words():
    filler = "some words in between " * 20
    lines = view(f"{filler} good {filler} bad {filler}", most=400)
    assert [line.strip() for line in lines[4:6]] == [
        "passage   … in between some words in between [++good] some words in between some words in … in",
        "between some words in between [--bad] some words in between some words in …",
    ]


def test_spans_are_shown_where_there_were_too_many_words():
    text = "It is good . " + "Some words in here . " * 30
    lines = view(text, most=40)
    assert [line for line in lines if "span  " in line] == ["    span    +1.0000 It is good . Some words in here ."]
    assert "the words of 3 of 18 spans were looked into, of those that matter most (occlusions=40)" in lines[-1]


def test_on_the_command_line(built, model, tamis):
    call = ["explain", built.index, "finer sieve", "soup", "--pipeline", f"bm25 % 3 >> {model}"]
    done = tamis(*call)
    assert (done.code, "\x1b" in done.out) == (0, False), done.err
    assert "words left out: what the score" in done.out
    table = done.out.split("pair score")[0]
    assert "words left out" not in table  # once only, and not as lines of the table
    (query,) = [line for line in done.out.splitlines() if line.startswith("  query ")]
    assert [item.split()[0] for item in query.split("query", 1)[1].split(",")] == ["finer", "sieve"]


def test_the_envelope_has_places_and_shares(built, model, tamis):
    done = tamis("explain", built.index, "finer sieve", "soup", "--pipeline", f"bm25 % 3 >> {model}", "--json")
    root = done.envelope["results"]["stages"][-1]["evidence"]
    (words,) = root["children"]
    assert words["name"] == "words left out"
    query, passage = words["children"]
    assert passage["details"]["text"].startswith("Soup passes through a finer sieve")
    for field in (query, passage):
        for word in field["children"]:
            place = slice(word["details"]["start"], word["details"]["end"])
            assert field["details"]["text"][place] == word["name"]
            assert isinstance(word["value"], float)
    off = tamis(
        "explain", built.index, "finer sieve", "soup", "--pipeline", f"bm25 % 3 >> {model}?occlusions=0", "--json"
    )
    assert off.envelope["results"]["stages"][-1]["evidence"]["children"] == []
