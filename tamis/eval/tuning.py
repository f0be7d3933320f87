"""Tuning a fusion: weights, normalisation and the constant of reciprocal rank fusion, chosen on judged development topics.

The search is deterministic: a grid, then smaller and smaller moves from the best setting for as long as they help. The score of a
setting on the topics that chose it flatters it. What to expect on other topics is estimated by cross-validation: the topics
are dealt into folds by a hash of their ids, and each fold is scored with the setting that the judgements of the others choose,
grid, moves and all. (The scale of raw scores, which ``norm=none`` needs, is taken from all lists; it sees no judgement.) The
final figure still belongs to a test set that had no part in this.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tamis.errors import DataError, UnknownNameError, UsageError
from tamis.eval.evaluate import evaluate
from tamis.eval.judgements import QrelsLike
from tamis.eval.measures import Measure, parse_measure
from tamis.events import Advanced, Finished, Listener, Started, ignore
from tamis.pipeline import Pipeline, PipelineLike, rrf, wsum
from tamis.ranking import Ranking
from tamis.retrievers import fusion

Method = Literal["wsum", "rrf"]
METHODS: tuple[Method, ...] = ("wsum", "rrf")
TUNED_NORMS = ("minmax", "zscore", "none")
"""Normalisations that are tried: ``range`` is ``minmax`` moved by a half, and ranks alike with ``missing=min``."""

MOST_INPUTS = 6
FOLDS = 5

_STEPS = {2: 10, 3: 10, 4: 5, 5: 4, 6: 3}  # parts that a grid cuts 1 into, by the number of inputs
_MOVES = (0.05, 0.02, 0.01)
_CONSTANTS = (1, 2, 5, 10, 20, 40, 60, 100, 200, 500, 1000)
_FACTORS = (0.7, 0.85, 1.2, 1.4)
_ROUNDS = 20

_Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to fuse.

    Attributes:
        method: ``wsum`` or ``rrf``.
        weights: of the inputs, for ``wsum``.
        norm: normalisation, for ``wsum``.
        missing: what a list gives to a document that it lacks, for ``wsum``.
        k: the constant of ``rrf``.
        shares: how much each input counts, summing to 1, for ``wsum``: the weights but for the scale of the scores, which
            ``norm=none`` leaves to them.
    """

    method: Method
    weights: tuple[float, ...] = ()
    norm: str = "none"
    missing: str = "zero"
    k: int = 60
    shares: tuple[float, ...] = ()

    def fuse(self, rankings: Sequence[Ranking]) -> Ranking:
        """Return the fused ranking."""
        if self.method == "rrf":
            return fusion.reciprocal_rank_fusion(rankings, self.k)
        return fusion.weighted_sum(rankings, self.weights, self.norm, self.missing)

    def pipeline(self, inputs: Sequence[PipelineLike]) -> Pipeline:
        """Return the pipeline that fuses `inputs` so."""
        parts = [Pipeline.of(part) for part in inputs]
        if self.method == "rrf":
            return rrf(*parts, k=self.k)
        weighted = (weight * part for weight, part in zip(self.weights, parts, strict=True))
        return wsum(*weighted, norm=self.norm, missing=self.missing)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        if self.method == "rrf":
            return {"method": "rrf", "k": self.k}
        return {"method": "wsum", "weights": list(self.weights), "norm": self.norm, "missing": self.missing}


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting and its mean on the topics that it was tuned on."""

    setting: Setting
    mean: float


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold of the cross-validation.

    Attributes:
        query_ids: the topics that were held out.
        setting: what the others chose.
        mean: its mean on those held out.
    """

    query_ids: tuple[str, ...]
    setting: Setting
    mean: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """The outcome of a tuning.

    Attributes:
        inputs: names of what was fused.
        measure: what was maximised.
        query_ids: the topics that it was tuned on: they are spent, and cannot test what they chose.
        alone: mean of each input by itself.
        equal: mean of the fusion with nothing tuned: equal weights, ``minmax``; for ``rrf``, k=60.
        trials: every setting that was tried on all topics, best first.
        folds: the cross-validation; empty with a single topic.
    """

    inputs: tuple[str, ...]
    measure: Measure
    query_ids: tuple[str, ...]
    alone: Mapping[str, float]
    equal: float
    trials: tuple[Trial, ...]
    folds: tuple[Fold, ...]

    @property
    def best(self) -> Trial:
        """The setting to use, with its mean on the topics that chose it."""
        return self.trials[0]

    @property
    def cross_validated(self) -> float | None:
        """Mean over all topics, each under the setting that the other folds chose; None with a single topic."""
        if not self.folds:
            return None
        return sum(fold.mean * len(fold.query_ids) for fold in self.folds) / len(self.query_ids)

    def to_dict(self, *, top: int | None = None) -> dict[str, Any]:
        """Return JSON values; the first `top` trials, all if None."""
        return {
            "inputs": list(self.inputs),
            "measure": self.measure.name,
            "tuned_on": {"queries": len(self.query_ids), "query_ids": list(self.query_ids)},
            "best": {**self.best.setting.to_dict(), "mean": self.best.mean},
            "cross_validated": self.cross_validated,
            "alone": dict(self.alone),
            "equal": self.equal,
            "tried": len(self.trials),
            "trials": [{**trial.setting.to_dict(), "mean": trial.mean} for trial in self.trials[:top]],
            "folds": [
                {"query_ids": list(fold.query_ids), **fold.setting.to_dict(), "mean": fold.mean} for fold in self.folds
            ],
        }


