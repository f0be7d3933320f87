"""``stopwords``: the share of a passage's words that are English stop words.

Prose is full of them; tables, lists of keywords and boilerplate are not (Bendersky, Croft and Diao, WSDM 2011). The words are
those that Lucene's English analyser leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamis.encoders.analysis.english import STOP_WORDS
from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.families import Address
from tamis.pruning.base import Floats
from tamis.pruning.options import NoOptions
from tamis.pruning.words import lexical_identity, words_of


class StopWords:
    """A `tamis.pruning.base.PassageModel`."""

    def __init__(self, identity: ModelIdentity) -> None:
        self.identity = identity

    def score_passages(self, passages: Sequence[Passage], tick: Tick = no_tick) -> Floats:
        """Return stop words / words, 0 where there is no word."""
        scores = np.zeros(len(passages), np.float32)
        for i, passage in enumerate(passages):
            if words := words_of(passage.joined):
                scores[i] = sum(word in STOP_WORDS for word in words) / len(words)
        tick(len(passages))
        return scores


def load(address: Address, options: NoOptions) -> StopWords:
    """Return the model."""
    return StopWords(lexical_identity(address))
