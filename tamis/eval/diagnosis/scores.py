"""Do a run's scores tell relevant documents apart? Distributions by judgement, and how well they separate.

The area under the ROC curve (AUC) is the chance that a relevant document has a higher score than one that is not, ties
counting half (Hanley and McNeil, 1982). Pooled over all queries it asks whether one threshold would serve them all;
within queries, whether each list is in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import DataError, UsageError
from tamis.eval.diagnosis.intervals import INTERVAL, Mean
from tamis.eval.judgements import UNJUDGED, Judgements
from tamis.eval.tables import Cell, Table
from tamis.ranking import Ranking

Values = NDArray[np.float64]

RELEVANT, OTHERS, UNKNOWN = "relevant", "not relevant", "unjudged"
CLASSES = (RELEVANT, OTHERS, UNKNOWN)
LEVELS = (0, 5, 25, 50, 75, 95, 100)
BINS = 20


@dataclass(frozen=True, slots=True)
class Separation:
    """How well scores tell two classes of results apart.

    Attributes:
        pooled: AUC over all queries; None where a class is empty.
        within: AUC in each query that has both classes, the mean over those; None where there are none.
        queries: how many queries have both.
    """

    pooled: float | None
    within: Mean | None
    queries: int

    @classmethod
    def of(cls, pairs: Sequence[tuple[Values, Values]], seed: int) -> Separation:
        """Compare the scores of two classes, one pair a query."""
        areas = [area for pair in pairs if (area := area_under_curve(*pair)) is not None]
        pooled = area_under_curve(*(np.concatenate(own) for own in zip(*pairs, strict=True)))
        return cls(pooled, Mean.of(areas, seed) if areas else None, len(areas))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, unrounded."""
        within = None if self.within is None else self.within.to_dict()
        return {"pooled": self.pooled, "within_queries": within, "queries": self.queries}


