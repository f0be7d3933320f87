"""A model that needs no weights: a text's vector is drawn by a generator that its hash seeds."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tamis.encoders.base import DenseVectors, ModelIdentity, Passage, Similarity, Tick, no_tick

ADDRESS = "toy:hash"


class ToyEncoder:
    """Counts what it encodes; dies, in one way or another, where it is told to.

    Args:
        seed: another seed is another model.
        log: a file that gets a line for every batch of passages.
        fail_after: raise an error instead of encoding the next batch after so many.
    """

    dimensions = 8
    similarity: Similarity = "dot"

    def __init__(self, seed: int = 0, *, log: Path | None = None, fail_after: int | None = None) -> None:
        self.identity = ModelIdentity(ADDRESS, {}, {"seed": seed})
        self.batches: list[int] = []
        self._seed, self._log, self._fail_after = seed, log, fail_after

    def encode_passages(self, passages: Sequence[Passage], *, tick: Tick = no_tick) -> DenseVectors:
        if self._fail_after is not None and len(self.batches) >= self._fail_after:
            raise RuntimeError("the power went")
        self.batches.append(len(passages))
        if self._log is not None:
            with self._log.open("a") as handle:
                handle.write(f"{passages[0].joined}\n")
            print("batch", flush=True, file=sys.stdout)
        tick(len(passages))
        cut = sum(len(passage.joined.split()) > 50 for passage in passages)
        return DenseVectors(self._vectors([passage.joined for passage in passages]), cut)

    def encode_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> DenseVectors:
        tick(len(texts))
        return DenseVectors(self._vectors(texts), 0)

    def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        rows = [np.random.default_rng(_hash(f"{self._seed}:{text}")).standard_normal(self.dimensions) for text in texts]
        return np.array(rows, np.float32).reshape(len(texts), self.dimensions)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
