"""What a reranker makes of word order: its ranking of texts whose words were reordered, or that lost their positions.

Rau and Kamps, "The Role of Complex NLP in Transformers for Text Ranking?", ICTIR 2022. Texts are changed at inference
only: a model that was also trained on such texts loses less.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import DataError, UnknownNameError, UsageError
from tamis.eval.diagnosis.agreement import Agreement, agreement
from tamis.eval.diagnosis.intervals import Mean, spreads
from tamis.eval.diagnosis.models import TextModel
from tamis.eval.diagnosis.sampling import aligned
from tamis.eval.diagnosis.texts import Changed
from tamis.eval.diagnosis.without_positions import position_weights, without_positions
from tamis.eval.diagnosis.words import backwards, in_alphabet, shuffled, whole
from tamis.eval.evaluate import evaluate
from tamis.eval.measures import Measure
from tamis.events import Advanced, Finished, Listener, Started, ignore
from tamis.ranking import Queries, Ranking
from tamis.stages import DocumentView

Text = Callable[[str], str]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Perturbation:
    """A change of what a model reads.

    Attributes:
        says: what it does, for the table.
        query: the change of a query, given seed and repetition; None: none.
        passage: the change of a passage's words; None: none.
        random: whether the seed matters.
        positions: whether the model keeps its positions.
    """

    says: str
    query: Callable[[int, int], Text] | None = None
    passage: Callable[[int, int], Text] | None = None
    random: bool = False
    positions: bool = True


def _shuffle(seed: int, repeat: int) -> Text:
    return partial(shuffled, seed=seed, repeat=repeat)


PERTURBATIONS: Mapping[str, Perturbation] = {
    "identity": Perturbation("nothing is changed: must change nothing"),
    "shuffle-document": Perturbation("words of documents in random order", None, _shuffle, random=True),
    "shuffle-query": Perturbation("words of queries in random order", _shuffle, None, random=True),
    "shuffle-both": Perturbation("both", _shuffle, _shuffle, random=True),
    "sort-document": Perturbation("words of documents by the alphabet", None, lambda *_: in_alphabet),
    "reverse-document": Perturbation("words of documents from last to first", None, lambda *_: backwards),
    "no-positions": Perturbation("the model's embeddings of positions are 0", positions=False),
}


@dataclass(frozen=True, slots=True)
class Effect:
    """What a perturbation does; means are over queries, and over repetitions where it is random.

    Attributes:
        name: of the perturbation.
        values: means of each measure.
        differences: to the unperturbed model, query by query.
        tau: Kendall's tau between the unperturbed and the perturbed order.
        rbo: rank-biased overlap, persistence 0.9.
        overlap: share of the first 10 that stays.
        score_change: absolute change of a candidate's score.
        spread: standard deviation of each measure over the repetitions; None where there is one.
        unchanged: whether not a single score changed, to the last bit.
    """

    name: str
    values: tuple[Mean, ...]
    differences: tuple[Mean, ...]
    tau: Mean
    rbo: Mean
    overlap: Mean
    score_change: Mean
    spread: tuple[float, ...] | None
    unchanged: bool

    def to_dict(self, measures: Sequence[Measure]) -> dict[str, Any]:
        """Return JSON values, unrounded."""
        names = [measure.name for measure in measures]
        return {
            "perturbation": self.name,
            "values": {name: value.to_dict() for name, value in zip(names, self.values, strict=True)},
            "differences": {name: value.to_dict() for name, value in zip(names, self.differences, strict=True)},
            "tau": self.tau.to_dict(),
            "rbo": self.rbo.to_dict(),
            "overlap@10": self.overlap.to_dict(),
            "score_change": self.score_change.to_dict(),
            "spread": None if self.spread is None else dict(zip(names, self.spread, strict=True)),
            "unchanged": self.unchanged,
        }


@dataclass(frozen=True)
class WordOrder:
    """What word order is to a model.

    Attributes:
        model: its address.
        measures: that were computed.
        queries: how many.
        candidates: of all queries.
        repeats: of a random perturbation.
        seed: of shuffles and bootstrap.
        before: the candidates in their given order, by measure.
        plain: the unperturbed model.
        effects: of each perturbation.
        not_done: perturbations that the model does not allow, with the reason.
    """

    model: str
    measures: tuple[Measure, ...]
    queries: int
    candidates: int
    repeats: int
    seed: int
    before: tuple[Mean, ...]
    plain: tuple[Mean, ...]
    effects: tuple[Effect, ...]
    not_done: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, unrounded."""
        names = [measure.name for measure in self.measures]
        return {
            "model": self.model,
            "measures": names,
            "queries": self.queries,
            "candidates": self.candidates,
            "repeats": self.repeats,
            "seed": self.seed,
            "before": {name: value.to_dict() for name, value in zip(names, self.before, strict=True)},
            "unperturbed": {name: value.to_dict() for name, value in zip(names, self.plain, strict=True)},
            "effects": [effect.to_dict(self.measures) for effect in self.effects],
            "not_done": dict(self.not_done),
        }


