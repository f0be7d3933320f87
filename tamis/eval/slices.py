"""Compare within slices of the queries: is a system better on long queries, on questions, where judgements are many?

A slicing puts every query into one slice by a rule that is fixed beforehand and the same for all systems. None looks at how well
a system does, since slices chosen by a score differ from each other by regression to the mean alone. The family of a correction
is the set of slices of one slicing, for one system and measure.

The bins are round numbers of this house; nothing in them is fitted to a collection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tamis.errors import DataError, UnknownNameError, UsageError
from tamis.eval import significance
from tamis.eval.compare import CORRECTIONS, Comparison, paired_p_values
from tamis.eval.evaluate import Evaluation

Untested = Literal["", "one query", "no difference", "equal differences"]

NO_TEXT = "(no text)"
NO_SLICE = "(none)"

_QUESTIONS = {
    "who": ("who", "whos", "whose", "whom"),
    "what": ("what", "whats"),
    "when": ("when", "whens"),
    "where": ("where", "wheres"),
    "which": ("which",),
    "why": ("why", "whys"),
    "how": ("how", "hows"),
    "yes/no": (
        "am", "are", "can", "could", "did", "do", "does", "had", "has", "have", "is", "may", "might", "must", "should", "was",
        "were", "will", "would",
    ),
}  # fmt: skip
_FIRST = {word: label for label, words in _QUESTIONS.items() for word in words}
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Slicing:
    """Queries in slices.

    Attributes:
        by: name of the slicing.
        rule: what decides, a sentence for the reader of a table.
        labels: the slices that hold queries, in order.
        of: the slice of every query of an evaluation, in its order.
    """

    by: str
    rule: str
    labels: tuple[str, ...]
    of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SliceDifference:
    """One system against the baseline on one measure, within one slice.

    Attributes:
        by: name of the slicing.
        slice: the slice.
        measure: canonical name of the measure.
        system: name of the system.
        queries: how many queries the slice holds.
        mean: the system's mean over them.
        baseline_mean: the baseline's.
        difference: mean of the per-query differences.
        low: lower end of the bootstrap interval of the difference; None where it was not tested.
        high: upper end.
        p: two-sided p before correction; None where it was not tested.
        corrected_p: after correction over the slices that were tested.
        wins: queries in which the system is better.
        ties: queries in which both are equal.
        losses: queries in which the baseline is better.
        significant: whether corrected_p is below alpha.
        untested: why there is no interval and no test; empty where there is.
    """

    by: str
    slice: str
    measure: str
    system: str
    queries: int
    mean: float
    baseline_mean: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    corrected_p: float | None
    wins: int
    ties: int
    losses: int
    significant: bool
    untested: Untested

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, unrounded."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Bins:
    """Named intervals of numbers: each from its start up to the next one's, which is not in it."""

    starts: tuple[float, ...]
    labels: tuple[str, ...]

    def __call__(self, values: ArrayLike) -> list[str]:
        places = np.searchsorted(self.starts, np.asarray(values, np.float64), "right") - 1
        return [self.labels[place] for place in places.tolist()]


_LENGTHS = _Bins((0, 1, 4, 7, 11), ("0", "1-3", "4-6", "7-10", "11+"))
_SHARES = _Bins((0, 0.5, 0.8, 1), ("<50%", "50-80%", "80-100%", "100%"))
_RELEVANT = _Bins((0, 1, 2, 6, 21, 101), ("0", "1", "2-5", "6-20", "21-100", "101+"))


def _by_length(texts: Sequence[str]) -> list[str]:
    return _LENGTHS([len(text.split()) for text in texts])


def _by_first_word(texts: Sequence[str]) -> list[str]:
    words = (_WORD.search(text.casefold()) for text in texts)
    return [_FIRST.get(word[0], "other") if word else "other" for word in words]


def _by_judged_share(judged: NDArray[np.float64]) -> list[str]:
    return _SHARES(judged.mean(axis=0) + 1e-9)  # no query may miss its bin by rounding


def _by_relevant(relevant: NDArray[np.float64]) -> list[str]:
    return _RELEVANT(relevant[0])  # the judgements have this number, so it is the same for every system