def tune_fusion(
    qrels: QrelsLike,
    rankings: Mapping[str, Ranking],
    measure: str | Measure = "nDCG@10",
    *,
    method: Method = "wsum",
    norms: Sequence[str] = TUNED_NORMS,
    missing: Sequence[str] = fusion.MISSING,
    folds: int = FOLDS,
    listener: Listener = ignore,
) -> Tuning:
    """Choose the setting of a fusion that is best on judged topics.

    The topics are those that have judgements and stand in a ranking; the rankings must be as deep as those that the setting
    will be used on, since a normalisation depends on depth.

    Args:
        qrels: judgements of the development topics.
        rankings: name → ranking, two to six, over one document space.
        measure: what to maximise.
        method: ``wsum`` (weights, norm, missing) or ``rrf`` (k).
        norms: normalisations to try, for ``wsum``.
        missing: values of missing to try, for ``wsum``.
        folds: of the cross-validation, at least 2; at most one a topic is used.
        listener: hears of every setting tried.

    Raises:
        UsageError: the number of rankings, folds or names is wrong.
        DataError: no topic is judged and ranked.
        SpaceMismatchError: the rankings speak of different document spaces.
    """
    if method not in METHODS:
        raise UnknownNameError("fusion method", method, METHODS)
    if not 2 <= len(rankings) <= MOST_INPUTS:
        raise UsageError(f"{len(rankings)} rankings: a fusion of 2 to {MOST_INPUTS} can be tuned")
    if folds < 2:
        raise UsageError(f"folds={folds}: cross-validation needs at least 2")
    for kind, names, valid in (("normalisation", norms, fusion.NORMS), ("value of missing", missing, fusion.MISSING)):
        if not names:
            raise UsageError(f"no {kind} to try: name at least one")
        for name in names:
            if name not in valid:
                raise UnknownNameError(kind, name, valid)
    parsed = parse_measure(measure)
    ranked = {query_id for ranking in rankings.values() for query_id in ranking.query_ids}
    judged = {query_id: qrels[query_id] for query_id in qrels if query_id in ranked}
    if not judged:
        raise DataError("none of the ranked topics has judgements: do runs and qrels belong together?")
    lists = [ranking.take([i for i, q in enumerate(ranking.query_ids) if q in judged]) for ranking in rankings.values()]
    objective = _Objective(judged, lists, parsed, listener)
    space = _Weights(lists, norms, missing) if method == "wsum" else _Constants()
    listener(Started("settings tried", None, "settings"))
    every = np.ones(len(judged), np.bool_)
    _search(objective, space, every)
    means = {setting: float(values.mean()) for setting, values in objective.known.items()}
    trials = tuple(Trial(s, means[s]) for s in sorted(means, key=lambda s: (-_rounded(means[s]), space.rank(s))))
    made = _cross_validate(objective, space, tuple(judged), min(folds, len(judged)))
    listener(Finished("settings tried"))
    equal = Setting("rrf") if method == "rrf" else Setting("wsum", (1.0,) * len(lists), "minmax")
    alone = {name: float(objective.values_of(ranking).mean()) for name, ranking in zip(rankings, lists, strict=True)}
    return Tuning(tuple(rankings), parsed, tuple(judged), alone, float(objective(equal).mean()), trials, made)


class _Objective:
    """The measure of every topic under a setting, remembered."""

    def __init__(self, qrels: QrelsLike, rankings: Sequence[Ranking], measure: Measure, listener: Listener) -> None:
        self.qrels, self.rankings, self.measure, self.listener = qrels, rankings, measure, listener
        self.known: dict[Setting, _Values] = {}

    def __call__(self, setting: Setting) -> _Values:
        if setting not in self.known:
            self.known[setting] = self.values_of(setting.fuse(self.rankings))
            self.listener(Advanced("settings tried"))
        return self.known[setting]

    def values_of(self, ranking: Ranking) -> _Values:
        cutoff, condensed = self.measure.cutoff, self.measure.parameter("judged_only")
        if cutoff is not None and not condensed:  # deeper results do not matter, and would be judged for nothing
            ranking = ranking.cut(cutoff)
        if not any(query_id in self.qrels for query_id in ranking.query_ids):
            return np.zeros(len(self.qrels))
        return evaluate(self.qrels, ranking, self.measure).per_query("run", self.measure)


