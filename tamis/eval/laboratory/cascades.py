"""Choosing a pipeline under a budget of time: first stages, rerankers and depths, tried on one half of the topics.

Cascades are tried from shallow to deep; one whose shallower sister is beyond the budget already is not tried, since it cannot be
faster. The best within the budget on the development half is then measured anew on the other half, which had no part in the
choice: that is what it is recommended on. What is tried for quality is remembered (`tamis.eval.laboratory.store`); times are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.engine import Index
from tamis.errors import DataError, UsageError
from tamis.eval.compare import Difference, compare
from tamis.eval.evaluate import evaluate
from tamis.eval.halves import halves
from tamis.eval.judgements import QrelsLike
from tamis.eval.laboratory.costs import Cost, draw, measure_costs
from tamis.eval.laboratory.experiment import CostRules
from tamis.eval.laboratory.site import Site, require_models
from tamis.eval.laboratory.store import Store
from tamis.eval.measures import Measure
from tamis.eval.pareto import frontier
from tamis.events import Advanced, Finished, Listener, Started, ignore
from tamis.pipeline import Model, Pipeline, check
from tamis.pipeline.names import split_depth
from tamis.pipeline.remembered import execute_remembered
from tamis.ranking import Queries

DEPTHS = (10, 20, 50, 100, 200)
_HOPELESS = 4.0
"""A cascade that takes so many budgets is not run over all topics for its quality: it could not be chosen."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a pipeline is chosen.

    Attributes:
        measure: to maximise.
        budget_ms: that the 95th percentile of one query's time may take.
        depths: how deep rerankers are tried.
        k: results a query.
        cost: how time is measured.
        seed: of the split of the topics.
    """

    measure: Measure
    budget_ms: float
    depths: tuple[int, ...] = DEPTHS
    k: int = 1000
    cost: CostRules = field(default_factory=CostRules)
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.budget_ms > 0:
            raise UsageError(f"budget of {self.budget_ms} ms: a time above 0 is needed")
        if not self.depths or min(self.depths) < 1:
            raise UsageError(f"depths {list(self.depths)}: at least one is needed, and each must be at least 1")
        if self.cost.topics < 1:
            raise UsageError("no topics to measure time on: at least 1 is needed")


@dataclass(frozen=True, slots=True)
class Tried:
    """One pipeline on the development topics.

    Attributes:
        pipeline: canonical spelling.
        mean: of the measure; None where it was too slow to be run over all topics.
        cost: measured.
    """

    pipeline: str
    mean: float | None
    cost: Cost

    def within(self, budget_ms: float) -> bool:
        """Whether a query's time keeps to the budget."""
        return self.cost.p95_ms <= budget_ms

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"pipeline": self.pipeline, "mean": self.mean, "cost": self.cost.to_json()}


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The recommended pipeline on topics that had no part in its choice.

    Attributes:
        query_ids: the topics.
        mean: of the measure.
        baseline_mean: of the first stage that it is compared with.
        difference: to that first stage; None where it is that first stage.
        cost: measured anew.
        within: whether a query's time keeps to the budget here too.
    """

    query_ids: tuple[str, ...]
    mean: float
    baseline_mean: float
    difference: Difference | None
    cost: Cost
    within: bool

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "query_ids": list(self.query_ids),
            "mean": self.mean,
            "baseline_mean": self.baseline_mean,
            "difference": None if self.difference is None else asdict(self.difference),
            "cost": self.cost.to_json(),
            "within": self.within,
        }


@dataclass(frozen=True, slots=True)
class CascadeTuning:
    """The outcome.

    Attributes:
        rules: how it was chosen.
        baseline: the first of the first stages.
        tried: every pipeline, in the order in which they were tried.
        skipped: those that were not, since a shallower sister is beyond the budget.
        query_ids: the development topics: they are spent.
        recommended: the best within the budget; None where nothing is.
        confirmation: of that one.
    """

    rules: Rules
    baseline: str
    tried: tuple[Tried, ...]
    skipped: tuple[str, ...]
    query_ids: tuple[str, ...]
    recommended: Tried | None
    confirmation: Confirmation | None

    @property
    def frontier(self) -> list[str]:
        """The pipelines that no other beats in time and quality, fastest first."""
        return frontier({one.pipeline: (one.cost.p95_ms, one.mean) for one in self.tried if one.mean is not None})

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "measure": self.rules.measure.name,
            "budget_ms": self.rules.budget_ms,
            "baseline": self.baseline,
            "tuned_on": {"queries": len(self.query_ids), "query_ids": list(self.query_ids), "seed": self.rules.seed},
            "tried": [one.to_json() for one in self.tried],
            "skipped": list(self.skipped),
            "frontier": self.frontier,
            "recommended": None if self.recommended is None else self.recommended.to_json(),
            "confirmation": None if self.confirmation is None else self.confirmation.to_json(),
        }


def first_stages(index: Index) -> list[str]:
    """Return what can stand at the head over an index: ``bm25``, its encoded parts, and their fusions with ``bm25``."""
    heads = list(dict.fromkeys(index.models().values()))
    return ["bm25", *heads, *(f"rrf(bm25, {head})" for head in heads)]


def ladders(firsts: Sequence[str], rerankers: Sequence[str], depths: Sequence[int]) -> list[list[str]]:
    """Return the cascades to try: each list goes from the fastest to the slowest, by construction.

    A reranker re-scores the first n of a first stage; the rest follows below. With several rerankers, given from cheap to dear,
    each two neighbours also make cascades of three stages, the dear one on fewer candidates than the cheap one.
    """
    rising = sorted(set(depths))
    made = [[first] for first in firsts]
    made += [
        [str(Pipeline.of(first) >> _deep(reranker, depth)) for depth in rising]
        for first in firsts
        for reranker in rerankers
    ]
    made += [
        [str(Pipeline.of(first) >> _deep(cheap, wide) >> _deep(dear, depth)) for depth in rising if depth < wide]
        for first in firsts
        for cheap, dear in pairwise(rerankers)
        for wide in rising[1:]
    ]
    return made


def tune_cascade(
    index: Index,
    queries: Queries,
    qrels: QrelsLike,
    firsts: Sequence[str],
    rerankers: Sequence[str],
    rules: Rules,
    store: Store,
    *,
    filter: str | None = None,  # noqa: A002 - the word that users know
    listener: Listener = ignore,
) -> CascadeTuning:
    """Find the best pipeline within a budget of time.

    Args:
        index: open.
        queries: topics.
        qrels: judgements; topics without are left out.
        firsts: pipelines at the head; the first of them is the baseline.
        rerankers: addresses of models that re-score, from cheap to dear.
        rules: how to choose.
        store: remembers what was run.
        filter: which documents may be found.
        listener: hears of the work.

    Raises:
        UsageError: a pipeline is wrong, or there is nothing to choose from.
        DataError: fewer than four topics are judged: two halves of two are needed.
    """
    if not firsts:
        raise UsageError("no first stages: at least one is needed")
    for text in (*firsts, *rerankers):
        check(Pipeline.of(text))
        require_models(Pipeline.of(text))
    judged = [i for i, query_id in enumerate(queries.ids) if query_id in qrels]
    if len(judged) < 4:
        raise DataError(
            f"{len(judged)} of the {len(queries)} topics are judged: choosing and confirming needs at least 4"
        )
    own = queries.take(judged)
    development, held_out = (own.take(half.tolist()) for half in halves(len(own), rules.seed))
    steps = ladders(firsts, rerankers, rules.depths)
    site = Site.over(index, filter)
    site.runner.plan([ladder[0] for ladder in steps if ladder], rules.k)  # all names and models, before any work
    tried, skipped = _try(site, development, qrels, steps, rules, store, listener)
    baseline = str(Pipeline.of(firsts[0]))
    allowed = [one for one in tried if one.mean is not None and one.within(rules.budget_ms)]
    best = max(allowed, key=lambda one: (round(one.mean or 0.0, 10), -one.cost.p95_ms), default=None)
    confirmed = None
    if best is not None:
        confirmed = _confirm(site, held_out, qrels, best.pipeline, baseline, rules, store, listener)
    return CascadeTuning(rules, baseline, tuple(tried), tuple(skipped), development.ids, best, confirmed)


def _try(
    site: Site,
    queries: Queries,
    qrels: QrelsLike,
    steps: Sequence[Sequence[str]],
    rules: Rules,
    store: Store,
    listener: Listener,
) -> tuple[list[Tried], list[str]]:
    stage = "pipelines tried"
    listener(Started(stage, sum(map(len, steps)), "pipelines"))
    sample = draw(queries, rules.cost)
    tried: list[Tried] = []
    skipped: list[str] = []
    for ladder in steps:
        over = False
        for pipeline in ladder:
            if over:
                skipped.append(pipeline)
            else:
                cost = _cost(site, pipeline, sample, rules)
                hopeless = cost.p95_ms > _HOPELESS * rules.budget_ms
                values = None if hopeless else _values(site, [pipeline], queries, qrels, rules, store, listener)
                tried.append(Tried(pipeline, None if values is None else float(values[pipeline].mean()), cost))
                over = cost.p95_ms > rules.budget_ms
            listener(Advanced(stage))
    listener(Finished(stage))
    return tried, skipped


def _cost(site: Site, pipeline: str, sample: Queries, rules: Rules) -> Cost:
    return measure_costs(
        site.runner, {"": pipeline}, sample, rules.k, rules.cost.rounds, manifest=site.manifest, mask=site.mask
    )[""]


def _values(
    site: Site,
    pipelines: Sequence[str],
    queries: Queries,
    qrels: QrelsLike,
    rules: Rules,
    store: Store,
    listener: Listener,
) -> Mapping[str, NDArray[np.float64]]:
    plan = site.runner.plan(pipelines, rules.k)
    keys = site.keys(plan, store)
    rankings, _ = execute_remembered(site.runner, plan, queries, store, keys, mask=site.mask, listener=listener)
    own = {query_id: qrels[query_id] for query_id in queries.ids}
    evaluation = evaluate(own, dict(zip(pipelines, rankings, strict=True)), rules.measure)
    return {pipeline: evaluation.per_query(pipeline, rules.measure) for pipeline in pipelines}


def _confirm(
    site: Site,
    queries: Queries,
    qrels: QrelsLike,
    pipeline: str,
    baseline: str,
    rules: Rules,
    store: Store,
    listener: Listener,
) -> Confirmation:
    names = list(dict.fromkeys([baseline, pipeline]))
    plan = site.runner.plan(names, rules.k)
    rankings, _ = execute_remembered(
        site.runner, plan, queries, store, site.keys(plan, store), mask=site.mask, listener=listener
    )
    own = {query_id: qrels[query_id] for query_id in queries.ids}
    evaluation = evaluate(own, dict(zip(names, rankings, strict=True)), rules.measure)
    difference = compare(evaluation, baseline).of(pipeline, rules.measure) if len(names) > 1 else None
    cost = _cost(site, pipeline, draw(queries, rules.cost), rules)
    return Confirmation(
        query_ids=queries.ids,
        mean=evaluation.mean(pipeline, rules.measure),
        baseline_mean=evaluation.mean(baseline, rules.measure),
        difference=difference,
        cost=cost,
        within=cost.p95_ms <= rules.budget_ms,
    )


def _deep(reranker: str, depth: int) -> str:
    address, given = split_depth(str(reranker))
    if given is not None:
        raise UsageError(f"{reranker}: the depths are what is tried; leave depth= out")
    options = tuple(sorted((*address.options, ("depth", str(depth)))))
    return str(Model(str(replace(address, options=options))))
