"""Who computes which measure: ir_measures and its providers, and the few measures that they cannot serve reliably here.

ir_measures gets the canonical order as scores that fall by one from rank to rank, under stand-in document names, so all
of its providers see the same ranking. Measures are computed in groups of equal relevance level, gains, condensation and
depth: ir_measures 0.4.3 returns wrong values when ``nDCG@10`` and ``nDCG(gains=…)@10`` share one call, and a list need
only be as deep as the cutoff. Computed here:

- ``nDCG(dcg='exp-log2')`` (Burges et al., ICML 2005), as linear nDCG over the gains 2^grade - 1;
- ``ERR`` (Chapelle et al., CIKM 2009), as the TREC Web track script does, whose highest grade is 4, but unrounded and
  without Perl;
- ``RBP`` with a relevance level (Moffat and Zobel, TOIS 2008);
- ``Accuracy`` (a relevant document stands above a non-relevant one), on which ir_measures 0.4.3 fails where a list holds
  relevant documents only: without a pair to order, the measure's default;
- ``NumRel`` of any relevance level, and ``judged_only`` for every measure that declares it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import DataError, PrerequisiteError, UsageError
from tamis.eval.judgements import UNJUDGED, JudgedList, Judgements
from tamis.eval.measures import Measure

Grades = NDArray[np.int64]
_BATCH = 256  # queries handed over at once: bounds memory at 256 lists of names
_WEB_TRACK_MAX_GRADE = 4
_EXPONENTIAL_MAX_GRADE = 15  # trec_eval allocates one counter for every gain up to the highest


def check_computable(measures: Sequence[Measure]) -> None:
    """Check that every measure can be computed on this machine.

    Raises:
        PrerequisiteError: a package is missing that would compute it.
        UsageError: nothing computes it from plain qrels.
    """
    from ir_measures import DefaultPipeline

    for measure in measures:
        if type(measure.definition).__module__.endswith(".diversity"):
            raise UsageError(f"{measure} needs judgements by subtopic, which qrels of query, document and grade lack")
        if measure.definition.NAME == "RBP" and measure.parameter("rel") is None:
            raise UsageError(f"{measure}: state which grades are relevant, for example RBP(p=0.8,rel=1)")
        if _own(measure) or DefaultPipeline.supports(_delegate(measure, ()).definition):
            continue
        fixes = [
            provider.install_instructions()
            for provider in DefaultPipeline.providers
            if not provider.is_available() and provider.supports(measure.definition)
        ]
        if fixes:
            raise PrerequisiteError(f"{measure} is computed by a package that is not installed: {' or '.join(fixes)}")
        raise UsageError(f"no provider of ir_measures computes {measure}")


def compute(
    judgements: Judgements, lists: Sequence[JudgedList | None], measures: Sequence[Measure]
) -> NDArray[np.float64]:
    """Return the value of every measure for every query of the qrels.

    A query without results gets the measure's own default, 0 for all of ir_measures.

    Args:
        judgements: the qrels.
        lists: one canonical result list a query of the qrels.
        measures: those that `check_computable` let pass.

    Returns:
        float64 of shape (measures, queries).
    """
    values = np.empty((len(measures), len(judgements)))
    grades = sorted({int(grade) for query in judgements.grades for grade in np.unique(query)})
    groups: dict[tuple[bool, int | None, int, object], list[tuple[int, Measure]]] = {}
    for i, measure in enumerate(measures):
        values[i] = measure.definition.DEFAULT
        delegate = _delegate(measure, grades)
        rel, gains = delegate.parameter("rel"), delegate.parameter("gains")
        key = (
            bool(measure.parameter("judged_only")),
            measure.cutoff,
            1 if rel is None else rel,
            None if gains is None else tuple(sorted(gains.items())),
        )
        groups.setdefault(key, []).append((i, delegate))
    for (judged_only, depth, *_), members in groups.items():
        cut = [_cut(judgements, q, found, judged_only=judged_only, depth=depth) for q, found in enumerate(lists)]
        _compute_group(judgements, cut, members, values)
    return values


def _cut(
    judgements: Judgements, position: int, found: JudgedList | None, *, judged_only: bool, depth: int | None
) -> NDArray[np.int64]:
    if found is None:
        return np.zeros(0, np.int64)
    return (judgements.condensed(position, found) if judged_only else found).judged[:depth]


def _compute_group(
    judgements: Judgements,
    cut: list[NDArray[np.int64]],
    members: list[tuple[int, Measure]],
    values: NDArray[np.float64],
) -> None:
    for i, measure in members:
        if function := _own(measure):
            for q, judged in enumerate(cut):
                if len(judged):
                    values[i, q] = function(measure, _ranked_grades(judgements.grades[q], judged), judgements.grades[q])
    handed: dict[Any, list[int]] = {}  # two measures may be computed as the same one
    for i, measure in members:
        if not _own(measure):
            handed.setdefault(measure.definition, []).append(i)
    if not handed:
        return
    import ir_measures

    for qrels, run in _batches(judgements, cut):
        for metric in ir_measures.iter_calc(list(handed), qrels, run):
            values[handed[metric.measure], int(metric.query_id)] = metric.value


def _ranked_grades(grades: Grades, judged: NDArray[np.int64]) -> Grades:
    ranked = np.full(len(judged), np.iinfo(np.int64).min)  # below every relevance level
    known = judged != UNJUDGED
    ranked[known] = grades[judged[known]]
    return ranked


def _batches(
    judgements: Judgements, cut: list[NDArray[np.int64]]
) -> Iterator[tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]]:
    """Yield (qrels, run) in the nested dictionaries that ir_measures hands on unchanged, for the queries with results."""
    depth = max(map(len, cut), default=0)
    # Stand-in names and falling scores, shared by the lists of all queries.
    unjudged = [f"u{rank}" for rank in range(depth)]
    scores = [float(depth - rank) for rank in range(depth)]
    answered = [q for q, judged in enumerate(cut) if len(judged)]
    for start in range(0, len(answered), _BATCH):
        qrels: dict[str, dict[str, int]] = {}
        run: dict[str, dict[str, float]] = {}
        for q in answered[start : start + _BATCH]:
            qrels[str(q)] = {f"j{i}": grade for i, grade in enumerate(judgements.grades[q].tolist())}
            judged = cut[q]
            ids = unjudged[: len(judged)]
            for rank in np.flatnonzero(judged != UNJUDGED).tolist():
                ids[rank] = f"j{judged[rank]}"
            run[str(q)] = dict(zip(ids, scores, strict=False))
        yield qrels, run


def _delegate(measure: Measure, grades: Sequence[int]) -> Measure:
    """Return what is computed in the measure's place once its list is condensed and its gains are spelt out."""
    changes: dict[str, object] = {}
    if measure.parameter("judged_only"):
        changes["judged_only"] = None
    if measure.definition.NAME == "nDCG" and measure.parameter("dcg") == "exp-log2":
        if measure.parameter("gains") is not None:
            raise UsageError(f"{measure}: give dcg='exp-log2' or gains, not both")
        if grades and grades[-1] > _EXPONENTIAL_MAX_GRADE:
            raise DataError(
                f"{measure}: the qrels hold the grade {grades[-1]}, but exponential gains are computed up to grade "
                f"{_EXPONENTIAL_MAX_GRADE}; use nDCG, whose gains are linear"
            )
        changes |= {"dcg": None, "gains": {grade: 2**grade - 1 for grade in grades if grade > 0}}
    return measure.with_parameters(**changes) if changes else measure