class _Weights:
    """Weighted sums: shares on a grid that sum to 1, and moves of a share from one input to another."""

    def __init__(self, rankings: Sequence[Ranking], norms: Sequence[str], missing: Sequence[str]) -> None:
        self.count, self.norms, self.missing = len(rankings), tuple(norms), tuple(missing)
        self.scales = [_spread(ranking) for ranking in rankings]

    def setting(self, shares: Sequence[float], norm: str, missing: str) -> Setting:
        shares = tuple(round(share, 6) for share in shares)
        weights = shares
        if norm == "none":  # shares of scores that are brought to one scale; the weights keep four digits
            scaled = [share / scale for share, scale in zip(shares, self.scales, strict=True)]
            weights = tuple(_digits(weight / max(scaled)) for weight in scaled)
        return Setting("wsum", weights, norm, missing, shares=shares)

    def grid(self) -> Iterator[Setting]:
        steps = _STEPS[self.count]
        for norm, missing in itertools.product(self.norms, self.missing):
            for bars in itertools.combinations(range(steps + self.count - 1), self.count - 1):
                parts = np.diff([-1, *bars, steps + self.count - 1]) - 1
                yield self.setting([part / steps for part in parts.tolist()], norm, missing)

    def moves(self, setting: Setting) -> Iterator[list[Setting]]:
        """The settings near one, step by smaller step."""
        for step in _MOVES:
            near = []
            for giver, taker in itertools.permutations(range(self.count), 2):
                shares = list(setting.shares)
                if shares[giver] >= step - 1e-9:
                    shares[giver] -= step
                    shares[taker] += step
                    near.append(self.setting([max(share, 0.0) for share in shares], setting.norm, setting.missing))
            yield near

    def rank(self, setting: Setting) -> tuple[Any, ...]:
        """Of settings that are as good, the first: near to equal weights, plainly normalised."""
        norm = self.norms.index(setting.norm) if setting.norm in self.norms else len(self.norms)
        missing = self.missing.index(setting.missing) if setting.missing in self.missing else len(self.missing)
        uneven = sum((share - 1 / self.count) ** 2 for share in setting.shares)
        return round(uneven, 9), norm, missing, setting.shares


class _Constants:
    """Reciprocal rank fusion: its constant."""

    def grid(self) -> Iterator[Setting]:
        for k in _CONSTANTS:
            yield Setting("rrf", k=k)

    def moves(self, setting: Setting) -> Iterator[list[Setting]]:
        """The settings near one."""
        yield [Setting("rrf", k=k) for k in sorted({round(setting.k * factor) for factor in _FACTORS})]

    def rank(self, setting: Setting) -> tuple[Any, ...]:
        """Of settings that are as good, the first: near to the customary 60."""
        return abs(math.log((setting.k + 1) / 61)), setting.k


def _search(objective: _Objective, space: _Weights | _Constants, chosen: NDArray[np.bool_]) -> Setting:
    """Return the best setting on the chosen topics."""

    def key(setting: Setting) -> tuple[Any, ...]:
        return -_rounded(float(objective(setting)[chosen].mean())), space.rank(setting)

    best = min(space.grid(), key=key)
    for _ in range(_ROUNDS):
        before = best
        for near in space.moves(best):
            best = min([best, *near], key=key)
            if best != before:
                break
        if best == before:
            break
    return best


def _cross_validate(
    objective: _Objective, space: _Weights | _Constants, query_ids: tuple[str, ...], folds: int
) -> tuple[Fold, ...]:
    if folds < 2:
        return ()
    dealt = sorted(range(len(query_ids)), key=lambda i: hashlib.sha256(query_ids[i].encode(errors="replace")).digest())
    made = []
    for number in range(folds):
        held = np.zeros(len(query_ids), np.bool_)
        held[dealt[number::folds]] = True
        setting = _search(objective, space, ~held)
        ids = tuple(query_id for query_id, out in zip(query_ids, held.tolist(), strict=True) if out)
        made.append(Fold(ids, setting, float(objective(setting)[held].mean())))
    return tuple(made)


def _rounded(mean: float) -> float:
    """A mean without the noise of adding up, so that equal settings tie."""
    return round(mean, 10)


def _digits(weight: float) -> float:
    return float(f"{weight:.4g}")


def _spread(ranking: Ranking) -> float:
    """The mean distance from the highest to the lowest score of a list, 1 where there is none."""
    filled = np.diff(ranking.offsets) > 0
    if not filled.any():
        return 1.0
    starts = ranking.offsets[:-1][filled]
    spread = np.maximum.reduceat(ranking.scores, starts) - np.minimum.reduceat(ranking.scores, starts)
    return float(spread.mean()) or 1.0
