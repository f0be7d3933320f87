"""Running a plan with a memory: what a step once made of a query is not made again.

Only work that costs is remembered: retrieving and re-scoring. A result is known by its content: the whole chain of steps that
leads to it, each stage by an identity that its caller vouches for, and the query. What is asked for is worked out backwards, so
that a step runs only for queries whose result nobody remembers, and a step behind which everything is remembered not at all.
Fusions, cuts and groups are made anew; they cost next to nothing.

What a model makes of a query must not depend on the other queries of a batch, which every family promises (to rounding).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tamis.events import Event, Finished, Listener, Started, ignore
from tamis.files import sha256_json
from tamis.pipeline.runner import Runner, Work, join
from tamis.pipeline.steps import Given, Group, Keep, Plan, Rescore, Retrieve, Stage, Step
from tamis.ranking import Queries, Ranking, Rows, Scores
from tamis.stages import RowMask

Lists = Sequence[tuple[Rows, Scores] | None]


@dataclass(frozen=True, slots=True)
class StepKey:
    """What a step's results are known by.

    Attributes:
        step: number of the step in its plan.
        name: what is done, for people.
        digest: hex digest of the chain of steps that leads here, without the depth of a retriever.
        depth: results a query that are wanted of a retriever; deeper ones serve too. None: the list is what it is.
    """

    step: int
    name: str
    digest: str
    depth: int | None


class Memory(Protocol):
    """Remembers lists by step and query."""

    def recall(self, key: StepKey, queries: Queries) -> Lists:
        """Return for each query its list, cut to the key's depth, or None where there is none as deep."""

    def keep(self, key: StepKey, queries: Queries, ranking: Ranking, seconds: float) -> None:
        """Remember the lists of some queries, which took `seconds` together; lists that are partial are not kept."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a remembered step cost.

    Attributes:
        key: the step.
        computed: queries that it ran for.
        recalled: queries whose list was remembered.
        seconds: that it ran.
    """

    key: StepKey
    computed: int
    recalled: int
    seconds: float


def step_keys(plan: Plan, scope: str, identity: Callable[[Stage], str | None]) -> list[StepKey | None]:
    """Return for each step of a plan what its results are known by; None for those that are not remembered.

    Args:
        plan: the plan.
        scope: what the plan runs over: documents, filter, version of the code.
        identity: says what a stage is, by content; None for one of which that is not known.
    """
    chains: list[str | None] = []
    keys: list[StepKey | None] = []
    grouped: list[bool] = []
    for number, step in enumerate(plan.steps):
        own, depth = _spelling(step, identity), None
        inputs = [chains[i] for i in step.inputs]
        known = own is not None and None not in inputs
        digest = sha256_json([scope, own, inputs]) if known else None
        grouped.append(isinstance(step, Group) or any(grouped[i] for i in step.inputs))
        if isinstance(step, Retrieve) and not _depth_dependent(step.stage):
            depth = step.depth
        worth = isinstance(step, (Retrieve, Rescore)) and not grouped[-1]
        keys.append(StepKey(number, str(step), digest, depth) if worth and digest is not None else None)
        if digest is not None and depth is not None:
            digest = f"{digest}[:{depth}]"
        if isinstance(step, Keep) and inputs[0] is not None and "[:" in inputs[0]:
            # a cut of a retriever is the retriever at that depth: the same chain in every plan
            head, _, limit = inputs[0].partition("[:")
            digest = f"{head}[:{min(step.k, int(limit[:-1]))}]"
        chains.append(digest)
    return keys


def _spelling(step: Step, identity: Callable[[Stage], str | None]) -> str | None:
    stage = getattr(step, "stage", None)
    if not isinstance(stage, Stage):
        return str(replace(step, inputs=(0,) * len(step.inputs)))
    known = identity(stage)
    if known is None:
        return None
    limits = {"limit": step.limit} if isinstance(step, Rescore) else {}
    if isinstance(step, Retrieve) and _depth_dependent(stage):
        limits["depth"] = step.depth
    return sha256_json([type(step).__name__, known, limits])


def _depth_dependent(stage: Stage) -> bool:
    return bool(getattr(stage.object, "depth_dependent", False))


def execute_remembered(
    runner: Runner,
    plan: Plan,
    queries: Queries,
    memory: Memory,
    keys: Sequence[StepKey | None],
    *,
    mask: RowMask | None = None,
    listener: Listener = ignore,
) -> tuple[list[Ranking], list[Done]]:
    """Run a plan made by `runner`, asking a memory first and telling it what was made, batch by batch.

    Args:
        runner: made the plan.
        plan: what to run.
        queries: the queries.
        memory: what is remembered; what was kept before an interrupt is not made again.
        keys: of the steps, see `step_keys`.
        mask: as in `Runner.run_many`.
        listener: hears of the work that is done.

    Returns:
        the ranking of every pipeline, and what every step that is remembered cost.
    """
    work = _RememberedWork(runner, plan, queries, memory, keys, mask, listener)
    work.ask()
    for number in range(len(plan.steps)):
        work.make(number)
    return [work.result(i) for i in plan.outputs], work.costs