def check_perturbations(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, each once; all there are if none is given.

    Raises:
        UnknownNameError: one is not known.
    """
    for name in names:
        if name not in PERTURBATIONS:
            raise UnknownNameError("perturbation", name, PERTURBATIONS)
    return tuple(dict.fromkeys(names)) or tuple(PERTURBATIONS)


def word_order(
    model: TextModel,
    documents: DocumentView,
    queries: Queries,
    candidates: Ranking,
    qrels: Mapping[str, Mapping[str, int]],
    measures: Sequence[Measure],
    *,
    perturbations: Sequence[str] = (),
    repeats: int = 3,
    seed: int = 0,
    listener: Listener = ignore,
) -> WordOrder:
    """Let a model re-score candidates whose words are in another order.

    Args:
        model: a reranker, or an encoder that re-scores.
        documents: where texts come from.
        queries: judged ones.
        candidates: over `documents`; each perturbation re-scores the same.
        qrels: judgements.
        measures: to compute.
        perturbations: names of `PERTURBATIONS`; all that the model allows if none.
        repeats: how often a random one is done, each time in another order.
        seed: of the orders and of the bootstrap.
        listener: hears of the perturbations that are done.

    Raises:
        UnknownNameError: no such perturbation.
        UsageError: fewer than one repetition, or a perturbation was named that the model does not allow.
        DataError: the candidates are empty.
        ModelError: the model failed.
    """
    chosen = check_perturbations(perturbations)
    if repeats < 1:
        raise UsageError(f"repeats={repeats}: at least 1 is needed")
    candidates = aligned(candidates, queries)
    candidates.require_space(documents)
    if not len(candidates.rows):
        raise DataError("there are no candidates to re-score: the pipeline found nothing for these topics")
    judged = {query: qrels[query] for query in queries.ids}
    bench = _Bench(model, documents, queries, candidates, judged, tuple(measures), seed)
    before = bench.values(candidates)
    plain = bench.rescored(PERTURBATIONS["identity"], 0)
    base = bench.values(plain)
    effects: list[Effect] = []
    not_done: dict[str, str] = {}
    listener(Started("perturb", len(chosen), "perturbations"))
    for name in chosen:
        change = PERTURBATIONS[name]
        if not change.positions and not position_weights(model.network()):
            reason = f"{model.name} has no weights of positions that could be set to 0"
            if perturbations:
                raise UsageError(f"{name}: {reason}")
            not_done[name] = reason
        else:
            times = repeats if change.random else 1
            found = [bench.rescored(change, repeat) for repeat in range(times)]
            effects.append(bench.effect(name, plain, base, found))
        listener(Advanced("perturb"))
    listener(Finished("perturb"))
    return WordOrder(
        model=model.name,
        measures=tuple(measures),
        queries=len(queries),
        candidates=len(candidates.rows),
        repeats=repeats,
        seed=seed,
        before=tuple(Mean.of(own, seed) for own in before),
        plain=tuple(Mean.of(own, seed) for own in base),
        effects=tuple(effects),
        not_done=not_done,
    )


@dataclass(frozen=True)
class _Bench:
    """What all perturbations of a diagnosis share."""

    model: TextModel
    documents: DocumentView
    queries: Queries
    candidates: Ranking
    qrels: Mapping[str, Mapping[str, int]]
    measures: tuple[Measure, ...]
    seed: int

    def rescored(self, change: Perturbation, repeat: int) -> Ranking:
        """The candidates in the model's order, under a perturbation."""
        view: DocumentView = self.documents
        texts = self.queries.texts
        if change.passage is not None:
            view = Changed(view, whole(change.passage(self.seed, repeat)), f"changed:{self.seed}:{repeat}")
        if change.query is not None:
            texts = tuple(map(change.query(self.seed, repeat), texts))
        given = Ranking(
            view, self.candidates.query_ids, self.candidates.offsets, self.candidates.rows, self.candidates.scores
        )
        lost = contextlib.nullcontext() if change.positions else without_positions(self.model.network())
        with lost:
            return self.model.over(view).rescore(Queries(self.queries.ids, texts), given)

    def values(self, ranking: Ranking) -> Values:
        """Every measure of every query: [measures, queries]."""
        values: Values = evaluate(self.qrels, ranking, self.measures).values[0]
        return values

    def effect(self, name: str, plain: Ranking, base: Values, found: Sequence[Ranking]) -> Effect:
        """Compare perturbed rankings with the plain one."""
        values = np.stack([self.values(one) for one in found])  # repetitions, measures, queries
        pairs = [compared(plain, one) for one in found]
        alike = [[own for own, _ in one] for one in pairs]
        shifts = np.mean([[shift for _, shift in one] for one in pairs], axis=0)

        def over_queries(attribute: str) -> Mean:
            table = [[getattr(own, attribute) for own in one] for one in alike]
            return Mean.of(np.mean(table, axis=0), self.seed)

        means = values.mean(axis=0)
        spread = spreads(values.mean(axis=2)) if len(found) > 1 else None
        return Effect(
            name,
            tuple(Mean.of(own, self.seed) for own in means),
            tuple(Mean.of(own, self.seed) for own in means - base),
            over_queries("tau"),
            over_queries("rbo"),
            over_queries("overlap"),
            Mean.of(shifts, self.seed),
            spread,
            not shifts.any(),
        )


def compared(first: Ranking, second: Ranking) -> list[tuple[Agreement, float]]:
    """Return for each query how its orders agree, and by how much a score differs on average; rankings of the same candidates."""
    found = []
    for i in range(len(first)):
        (rows, scores), (others, changed) = first.at(i), second.at(i)
        a, b = scores[np.argsort(rows)], changed[np.argsort(others)]
        found.append((agreement(rows, others), float(np.abs(a - b).mean()) if len(rows) else 0.0))
    return found
