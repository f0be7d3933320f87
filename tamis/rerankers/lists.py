"""The stage that every model of candidate lists is used through: duoT5, FiT5, listwise language models.

Such a model sees the candidates of one query together, so that a score means something within its list only. It gets the lists of
a batch at once, and may work on several at a time. What it leaves without a score (it ran out of time, or its budget was spent)
stands below what it scored, in the old order, as `tamis.rerankers.stage` says; the query is then marked partial.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.errors import MissingResourceError, UsageError
from tamis.events import Advanced, Finished, Listener, Started, ignore
from tamis.families import option
from tamis.ranking import Queries, Ranking
from tamis.rerankers.stage import Clock, reorder
from tamis.stages import DocumentView, Evidence


class CandidateList(NamedTuple):
    """What a model of lists reads.

    Attributes:
        query: its text.
        passages: the candidates, best first.
        scores: float64 [candidates], of the stage before, falling.
    """

    query: str
    passages: Sequence[Passage]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class ListScores:
    """What a model of lists says.

    Attributes:
        scores: for every list float64 [candidates]; larger is more relevant, not a number where there is none.
        counts: what it has cost, by name: ``calls``, ``tokens``, ``truncated``, ``repairs`` …
        partial: for every list whether it was left unfinished, though all have scores; None: none was.
    """

    scores: Sequence[NDArray[np.float64]]
    counts: Mapping[str, float] = field(default_factory=dict)
    partial: Sequence[bool] | None = None


@runtime_checkable
class ListScorer(Protocol):
    """A model that reads the candidates of a query together."""

    identity: ModelIdentity

    def score_lists(
        self, lists: Sequence[CandidateList], *, tick: Tick = no_tick, until: float | None = None
    ) -> ListScores:
        """Score every candidate within its list; a list may be empty.

        Args:
            lists: one a query.
            tick: hears how many more candidates are done.
            until: when to stop, by ``time.monotonic``; None: whenever.

        Raises:
            ModelError: the model gave numbers that are not finite, or no answer at all.
        """


@runtime_checkable
class ListExplainer(Protocol):
    """A `ListScorer` that can say what the scores of a list are made of."""

    def explain_list(self, candidates: CandidateList) -> Sequence[Evidence]:
        """Return the evidence of each candidate's score."""


@runtime_checkable
class Adjustable(Protocol):
    """A `ListScorer` that search options reach: what they change is not which model it is."""

    def adjust(self, options: Any) -> None:
        """Take the options of the stage that uses it."""


@dataclass(frozen=True)
class ListOptions:
    """Search options of every model that scores lists."""

    deadline: float | None = option(None, "seconds a batch of queries may take; then the best so far", gt=0)


class ListReranker:
    """A `tamis.stages.Rescorer` over any `ListScorer`.

    Args:
        documents: whose texts are read.
        open_scorer: loads the model, when the first candidates come.
        options: see `ListOptions`.
        name: what events call the stage.
        cannot_retrieve: the error for a pipeline that wants it to retrieve.
        clock: tells the time in seconds.
    """

    def __init__(
        self,
        documents: DocumentView,
        open_scorer: Callable[[], ListScorer],
        options: ListOptions,
        *,
        name: str = "rerank",
        cannot_retrieve: MissingResourceError | UsageError | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._documents, self._open, self.options, self.name = documents, open_scorer, options, name
        self._clock, self.cannot_retrieve = clock, cannot_retrieve
        self._scorer: ListScorer | None = None
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._seconds = 0.0

    @property
    def scorer(self) -> ListScorer:
        """The model."""
        with self._lock:
            if self._scorer is None:
                scorer = self._open()
                if isinstance(scorer, Adjustable):
                    scorer.adjust(self.options)
                self._scorer = scorer
            return self._scorer

    def rescore(self, queries: Queries, ranking: Ranking, *, listener: Listener = ignore) -> Ranking:
        """Return `ranking` in the order of the model's scores.

        Args:
            queries: the batch.
            ranking: the candidates of each.
            listener: hears of the candidates that are done.

        Raises:
            ModelError: the model failed.
        """
        ranking.require_space(self._documents)
        if not len(ranking.rows):
            return ranking
        scorer = self.scorer  # a deadline is for the work, not for loading the model
        begun = self._clock()
        lists = self._lists(queries.texts, ranking)
        listener(Started(self.name, len(ranking.rows), "candidates"))
        until = None if self.options.deadline is None else begun + self.options.deadline
        found = scorer.score_lists(lists, tick=lambda count: listener(Advanced(self.name, count)), until=until)
        listener(Finished(self.name))
        self._counts.update({"lists": len(lists), "candidates": len(ranking.rows), **found.counts})
        self._seconds += self._clock() - begun
        ordered, late = [], []
        for i, scores in enumerate(found.scores):
            rows, old = ranking.at(i)
            ordered.append(reorder(rows, old, scores))
            late.append(bool(np.isnan(scores).any()))
        late_too = np.array(found.partial or [False] * len(lists), np.bool_)
        partial = (ranking.partial | np.array(late, np.bool_) | late_too).tolist()
        return Ranking.from_lists(ranking.space, ranking.query_ids, ordered, partial=partial)

    def cost(self) -> dict[str, Any]:
        """Return what the work has cost so far: lists, candidates, what the model counts, and seconds."""
        return {**self._counts, "model_seconds": round(self._seconds, 4)}

    def explain_candidates(self, queries: Queries, ranking: Ranking) -> list[list[Evidence]]:
        """See `tamis.stages.CandidateExplainer`."""
        scorer, lists = self.scorer, self._lists(queries.texts, ranking)
        if isinstance(scorer, ListExplainer):
            return [list(scorer.explain_list(one)) for one in lists]
        found = scorer.score_lists(lists).scores
        return [[Evidence("score within the list", float(score)) for score in scores] for scores in found]

    def _lists(self, texts: Sequence[str], ranking: Ranking) -> list[CandidateList]:
        rows, places = np.unique(ranking.rows, return_inverse=True)
        passages = list(map(Passage, self._documents.titles(rows), self._documents.bodies(rows)))
        lists = []
        for i, text in enumerate(texts):
            span = slice(int(ranking.offsets[i]), int(ranking.offsets[i + 1]))
            lists.append(CandidateList(text, [passages[p] for p in places[span].tolist()], ranking.scores[span]))
        return lists
