"""A seeded synthetic collection: Zipf-Mandelbrot text with topics, and queries drawn from its documents.

Term ``t17`` has probability proportional to 1 / (17 + 50)^1.1 over 500,000 terms (Mandelbrot, "An informational theory of the
statistical structure of language", 1953). A quarter of a passage's tokens come from one of 2,000 topics of 300 terms instead,
so that terms co-occur as they do in text. Lengths are log-normal around `MEAN_LENGTH`. The text has no other structure: a term
is never a stop word and its own stem.

    python -m benchmarks.zipf FOLDER --size 1000000

writes FOLDER/corpus/part-NN.jsonl (``id``, ``contents``) and FOLDER/queries.tsv, the same bytes for the same size and seed.
The corpus comes in several files because Anserini gives every file to one thread.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VOCABULARY = 500_000
MEAN_LENGTH = 55
TOPICS, TOPIC_TERMS, TOPIC_SHARE = 2000, 300, 0.25
FILES = 8
QUERIES, QUERY_TERMS = 1000, 6
SIZE, SEED = 1_000_000, 7
_BLOCK = 20_000

Tokens = NDArray[np.int64]


class Text:
    """The distribution that passages are drawn from."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self._terms = _cumulated(VOCABULARY, 50, 1.1)
        self._topic_terms = _cumulated(TOPIC_TERMS, 5, 1.0)
        self._topics = self.random.integers(200, 60_000, (TOPICS, TOPIC_TERMS))

    def passages(self, count: int) -> tuple[Tokens, Tokens]:
        """Draw passages: all term numbers one after another, and int64 offsets of length count + 1."""
        mean = np.log(MEAN_LENGTH) - 0.06  # 0.06 = 0.35² / 2 keeps the mean of the log-normal
        lengths = np.clip(self.random.lognormal(mean, 0.35, count), 8, 250).astype(np.int64)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        tokens = self._draw(self._terms, int(offsets[-1]))
        topic = np.repeat(self.random.integers(0, TOPICS, count), lengths)
        chosen = np.flatnonzero(self.random.random(len(tokens)) < TOPIC_SHARE)
        tokens[chosen] = self._topics[topic[chosen], self._draw(self._topic_terms, len(chosen))]
        return tokens, offsets

    def query(self, tokens: Tokens) -> Tokens:
        """Draw a few different terms of one passage."""
        terms = np.unique(tokens)
        count = int(np.clip(self.random.poisson(QUERY_TERMS), 2, 12))
        return self.random.choice(terms, min(count, len(terms)), replace=False)

    def _draw(self, cumulated: NDArray[np.float64], count: int) -> Tokens:
        return np.minimum(np.searchsorted(cumulated, self.random.random(count)), len(cumulated) - 1)


def _cumulated(terms: int, shift: float, exponent: float) -> NDArray[np.float64]:
    weights = 1.0 / (np.arange(terms) + shift) ** exponent
    return np.cumsum(weights / weights.sum())


def write_collection(folder: Path, size: int = SIZE, seed: int = SEED) -> None:
    """Write corpus and queries into `folder`; memory does not grow with `size`."""
    text = Text(seed)
    names: Any = np.array([f"t{i}" for i in range(VOCABULARY)], object)
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    queries: list[str] = []
    per_file = -(-size // FILES)
    for number, first in enumerate(range(0, size, per_file)):
        last = min(first + per_file, size)
        with (corpus / f"part-{number:02d}.jsonl").open("w", encoding="ascii") as handle:
            for start in range(first, last, _BLOCK):
                count = min(_BLOCK, last - start)
                tokens, offsets = text.passages(count)
                words, places = names[tokens].tolist(), offsets.tolist()
                handle.writelines(
                    f'{{"id": "d{start + i}", "contents": "{" ".join(words[places[i] : places[i + 1]])}"}}\n'
                    for i in range(count)
                )
                wanted = QUERIES * (start + count) // size
                for i in text.random.integers(0, count, wanted - len(queries)).tolist():
                    terms = text.query(tokens[places[i] : places[i + 1]])
                    queries.append(f"q{len(queries)}\t{' '.join(names[terms])}\n")
    (folder / "queries.tsv").write_text("".join(queries), encoding="ascii")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a synthetic Zipf corpus and queries for it.")
    parser.add_argument("folder", type=Path, help="folder to make")
    parser.add_argument("--size", type=int, default=SIZE, help="passages (default %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=SEED, help="the same seed gives the same bytes (default %(default)s)"
    )
    arguments = parser.parse_args()
    write_collection(arguments.folder, arguments.size, arguments.seed)


if __name__ == "__main__":
    main()
