"""Running an experiment: everything is opened and checked first, a plan can be seen, then what is not remembered is done.

All systems of a collection are one plan, so what they share is done once; every list is remembered on disk as soon as it is
made (`tamis.eval.laboratory.store`), so that a run that was interrupted goes on, and one that was finished costs nothing. Topics
without judgements are left out.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from tamis._version import __version__
from tamis.data.qrels import read_qrels
from tamis.data.runs import write_run
from tamis.data.sources import source_name
from tamis.data.topics import read_topics, topics_identity
from tamis.encoders.checkpoints import find_checkpoint
from tamis.engine import Index
from tamis.errors import DataError, TamisError, UsageError
from tamis.eval.evaluate import evaluate
from tamis.eval.laboratory.costs import Cost, draw, measure_costs
from tamis.eval.laboratory.experiment import Collection, Experiment
from tamis.eval.laboratory.identity import to_download
from tamis.eval.laboratory.results import (
    RUNS,
    CollectionResult,
    Results,
    StepResult,
    SystemResult,
    check_folder,
    write_results,
)
from tamis.eval.laboratory.site import Site, addresses, require_models
from tamis.eval.laboratory.store import Store
from tamis.eval.profiles import choose_profile
from tamis.events import Listener, ignore
from tamis.files import sha256_file, sha256_json
from tamis.pipeline import Pipeline
from tamis.pipeline.remembered import Done, execute_remembered
from tamis.pipeline.steps import Plan
from tamis.ranking import Queries, Ranking


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A piece of work that is remembered.

    Attributes:
        step: what is to be done.
        topics: queries that need it at most.
        recalled: those whose result is remembered.
        seconds: what the rest will take, judged by earlier runs; None where there were none.
    """

    step: str
    topics: int
    recalled: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class CollectionPlan:
    """What is to be done on one collection.

    Attributes:
        topics: judged topics.
        unjudged: topics that are left out.
        without_topic: judged queries that the topics lack.
        steps: pieces of work that are remembered.
        spelling: the whole plan, one step a line.
    """

    topics: int
    unjudged: int
    without_topic: int
    steps: tuple[PlannedStep, ...]
    spelling: str


@dataclass(frozen=True, slots=True)
class ExperimentPlan:
    """What is to be done.

    Attributes:
        collections: by name.
        downloads: models that will be fetched from the Hugging Face hub.
    """

    collections: Mapping[str, CollectionPlan]
    downloads: tuple[str, ...]

    @property
    def seconds(self) -> float | None:
        """What is to be done will take so long; None where that is not known of every step."""
        known = [step.seconds for one in self.collections.values() for step in one.steps]
        return None if any(value is None for value in known) else float(sum(value or 0.0 for value in known))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "downloads": list(self.downloads),
            "seconds": self.seconds,
            "collections": {
                name: {
                    "topics": one.topics,
                    "unjudged": one.unjudged,
                    "without_topic": one.without_topic,
                    "steps": [
                        {"step": s.step, "topics": s.topics, "recalled": s.recalled, "seconds": s.seconds}
                        for s in one.steps
                    ],
                }
                for name, one in self.collections.items()
            },
        }


@dataclass(frozen=True, slots=True)
class _Bench:
    """An opened collection.

    Attributes:
        collection: as it was described.
        site: the open index.
        queries: the judged topics.
        qrels: of these and of queries without a topic.
        unjudged: topics left out.
        plan: of all systems.
    """

    collection: Collection
    site: Site
    queries: Queries
    qrels: Mapping[str, Mapping[str, int]]
    unjudged: int
    plan: Plan