@dataclass(frozen=True)
class ScoreSpread:
    """The scores of a run.

    Attributes:
        system: name of the run.
        rel: least grade of a relevant document.
        queries: judged ones with results.
        counts: results by class.
        quantiles: percentiles `LEVELS` by class; None for a class without results.
        judged: separation of relevant results from those judged not relevant.
        every: separation of relevant results from all others, the unjudged included.
        seed: of the bootstrap.
        edges: of the histogram's bins, `BINS` + 1.
        histogram: share of a class in each bin, by class.
    """

    system: str
    rel: int
    queries: int
    counts: Mapping[str, int]
    quantiles: Mapping[str, tuple[float, ...] | None]
    judged: Separation
    every: Separation
    seed: int
    edges: tuple[float, ...]
    histogram: Mapping[str, tuple[float, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, unrounded."""
        return {
            "system": self.system,
            "rel": self.rel,
            "queries": self.queries,
            "counts": dict(self.counts),
            "quantiles": {
                name: None if values is None else dict(zip(map(str, LEVELS), values, strict=True))
                for name, values in self.quantiles.items()
            },
            "auc": {"judged": self.judged.to_dict(), "with_unjudged": self.every.to_dict()},
            "seed": self.seed,
            "histogram": {"edges": list(self.edges), **{name: list(own) for name, own in self.histogram.items()}},
        }


def area_under_curve(relevant: Values, others: Values) -> float | None:
    """Return the chance that one of `relevant` is above one of `others`, ties counting half; None where one is empty."""
    if not len(relevant) or not len(others):
        return None
    ordered = np.sort(others)
    below = np.searchsorted(ordered, relevant, "left") + np.searchsorted(ordered, relevant, "right")
    return float(below.mean() / 2 / len(others))


def score_spread(
    system: str, ranking: Ranking, qrels: Mapping[str, Mapping[str, int]], *, rel: int = 1, seed: int = 0
) -> ScoreSpread:
    """Describe the scores of a ranking.

    Args:
        system: name of the ranking.
        ranking: the results; queries without judgements are left out.
        qrels: judgements; a document graded below `rel` is not relevant.
        rel: least grade of a relevant document.
        seed: of the bootstrap.

    Raises:
        UsageError: `rel` is below 1.
        DataError: no query of the ranking is judged, no result of one is relevant, or all scores are equal.
    """
    if rel < 1:
        raise UsageError(f"rel={rel}: the least grade of a relevant document must be at least 1")
    judgements = Judgements(qrels)
    lists = judgements.judge(ranking, "stable").lists
    parts: dict[str, list[Values]] = {name: [] for name in CLASSES}
    for q, found in enumerate(lists):
        if found is None:
            continue
        known = found.judged != UNJUDGED
        good = known.copy()
        good[known] = judgements.grades[q][found.judged[known]] >= rel
        own = dict(zip(CLASSES, (found.scores[mask] for mask in (good, known & ~good, ~known)), strict=True))
        for name, scores in own.items():
            parts[name].append(scores)
    if not parts[RELEVANT]:
        raise DataError(
            f"{system}: none of its {len(ranking)} queries is in the qrels: do they belong to the same topics?"
        )
    classes = {name: np.concatenate(own) for name, own in parts.items()}
    everything = np.concatenate(list(classes.values()))
    if not len(classes[RELEVANT]):
        raise DataError(
            f"{system}: none of its {len(everything):,} results is graded at least {rel}: there is nothing to tell apart"
        )
    low, high = float(everything.min()), float(everything.max())
    if low == high:
        raise DataError(f"{system}: all {len(everything):,} scores are {low:g}: there is no distribution to show")
    edges = np.linspace(low, high, BINS + 1)
    others = [np.concatenate(both) for both in zip(parts[OTHERS], parts[UNKNOWN], strict=True)]
    return ScoreSpread(
        system=system,
        rel=rel,
        queries=len(others),
        counts={name: len(own) for name, own in classes.items()},
        quantiles={
            name: tuple(np.percentile(own, LEVELS).tolist()) if len(own) else None for name, own in classes.items()
        },
        judged=Separation.of(list(zip(parts[RELEVANT], parts[OTHERS], strict=True)), seed),
        every=Separation.of(list(zip(parts[RELEVANT], others, strict=True)), seed),
        seed=seed,
        edges=tuple(edges.tolist()),
        histogram={
            name: tuple((np.histogram(own, edges)[0] / len(own)).tolist()) for name, own in classes.items() if len(own)
        },
    )


def spread_table(found: list[ScoreSpread]) -> Table:
    """Return one row a system and class: percentiles of its scores."""
    rows = []
    for one in found:
        for name in CLASSES:
            values = one.quantiles[name]
            cells = [Cell(None)] * len(LEVELS) if values is None else [Cell(value) for value in values]
            rows.append((Cell(one.system), Cell(name), Cell(one.counts[name]), *cells))
    header = ("system", "results", "count", "min", *(f"{level} %" for level in LEVELS[1:-1]), "max")
    empty = any(values is None for one in found for values in one.quantiles.values())
    return Table(header, tuple(rows), ("-: there are no such results.",) if empty else ())


def area_table(found: list[ScoreSpread]) -> Table:
    """Return two rows a system: how well its scores tell relevant results from the others, judged or not."""
    rows = []
    for one in found:
        for name, own in (("judged not relevant", one.judged), ("the same, and unjudged", one.every)):
            within = (Cell(None),) * 3 if own.within is None else own.within.cells()
            rows.append((Cell(one.system), Cell(name), Cell(own.pooled), *within, Cell(own.queries)))
    notes = [
        (
            "AUC: the chance that a relevant result has a higher score than another, pooled over all queries, and within the "
            "queries that have both."
        ),
        INTERVAL.format(unit="queries", seed=found[0].seed),
    ]
    if any(cell.value is None for row in rows for cell in row):
        notes.append("-: a class has no results, or there is one query only, of which there is no interval.")
    return Table(
        ("system", "relevant and", "pooled AUC", "within queries", "within low", "within high", "queries"),
        tuple(rows),
        tuple(notes),
    )


def spread_chart(found: ScoreSpread) -> str:
    """Return the histogram of scores by class as SVG."""
    from tamis.eval.charts import bar_chart

    names = [f"{(low + high) / 2:.3g}" for low, high in zip(found.edges[:-1], found.edges[1:], strict=True)]
    return bar_chart(names, found.histogram, y_label="share of the class", x_label="score", title=found.system)
