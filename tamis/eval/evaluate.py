"""Evaluate rankings against qrels: per-query values, aggregates and what the reader of the numbers should know.

Conventions are those of trec_eval with ``-c``: the mean is over all queries of the qrels, and a query without results
counts with the measure's default, 0. Ties are resolved once, before any measure (`tamis.eval.judgements`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import DataError, UnknownNameError, UsageError
from tamis.eval.diagnostics import diagnose, diagnose_conventions, diagnose_depth, diagnose_self_matches
from tamis.eval.judgements import Judgements, QrelsLike, Ties, check_ties
from tamis.eval.measures import Measure, parse_measure, parse_measures
from tamis.eval.profiles import Profile, find_profile
from tamis.eval.providers import check_computable, compute
from tamis.events import Warned
from tamis.ranking import Ranking


@dataclass(frozen=True, slots=True)
class Conventions:
    """What was done to the rankings and measures before anything was counted.

    Attributes:
        profile: the profile that was followed, None without one.
        ignore_self: whether results whose id is the query's own were dropped.
        depth: how many results a query were looked at, None for all.
        own: how many results were dropped as the query's own, one number a system.
        beyond: how many results lay below the depth, one number a system.
    """

    profile: Profile | None = None
    ignore_self: bool = False
    depth: int | None = None
    own: tuple[int, ...] = ()
    beyond: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Values of every measure for every query and system.

    Attributes:
        systems: names of the systems, in the order given.
        measures: the measures, in the order given.
        query_ids: all queries of the qrels, in their order.
        values: float64 of shape (systems, measures, queries).
        ties: the tie rule that ordered the rankings.
        warnings: what limits the numbers; codes in `tamis.eval.diagnostics`.
        conventions: the profile that was followed, and what it did.
    """

    systems: tuple[str, ...]
    measures: tuple[Measure, ...]
    query_ids: tuple[str, ...]
    values: NDArray[np.float64]
    ties: Ties = "stable"
    warnings: tuple[Warned, ...] = ()
    conventions: Conventions = Conventions()

    def select(self, measures: Iterable[str | Measure]) -> Evaluation:
        """Return the same evaluation with some of its measures, in the order given.

        Raises:
            UnknownNameError: a measure was not computed.
        """
        places = [self.measure_index(measure) for measure in measures]
        return replace(self, measures=tuple(self.measures[m] for m in places), values=self.values[:, places])

    def per_query(self, system: str, measure: str | Measure) -> NDArray[np.float64]:
        """Return the values of one system and measure, one a query of `query_ids`."""
        values: NDArray[np.float64] = self.values[self.system_index(system), self.measure_index(measure)]
        return values

    def mean(self, system: str, measure: str | Measure) -> float:
        """Return the mean over all queries of the qrels."""
        return float(self.per_query(system, measure).mean())

    def aggregate(self, system: str, measure: str | Measure) -> float:
        """Return the figure to report: the sum for counts (``NumRet`` …), the mean for every other measure."""
        position = self.measure_index(measure)
        values = self.values[self.system_index(system), position]
        return float(values.sum() if self.measures[position].is_count else values.mean())

    def system_index(self, system: str) -> int:
        """Return the position of a system.

        Raises:
            UnknownNameError: no such system was evaluated.
        """
        if system not in self.systems:
            raise UnknownNameError("system", system, self.systems)
        return self.systems.index(system)

    def measure_index(self, measure: str | Measure) -> int:
        """Return the position of a measure, in any spelling.

        Raises:
            UnknownNameError: the measure was not computed.
        """
        wanted = parse_measure(measure)
        if wanted not in self.measures:
            raise UnknownNameError("measure of this evaluation", wanted.name, [str(m) for m in self.measures])
        return self.measures.index(wanted)

    def to_dict(self, *, per_query: bool = False) -> dict[str, Any]:
        """Return JSON values: aggregates by system and measure, unrounded, and per-query values if asked for."""
        result: dict[str, Any] = {
            "queries": len(self.query_ids),
            "measures": [measure.name for measure in self.measures],
            "ties": self.ties,
            "conventions": {
                "profile": self.conventions.profile.to_dict() if self.conventions.profile else None,
                "ignore_self": self.conventions.ignore_self,
                "depth": self.conventions.depth,
                "removed_self": dict(zip(self.systems, self.conventions.own, strict=False)),
                "beyond_depth": dict(zip(self.systems, self.conventions.beyond, strict=False)),
            },
            "systems": {
                system: {measure.name: self.aggregate(system, measure) for measure in self.measures}
                for system in self.systems
            },
            "warnings": [{"code": warning.code, "message": warning.message} for warning in self.warnings],
        }
        if per_query:
            result["per_query"] = {
                system: {
                    query_id: dict(zip(result["measures"], self.values[s, :, q].tolist(), strict=True))
                    for q, query_id in enumerate(self.query_ids)
                }
                for s, system in enumerate(self.systems)
            }
        return result