class _RememberedWork:
    def __init__(
        self,
        runner: Runner,
        plan: Plan,
        queries: Queries,
        memory: Memory,
        keys: Sequence[StepKey | None],
        mask: RowMask | None,
        listener: Listener,
    ) -> None:
        self.runner, self.plan, self.queries, self.memory, self.keys = runner, plan, queries, memory, keys
        self.mask, self.listener = mask, listener
        self.wanted = [np.zeros(len(queries), np.bool_) for _ in plan.steps]
        self.recalled: dict[int, Lists] = {}
        self.missing: dict[int, NDArray[np.bool_]] = {}
        self.made: dict[int, Queries | Ranking] = {}
        self.costs: list[Done] = []

    def ask(self) -> None:
        """Find out, from the outputs back, which queries every step must be run for."""
        for output in self.plan.outputs:
            self.wanted[output][:] = True
        for number in reversed(range(len(self.plan.steps))):
            step, key, wanted = self.plan.steps[number], self.keys[number], self.wanted[number]
            asked = wanted
            if key is not None and wanted.any():
                places = np.flatnonzero(wanted)
                found = self.memory.recall(key, self.queries.take(places.tolist()))
                lists: list[tuple[Rows, Scores] | None] = [None] * len(self.queries)
                for place, one in zip(places.tolist(), found, strict=True):
                    lists[place] = one
                self.recalled[number] = lists
                asked = wanted & np.fromiter((one is None for one in lists), np.bool_, len(lists))
            self.missing[number] = asked
            for i in step.inputs:
                self.wanted[i] |= asked

    def make(self, number: int) -> None:
        """Run a step for the queries that it must be run for; its inputs have been."""
        step, key, missing = self.plan.steps[number], self.keys[number], np.flatnonzero(self.missing[number])
        if isinstance(step, Given):
            self.made[number] = self.queries.take(missing.tolist())
            return
        if key is None:
            if len(missing):
                self.made[number] = self._run(number, missing, self.listener)
            return
        recalled = int(self.wanted[number].sum()) - len(missing)
        if not len(missing):
            if recalled:
                self.costs.append(Done(key, 0, recalled, 0.0))
            return
        parts, spent = [], 0.0
        assert isinstance(step, (Retrieve, Rescore))  # noqa: S101 - only these have keys
        self.listener(Started(step.stage.name, len(missing), "queries"))
        for first in range(0, len(missing), self.runner.batch):
            places = missing[first : first + self.runner.batch]
            begun = time.perf_counter()
            part = self._run(number, places, self._only_advances)
            seconds = time.perf_counter() - begun
            assert isinstance(part, Ranking)  # noqa: S101 - such steps make rankings
            self.memory.keep(key, self.queries.take(places.tolist()), part, seconds)
            parts.append(part)
            spent += seconds
        self.listener(Finished(step.stage.name))
        self.made[number] = join(parts)
        self.costs.append(Done(key, len(missing), recalled, spent))

    def _only_advances(self, event: Event) -> None:
        if not isinstance(event, (Started, Finished)):  # of a batch: the step's own are told once
            self.listener(event)

    def _run(self, number: int, places: NDArray[np.int64], listener: Listener) -> Queries | Ranking:
        step = self.plan.steps[number]
        work = Work(self.queries.take(places.tolist()), self.mask, listener, self.runner.batch)
        for i in step.inputs:
            work.done[i] = self._of(i, places)
        return work.run(step)

    def _of(self, number: int, places: NDArray[np.int64]) -> Queries | Ranking:
        """What a step made of some queries, remembered or not."""
        made = self.made.get(number)
        if isinstance(made, Queries):
            asked = np.flatnonzero(self.missing[number])
            return made if len(asked) == len(places) else made.take(np.searchsorted(asked, places).tolist())
        return self._ranking(number, places)

    def _ranking(self, number: int, places: NDArray[np.int64]) -> Ranking:
        made, asked = self.made.get(number), np.flatnonzero(self.missing[number])
        assert made is None or isinstance(made, Ranking)  # noqa: S101 - the plan says so
        if made is not None and len(asked) == len(places):
            return made
        recalled = self.recalled.get(number)
        position = dict(zip(asked.tolist(), range(len(asked)), strict=True))
        lists, partial = [], []
        for place in places.tolist():
            one = None if recalled is None else recalled[place]
            if one is not None:
                lists.append(one)
                partial.append(False)
            else:
                assert made is not None  # noqa: S101 - what is not remembered was made
                lists.append(made.at(position[place]))
                partial.append(bool(made.partial[position[place]]))
        space = made.space if made is not None else self.runner.source.documents
        return Ranking.from_lists(space, [self.queries.ids[i] for i in places.tolist()], lists, partial=partial)

    def result(self, number: int) -> Ranking:
        """The ranking of a pipeline."""
        return self._ranking(number, np.arange(len(self.queries)))
