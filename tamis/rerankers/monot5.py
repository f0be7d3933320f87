"""``monot5``: T5 asked whether a document is relevant to a query.

Nogueira et al., "Document Ranking with a Pretrained Sequence-to-Sequence Model", 2020. The score is the logarithm of the
probability of "true" beside "false", as the first word of the answer. It is worked out from the difference of the two logits, so
that pairs of which the model is sure keep their order. Too long a document is cut, never the words behind it that ask; pygaggle's
own code cuts the whole prompt, and with it the question.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamis.encoders.base import Passage, Tick, no_tick
from tamis.families import Address
from tamis.rerankers.aggregation import log_sigmoid
from tamis.rerankers.base import PairScores
from tamis.rerankers.options import T5Options
from tamis.rerankers.t5 import T5Scorer, load_ranker

TEMPLATE = "Query: {query} Document: {document} Relevant:"


class MonoT5(T5Scorer):
    """A `tamis.rerankers.base.PairScorer`; a document is its title and text, joined."""

    def score_pairs(self, queries: Sequence[str], passages: Sequence[Passage], *, tick: Tick = no_tick) -> PairScores:
        """Score query i with passage i: log P(relevant), at most 0; see `PairScorer`."""
        inputs = self.template.inputs({"query": queries, "document": [passage.joined for passage in passages]})
        return PairScores(log_sigmoid(self.log_odds(inputs, tick)).astype(np.float32), inputs.truncated)


def load(address: Address, options: T5Options) -> MonoT5:
    """Load a checkpoint; errors as of `tamis.rerankers.t5.load_parts`."""
    return MonoT5(*load_ranker(address, options, TEMPLATE))
