"""`tamis entities` and `tamis export-vectors`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

LINES = [
    {"id": "Q1", "title": "Drum sieve", "description": "a sieve of flour", "aliases": ["tamis"]},
    {"id": "Q2", "title": "Soup", "description": "a dish"},
]


@pytest.fixture
def vocabulary(tmp_path: Path, tamis) -> Path:
    source = tmp_path / "entities.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    done = tamis("entities", "build", source, "-o", tmp_path / "v")
    assert (done.code, done.out) == (0, "")
    assert "2 entities in 1 block(s)" in done.err
    return tmp_path / "v"


def test_build_and_add(vocabulary, tmp_path, tamis):
    more = tmp_path / "more.tsv"
    more.write_text("Q3\tCat\n")
    done = tamis("entities", "add", vocabulary, more, "--json")
    assert done.envelope["command"] == "entities add"
    assert done.envelope["metrics"] == {"entities": 3, "blocks": 2}
    assert tamis("entities", "add", vocabulary, more).code == 5
    assert tamis("entities", "build", more, "-o", vocabulary).code == 2
    assert tamis("entities", "build", more, "-o", vocabulary, "--force", "--quiet").code == 0
    assert tamis("entities", "build", tmp_path / "none", "-o", tmp_path / "w").code == 4


def test_link(vocabulary, tmp_path, tamis):
    done = tamis("entities", "link", vocabulary, "a Tamis for soup")
    assert done.out.splitlines() == ["1.0000  Drum sieve [Q1] ← Tamis", "1.0000  Soup [Q2] ← soup"]
    done = tamis("entities", "link", vocabulary, "a tamis for [[soup]]", "--json")
    (one,) = done.envelope["results"][0]["candidates"]
    assert one == {"entity": "Q2", "title": "Soup", "score": 1.0, "span": [12, 16], "mention": "soup"}
    assert "no entity" in tamis("entities", "link", vocabulary, "cat").err
    topics = tmp_path / "topics.tsv"
    topics.write_text("7\tflour dish\n8\tcat\n")
    done = tamis("entities", "link", vocabulary, "--topics", topics, "--linker", "bm25", "-k", "1")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["id"] for line in lines] == ["7", "8"]
    assert (len(lines[0]["entities"]), lines[1]["entities"]) == (1, [])
    given = tmp_path / "given.jsonl"
    given.write_text(done.out, "utf-8")
    again = tamis("entities", "link", vocabulary, "flour dish", "--linker", f"given:{given}", "--json")
    assert [c["entity"] for c in again.envelope["results"][0]["candidates"]] == lines[0]["entities"]


def test_what_link_refuses(vocabulary, tmp_path, tamis):
    assert tamis("entities", "link", vocabulary).code == 2
    refused = tamis("entities", "link", vocabulary, "x", "--linker", "alais")
    assert (refused.code, "did you mean 'alias'" in refused.err) == (2, True)
    assert tamis("entities", "link", tmp_path / "none", "x").code == 4
    assert tamis("entities", "lnik", vocabulary, "x").code == 2


def test_export_vectors(built, tmp_path, tamis):
    index, vectors = tmp_path / "ix", tmp_path / "vectors.jsonl"
    vectors.write_text('{"id": "a", "vector": {"x": 3, "y": 1}}\n')
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "some text"}\n')
    assert tamis("index", tmp_path / "corpus.jsonl", "-o", index, "--part", f"v=impacts:{vectors}", "--quiet").code == 0
    done = tamis("export-vectors", index, "v", "-o", tmp_path / "out.jsonl")
    assert (done.code, done.out) == (0, "")
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {
        "id": "a",
        "contents": "some text",
        "vector": {"x": 3, "y": 1},
    }
    assert tamis("export-vectors", index, "v", "-o", tmp_path / "out.jsonl").code == 2
    assert tamis("export-vectors", index, "lucene", "-o", tmp_path / "o.jsonl").code == 2
