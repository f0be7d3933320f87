"""The vocabulary: what goes in comes out, numbers are for good, and damage and doubles are refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.entities.vocabulary import Entity, EntityVocabulary, read_entities
from tamis.errors import BadRecordError, CorruptIndexError, DataError, MissingResourceError, OutputExistsError
from tamis.files import sha256_file

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = texts.filter(lambda text: text.strip() != "")
weights = st.none() | st.floats(0.5, 1e6, width=32)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(names, texts, texts, st.dictionaries(texts, weights, max_size=3)), min_size=1, max_size=6))
def test_what_goes_in_comes_out(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple]) -> None:
    entities = [Entity(f"é{i}", t, d, k, aliases, 1.5) for i, (t, d, k, aliases) in enumerate(rows)]
    made = EntityVocabulary.build(entities[:1], tmp_path_factory.mktemp("v") / "v")
    for one in entities[1:]:
        made = made.add([one])
    assert [made[i] for i in range(len(made))] == entities
    assert made.find([e.id for e in entities] + ["é", ""]).tolist() == [*range(len(entities)), -1, -1]
    assert [name for _, name, _ in made.names()] == [n for e in entities for n in (e.title, *e.aliases)]


def test_adding_leaves_what_is_there(vocabulary: EntityVocabulary) -> None:
    before = {p: sha256_file(p) for p in vocabulary.folder.glob("0000/*")}
    same = EntityVocabulary.build([vocabulary[i] for i in range(6)], vocabulary.folder.parent / "copy")
    assert (same.identity, same.fingerprint) == (vocabulary.identity, vocabulary.fingerprint)
    grown = vocabulary.add([Entity("Q7", "Venus")])
    assert {p: sha256_file(p) for p in vocabulary.folder.glob("0000/*")} == before
    assert grown.identity == vocabulary.identity
    assert grown.fingerprint != vocabulary.fingerprint
    assert (grown.id(6), grown.title(6), grown.find(["Q7", "Q2"]).tolist()) == ("Q7", "Venus", [6, 1])
    with pytest.raises(DataError, match="'Q2' is there already"):
        grown.add([Entity("Q8", "x"), Entity("Q2", "y")])
    assert len(EntityVocabulary(vocabulary.folder)) == 7
    with pytest.raises(IndexError):
        grown.id(7)


def test_weights_of_names(vocabulary: EntityVocabulary) -> None:
    assert list(vocabulary.names())[:4] == [
        (0, "Mercury (planet)", 6.0),
        (0, "Hermes", 2.0),
        (1, "Mercury (element)", 3.0),
        (1, "quicksilver", 3.0),
    ]


def test_files_of_entities(tmp_path: Path) -> None:
    lines = [
        {"id": 7, "title": "Bonn", "description": "a city", "type": "City", "aliases": ["Bonna"], "popularity": 2},
        {"_id": "Köln", "text": "another", "aliases": {"Cologne": 5}},
    ]
    path = tmp_path / "e.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    first, second = read_entities(path)
    assert first == Entity("7", "Bonn", "a city", "City", {"Bonna": None}, 2.0)
    assert second == Entity("Köln", "Köln", "another", "", {"Cologne": 5.0})
    table = tmp_path / "e.tsv"
    table.write_text("Q1\tBonn\tBonna|Bonne\ta city\tCity\nQ2\tKöln\n", "utf-8")
    assert list(read_entities(table)) == [
        Entity("Q1", "Bonn", "a city", "City", {"Bonna": None, "Bonne": None}),
        Entity("Q2", "Köln", aliases={}),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "a"', "2:"),
        ('{"id": "", "title": "x"}', "not empty"),
        ('{"id": "a", "title": " "}', "no title"),
        ('{"id": "a", "title": "x", "popularity": 0}', "above 0"),
        ('{"id": "a", "title": "x", "aliases": "y"}', "list of names"),
    ],
)
def test_bad_lines(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text(f'{{"id": "ok", "title": "ok"}}\n{line}\n')
    with pytest.raises(BadRecordError, match=said) as raised:
        list(read_entities(path))
    assert raised.value.line == 2


def test_what_is_refused(tmp_path: Path, vocabulary: EntityVocabulary) -> None:
    with pytest.raises(DataError, match="no entities"):
        EntityVocabulary.build([], tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(OutputExistsError):
        EntityVocabulary.build([Entity("a", "a")], vocabulary.folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("dear")
    with pytest.raises(MissingResourceError):
        EntityVocabulary.build([Entity("a", "a")], tmp_path / "other", overwrite=True)
    assert len(EntityVocabulary.build([Entity("a", "a")], vocabulary.folder, overwrite=True)) == 1
    with pytest.raises(MissingResourceError, match="entities build"):
        EntityVocabulary(tmp_path / "absent")


def test_damage_is_found(vocabulary: EntityVocabulary) -> None:
    vocabulary.verify()
    path = vocabulary.folder / "0000" / "popularity.npy"
    np.save(path, np.ones(6, np.float32))
    with pytest.raises(CorruptIndexError, match=r"popularity\.npy"):
        vocabulary.verify()
