"""``cdd``: collection-document distance (Zhou and Croft, CIKM 2005): ordinary prose has the words of the collection.

The distance is the Kullback-Leibler divergence of the collection's words from the passage's, smoothed with the collection's:

    D = Σ_w P(w|C) ln( P(w|C) / (λ P(w|d) + (1-λ) P(w|C)) )        quality = -D

Words that the passage lacks add -ln(1-λ) P(w|C) each, so only its own need be looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import ModelIdentity, Tick, no_tick
from tamis.families import Address
from tamis.indexer.encoded.kinds import Texts
from tamis.indexer.segment import hash_ids
from tamis.pruning.base import Arrays, Floats
from tamis.pruning.options import CddOptions
from tamis.pruning.words import lexical_identity, words_of


class Cdd:
    """A `tamis.pruning.base.CollectionModel`: notes are the passages' words (as 64-bit hashes) and their counts."""

    statistic = "cdd"

    def __init__(self, identity: ModelIdentity, smoothing: float) -> None:
        self.identity, self.smoothing = identity, smoothing

    def note(self, texts: Texts, tick: Tick = no_tick) -> Arrays:
        """Return words, counts and where each passage's begin."""
        words: list[str] = []
        counts: list[int] = []
        starts = [0]
        for passage in texts.passages:
            found = Counter(words_of(passage.joined))
            words += found
            counts += found.values()
            starts.append(len(words))
        tick(len(starts) - 1)
        return {"words": hash_ids(words), "counts": np.array(counts, np.int64), "starts": np.array(starts, np.int64)}

    def settings(self) -> Arrays:
        """Return the smoothing."""
        return {"smoothing": np.array([self.smoothing])}


class CddStatistic:
    """A `tamis.pruning.base.Statistic`."""

    def collect(self, notes: Iterable[Arrays], settings: Arrays) -> Arrays:
        """Return the collection's words, ascending by hash, and their shares."""
        words, counts = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        for one in notes:
            words, counts = _summed(np.concatenate([words, one["words"]]), np.concatenate([counts, one["counts"]]))
        return {"words": words, "shares": counts / max(int(counts.sum()), 1), **settings}

    def score(self, notes: Arrays, collected: Arrays) -> Floats:
        """Return minus the distance of each passage."""
        weight = float(collected["smoothing"][0])
        starts, counts = notes["starts"], notes["counts"]
        rows = len(starts) - 1
        owners = np.repeat(np.arange(rows), np.diff(starts))
        totals = np.bincount(owners, counts, rows)
        known, shares = collected["words"], collected["shares"]
        if len(known):
            places = np.minimum(np.searchsorted(known, notes["words"]), len(known) - 1)
            common = np.where(known[places] == notes["words"], shares[places], 0.0)
        else:
            common = np.zeros(len(owners))
        own = counts / totals[owners]
        missing = -np.log1p(-weight)  # what a word that the passage lacks adds, times its share
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = common * np.log(common / (weight * own + (1 - weight) * common))
        terms[common == 0] = 0.0
        distance = missing + np.bincount(owners, terms - common * missing, rows)
        scores: Floats = (-distance).astype(np.float32)
        return scores


def _summed(words: NDArray[np.uint64], counts: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    unique, places = np.unique(words, return_inverse=True)
    sums = np.zeros(len(unique), np.int64)
    np.add.at(sums, places, counts)
    return unique, sums


def load(address: Address, options: CddOptions) -> Cdd:
    """Return the model."""
    return Cdd(lexical_identity(address, smoothing=options.smoothing), options.smoothing)
