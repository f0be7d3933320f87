"""BM25 over a vocabulary against the formula worked out in Python, in one block and in several; and the keyword query."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from tamis.encoders.analysis.english import analyze
from tamis.entities.bm25 import FOLDER, Bm25Linker, Bm25Options
from tamis.entities.linking import Mention, open_linker
from tamis.entities.vocabulary import Entity, EntityVocabulary

WORDS = [f"w{i}x" for i in range(30)]


def made(folder: Path, blocks: int) -> EntityVocabulary:
    draw = random.Random(3)
    entities = [
        Entity(str(i), draw.choice(WORDS), " ".join(draw.choices(WORDS[: 5 + i % 25], k=draw.randint(0, 30))))
        for i in range(60)
    ]
    size = len(entities) // blocks
    vocabulary = EntityVocabulary.build(entities[:size], folder)
    for first in range(size, len(entities), size):
        vocabulary = vocabulary.add(entities[first : first + size])
    return vocabulary


def by_hand(vocabulary: EntityVocabulary, query: dict[str, int], k1: float, b: float) -> dict[int, float]:
    texts = [analyze(f"{vocabulary[i].title} {vocabulary[i].description}") for i in range(len(vocabulary))]
    average = sum(map(len, texts)) / len(texts)
    scores = {}
    for number, text in enumerate(texts):
        total = 0.0
        for term, weight in query.items():
            held = sum(term in other for other in texts)
            tf = text.count(term)
            if tf:
                idf = math.log(1 + (len(texts) - held + 0.5) / (held + 0.5))
                total += weight * idf * tf / (tf + k1 * (1 - b + b * len(text) / average))
        if total:
            scores[number] = total
    return scores


@pytest.mark.parametrize("blocks", [1, 3])
def test_scores(tmp_path: Path, blocks: int) -> None:
    vocabulary = made(tmp_path / "v", blocks)
    for _ in range(2):  # made, and then read
        linker = open_linker("bm25?k1=1.5&b=0.75", vocabulary)
        (found,) = linker.link([Mention("w3x w7x w20x w7x")])
        wanted = by_hand(vocabulary, {"w3x": 1, "w7x": 1, "w20x": 1}, 1.5, 0.75)
        assert {one.entity: one.score for one in found} == pytest.approx(wanted, rel=1e-5)
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        assert all((block.folder / "cache" / FOLDER).is_dir() for block in vocabulary.blocks)
    (few,) = open_linker("bm25?k1=1.5&b=0.75&depth=4", vocabulary).link([Mention("w3x w7x w20x")])
    assert few == found[:4]


def test_a_mention_counts_as_often_as_it_says_and_the_context_once(vocabulary: EntityVocabulary) -> None:
    linker = open_linker("bm25?keywords=2", vocabulary)
    (terms,) = linker.queries(
        [Mention.parse("the liquid god, a [[city city]] of the planet, trade trade in the sun state")]
    )
    rare = {"liquid", "god"}  # all stand in one entity: the first of equal ones
    assert terms == {"citi": 2, **dict.fromkeys(rare, 1)}
    (none,) = linker.queries([Mention("zebra of the")])
    assert none == {}
    assert linker.link([Mention("zebra")]) == [[]]


def test_distant_labels(vocabulary: EntityVocabulary) -> None:
    linker = Bm25Linker(vocabulary, Bm25Options())
    assert linker.distant_keywords("the messenger and a metal: Mercury, Jupiter, planet", 2) == [
        "messeng",
        "jupit",
        "mercuri",
    ]


def test_a_classifier_chooses(vocabulary: EntityVocabulary, tmp_path: Path, tiny) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForTokenClassification

    folder = tiny(tmp_path / "model")
    config = AutoConfig.from_pretrained(folder)
    config.num_labels = 1
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_config(config)
    model.save_pretrained(folder)
    text = "planet metal god city"
    linker = open_linker(f"bm25?keywords=1&classifier={folder}", vocabulary)
    (own,) = linker.queries([Mention(text)])
    weights = linker._chosen.weigh([text])[0]
    best = max(weights, key=lambda one: one[2])
    assert list(own) == analyze(next(w for w in text.split() if text.find(w) <= best[0] < text.find(w) + len(w)))
    assert linker.fingerprint != open_linker("bm25?keywords=1", vocabulary).fingerprint
