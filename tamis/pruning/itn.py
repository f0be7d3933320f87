"""``itn``: information-to-noise, the share of a passage's words that are distinct (Zhu and Gauch, SIGIR 2000)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.families import Address
from tamis.pruning.base import Floats
from tamis.pruning.options import NoOptions
from tamis.pruning.words import lexical_identity, words_of


class Itn:
    """A `tamis.pruning.base.PassageModel`."""

    def __init__(self, identity: ModelIdentity) -> None:
        self.identity = identity

    def score_passages(self, passages: Sequence[Passage], tick: Tick = no_tick) -> Floats:
        """Return distinct words / words, 0 where there is no word."""
        scores = np.zeros(len(passages), np.float32)
        for i, passage in enumerate(passages):
            if words := words_of(passage.joined):
                scores[i] = len(set(words)) / len(words)
        tick(len(passages))
        return scores


def load(address: Address, options: NoOptions) -> Itn:
    """Return the model."""
    return Itn(lexical_identity(address))