@dataclass(frozen=True, slots=True)
class _Rule:
    says: str
    labels: tuple[str, ...]
    of_texts: Callable[[Sequence[str]], list[str]] | None = None
    of_values: Callable[[NDArray[np.float64]], list[str]] | None = None
    measure: str = ""


SLICINGS: dict[str, _Rule] = {
    "query-length": _Rule("number of words of the query, parted by white space", _LENGTHS.labels, of_texts=_by_length),
    "first-word": _Rule(
        "first word of the query; yes/no: is, are, do, does, can, …", (*_QUESTIONS, "other"), of_texts=_by_first_word
    ),
    "judged-share": _Rule(
        "share of judged documents in the top 10, mean over all runs; a bin holds its lower end",
        _SHARES.labels,
        of_values=_by_judged_share,
        measure="Judged@10",
    ),
    "relevant": _Rule(
        "number of documents judged relevant",
        _RELEVANT.labels,
        of_values=_by_relevant,
        measure="NumRel",
    ),
}
"""The slicings that have a name."""


def needs_texts(by: str) -> bool:
    """Whether a slicing looks at the query texts.

    Raises:
        UnknownNameError: there is no such slicing.
    """
    return _rule(by).of_texts is not None


def needed_measures(slicings: Iterable[str]) -> tuple[str, ...]:
    """Return the measures that an evaluation must hold for these slicings, each once.

    Raises:
        UnknownNameError: there is no such slicing.
    """
    return tuple(dict.fromkeys(measure for by in slicings if (measure := _rule(by).measure)))


def slice_queries(
    by: str,
    query_ids: Sequence[str],
    *,
    texts: Mapping[str, str] | None = None,
    facts: Evaluation | None = None,
) -> Slicing:
    """Put queries into slices.

    Args:
        by: ``query-length``, ``first-word``, ``judged-share`` or ``relevant``.
        query_ids: the queries.
        texts: their texts, for ``query-length`` and ``first-word``; a query without text goes to a slice of its own.
        facts: an evaluation of all systems over these queries with the measures of `needed_measures`, for the others.

    Raises:
        UnknownNameError: there is no such slicing.
        UsageError: what it looks at is not given.
        DataError: no query has a text.
    """
    rule = _rule(by)
    if rule.of_texts:
        if texts is None:
            raise UsageError(f"slices by {by} look at the query texts: give the topics")
        known = [query_id for query_id in query_ids if query_id in texts]
        if not known:
            raise DataError(
                f"slices by {by}: none of the {len(query_ids)} judged queries is among the topics: the judgements have for "
                f"example {query_ids[0]!r}; do they belong together?"
            )
        found = dict(zip(known, rule.of_texts([texts[query_id] for query_id in known]), strict=True))
        return _slicing(
            by, rule.says, (*rule.labels, NO_TEXT), [found.get(query_id, NO_TEXT) for query_id in query_ids]
        )
    if facts is None or rule.of_values is None:
        raise UsageError(f"slices by {by} need an evaluation with {rule.measure}")
    # by its kind, since a profile may have changed its parameters (NumRel(rel=2))
    kind = rule.measure.partition("@")[0]
    place = next((m for m, measure in enumerate(facts.measures) if kind == measure.definition.NAME), None)
    if place is None or facts.query_ids != tuple(query_ids):
        raise UsageError(f"slices by {by} need an evaluation with {rule.measure} over the same queries")
    threshold = facts.measures[place].parameter("rel")
    says = f"{rule.says} (grade {threshold} or more)" if threshold is not None else rule.says
    return _slicing(by, says, rule.labels, rule.of_values(facts.values[:, place]))


def slice_by_labels(by: str, query_ids: Sequence[str], labels: Mapping[str, str]) -> Slicing:
    """Put queries into slices of the caller's own.

    Args:
        by: what to call the slicing.
        query_ids: the queries.
        labels: the slice of each; a query without one goes to the slice ``(none)``, which comes last.

    Raises:
        DataError: none of the queries has a label.
    """
    found = [labels.get(query_id, NO_SLICE) for query_id in query_ids]
    if all(label == NO_SLICE for label in found):
        raise DataError(
            f"slices by {by}: none of the {len(query_ids)} judged queries has one; the judgements have for example "
            f"{query_ids[0]!r}, the slices {next(iter(labels), None)!r}"
        )
    order = [label for label in dict.fromkeys(labels.values()) if label != NO_SLICE]
    return _slicing(by, "as given", (*order, NO_SLICE), found)


