"""Does the order of its input decide where a model of candidate lists puts a document?

Tang et al., "Found in the Middle: Permutation Self-Consistency Improves Listwise Ranking in Large Language Models",
NAACL 2024, and Liu et al., "Lost in the Middle", TACL 2024. The same candidates are given in several orders. The bias
of an input slot is how much lower than on average over the orders a document comes out when it is given there; that
compares a document with itself, so that a model that does not see the order has a bias of exactly 0 whatever the orders
are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import DataError
from tamis.eval.diagnosis.agreement import agreement
from tamis.eval.diagnosis.intervals import Mean, spreads
from tamis.eval.diagnosis.models import TextModel
from tamis.eval.diagnosis.orders import (
    FIRST,
    GIVEN,
    LAST,
    MIDDLE,
    REVERSED,
    check_orders,
    input_orders,
    relevance_orders,
)
from tamis.eval.diagnosis.sampling import LEAST, aligned, relevant_ids
from tamis.eval.evaluate import evaluate
from tamis.eval.measures import Measure
from tamis.events import Advanced, Finished, Listener, Started, ignore
from tamis.ranking import Queries, Ranking, Rows
from tamis.stages import DocumentView

GROUPS = 10
"""Rows of the table of slots at most."""

EXPECTED = 5.0
"""First places that chance must give every group of slots before the chi-squared test says anything."""

Orders = Sequence[Mapping[str, NDArray[np.int64]]]
Placed = tuple[NDArray[np.int64], NDArray[np.float64]]
"""[orders, candidates] of a query: the slot that each candidate was given in, and the rank that it came out at; from 1."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Neighbouring slots of the input.

    Attributes:
        first: number of the first slot, from 1.
        last: number of the last.
        bias: ranks that a document loses (above 0) or wins by being given there.
        first_places: share of the shuffled lists whose first result was given there.
        expected: that share where the order does not matter.
    """

    first: int
    last: int
    bias: Mean
    first_places: float | None
    expected: float | None


@dataclass(frozen=True, slots=True)
class Condition:
    """An order of the input and what came of it: means of each measure."""

    name: str
    values: tuple[Mean, ...]


@dataclass(frozen=True)
class OrderBias:
    """What the order of its input is to a model.

    Attributes:
        model: its address.
        kind: ``pairs`` and ``encoder`` models see one document at a time.
        measures: that were computed.
        queries: used.
        left_out: queries with fewer than two candidates.
        depth: candidates of the longest list.
        way: how orders were made.
        orders: how many were made, beside the given one and its reverse.
        seed: of orders and bootstrap.
        slots: from the beginning of the input to its end.
        slope: ranks that a document loses a slot: 0 where the order does not matter, 1 where the input comes back as it is.
        tau: Kendall's tau between the outputs, over all pairs of orders.
        rbo: rank-biased overlap, persistence 0.9.
        overlap: share of the first 10 in common.
        invariant: whether every order gave the same ranking.
        conditions: effectiveness by order.
        spread: standard deviation of each measure over the shuffled or rotated orders.
        p: of the chi-squared test that first places are equally likely from all slots; None where it does not apply.
        partial: lists that the model left unfinished.
        cost: what the model says that it has cost.
    """

    model: str
    kind: str
    measures: tuple[Measure, ...]
    queries: int
    left_out: int
    depth: int
    way: str
    orders: int
    seed: int
    slots: tuple[Slots, ...]
    slope: Mean
    tau: Mean
    rbo: Mean
    overlap: Mean
    invariant: bool
    conditions: tuple[Condition, ...]
    spread: tuple[float, ...]
    p: float | None
    partial: int
    cost: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, unrounded."""
        names = [measure.name for measure in self.measures]
        return {
            "model": self.model,
            "kind": self.kind,
            "measures": names,
            "queries": self.queries,
            "left_out": self.left_out,
            "depth": self.depth,
            "way": self.way,
            "orders": self.orders,
            "seed": self.seed,
            "slots": [
                {
                    "first": slot.first,
                    "last": slot.last,
                    "bias": slot.bias.to_dict(),
                    "first_places": slot.first_places,
                    "expected": slot.expected,
                }
                for slot in self.slots
            ],
            "slope": self.slope.to_dict(),
            "tau": self.tau.to_dict(),
            "rbo": self.rbo.to_dict(),
            "overlap@10": self.overlap.to_dict(),
            "invariant": self.invariant,
            "conditions": {
                one.name: {name: value.to_dict() for name, value in zip(names, one.values, strict=True)}
                for one in self.conditions
            },
            "spread": dict(zip(names, self.spread, strict=True)),
            "p": self.p,
            "partial": self.partial,
            "cost": dict(self.cost),
        }