def _own(measure: Measure) -> Callable[[Measure, Grades, Grades], float] | None:
    """Return the function (measure, grades by rank, all grades of the query) that computes it here, if one does."""
    return _OWN.get(measure.definition.NAME)


def _err(measure: Measure, ranked: Grades, every: Grades) -> float:
    if len(every) and every.max() > _WEB_TRACK_MAX_GRADE:
        raise DataError(
            f"{measure} is defined for grades up to {_WEB_TRACK_MAX_GRADE}, but the qrels hold {every.max()}: "
            "map the grades, or use nDCG"
        )
    stop = (np.exp2(np.maximum(ranked, 0)) - 1) / 2**_WEB_TRACK_MAX_GRADE
    reached = np.concatenate(([1.0], np.cumprod(1 - stop)[:-1]))
    return float((reached * stop / np.arange(1, len(ranked) + 1)).sum())


def _rbp(measure: Measure, ranked: Grades, every: Grades) -> float:
    del every
    p = measure.parameter("p")
    return float((1 - p) * (p ** np.arange(len(ranked)))[ranked >= measure.parameter("rel")].sum())


def _num_rel(measure: Measure, ranked: Grades, every: Grades) -> float:
    del ranked
    return float((every >= measure.parameter("rel")).sum())


def _accuracy(measure: Measure, ranked: Grades, every: Grades) -> float:
    del every
    relevant = ranked >= measure.parameter("rel")
    pairs = int(relevant.sum()) * int((~relevant).sum())
    if not pairs:
        return float(measure.definition.DEFAULT)
    below = np.cumsum(~relevant[::-1])[::-1]  # non-relevant documents from each rank on
    return float(below[relevant].sum() / pairs)


_OWN: dict[str, Callable[[Measure, Grades, Grades], float]] = {
    "Accuracy": _accuracy,
    "ERR": _err,
    "NumRel": _num_rel,
    "RBP": _rbp,
}
