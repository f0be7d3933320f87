"""What a system costs: how long one query takes, how many a second, what its models read, how much of the index it needs.

Topics are drawn under a seed and asked one by one, as a user asks, after a first one that opens everything; then all in one
batch. Caches of scores are off, and every query is encoded, also one that was asked just before. Rounds go system by system, so
that a machine that slows down slows all alike.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from tamis.errors import UsageError
from tamis.eval.laboratory.experiment import CostRules
from tamis.events import Advanced, Finished, Listener, Started, ignore
from tamis.families import Address
from tamis.indexer.layout import Manifest
from tamis.indexer.sizes import sizes_of
from tamis.pipeline import Pipeline, Runner, with_option
from tamis.pipeline.names import split_depth
from tamis.pipeline.steps import Plan
from tamis.ranking import Queries
from tamis.stages import DocumentView, PartSource, RowMask

MEASURED = 2
"""Of what costs mean; raised when it changes, so that remembered ones are measured again."""

_BASE = "segments"  # ids and texts, which every system needs
_SHARED = " (shared)"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one system costs a query.

    Attributes:
        topics: asked.
        rounds: how often each.
        p50_ms: median milliseconds of one query, of every topic's median over the rounds.
        p95_ms: 95th percentile of the same (the largest, of fewer than 20 topics).
        queries_per_second: of all topics in one batch, median over the rounds.
        model_ms: milliseconds a query in models, encoders of queries and rerankers; None where there are none.
        tokens: that the models read a query; None where none counts them.
        index_bytes: of what the system reads: documents and parts.
        parts: the rooms and parts that were counted.
    """

    topics: int
    rounds: int
    p50_ms: float
    p95_ms: float
    queries_per_second: float
    model_ms: float | None
    tokens: float | None
    index_bytes: int | None
    parts: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "parts": list(self.parts)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Cost:
        """Build from JSON values."""
        return cls(**{**value, "parts": tuple(value["parts"])})


class PartLog:
    """A source of parts that notes which ones each model asks for.

    Args:
        source: an open index.
    """

    def __init__(self, source: PartSource) -> None:
        self.source = source
        self.asked: dict[str, set[str]] = {}
        self.opening = ""

    @property
    def documents(self) -> DocumentView:
        """The documents."""
        return self.source.documents

    def part(self, name: str) -> Any:
        """Return a part, and note that it was asked for."""
        self.asked.setdefault(self.opening, set()).add(name)
        return self.source.part(name)

    def models(self) -> Mapping[str, str]:
        """Return the encoded parts."""
        return self.source.models()

    def parts_of(self, pipeline: Pipeline) -> list[str]:
        """Return the parts that the models of a pipeline asked for when they were opened."""
        names: set[str] = set()
        for node in pipeline.walk():
            address = getattr(node, "address", None)
            if address is not None:
                names |= self.asked.get(str(split_depth(address)[0]), set())
        return sorted(names)


class LoggingRunner(Runner):
    """A runner that knows which parts its models read.

    Args:
        log: notes them.
        batch: as for `Runner`.
    """

    def __init__(self, log: PartLog, **options: Any) -> None:
        super().__init__(log, **options)
        self.log = log

    def open(self, address: Address) -> Any:
        """Return the stage that `address` names."""
        self.log.opening = str(address)
        return super().open(address)


class Spender(Protocol):
    """A stage that says what it has cost so far."""

    def cost(self) -> Mapping[str, Any]:
        """Return counts and seconds by name."""


def draw(queries: Queries, rules: CostRules) -> Queries:
    """Return the topics that are asked, in the order in which they stand."""
    count = min(rules.topics, len(queries))
    chosen = np.random.default_rng(rules.seed).choice(len(queries), count, replace=False)
    return queries.take(sorted(chosen.tolist()))


def measure_costs(
    runner: LoggingRunner,
    pipelines: Mapping[str, str],
    queries: Queries,
    k: int,
    rounds: int,
    *,
    manifest: Manifest | None = None,
    mask: RowMask | None = None,
    listener: Listener = ignore,
) -> dict[str, Cost]:
    """Measure systems on one machine, in turns.

    Args:
        runner: over the index; rerankers that it opened with caches stay as they are, and are opened anew without.
        pipelines: by name of the system.
        queries: the topics to ask, at least one.
        k: results a query.
        rounds: how often.
        manifest: of the index; None where it has none.
        mask: rows that may be found.
        listener: hears of every system's round.
    """
    plans = {name: runner.plan([_uncached(Pipeline.of(text))], k) for name, text in pipelines.items()}
    singles = [queries.take([i]) for i in range(len(queries))]
    stage = "costs measured"
    listener(Started(stage, rounds * len(plans), "rounds of a system"))
    times: dict[str, list[list[float]]] = {name: [] for name in plans}
    rates: dict[str, list[float]] = {name: [] for name in plans}
    spent: dict[str, tuple[float, float] | None] = {}
    for turn in range(rounds):
        for name, plan in plans.items():
            if not turn:
                runner.execute(plan, queries.take([len(queries) - 1]), mask=mask)
            before = _spent(plan)
            times[name].append([_seconds(runner, plan, one, mask) for one in singles])
            after = _spent(plan)
            spent[name] = None if before is None or after is None else (after[0] - before[0], after[1] - before[1])
            rates[name].append(len(queries) / _seconds(runner, plan, queries, mask))
            listener(Advanced(stage))
    listener(Finished(stage))
    sizes = sizes_of(manifest) if manifest is not None else {}
    costs = {}
    for name, plan in plans.items():
        typical = np.median(np.array(times[name]), axis=0) * 1000
        used = spent[name]
        parts = [_BASE, *runner.log.parts_of(plan.pipelines[0])]
        rooms = [room for room in sizes if room.removesuffix(_SHARED) in parts]
        costs[name] = Cost(
            topics=len(queries),
            rounds=rounds,
            p50_ms=float(np.median(typical)),
            p95_ms=float(np.quantile(typical, 0.95, method="higher")),
            queries_per_second=float(np.median(rates[name])),
            model_ms=None if used is None else 1000 * used[0] / len(queries),
            tokens=None if used is None or not used[1] else used[1] / len(queries),
            index_bytes=sum(sizes[room] for room in rooms) if sizes else None,
            parts=tuple(rooms),
        )
    return costs


def _uncached(pipeline: Pipeline) -> Pipeline:
    try:
        return with_option(pipeline, "cache", "false")
    except UsageError:  # no model of it has a cache
        return pipeline


def _seconds(runner: Runner, plan: Plan, queries: Queries, mask: RowMask | None) -> float:
    for stage in _stages(plan):
        if hasattr(stage, "forget"):
            stage.forget()
    begun = time.perf_counter()
    runner.execute(plan, queries, mask=mask)
    return time.perf_counter() - begun


def _spent(plan: Plan) -> tuple[float, float] | None:
    """Model seconds and tokens of a plan's stages so far; None where it has no model."""
    costs = [cost for stage in _stages(plan) if hasattr(stage, "cost") if (cost := stage.cost())]
    if not costs:
        return None
    return (
        float(sum(cost.get("model_seconds") or 0.0 for cost in costs)),
        float(sum(cost.get("tokens") or 0 for cost in costs)),
    )


def _stages(plan: Plan) -> list[Any]:
    """Return the distinct stages that a plan runs."""
    stages: Sequence[Any] = [step.stage.object for step in plan.steps if hasattr(step, "stage")]
    return list({id(stage): stage for stage in stages}.values())
