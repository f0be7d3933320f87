"""Candidate recall of linkers on entities of DBpedia, against golds that nobody chose.

    python -m benchmarks.entities ENTITIES [--sample 300] [--linker NAME …]

ENTITIES is a file that `tamis entities build` reads. The texts, of entities taken at random:

    title       its title, without what stands in brackets behind it
    neighbours  the same between the titles of its two neighbours in the alphabet
    abstract    its abstract with its title masked; the vocabulary holds the abstract
    rest        the second half of it, masked; the vocabulary holds only the first half

A text must find its entity among the first 1, 10 or 100.
"""

from __future__ import annotations

import random
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import machine, markdown, parser, report
from tamis.entities.linking import Mention, open_linker
from tamis.entities.vocabulary import Entity, EntityVocabulary, read_entities

LINKERS = ("alias", "bm25", "dense:minilm?device=cpu")
DEPTHS = (1, 10, 100)


def bare(title: str) -> str:
    """A title without brackets behind it."""
    return re.sub(r"\s*\([^()]*\)$", "", title)


def masked(title: str, text: str) -> str:
    """A text without a title."""
    return re.sub("|".join(map(re.escape, (title, bare(title)))), " ", text, flags=re.IGNORECASE)


def split(text: str) -> tuple[str, str]:
    """The halves of a text, in words."""
    words = text.split()
    return " ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])


def golds(entities: Sequence[Entity], chosen: Sequence[int]) -> dict[str, list[str]]:
    """The texts of each kind for the chosen entities."""
    order = sorted(range(len(entities)), key=lambda i: entities[i].title)
    places = {number: place for place, number in enumerate(order)}

    def between(number: int) -> str:
        own = [order[(places[number] + step) % len(order)] for step in (-1, 0, 1)]
        return ", ".join(bare(entities[i].title) for i in own)

    makers: dict[str, Callable[[int], str]] = {
        "title": lambda i: bare(entities[i].title),
        "neighbours": between,
        "abstract": lambda i: masked(entities[i].title, entities[i].description),
        "rest": lambda i: masked(entities[i].title, split(entities[i].description)[1]),
    }
    return {kind: [make(i) for i in chosen] for kind, make in makers.items()}


def main() -> None:
    made = parser("Candidate recall of linkers.", rounds=1)
    made.add_argument("entities", type=Path)
    made.add_argument("--sample", type=int, default=300)
    made.add_argument("--linker", action="append", default=None)
    given = made.parse_args()
    entities = list(read_entities(given.entities))
    chosen = sorted(random.Random(1).sample(range(len(entities)), min(given.sample, len(entities))))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        whole = EntityVocabulary.build(entities, Path(folder, "whole"))
        halves = [replace(entity, description=split(entity.description)[0]) for entity in entities]
        half = EntityVocabulary.build(halves, Path(folder, "half"))
        for name in given.linker or LINKERS:
            for kind, texts in golds(entities, chosen).items():
                linker = open_linker(name, half if kind == "rest" else whole)
                linker.link([Mention("warm")])
                begun = time.perf_counter()
                found = linker.link([Mention(text) for text in texts])
                spent = 1000 * (time.perf_counter() - begun) / len(texts)
                ranks = [
                    next((rank for rank, one in enumerate(own) if one.entity == gold), 1 << 30)
                    for gold, own in zip(chosen, found, strict=True)
                ]
                rows.append(
                    [name, kind, *(f"{sum(r < k for r in ranks) / len(ranks):.3f}" for k in DEPTHS), f"{spent:.2f}"]
                )
    table = markdown(["linker", "text", *(f"recall@{k}" for k in DEPTHS), "ms a text"], rows)
    report(f"{len(entities)} entities, {len(chosen)} texts\n\n{table}\n\n{machine()}", {"rows": rows}, given.json)


if __name__ == "__main__":
    main()
