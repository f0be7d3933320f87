from __future__ import annotations

from pathlib import Path


def test_people_see_what_it_is(built, tamis):
    done = tamis("inspect", built.index)
    assert (done.code, done.err) == (0, "")
    shown = dict(line.split(None, 1) for line in done.out.splitlines())
    assert shown["rows"] == "4 live, 0 deleted"
    assert shown["filterable"] == "year"
    assert shown["sources"] == "corpus.jsonl: 4 documents (generation 1)"


def test_programs_see_the_description(built, tamis):
    described = tamis("inspect", built.index, "--json").envelope["results"]
    assert described["documents"] == 4
    assert described["settings"]["analyzer"] == "english"


def test_a_bare_lucene_index(built, tamis):
    done = tamis("inspect", Path(built.index) / "lucene")
    assert done.code == 0
    assert "read-only" in done.out


def test_not_an_index(tmp_path, tamis):
    assert tamis("inspect", tmp_path / "none").code == 4
    assert tamis("inspect", tmp_path).code == 5
