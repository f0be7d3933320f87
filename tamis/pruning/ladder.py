"""The ladder that a certificate stands on: the same index cut deeper and deeper, and what every pipeline makes of it.

Every rung is a real cut (`tamis.pruning.cut`): statistics, sizes and times are those that a user of the smaller index gets.
A rung is cut out of the one before it. Finished rungs leave receipts, and a ladder that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tamis.engine import Index
from tamis.errors import DataError
from tamis.eval.evaluate import evaluate
from tamis.eval.judgements import QrelsLike
from tamis.eval.measures import Measure
from tamis.events import Advanced, Finished, Listener, Started, ignore
from tamis.executor import Receipts
from tamis.indexer.sizes import sizes_of
from tamis.pruning.cut import prune_index
from tamis.ranking import Queries, Rows

DEPTH = 1000
"""Results a query that are evaluated."""


@dataclass(frozen=True)
class Trial:
    """One pipeline over one rung.

    Attributes:
        values: of every measure, one a query.
        judged: share of the first ten results that were judged, over all queries.
        empty: queries without any result.
        seconds: that the queries took together, run as a batch.
    """

    values: Mapping[str, Sequence[float]]
    judged: float
    empty: int
    seconds: float


@dataclass(frozen=True)
class Rung:
    """An index cut to one depth.

    Attributes:
        level: share of the rows that was to go; 0 is the index as it is.
        rows: rows that went.
        kept: rows that are left.
        bytes: size of the index by room and part, see `tamis.indexer.sizes.sizes_of`.
        cut_seconds: that the cut took, from the rung before.
        trials: by pipeline.
    """

    level: float
    rows: int
    kept: int
    bytes: Mapping[str, int]
    cut_seconds: float
    trials: Mapping[str, Trial]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Build from JSON values."""
        trials = {name: Trial(**trial) for name, trial in value["trials"].items()}
        return cls(**{**value, "trials": trials})

    def values(self, pipeline: str, measure: str) -> NDArray[np.float64]:
        """Return the values of a pipeline, one a query."""
        return np.asarray(self.trials[pipeline].values[measure], np.float64)


@dataclass(frozen=True)
class Field:
    """What every rung is tried on.

    Attributes:
        queries: topics that have judgements, in the order of their ids.
        qrels: judgements of just these topics; those of pruned documents stay, and count as missed.
        pipelines: by their canonical names.
        measures: what is measured.
    """

    queries: Queries
    qrels: QrelsLike
    pipelines: tuple[str, ...]
    measures: tuple[Measure, ...]


def climb(
    index: Index,
    field: Field,
    levels: Sequence[float],
    lowest: Callable[[float], Rows],
    work: Path,
    *,
    threads: int = 2,
    listener: Listener = ignore,
) -> list[Rung]:
    """Try every pipeline on the index and on each cut of it.

    Args:
        index: the index.
        field: what is tried.
        levels: ascending shares.
        lowest: gives the rows that go at a share; those of a deeper one include those of a milder one.
        work: folder for receipts and rungs, of this ladder alone.
        threads: of searches and cuts.
        listener: hears of the progress.

    Returns:
        The rungs, that of level 0 first.

    Raises:
        DataError: a pipeline finds nothing at all in the whole index.
    """
    work.mkdir(parents=True, exist_ok=True)
    receipts = Receipts(work / "receipts")
    rungs: list[Rung] = []
    listener(Started("ladder", len(levels) + 1, "levels"))
    place: Path | None = None  # of the deepest rung that stands
    gone: Rows = np.zeros(0, np.int64)
    for level in (0.0, *levels):
        name = f"level-{level:.4f}"
        known = receipts.get(name)
        if known is not None:
            rungs.append(Rung.from_json(known))
        elif not level:
            rungs.append(Rung(0.0, 0, len(index), sizes_of(index.manifest), 0.0, _try(index, field)))
            receipts.put(name, rungs[-1].to_json())
        else:
            rows = lowest(level)
            began, target = time.perf_counter(), work / name
            if place is None:
                cut = prune_index(index, target, rows, overwrite=True, threads=threads)
            else:
                with Index.open(place, threads=threads) as before:
                    cut = prune_index(before, target, np.setdiff1d(rows, gone), overwrite=True, threads=threads)
                shutil.rmtree(place)
            place, gone = target, rows
            seconds = time.perf_counter() - began
            with Index.open(target, threads=threads) as opened:
                rungs.append(Rung(level, len(rows), cut.kept, dict(cut.after), seconds, _try(opened, field)))
            receipts.put(name, rungs[-1].to_json())
        if not level:
            _require_results(rungs[0], field)
        listener(Advanced("ladder"))
    listener(Finished("ladder"))
    if place is not None:
        shutil.rmtree(place)
    return rungs


def _try(index: Index, field: Field) -> dict[str, Trial]:
    trials = {}
    for pipeline in field.pipelines:
        index.prepare(pipeline)
        index.rank(field.queries.texts[0], 10, pipeline=pipeline)  # models are loaded before the clock starts
        began = time.perf_counter()
        ranking = index.rank(field.queries, DEPTH, pipeline=pipeline)
        seconds = time.perf_counter() - began
        empty = int((np.diff(ranking.offsets) == 0).sum())
        evaluation = evaluate(field.qrels, ranking, [*field.measures, "Judged@10"])
        values = {measure.name: evaluation.per_query("run", measure).tolist() for measure in field.measures}
        trials[pipeline] = Trial(values, evaluation.mean("run", "Judged@10"), empty, seconds)
    return trials


def _require_results(rung: Rung, field: Field) -> None:
    for pipeline, trial in rung.trials.items():
        if trial.empty == len(field.queries):
            raise DataError(
                f"{pipeline} finds nothing for any of the {trial.empty} topics, so there is nothing that pruning could harm: is "
                "it the right pipeline for this index?"
            )
        for measure, values in trial.values.items():
            if not any(values):
                raise DataError(
                    f"{pipeline} scores 0 on {measure} for every one of the {len(field.queries)} topics: do topics, judgements "
                    "and index belong together? (In an index of passages, judgements of documents need a pipeline that ends "
                    "in  >> maxp)"
                )
