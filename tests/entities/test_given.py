"""Entities that somebody proposed: by text, by the ids of topics, by id or title."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis.entities.linking import Mention, open_linker
from tamis.entities.vocabulary import EntityVocabulary
from tamis.errors import BadRecordError, MissingResourceError


def test_by_text(tmp_path: Path, vocabulary: EntityVocabulary) -> None:
    path = tmp_path / "given.jsonl"
    path.write_text('{"text": "who was it ", "entities": ["Q5", "New York", "nobody", "Q5", "Q1"]}\n')
    linker = open_linker(f"given:{path}", vocabulary)
    found, nothing = linker.link([Mention("who was it"), Mention("who")])
    assert [(vocabulary.id(one.entity), one.score) for one in found] == [("Q5", 1.0), ("Q4", 1 / 2), ("Q1", 1 / 4)]
    assert nothing == []
    path.write_text('{"text": "who was it", "entities": ["Q4"]}\n')
    assert open_linker(f"given:{path}", vocabulary).fingerprint != linker.fingerprint


def test_by_topics(tmp_path: Path, vocabulary: EntityVocabulary) -> None:
    (tmp_path / "topics.tsv").write_text("7\tthe red planet\n8\tother\n")
    (tmp_path / "given.jsonl").write_text('{"id": 7, "entities": ["Q1"]}\n{"id": 9, "entities": ["Q2"]}\n')
    linker = open_linker(f"given:{tmp_path}/given.jsonl?topics={tmp_path}/topics.tsv", vocabulary)
    assert [[one.entity for one in own] for own in linker.link([Mention("the red planet"), Mention("other")])] == [
        [0],
        [],
    ]


@pytest.mark.parametrize(
    "line", ['{"id": "1", "entities": []}', '{"text": "x", "entities": "y"}', '{"text": "x"}', "{"]
)
def test_bad_lines(tmp_path: Path, vocabulary: EntityVocabulary, line: str) -> None:
    path = tmp_path / "given.jsonl"
    path.write_text(line)
    with pytest.raises(BadRecordError, match=":1:"):
        open_linker(f"given:{path}", vocabulary)


def test_no_file(tmp_path: Path, vocabulary: EntityVocabulary) -> None:
    with pytest.raises(MissingResourceError):
        open_linker(f"given:{tmp_path}/none", vocabulary)
