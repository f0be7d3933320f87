"""What a model that scores pairs is: a query and a passage in, a number out, under an identity that a cache remembers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.events import Listener, ignore
from tamis.ranking import Queries, Ranking
from tamis.stages import Evidence


class PairScores(NamedTuple):
    """One score a pair.

    Attributes:
        scores: float32 [pairs]; larger is more relevant.
        truncated: how many of the pairs were longer than the model reads.
    """

    scores: NDArray[np.float32]
    truncated: int


@runtime_checkable
class PairScorer(Protocol):
    """A model that reads a query and a passage together.

    Results do not depend on which pairs are scored together, to 1e-5 in float32.
    """

    identity: ModelIdentity

    def score_pairs(self, queries: Sequence[str], passages: Sequence[Passage], *, tick: Tick = no_tick) -> PairScores:
        """Score query i with passage i.

        Raises:
            ModelError: the model gave numbers that are not finite.
        """


@runtime_checkable
class PairExplainer(Protocol):
    """A `PairScorer` that can say what a score is made of."""

    def explain_pair(self, query: str, passage: Passage) -> Sequence[Evidence]:
        """Return parts whose values add up to the score of the pair, to rounding; none where it cannot be told."""


@runtime_checkable
class Reranker(Protocol):
    """A `tamis.stages.Rescorer` by a model that reads texts: it tells of its progress, and what it has cost."""

    name: str

    def rescore(self, queries: Queries, ranking: Ranking, *, listener: Listener = ignore) -> Ranking:
        """Return `ranking` in the order of the model's scores; `listener` hears of what is done."""

    def cost(self) -> dict[str, Any]:
        """Return what the work has cost so far, by name: JSON values."""
