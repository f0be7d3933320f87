"""Running plans: stages are opened once, shared work is done once, progress is told, results are checked."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tamis.errors import DataError
from tamis.events import Advanced, Finished, Listener, Started, ignore
from tamis.families import Address, open_model
from tamis.pipeline.expressions import Pipeline, PipelineLike
from tamis.pipeline.names import check
from tamis.pipeline.plan import make_plan
from tamis.pipeline.steps import (
    AddUp,
    FuseRanks,
    Given,
    Group,
    Keep,
    Plan,
    Rescore,
    Retrieve,
    Rewrite,
    RoundRobin,
    Stage,
    Step,
    Weigh,
)
from tamis.ranking import Queries, Ranking, State, check_k
from tamis.retrievers import fusion
from tamis.stages import PartSource, Rescorer, RowMask, SearchingRescorer

BATCH = 512
"""Queries handed to a stage at a time: enough for its batches and threads, few enough for progress to be seen."""


_PLANS = 256
"""Plans of pipeline strings that a runner remembers."""


class Runner:
    """Runs pipelines over one source, and keeps the models that it opened. Safe to share between threads.

    Args:
        source: what models are opened on: an open index.
        batch: queries handed to a stage at a time.
    """

    def __init__(self, source: PartSource, *, batch: int = BATCH) -> None:
        self.source, self.batch = source, batch
        self._opened: dict[str, Any] = {}
        self._plans: dict[tuple[tuple[str, ...], int], Plan] = {}
        self._lock = threading.Lock()

    def open(self, address: Address) -> Any:
        """Return the stage that `address` names, opened on the first call."""
        key = str(address)
        with self._lock:
            if key not in self._opened:
                self._opened[key] = open_model(self.source, address)
            return self._opened[key]

    def plan(self, pipelines: Sequence[PipelineLike], k: int) -> Plan:
        """Look up all names, open all models, and plan the run, before any work is done.

        Raises:
            ParseError: a string is not a pipeline.
            UnknownNameError: an unknown family or option.
            UsageError: a bad `k` or option value, or a stage where it cannot work.
            MissingResourceError: a part or model that is not there.
        """
        check_k(k)
        spelt = tuple(pipeline for pipeline in pipelines if isinstance(pipeline, str))
        known = self._plans.get((spelt, k)) if len(spelt) == len(pipelines) else None
        if known is not None:  # single queries of a few milliseconds come again and again
            return known
        nodes = [Pipeline.of(pipeline) for pipeline in pipelines]
        for node in nodes:
            check(node)
        plan = make_plan(nodes, k, self.open)
        if len(spelt) == len(pipelines) and len(self._plans) < _PLANS:
            self._plans[spelt, k] = plan
        return plan

    def run(
        self,
        pipeline: PipelineLike,
        queries: Queries,
        k: int,
        *,
        mask: RowMask | None = None,
        listener: Listener = ignore,
    ) -> Ranking:
        """Return the first `k` results a query of one pipeline; see `run_many`."""
        return self.run_many([pipeline], queries, k, mask=mask, listener=listener)[0]

    def run_many(
        self,
        pipelines: Sequence[PipelineLike],
        queries: Queries,
        k: int,
        *,
        mask: RowMask | None = None,
        listener: Listener = ignore,
    ) -> list[Ranking]:
        """Return the first `k` results a query of every pipeline; what they share is done once.

        Args:
            pipelines: nodes, strings or stage objects.
            queries: the batch.
            k: results a query, at least 1.
            mask: rows that retrievers may return.
            listener: hears of every stage's start, progress and end; the unit is queries.

        Raises:
            UsageError: see `plan`.
            DataError: a stage broke its protocol (other queries, lost or added rows).
            SpaceMismatchError: the retrievers of a pipeline speak of different document spaces.
        """
        return self.execute(self.plan(pipelines, k), queries, mask=mask, listener=listener)

    def execute(
        self, plan: Plan, queries: Queries, *, mask: RowMask | None = None, listener: Listener = ignore
    ) -> list[Ranking]:
        """Run a plan made by `plan`; the result of a step is let go after its last reader."""
        last = {i: number for number, step in enumerate(plan.steps) for i in step.inputs}
        last.update(dict.fromkeys(plan.outputs, len(plan.steps)))
        work = Work(queries, mask, listener, self.batch)
        for number, step in enumerate(plan.steps):
            work.done[number] = work.run(step)
            for i in step.inputs:
                if last[i] == number:
                    work.done.pop(i, None)
        return [work.ranking(i) for i in plan.outputs]

    def trace(self, plan: Plan, queries: Queries, *, mask: RowMask | None = None) -> list[Queries | Ranking]:
        """Run a plan and return the result of every step."""
        work = Work(queries, mask, ignore, self.batch)
        results = []
        for number, step in enumerate(plan.steps):
            results.append(work.run(step))
            work.done[number] = results[-1]
        return results


class Work:
    """The results of the steps so far, by number, and how one more is made of them."""

    def __init__(self, queries: Queries, mask: RowMask | None, listener: Listener, batch: int) -> None:
        self.queries, self.mask, self.listener = queries, mask, listener
        size = len(queries)
        self.spans = [range(i, min(i + batch, size)) for i in range(0, size, batch)] or [range(0)]
        self.done: dict[int, Queries | Ranking] = {}

    def ranking(self, number: int) -> Ranking:
        """Return the ranking that a step made."""
        value = self.done[number]
        assert isinstance(value, Ranking)  # noqa: S101 - the plan says so
        return value

    def text(self, number: int) -> Queries:
        """Return the queries that a step made."""
        value = self.done[number]
        assert isinstance(value, Queries)  # noqa: S101 - the plan says so
        return value

    def run(self, step: Step) -> Queries | Ranking:
        """Return the result of a step whose inputs are done."""
        match step:
            case Given():
                return self.queries
            case Retrieve((queries,), stage, depth):
                return self._retrieve(stage, self.text(queries), depth)
            case Rescore((queries, ranking), stage, limit):
                return self._rescore(stage, self.text(queries), self.ranking(ranking), limit)
            case Rewrite((queries, *ranking), stage):
                return self._rewrite(stage, State(self.text(queries), self.ranking(ranking[0]) if ranking else None))
            case Group((ranking,), stage):
                grouped: Ranking = stage.object.group(self.ranking(ranking))
                _same_queries(stage.name, self.ranking(ranking).query_ids, grouped.query_ids)
                return grouped
            case Keep((ranking,), k):
                return self.ranking(ranking).cut(k)
            case Weigh((ranking,), weight):
                return _weigh(self.ranking(ranking), weight)
            case AddUp(inputs, weights, norm, missing):
                return fusion.weighted_sum([self.ranking(i) for i in inputs], weights, norm, missing)
            case FuseRanks(inputs, k):
                return fusion.reciprocal_rank_fusion([self.ranking(i) for i in inputs], k)
            case RoundRobin(inputs):
                return fusion.interleave([self.ranking(i) for i in inputs])
            case _:
                raise TypeError(f"no such step: {step!r}")

    def _retrieve(self, stage: Stage, queries: Queries, depth: int) -> Ranking:
        self.listener(Started(stage.name, len(queries), "queries"))
        parts = []
        for span in self.spans:
            part = queries if len(span) == len(queries) else queries.take(span)
            found = stage.object.retrieve(part, depth, mask=self.mask).cut(depth)
            _same_queries(stage.name, part.ids, found.query_ids)
            parts.append(found)
            self.listener(Advanced(stage.name, len(span)))
        self.listener(Finished(stage.name))
        return join(parts)

    def _rescore(self, stage: Stage, queries: Queries, ranking: Ranking, limit: int | None) -> Ranking:
        searches = self.mask is not None and isinstance(stage.object, SearchingRescorer)
        scorer = _Within(stage.object, self.mask) if searches else stage.object
        self.listener(Started(stage.name, len(queries), "queries"))
        parts = []
        for span in self.spans:
            whole = len(span) == len(queries)
            part, candidates = (queries, ranking) if whole else (queries.take(span), ranking.take(span))
            scored = rescore_top(scorer, part, candidates, limit, name=stage.name)
            parts.append(scored)
            self.listener(Advanced(stage.name, len(span)))
        self.listener(Finished(stage.name))
        return join(parts)

    def _rewrite(self, stage: Stage, state: State) -> Queries:
        size = len(state.queries)
        self.listener(Started(stage.name, size, "queries"))
        rewritten: Queries = stage.object.rewrite(state)
        _same_queries(stage.name, state.queries.ids, rewritten.ids)
        self.listener(Advanced(stage.name, size))
        self.listener(Finished(stage.name))
        return rewritten


class _Within:
    """A rescorer whose own search keeps to a mask."""

    def __init__(self, stage: SearchingRescorer, mask: Any) -> None:
        self._stage, self._mask = stage, mask

    def rescore(self, queries: Queries, ranking: Ranking) -> Ranking:
        return self._stage.rescore_within(queries, ranking, self._mask)


def rescore_top(
    stage: Rescorer, queries: Queries, ranking: Ranking, limit: int | None = None, *, name: str = "rescorer"
) -> Ranking:
    """Re-score the first `limit` candidates a query (all, if None); the rest follows below in its old order.

    The rest keeps its distances, to each other and to the last candidate of the old order that was re-scored: each list's rest is
    moved by one constant, the lowest new score minus that candidate's old one. What would then still tie with the lowest new
    score goes to the next float64 below it.

    Raises:
        DataError: the stage returned other queries, or lost or added rows.
        SpaceMismatchError: it returned rows of another document space.
    """
    top = ranking if limit is None else ranking.cut(limit)
    scored = stage.rescore(queries, top)
    scored.require_space(top.space)
    _same_queries(name, top.query_ids, scored.query_ids)
    wrong = np.flatnonzero(np.diff(scored.offsets) != np.diff(top.offsets))
    if len(wrong):
        at = int(wrong[0])
        raise DataError(
            f"{name} returned {len(scored.at(at)[0])} rows for the {len(top.at(at)[0])} candidates of query "
            f"{top.query_ids[at]!r}: a re-scoring stage adds and drops none"
        )
    scored = replace(scored, partial=scored.partial | ranking.partial)
    if limit is None or len(top.rows) == len(ranking.rows):
        return scored
    lengths = np.diff(ranking.offsets)
    below = np.arange(len(ranking.rows)) - np.repeat(ranking.offsets[:-1], lengths) >= limit
    cut = np.flatnonzero(lengths > limit)
    lowest = scored.scores[scored.offsets[cut + 1] - 1]
    shift = lowest - ranking.scores[ranking.offsets[cut] + limit - 1]
    counts = lengths[cut] - limit
    rows, scores = ranking.rows.copy(), ranking.scores.copy()
    rows[~below], scores[~below] = scored.rows, scored.scores
    moved = scores[below] + np.repeat(shift, counts)
    scores[below] = np.minimum(moved, np.repeat(np.nextafter(lowest, -np.inf), counts))
    return replace(scored, offsets=ranking.offsets, rows=rows, scores=scores)


def run(
    pipeline: PipelineLike,
    source: PartSource,
    queries: Queries,
    k: int,
    *,
    mask: RowMask | None = None,
    listener: Listener = ignore,
) -> Ranking:
    """Run one pipeline over `source`; to run several, or again, keep a `Runner`, which keeps the opened models."""
    return Runner(source).run(pipeline, queries, k, mask=mask, listener=listener)


def run_many(
    pipelines: Sequence[PipelineLike],
    source: PartSource,
    queries: Queries,
    k: int,
    *,
    mask: RowMask | None = None,
    listener: Listener = ignore,
) -> list[Ranking]:
    """Run several pipelines over `source`, shared work once; see `Runner.run_many`."""
    return Runner(source).run_many(pipelines, queries, k, mask=mask, listener=listener)


def _weigh(ranking: Ranking, weight: float) -> Ranking:
    scores = ranking.scores * weight
    return replace(ranking, scores=scores) if weight > 0 else ranking.with_scores(scores)


def _same_queries(name: str, given: tuple[str, ...], returned: tuple[str, ...]) -> None:
    if given != returned:
        odd = next((i for i, (a, b) in enumerate(zip(given, returned, strict=False)) if a != b), None)
        found = f"{len(returned)} queries for {len(given)}" if odd is None else f"{returned[odd]!r} for {given[odd]!r}"
        raise DataError(f"{name} returned {found}: a stage keeps the query ids and their order")


def join(parts: Sequence[Ranking]) -> Ranking:
    """Put the rankings of consecutive batches of queries one after another."""
    first = parts[0]
    if len(parts) == 1:
        return first
    for part in parts:
        part.require_space(first.space)
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    return Ranking(
        first.space,
        tuple(query for part in parts for query in part.query_ids),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.partial for part in parts]),
    )
