"""Candidate recall on real entities, against golds that nobody chose."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tamis.entities.linking import Mention, open_linker
from tamis.entities.vocabulary import Entity, EntityVocabulary, read_entities

pytestmark = pytest.mark.real


def masked(entity: Entity) -> str:
    """The abstract without the title, in whole or without what stands in brackets behind it."""
    bare = re.sub(r"\s*\([^()]*\)$", "", entity.title)
    pattern = "|".join(re.escape(name) for name in (entity.title, bare))
    return re.sub(pattern, " ", entity.description, flags=re.IGNORECASE)


@pytest.fixture(scope="module")
def entities(collections: Path) -> list[Entity]:
    return list(read_entities(collections / "dbpedia14-entities" / "entities.jsonl.gz"))


@pytest.fixture(scope="module")
def vocabulary(entities: Sequence[Entity], tmp_path_factory: pytest.TempPathFactory) -> EntityVocabulary:
    return EntityVocabulary.build(entities, tmp_path_factory.mktemp("real") / "v")


def recall(vocabulary: EntityVocabulary, linker: str, asked: Sequence[tuple[int, str]], k: int) -> float:
    found = open_linker(linker, vocabulary).link([Mention(text) for _, text in asked])
    return sum(gold in [one.entity for one in own[:k]] for (gold, _), own in zip(asked, found, strict=True)) / len(
        asked
    )


def sample(entities: Sequence[Entity], count: int) -> list[int]:
    return sorted(random.Random(1).sample(range(len(entities)), count))


def test_a_title_finds_its_entity_among_its_neighbours(
    entities: Sequence[Entity], vocabulary: EntityVocabulary
) -> None:
    """In a text that names the two entities next to it in the alphabet too."""
    order = sorted(range(len(entities)), key=lambda i: entities[i].title)
    asked = []
    for place in sample(entities[:-2], 300):
        texts = [re.sub(r"\s*\([^()]*\)$", "", entities[i].title) for i in order[place : place + 3]]
        asked.append((order[place], ", ".join(reversed(texts))))
    assert recall(vocabulary, "alias", asked, 10) >= 0.98
    assert recall(vocabulary, "bm25", asked, 10) >= 0.97


def test_an_abstract_without_its_title_finds_its_entity(
    entities: Sequence[Entity], vocabulary: EntityVocabulary, tmp_path: Path
) -> None:
    asked = [(i, masked(entities[i])) for i in sample(entities, 200)]
    assert recall(vocabulary, "bm25", asked, 10) >= 0.97
    halves = [" ".join(e.description.split()[: len(e.description.split()) // 2]) for e in entities]
    cut = EntityVocabulary.build(
        [replace(e, description=d) for e, d in zip(entities, halves, strict=True)], tmp_path / "v"
    )
    rest = [(i, masked(replace(entities[i], description=entities[i].description[len(halves[i]) :]))) for i, _ in asked]
    assert 0.3 <= recall(cut, "bm25", rest, 10) < 0.97  # words that the vocabulary does not hold: harder


@pytest.mark.slow
def test_minilm(entities: Sequence[Entity], tmp_path: Path) -> None:
    small = EntityVocabulary.build(entities[:600], tmp_path / "v")
    asked = [(i, masked(entities[i])) for i in sample(entities[:600], 60)]
    assert recall(small, "dense:minilm?device=cpu", asked, 10) >= 0.95