class Laboratory:
    """An experiment, opened: a context manager.

    Args:
        experiment: what is to be run.
        store: remembers lists and costs.
        threads: of searches; all processors if not given.
        listener: hears of the work.

    Raises:
        TamisError: an index, topics or judgements cannot be read.
        UsageError: a system cannot run on a collection; all that are wrong are listed.
        DataError: no topic is judged.
    """

    def __init__(
        self, experiment: Experiment, store: Store, *, threads: int | None = None, listener: Listener = ignore
    ) -> None:
        self.experiment, self.store, self._threads, self._listener = experiment, store, threads, listener
        self._benches: dict[str, _Bench] = {}
        try:
            problems: list[str] = []
            for name, collection in experiment.collections.items():
                bench = self._open(collection, problems)
                if bench is not None:
                    self._benches[name] = bench
            if problems:
                raise UsageError("the experiment cannot run:\n" + "\n".join(f"- {problem}" for problem in problems))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the indexes and the store."""
        for bench in self._benches.values():
            bench.site.index.close()
        self._benches.clear()
        self.store.close()

    def _open(self, collection: Collection, problems: list[str]) -> _Bench | None:
        """Open a collection; what is wrong with its systems is added to `problems`."""
        try:
            topics, qrels = read_topics(collection.topics), read_qrels(collection.qrels)
            judged = [i for i, query_id in enumerate(topics.ids) if query_id in qrels]
            if not judged:
                raise DataError(
                    f"none of the {len(topics)} topics of {collection.topics} is judged in {collection.qrels}: do they belong "
                    f"together? For example {topics.ids[0]!r} and {next(iter(qrels), None)!r}"
                )
            index = Index.open(collection.index, threads=self._threads, listener=self._listener)
        except TamisError as error:
            problems.append(f"collection {collection.name!r}: {error}")
            return None
        try:
            wrong = len(problems)
            site = Site.over(index, collection.filter)
            for name, text in self.experiment.systems.items():
                try:
                    require_models(Pipeline.of(text))  # those that are loaded late too
                    site.runner.plan([text], self.experiment.k)
                except TamisError as error:
                    problems.append(f"collection {collection.name!r}, system {name!r}: {error}")
            if len(problems) == wrong:
                plan = site.runner.plan(list(self.experiment.systems.values()), self.experiment.k)
                return _Bench(collection, site, topics.take(judged), qrels, len(topics) - len(judged), plan)
        except TamisError as error:
            problems.append(f"collection {collection.name!r}: {error}")
        except BaseException:
            index.close()
            raise
        index.close()
        return None

    # -- the plan --------------------------------------------------------------------------------------------------

    def plan(self) -> ExperimentPlan:
        """Return what is to be done, what is remembered, and what will be downloaded; nothing is run."""
        return ExperimentPlan(
            {name: self._plan(bench) for name, bench in self._benches.items()}, tuple(sorted(self._downloads()))
        )

    def _downloads(self) -> set[str]:
        systems = map(Pipeline.of, self.experiment.systems.values())
        return {one for system in systems for address in addresses(system) for one in to_download(address)}

    def _plan(self, bench: _Bench) -> CollectionPlan:
        steps = []
        for key in bench.site.keys(bench.plan, self.store):
            if key is None:
                continue
            recalled = int(self.store.known(key, bench.queries).sum())
            missing, pace = len(bench.queries) - recalled, self.store.pace(key)
            seconds = 0.0 if not missing else None if pace is None else pace * missing
            steps.append(PlannedStep(key.name, len(bench.queries), recalled, seconds))
        asked = set(bench.queries.ids)
        return CollectionPlan(
            topics=len(bench.queries),
            unjudged=bench.unjudged,
            without_topic=sum(query_id not in asked for query_id in bench.qrels),
            steps=tuple(steps),
            spelling=str(bench.plan),
        )

    # -- the run ---------------------------------------------------------------------------------------------------

    def run(self, folder: Path, *, force: bool = False) -> Results:
        """Run the experiment, and leave runs and figures in a folder.

        Raises:
            OutputExistsError: the folder holds something else, and `force` is false.
            TamisError: a model failed; what was done before is remembered.
        """
        check_folder(folder, force=force)
        for one in sorted(self._downloads()):
            find_checkpoint(one)
        folder.mkdir(exist_ok=True)
        collections = {name: self._run(bench, folder) for name, bench in self._benches.items()}
        experiment = self.experiment
        results = Results(
            name=experiment.name,
            measures=tuple(measure.name for measure in experiment.measures),
            k=experiment.k,
            baseline=experiment.baseline,
            collections=collections,
            made={"tamis": __version__, "python": platform.python_version(), "processors": os.cpu_count() or 1},
        )
        write_results(folder, results, experiment.to_json())
        return results

    def _run(self, bench: _Bench, folder: Path) -> CollectionResult:
        site, collection = bench.site, bench.collection
        keys = site.keys(bench.plan, self.store)
        rankings, done = execute_remembered(
            site.runner, bench.plan, bench.queries, self.store, keys, mask=site.mask, listener=self._listener
        )
        by_name = dict(zip(self.experiment.systems, rankings, strict=True))
        costs = self._costs(bench)
        profile = choose_profile(collection.profile, collection.qrels)
        evaluation = evaluate(bench.qrels, by_name, self.experiment.measures, profile=profile)
        systems = {}
        for name, ranking in by_name.items():
            path, digest = self._write_run(collection, folder, name, ranking)
            systems[name] = SystemResult(
                pipeline=str(Pipeline.of(self.experiment.systems[name])),
                values={
                    measure.name: tuple(evaluation.per_query(name, measure).tolist()) for measure in evaluation.measures
                },
                run=path,
                run_sha256=digest,
                results=len(ranking.rows),
                partial=int(np.count_nonzero(ranking.partial)),
                cost=costs.get(name),
            )
        index = {"key": site.index.documents.key, "rows": len(site.index), "filter": collection.filter}
        if site.manifest is not None:
            index |= {"index": site.manifest.index, "generation": site.manifest.generation}
        pairs = [[query, sorted(grades.items())] for query, grades in sorted(bench.qrels.items())]
        return CollectionResult(
            index=index,
            topics={**topics_identity(collection.topics, bench.queries), "unjudged": bench.unjudged},
            qrels={"name": source_name(collection.qrels), "queries": len(pairs), "sha256": sha256_json(pairs)},
            query_ids=evaluation.query_ids,
            measures=tuple(measure.name for measure in evaluation.measures),
            profile=None if profile is None else profile.name,
            systems=systems,
            steps=tuple(_step(one) for one in sorted(done, key=lambda one: one.key.step)),
            warnings=tuple((warning.code, warning.message) for warning in evaluation.warnings),
        )

    def _write_run(self, collection: Collection, folder: Path, name: str, ranking: Ranking) -> tuple[str, str]:
        relative = f"{RUNS}/{collection.name}/{name}.run.gz"
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        manifest = {"experiment": self.experiment.name, "system": name, "pipeline": self.experiment.systems[name]}
        write_run(ranking, path, tag=name.replace(" ", "_"), manifest=manifest, overwrite=True)
        return relative, sha256_file(path)

    def _costs(self, bench: _Bench) -> dict[str, Cost]:
        """Return the costs of all systems; those that are not remembered are measured, in turns."""
        rules, site = self.experiment.cost, bench.site
        if not rules.topics:
            return {}
        asked = draw(bench.queries, rules)
        machine = [platform.platform(), platform.node(), os.cpu_count(), self._threads]
        how = [self.experiment.k, list(asked.texts), rules.rounds, machine]
        keys = {name: site.cost_key(text, self.store, how) for name, text in self.experiment.systems.items()}
        known = {name: self.store.cost(key) for name, key in keys.items()}
        found = {name: Cost.from_json(cost) for name, cost in known.items() if cost is not None}
        missing = {name: text for name, text in self.experiment.systems.items() if name not in found}
        if missing:
            measured = measure_costs(
                site.runner, missing, asked, self.experiment.k, rules.rounds,
                manifest=site.manifest, mask=site.mask, listener=self._listener,
            )  # fmt: skip
            for name, cost in measured.items():
                self.store.keep_cost(keys[name], cost.to_json())
            found |= measured
        return found


def _step(done: Done) -> StepResult:
    return StepResult(done.key.name, done.computed, done.recalled, done.seconds)
