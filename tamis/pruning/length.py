"""``length``: a passage's number of words. The simplest signal there is, and the one that others must beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.families import Address
from tamis.pruning.base import Floats
from tamis.pruning.options import NoOptions
from tamis.pruning.words import lexical_identity, words_of


class Length:
    """A `tamis.pruning.base.PassageModel`."""

    def __init__(self, identity: ModelIdentity) -> None:
        self.identity = identity

    def score_passages(self, passages: Sequence[Passage], tick: Tick = no_tick) -> Floats:
        """Return the number of words."""
        scores = np.array([len(words_of(passage.joined)) for passage in passages], np.float32)
        tick(len(passages))
        return scores


def load(address: Address, options: NoOptions) -> Length:
    """Return the model."""
    return Length(lexical_identity(address))