def order_bias(
    model: TextModel,
    documents: DocumentView,
    queries: Queries,
    candidates: Ranking,
    qrels: Mapping[str, Mapping[str, int]],
    measures: Sequence[Measure],
    *,
    orders: int = 5,
    way: str = "shuffle",
    rel: int = 1,
    seed: int = 0,
    listener: Listener = ignore,
) -> OrderBias:
    """Give a model the same candidates in several orders. A candidate keeps its score of the stage before, whatever its slot.

    Args:
        model: of candidate lists; one of pairs, or an encoder, must come out without bias.
        documents: where texts come from.
        queries: judged ones.
        candidates: over `documents`.
        qrels: judgements.
        measures: to compute.
        orders: how many are made, beside the given one, its reverse, and the relevant documents first, in the middle and last.
        way: ``shuffle`` or ``rotate``.
        rel: least grade of a relevant document.
        seed: of orders and bootstrap.
        listener: hears of the orders that are done.

    Raises:
        UnknownNameError: no such way.
        UsageError: fewer than two orders.
        DataError: fewer than two queries have two candidates.
        ModelError: the model failed.
    """
    check_orders(way, orders)
    candidates = aligned(candidates, queries)
    candidates.require_space(documents)
    kept = np.flatnonzero(np.diff(candidates.offsets) >= LEAST).tolist()
    if len(kept) < LEAST:
        raise DataError(
            f"{len(kept)} of {len(queries)} queries have two candidates, and at least {LEAST} such queries are needed"
        )
    asked, given = queries.take(kept), candidates.take(kept)
    judged = {query: qrels[query] for query in asked.ids}
    plans: Orders = [
        {
            **input_orders(query, len(rows), way, orders, seed),
            **relevance_orders(np.isin(rows, documents.rows(relevant_ids(judged[query], rel)))),
        }
        for query, rows, _ in given.lists()
    ]
    outputs, cost = _outputs(model, documents, asked, given, plans, listener)
    return _summary(model, asked, given, judged, measures, plans, outputs, cost, way, seed, len(queries) - len(kept))


def _outputs(
    model: TextModel, documents: DocumentView, queries: Queries, given: Ranking, plans: Orders, listener: Listener
) -> tuple[dict[str, Ranking], dict[str, Any]]:
    """The model's ranking under every order."""
    stage: Any = model.over(documents)
    names = list(plans[0])
    inputs = {name: _reordered(given, [plan[name] for plan in plans]) for name in names}
    listener(Started("orders", len(names), "orders"))
    if model.kind == "pairs":
        # All at once: every pair is then scored once, and in one batch, so that not even rounding depends on the order.
        size = len(given)
        many = Queries(
            tuple(f"{i}:{query}" for i in range(len(names)) for query in queries.ids), queries.texts * len(names)
        )
        lists = [one.at(i) for one in inputs.values() for i in range(size)]
        found = stage.rescore(many, Ranking.from_lists(given.space, many.ids, lists))
        parts = [found.take(range(i * size, (i + 1) * size)) for i in range(len(names))]
        listener(Advanced("orders", len(names)))
    else:
        parts = []
        for one in inputs.values():
            parts.append(stage.rescore(queries, one))
            listener(Advanced("orders"))
    listener(Finished("orders"))
    outputs = {
        name: Ranking.from_lists(
            part.space, queries.ids, [part.at(i) for i in range(len(part))], partial=part.partial.tolist()
        )
        for name, part in zip(names, parts, strict=True)
    }
    return outputs, stage.cost() if hasattr(stage, "cost") else {}


def _reordered(given: Ranking, orders: Sequence[NDArray[np.int64]]) -> Ranking:
    lists = [(rows[order], scores[order]) for (_, rows, scores), order in zip(given.lists(), orders, strict=True)]
    return Ranking.from_lists(given.space, given.query_ids, lists)