def compare_slices(comparison: Comparison, slicing: Slicing) -> tuple[SliceDifference, ...]:
    """Repeat a comparison within every slice, with its test, correction, level, samples and seed.

    A slice of one query, or one in which no value differs, has no interval and no test, and does not count for the
    correction. Nor has one whose differences are all equal: without spread a t-test finds two queries as certain as a thousand.

    Returns:
        For every measure and system, in the comparison's order, one difference a slice, in the slicing's order.

    Raises:
        UsageError: the slicing is of other queries.
    """
    evaluation = comparison.evaluation
    if len(slicing.of) != len(evaluation.query_ids):
        raise UsageError(
            f"slices of {len(slicing.of)} queries cannot part the {len(evaluation.query_ids)} of the comparison"
        )
    compared = comparison.differences
    before = np.stack([evaluation.per_query(comparison.baseline, d.measure) for d in compared], axis=1)
    after = np.stack([evaluation.per_query(d.system, d.measure) for d in compared], axis=1)  # queries, comparisons
    labels = np.asarray(slicing.of)
    members = [np.flatnonzero(labels == label) for label in slicing.labels]
    tested = [_tested(comparison, (after - before)[queries]) for queries in members]
    found: list[SliceDifference] = []
    for column, difference in enumerate(compared):
        own = [tests[column] for tests in tested]
        corrected = iter(CORRECTIONS[comparison.correction]([t.p for t in own if t.p is not None]))
        for label, queries, test in zip(slicing.labels, members, own, strict=True):
            final = None if test.p is None else next(corrected)
            differences = (after - before)[queries, column]
            wins, ties, losses = significance.win_tie_loss(differences)
            found.append(
                SliceDifference(
                    by=slicing.by,
                    slice=label,
                    measure=difference.measure,
                    system=difference.system,
                    queries=len(queries),
                    mean=float(after[queries, column].mean()),
                    baseline_mean=float(before[queries, column].mean()),
                    difference=float(differences.mean()),
                    low=test.low,
                    high=test.high,
                    p=test.p,
                    corrected_p=final,
                    wins=wins,
                    ties=ties,
                    losses=losses,
                    significant=final is not None and final < comparison.alpha,
                    untested=test.untested,
                )
            )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Tested:
    low: float | None = None
    high: float | None = None
    p: float | None = None
    untested: Untested = ""


def _tested(comparison: Comparison, differences: NDArray[np.float64]) -> list[_Tested]:
    """Test every comparison within one slice: one draw of queries serves them all."""
    if len(differences) < 2:
        return [_Tested(untested="one query") for _ in differences.T]
    some: NDArray[np.bool_] = np.abs(differences).max(axis=0) > significance.SAME
    spread = np.ptp(differences, axis=0) > significance.SAME
    found = [_Tested(untested="equal differences" if differs else "no difference") for differs in some.tolist()]
    columns = np.flatnonzero(some & spread)
    if len(columns):
        samples, seed = comparison.samples, comparison.seed
        p = paired_p_values(differences[:, columns], comparison.test, samples=samples, seed=seed)
        low, high = significance.bootstrap_interval(
            differences[:, columns], confidence=1 - comparison.alpha, samples=samples, seed=seed
        )
        for column, *figures in zip(columns.tolist(), low.tolist(), high.tolist(), p.tolist(), strict=True):
            found[column] = _Tested(*figures)
    return found


def _rule(by: str) -> _Rule:
    if by not in SLICINGS:
        raise UnknownNameError("slicing of queries", by, SLICINGS)
    return SLICINGS[by]


def _slicing(by: str, rule: str, order: Sequence[str], of: Sequence[str]) -> Slicing:
    return Slicing(by, rule, tuple(label for label in order if label in set(of)), tuple(of))