def evaluate(
    qrels: QrelsLike,
    rankings: Ranking | Mapping[str, Ranking],
    measures: str | Measure | Iterable[str | Measure] | None = None,
    *,
    ties: Ties = "stable",
    judged_only: bool = False,
    profile: Profile | str | None = None,
    ignore_self: bool = False,
) -> Evaluation:
    """Evaluate one ranking or several against qrels.

    Args:
        qrels: query id → document id → grade.
        rankings: a ranking (then named ``run``), or several by system name.
        measures: measure names, see `tamis.eval.measures`; the profile's if not given.
        ties: how equal scores are ordered: ``stable`` keeps each ranking's own order, which is what it was sorted for;
            ``trec_eval`` (document id descending) or ``docid`` (ascending) judge a foreign run as those would. A run file
            that Tamis wrote holds no ties: read with ``exact=False``, all three keep its order.
        judged_only: condense: compute every measure that has a ``judged_only`` parameter on the judged documents alone
            (Sakai, SIGIR 2007); its name then says so. Measures without the parameter stay as they are.
        profile: conventions of the test collection, or their name, see `tamis.eval.profiles`: which grade is relevant to
            a binary measure that states none, whether self-matches are dropped, and the depth looked at.
        ignore_self: drop results whose id is the query's own, whatever the profile says.

    Raises:
        UnknownNameError: an unknown measure, tie rule or profile.
        UsageError: a malformed measure or none, or no ranking.
        PrerequisiteError: a measure needs a package that is not installed; raised before any work is done.
        DataError: the qrels are empty, a ranking lists a document twice, or none of its queries is in the qrels.
    """
    check_ties(ties)
    if isinstance(profile, str):
        profile = find_profile(profile)
    if measures is None:
        measures = profile.measures if profile else ()
    parsed = parse_measures(measures)
    if profile:
        parsed = profile.adapt(parsed)
        ignore_self = ignore_self or profile.ignore_self
    depth = profile.depth if profile else None
    if judged_only:
        parsed = parse_measures(
            measure.with_parameters(judged_only=True)
            if "judged_only" in measure.definition.SUPPORTED_PARAMS
            else measure
            for measure in parsed
        )
    check_computable(parsed)
    systems = {"run": rankings} if isinstance(rankings, Ranking) else dict(rankings)
    if not systems:
        raise UsageError("there is nothing to evaluate: give at least one ranking")
    judgements = Judgements(qrels)
    values = np.empty((len(systems), len(parsed), len(judgements)))
    warnings = list(diagnose_conventions(judgements, parsed, profile, ignore_self=ignore_self))
    own, beyond = [], []
    for s, (system, ranking) in enumerate(systems.items()):
        _check_overlap(system, ranking, judgements)
        try:
            judged = judgements.judge(ranking, ties, ignore_self=ignore_self, depth=depth)
        except DataError as error:
            raise DataError(f"{system}: {error}") from error
        values[s] = compute(judgements, judged.lists, parsed)
        warnings += diagnose(system, ranking, judgements, judged.lists, parsed)
        if profile:
            warnings += diagnose_depth(system, judged, parsed, profile)
        if not ignore_self:
            warnings += diagnose_self_matches(system, judged)
        own.append(judged.own)
        beyond.append(judged.beyond)
    conventions = Conventions(profile, ignore_self, depth, tuple(own), tuple(beyond))
    return Evaluation(tuple(systems), parsed, judgements.query_ids, values, ties, tuple(warnings), conventions)


def with_judged(measures: Iterable[str | Measure]) -> tuple[Measure, ...]:
    """Return the measures, after each the share of judged documents (``Judged@k``) in what it looks at.

    A measure without cutoff looks at the whole list; a share comes once, after the first measure that it belongs to.
    """
    parsed = parse_measures(list(measures))
    shares = (f"Judged@{m.cutoff}" if m.cutoff else "Judged" for m in parsed)
    return parse_measures(name for pair in zip(parsed, shares, strict=True) for name in pair)


def _check_overlap(system: str, ranking: Ranking, judgements: Judgements) -> None:
    if not ranking.query_ids:
        raise DataError(f"{system}: the ranking holds no queries")
    if not any(query_id in judgements.positions for query_id in ranking.query_ids):
        raise DataError(
            f"{system}: none of its {len(ranking.query_ids)} queries is in the qrels: the ranking has for example "
            f"{ranking.query_ids[0]!r}, the qrels {judgements.query_ids[0]!r}; do they belong to the same topics?"
        )
