"""From expressions to steps: who retrieves, who re-scores, how deep, and what is shared.

The rules:

- A model retrieves while there is no ranking yet (at the head, or inside a fusion at the head); after ``>>`` it re-scores.
- A retriever at the head goes as deep as the cut on it, or else to the `k` of the whole run; so does a fusion at the head. The
  inputs of a fusion at the head go as deep as their own cut, or else to `k`, at least `FUSION_DEPTH`.
- A stage that groups rows into documents is given at least `FUSION_DEPTH` rows a query where no cut says otherwise.
- ``?depth=n`` on a re-scoring model limits it to the first n candidates; the rest follows below, see `rescore_top`.
- A query stage changes the queries of the stages after it in the same chain; the ranking stays. Behind a fusion the queries are
  again those that entered it.
- Equal work is one step, within a pipeline and across the pipelines of a plan. Equal retrievers at several depths run once,
  at the deepest, and are cut; a retriever whose first 100 of 1000 are not its best 100 (an approximate search that looks
  harder for a larger k) opts out with the attribute ``depth_dependent = True``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tamis.errors import UsageError
from tamis.families import Address, family
from tamis.pipeline.expressions import Cut, Interleave, Model, Opened, Pipeline, Rrf, Scale, Sum, Then
from tamis.pipeline.names import split_depth
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
from tamis.ranking import check_k
from tamis.stages import Grouper, QueryStage, Rescorer, Retriever

FUSION_DEPTH = 1000
"""How deep the inputs of a fusion at the head go at least: the depth of TREC runs."""

Opener = Callable[[Address], Any]
"""Opens a model; equal addresses give the same stage object."""


def make_plan(pipelines: Sequence[Pipeline], k: int, opener: Opener) -> Plan:
    """Plan the runs of `pipelines` for `k` results a query.

    Raises:
        UsageError: `k` is below 1, or a stage stands where it cannot work; nothing has run then.
    """
    check_k(k)
    planner = _Planner(opener, k)
    outputs = [planner.output(pipeline) for pipeline in pipelines]
    return Plan(tuple(pipelines), k, *_tidy(planner.deepened(), outputs))


@dataclass(frozen=True, slots=True)
class _Flow:
    """The state between two stages, as step numbers: the queries, and the ranking once there is one."""

    queries: int
    ranking: int | None = None


class _Planner:
    def __init__(self, opener: Opener, k: int) -> None:
        self.opener, self.k = opener, k
        self.steps: list[Step] = []
        self.numbers: dict[Step, int] = {}
        self.depths: dict[int, int] = {}
        self.stages: dict[int, Stage] = {}
        self.given = self.add(Given(()))

    def add(self, step: Step) -> int:
        """Return the number of `step`, which is a new one only if no equal step is there."""
        if step not in self.numbers:
            self.numbers[step] = len(self.steps)
            self.steps.append(step)
        return self.numbers[step]

    def deepened(self) -> list[Step]:
        """Return the steps, every retriever at the largest depth that was asked of it."""
        steps = list(self.steps)
        for number, depth in self.depths.items():
            step = steps[number]
            if isinstance(step, Retrieve):
                steps[number] = replace(step, depth=depth)
        return steps

    def output(self, pipeline: Pipeline) -> int:
        flow = self.apply(pipeline, _Flow(self.given), self.k, self.k)
        return self.add(Keep((self.ranking(flow, pipeline, "a pipeline ends with a ranking"),), self.k))

    def apply(self, node: Pipeline, flow: _Flow, depth: int, base: int) -> _Flow:
        """Add the steps of `node` to what has flowed so far.

        Args:
            node: the expression.
            flow: what enters it.
            depth: results a query wanted of a ranking that is made here, at the head.
            base: the depth for a head on which no cut stands.
        """
        if isinstance(node, (Model, Opened)):
            return self.stage(node, flow, depth)
        if isinstance(node, Then):
            # documents are fewer than the passages that they are made of
            reach = max(base, FUSION_DEPTH) if self.groups(node.second) else base
            middle = self.apply(node.first, flow, reach, reach)
            return self.apply(node.second, middle, depth, base)
        if isinstance(node, Cut):
            inner = self.apply(node.inner, flow, node.k, base)
            ranking = self.ranking(inner, node.inner, "'%' cuts a ranking")
            return replace(inner, ranking=self.add(Keep((ranking,), node.k)))
        if isinstance(node, Scale):
            # The lowest come first under a weight below 0: a cut outside must not choose what is weighed.
            inner = self.apply(node.inner, flow, depth if node.weight > 0 else base, base)
            ranking = self.ranking(inner, node.inner, "a weight multiplies a ranking")
            return replace(inner, ranking=self.add(Weigh((ranking,), node.weight)))
        if isinstance(node, (Sum, Rrf, Interleave)):
            return self.fusion(node, flow, depth, base)
        raise UsageError(f"{node!r} is not a pipeline")

    def groups(self, node: Pipeline) -> bool:
        """Whether `node` is a stage that groups rows, with or without a cut."""
        while isinstance(node, (Cut, Scale)):
            node = node.inner
        if isinstance(node, Model):
            return hasattr(family(split_depth(node.address)[0].family), "group")
        return isinstance(node, Opened) and isinstance(node.stage, Grouper)

    def fusion(self, node: Sum | Rrf | Interleave, flow: _Flow, depth: int, base: int) -> _Flow:
        deep = max(base, FUSION_DEPTH)
        parts = [part for _, part in node.weighted] if isinstance(node, Sum) else node.inputs
        inputs = tuple(
            self.ranking(self.apply(part, flow, deep, deep), part, "a fusion joins rankings") for part in parts
        )
        if isinstance(node, Sum):
            fused = self.add(AddUp(inputs, tuple(w for w, _ in node.weighted), node.norm, node.missing))
        else:
            fused = self.add(FuseRanks(inputs, node.k) if isinstance(node, Rrf) else RoundRobin(inputs))
        return replace(flow, ranking=self.add(Keep((fused,), depth)) if flow.ranking is None else fused)

    def stage(self, node: Model | Opened, flow: _Flow, depth: int) -> _Flow:
        name, limit, found = str(node), None, None
        if isinstance(node, Model):
            address, limit = split_depth(node.address)
            name, found = str(address), self.opener(address)
        else:
            found = node.stage
        stage = self.stages.setdefault(id(found), Stage(name, found))
        if flow.ranking is None and isinstance(found, Retriever):
            if limit is not None:
                raise UsageError(
                    f"{name}: depth limits what is re-scored, but here the model retrieves: write … % {limit} to cut its results"
                )
            return replace(flow, ranking=self.retrieve(stage, flow.queries, depth))
        if flow.ranking is not None and isinstance(found, Rescorer):
            return replace(flow, ranking=self.add(Rescore((flow.queries, flow.ranking), stage, limit)))
        if flow.ranking is not None and isinstance(found, Grouper):
            if limit is not None:
                raise UsageError(f"{name}: depth limits what is re-scored, but this stage groups rows")
            return replace(flow, ranking=self.add(Group((flow.ranking,), stage)))
        if isinstance(found, QueryStage):
            if limit is not None:
                raise UsageError(f"{name}: depth limits what is re-scored, but this stage rewrites the queries")
            reads = (flow.queries,) if flow.ranking is None else (flow.queries, flow.ranking)
            return replace(flow, queries=self.add(Rewrite(reads, stage)))
        if isinstance(found, Rescorer):
            if (reason := getattr(found, "cannot_retrieve", None)) is not None:
                raise reason
            raise UsageError(
                f"{name} re-scores candidates: put a retriever before it, for example bm25 % 100 >> {name}"
            )
        if isinstance(found, Grouper):
            raise UsageError(f"{name} groups results: put a retriever before it, for example bm25 >> {name}")
        if isinstance(found, Retriever):
            raise UsageError(
                f"{name} only retrieves, and cannot re-score what stands before '>>': put it at the head, or fuse the two, "
                f"for example rrf(bm25, {name})"
            )
        raise UsageError(f"{name}: {type(found).__name__} neither retrieves, re-scores, groups nor rewrites queries")

    def retrieve(self, stage: Stage, queries: int, depth: int) -> int:
        if getattr(stage.object, "depth_dependent", False):
            return self.add(Keep((self.add(Retrieve((queries,), stage, depth)),), depth))
        number = self.add(Retrieve((queries,), stage, 0))  # the depth is known when all is planned
        self.depths[number] = max(depth, self.depths.get(number, 0))
        return self.add(Keep((number,), depth))

    def ranking(self, flow: _Flow, node: Pipeline, why: str) -> int:
        if flow.ranking is None:
            raise UsageError(
                f"{why}, but {node} only rewrites the queries: put a retriever after it, e.g. {node} >> bm25"
            )
        return flow.ranking


def _tidy(steps: Sequence[Step], outputs: Sequence[int]) -> tuple[tuple[Step, ...], tuple[int, ...]]:
    """Drop the cuts that can cut nothing, and number the steps anew."""
    kept: list[Step] = []
    longest: list[int] = []  # results a query of each kept step, at most
    new: list[int] = []
    for step in steps:
        step = replace(step, inputs=tuple(new[i] for i in step.inputs))
        most = _longest(step, longest)
        if isinstance(step, Keep) and longest[step.inputs[0]] <= step.k:
            new.append(step.inputs[0])
        else:
            new.append(len(kept))
            kept.append(step)
            longest.append(most)
    return tuple(kept), tuple(new[i] for i in outputs)


def _longest(step: Step, longest: Sequence[int]) -> int:
    if isinstance(step, Retrieve):
        return step.depth
    if isinstance(step, Keep):
        return step.k
    return sum(longest[i] for i in step.inputs)  # queries count nothing; a fused list holds each document once
