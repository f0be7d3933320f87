"""What the reader of an evaluation should know before trusting it, as warnings.

Codes: ``queries_without_results``, ``queries_not_in_qrels``, ``ties_at_cutoff`` (the tie rule decided which document
counts), ``unjudged_at_cutoff`` (documents that no assessor saw count as not relevant), ``self_matches_first`` (the queries seem
to be documents themselves, and their self-matches are counted), ``self_judged_relevant``, ``threshold_above_grades`` and
``cutoff_beyond_depth`` (a profile or option that does not fit the judgements or measures), ``run_short_of_depth`` (measures that
look deeper than a run was cut).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tamis.eval.judgements import UNJUDGED, JudgedList, JudgedRun, Judgements
from tamis.eval.measures import Measure
from tamis.eval.profiles import Profile
from tamis.events import Warned
from tamis.ranking import Ranking

_SHOWN = 3
_DEEP = frozenset(("AP", "R", "nDCG", "Bpref", "infAP", "Rprec"))
"""Measures that what lies deep down can change."""


def diagnose(
    system: str,
    ranking: Ranking,
    judgements: Judgements,
    lists: Sequence[JudgedList | None],
    measures: Sequence[Measure],
) -> Iterator[Warned]:
    """Yield what limits the numbers of one system."""
    total = len(judgements)
    missing = [query_id for query_id, found in zip(judgements.query_ids, lists, strict=True) if found is None]
    if missing:
        yield Warned(
            "queries_without_results",
            f"{system}: {len(missing)} of the {total} queries in the qrels have no results and count with the "
            f"measure's default, 0: {_some(missing)}",
        )
    foreign = [query_id for query_id in ranking.query_ids if query_id not in judgements.positions]
    if foreign:
        yield Warned(
            "queries_not_in_qrels",
            f"{system}: {len(foreign)} of its {len(ranking.query_ids)} queries are not in the qrels and are left out: "
            f"{_some(foreign)}",
        )
    tied = ties_at_cutoffs(judgements, lists, measures)
    if tied:
        where = ", ".join(f"{count} at rank {cutoff}" for cutoff, count in tied.items())
        yield Warned(
            "ties_at_cutoff",
            f"{system}: the tie rule decides which documents count, because the scores on both sides of the cutoff "
            f"are equal; queries: {where}",
        )
    unjudged = {cutoff: share for cutoff, share in unjudged_shares(lists, measures).items() if share > 0}
    if unjudged:
        shares = ", ".join(f"{100 * share:.1f}% of the top {cutoff}" for cutoff, share in unjudged.items())
        yield Warned("unjudged_at_cutoff", f"{system}: documents without judgement: {shares}")


def diagnose_self_matches(system: str, judged: JudgedRun) -> Iterator[Warned]:
    """Yield a warning where most queries find themselves first.

    Only then are the queries taken for documents: numeric ids of queries and documents often coincide by chance.
    """
    if judged.own_first and 2 * judged.own_first >= judged.answered:
        yield Warned(
            "self_matches_first",
            f"{system}: in {judged.own_first} of {judged.answered} queries the first result has the query's own id: if the "
            "queries are documents of the collection, drop these results (--ignore-self, or a profile that does)",
        )


def diagnose_depth(system: str, judged: JudgedRun, measures: Sequence[Measure], profile: Profile) -> Iterator[Warned]:
    """Yield a warning where a run was cut above the profile's depth, and a measure looks deeper.

    It was cut if most lists are of the greatest length, or one short of it for a dropped self-match; otherwise nothing more was
    found.
    """
    lengths = [len(found) for found in judged.lists if found is not None]
    longest = max(lengths, default=0)
    if longest >= profile.depth or 2 * sum(length >= longest - 1 for length in lengths) < len(lengths) or longest < 2:
        return
    deeper = [m.name for m in measures if (m.cutoff or profile.depth) > longest and m.definition.NAME in _DEEP]
    if deeper:
        yield Warned(
            "run_short_of_depth",
            f"{system}: its lists end at rank {longest}, and {', '.join(deeper)} look{'s' * (len(deeper) == 1)} deeper: the "
            f"profile {profile.name} expects {profile.depth} documents a query",
        )


def diagnose_conventions(
    judgements: Judgements, measures: Sequence[Measure], profile: Profile | None, *, ignore_self: bool
) -> Iterator[Warned]:
    """Yield what does not fit together in the profile, the judgements and the measures."""
    if ignore_self:
        judged = [q for i, q in enumerate(judgements.query_ids) if judgements.judged_relevant(q, i)]
        if judged:
            yield Warned(
                "self_judged_relevant",
                f"{len(judged)} queries have themselves judged relevant, and self-matches are dropped: that document "
                f"cannot be found for {_some(judged)}",
            )
    if profile is None:
        return
    deep = [m.name for m in measures if m.cutoff and m.cutoff > profile.depth]
    if deep:
        yield Warned(
            "cutoff_beyond_depth",
            f"{', '.join(deep)}: the profile {profile.name} looks at {profile.depth} documents a query, and what lies "
            "below does not count",
        )
    threshold, highest = profile.binary_threshold, judgements.highest_grade
    if highest < threshold and any(m.parameter("rel") == threshold for m in measures):
        yield Warned(
            "threshold_above_grades",
            f"no document has a grade of {threshold}, from which on the profile {profile.name} takes one for relevant; the "
            f"highest is {highest}: are these its judgements?",
        )


def ties_at_cutoffs(
    judgements: Judgements, lists: Sequence[JudgedList | None], measures: Sequence[Measure]
) -> dict[int, int]:
    """Return, for each cutoff in use that splits equal scores, in how many queries it does.

    The scores are those of the list that the measure sees: condensed for ``judged_only`` measures.
    """
    tied: dict[int, set[int]] = {}
    for cutoff, judged_only in sorted({(m.cutoff, bool(m.parameter("judged_only"))) for m in measures if m.cutoff}):
        for q, found in enumerate(lists):
            seen = judgements.condensed(q, found) if found is not None and judged_only else found
            if seen is not None and len(seen) > cutoff and seen.scores[cutoff - 1] == seen.scores[cutoff]:
                tied.setdefault(cutoff, set()).add(q)
    return {cutoff: len(queries) for cutoff, queries in tied.items()}


def unjudged_shares(lists: Sequence[JudgedList | None], measures: Sequence[Measure]) -> dict[int, float]:
    """Return, for each cutoff in use, the mean share of documents above it that are not in the qrels.

    The mean is over queries with results; a list shorter than the cutoff counts with its own length.
    """
    cutoffs = sorted({measure.cutoff for measure in measures if measure.cutoff})
    answered = [found for found in lists if found is not None]
    if not answered:
        return {}
    return {k: float(np.mean([(found.judged[:k] == UNJUDGED).mean() for found in answered])) for k in cutoffs}


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (" …" if len(ids) > _SHOWN else "")