def _summary(
    model: TextModel,
    queries: Queries,
    given: Ranking,
    judged: Mapping[str, Mapping[str, int]],
    measures: Sequence[Measure],
    plans: Orders,
    outputs: Mapping[str, Ranking],
    cost: Mapping[str, Any],
    way: str,
    seed: int,
    left_out: int,
) -> OrderBias:
    blind = [name for name in outputs if name not in (FIRST, MIDDLE, LAST)]  # orders that do not know what is relevant
    made = [name for name in blind if name not in (GIVEN, REVERSED)]
    placed = [
        _placed(given.at(i)[0], plans[i], {name: outputs[name].at(i)[0] for name in blind}) for i in range(len(given))
    ]
    alike = [
        [agreement(outputs[a].at(i)[0], outputs[b].at(i)[0]) for a, b in combinations(blind, 2)]
        for i in range(len(given))
    ]
    values = {name: evaluate(judged, ranking, measures).values[0] for name, ranking in outputs.items()}

    def mean_of(attribute: str) -> Mean:
        return Mean.of([np.mean([getattr(one, attribute) for one in own]) for own in alike], seed)

    firsts = [
        (
            int(np.flatnonzero(plans[i][name] == _place(given.at(i)[0], outputs[name].at(i)[0][0]))[0]),
            len(plans[i][name]),
        )
        for i in range(len(given))
        for name in made
    ]
    slots, p = _slots(placed, firsts if way == "shuffle" else [], seed)
    return OrderBias(
        model=model.name,
        kind=model.kind,
        measures=tuple(measures),
        queries=len(queries),
        left_out=left_out,
        depth=int(np.diff(given.offsets).max()),
        way=way,
        orders=len(made),
        seed=seed,
        slots=slots,
        slope=Mean.of([_slope(*own) for own in placed], seed),
        tau=mean_of("tau"),
        rbo=mean_of("rbo"),
        overlap=mean_of("overlap"),
        invariant=all(bool((ranks == ranks[0]).all()) for _, ranks in placed),
        conditions=tuple(
            Condition(name, tuple(Mean.of(own, seed) for own in table))
            for name, table in values.items()
            if name not in made
        ),
        spread=spreads([values[name].mean(axis=1) for name in made]),
        p=p,
        partial=sum(int(ranking.partial.sum()) for ranking in outputs.values()),
        cost=cost,
    )


def _place(rows: Rows, row: int) -> int:
    return int(np.flatnonzero(rows == row)[0])


def _placed(rows: Rows, plan: Mapping[str, NDArray[np.int64]], outputs: Mapping[str, Rows]) -> Placed:
    slots = np.empty((len(outputs), len(rows)), np.int64)
    ranks = np.empty((len(outputs), len(rows)))
    sorter = np.argsort(rows)
    for i, (name, output) in enumerate(outputs.items()):
        slots[i, plan[name]] = np.arange(1, len(rows) + 1)
        ranks[i, sorter[np.searchsorted(rows, output, sorter=sorter)]] = np.arange(1, len(rows) + 1)
    return slots, ranks


def _lost(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks that each candidate lost under each order, beside its own mean; exactly 0 where it always comes out the same."""
    shifted = ranks - ranks[0]
    return np.asarray(shifted - shifted.mean(axis=0))


def _slope(slots: NDArray[np.int64], ranks: NDArray[np.float64]) -> float:
    moved = slots - slots.mean(axis=0)  # within each candidate, as the loss is
    return float((moved * _lost(ranks)).sum() / (moved * moved).sum())


def _slots(
    placed: Sequence[Placed], firsts: Sequence[tuple[int, int]], seed: int
) -> tuple[tuple[Slots, ...], float | None]:
    """The groups of slots, and the p of the chi-squared test over them."""
    depth = max(slots.shape[1] for slots, _ in placed)
    edges = np.unique(np.linspace(0, depth, min(GROUPS, depth) + 1).round().astype(int)).tolist()
    groups, counts, chances = [], [], []
    for first, last in pairwise(edges):
        biases = []
        for slots, ranks in placed:
            inside = (slots > first) & (slots <= last)
            if inside.any():
                biases.append(float(_lost(ranks)[inside].mean()))
        counts.append(sum(first <= slot < last for slot, _ in firsts))
        chances.append(sum(max(0, min(last, size) - first) / size for _, size in firsts))
        total = len(firsts)
        shares = (counts[-1] / total, chances[-1] / total) if total else (None, None)
        groups.append(Slots(first + 1, last, Mean.of(biases, seed), *shares))
    return tuple(groups), _chi_squared(counts, chances)


def _chi_squared(counts: Sequence[int], chances: Sequence[float]) -> float | None:
    if len(counts) < LEAST or min(chances) < EXPECTED - 1e-9:  # sums of shares round
        return None
    from scipy.special import chdtrc

    statistic = sum((count - chance) ** 2 / chance for count, chance in zip(counts, chances, strict=True))
    return float(chdtrc(len(counts) - 1, statistic))
