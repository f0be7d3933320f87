"""Running an experiment: everything is opened and checked first, a plan can be seen, then what is not remembered is done.

All systems of a collection are one plan, so what they share is done once; every list is remembered on disk as soon as it is
made (`tamis.eval.laboratory.store`), so that a run that was interrupted goes on, and one that was finished costs nothing. Topics
without judgements are left out.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
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
from tamis.eval.laboratory.costs import Cost, LoggingRunner, PartLog, draw, measure_costs
from tamis.eval.laboratory.experiment import Collection, Experiment
from tamis.eval.laboratory.identity import stage_identity, to_download
from tamis.eval.laboratory.results import (
    RUNS,
    CollectionResult,
    Results,
    StepResult,
    SystemResult,
    check_folder,
    write_results,
)
from tamis.eval.laboratory.store import Store
from tamis.events import Listener, ignore
from tamis.families import Address
from tamis.files import sha256_file, sha256_json
from tamis.pipeline import Pipeline
from tamis.pipeline.names import split_depth
from tamis.pipeline.remembered import Done, StepKey, execute_remembered, step_keys
from tamis.pipeline.steps import Plan, Stage
from tamis.ranking import Queries, Ranking
from tamis.stages import RowMask

ENCODING = 1
"""Of what is remembered: raised when the meaning of a remembered list changes without a new version of Tamis."""


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


@dataclass
class _Site:
    """An opened collection.

    Attributes:
        collection: as it was described.
        index: open.
        runner: over the index.
        queries: the judged topics.
        qrels: of these and of queries without a topic.
        unjudged: topics left out.
        mask: rows that may be found.
        plan: of all systems.
    """

    collection: Collection
    index: Index
    runner: LoggingRunner
    queries: Queries
    qrels: Mapping[str, Mapping[str, int]]
    unjudged: int
    mask: RowMask | None
    plan: Plan
    keys: list[StepKey | None] = field(default_factory=list)

    def scope(self) -> str:
        """Identity of what the plan runs over, but for the parts, which the identity of a stage holds."""
        over = self.index.documents.key
        if self.index.has_manifest:
            over = f"{self.index.manifest.index}:{self.index.manifest.changed}"
        return sha256_json([ENCODING, __version__, over, self.collection.filter])

    def identity(self, stage: Stage, store: Store) -> str:
        """Identity of a stage: its address, the files that this names, and the parts that it reads."""
        parts = self.index.manifest.parts if self.index.has_manifest else {}
        read = {name: parts.get(name) for name in sorted(self.runner.log.asked.get(stage.name, ()))}
        own = {name: entry for name, entry in read.items() if isinstance(entry, Mapping) and "id" in entry}
        return sha256_json([stage_identity(Address.parse(stage.name), store.hash_of), own])


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
        self._sites: dict[str, _Site] = {}
        try:
            problems: list[str] = []
            for name, collection in experiment.collections.items():
                site = self._open(collection, problems)
                if site is not None:
                    self._sites[name] = site
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
        for site in self._sites.values():
            site.index.close()
        self._sites.clear()
        self.store.close()

    def _open(self, collection: Collection, problems: list[str]) -> _Site | None:
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
        runner = LoggingRunner(PartLog(index))
        try:
            mask = None if collection.filter is None else index.mask(collection.filter)
            wrong = len(problems)
            for name, text in self.experiment.systems.items():
                try:
                    runner.plan([text], self.experiment.k)
                except TamisError as error:
                    problems.append(f"collection {collection.name!r}, system {name!r}: {error}")
            if len(problems) > wrong:
                index.close()
                return None
            plan = runner.plan(list(self.experiment.systems.values()), self.experiment.k)
        except TamisError as error:
            problems.append(f"collection {collection.name!r}: {error}")
            index.close()
            return None
        except BaseException:
            index.close()
            raise
        return _Site(collection, index, runner, topics.take(judged), qrels, len(topics) - len(judged), mask, plan)

    # -- the plan --------------------------------------------------------------------------------------------------

    def plan(self) -> ExperimentPlan:
        """Return what is to be done, what is remembered, and what will be downloaded; nothing is run."""
        return ExperimentPlan(
            {name: self._plan(site) for name, site in self._sites.items()}, tuple(sorted(self._downloads()))
        )

    def _downloads(self) -> set[str]:
        return {
            one
            for text in self.experiment.systems.values()
            for node in Pipeline.of(text).walk()
            if getattr(node, "address", None) is not None
            for one in to_download(split_depth(node.address)[0])  # type: ignore[attr-defined]
        }

    def _keys(self, site: _Site) -> list[StepKey | None]:
        return step_keys(site.plan, site.scope(), lambda stage: site.identity(stage, self.store))

    def _plan(self, site: _Site) -> CollectionPlan:
        steps = []
        for key in self._keys(site):
            if key is None:
                continue
            recalled = int(self.store.known(key, site.queries).sum())
            missing, pace = len(site.queries) - recalled, self.store.pace(key)
            seconds = 0.0 if not missing else None if pace is None else pace * missing
            steps.append(PlannedStep(key.name, len(site.queries), recalled, seconds))
        asked = set(site.queries.ids)
        return CollectionPlan(
            topics=len(site.queries),
            unjudged=site.unjudged,
            without_topic=sum(query_id not in asked for query_id in site.qrels),
            steps=tuple(steps),
            spelling=str(site.plan),
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
        collections = {name: self._run(site, folder) for name, site in self._sites.items()}
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

    def _run(self, site: _Site, folder: Path) -> CollectionResult:
        rankings, done = execute_remembered(
            site.runner, site.plan, site.queries, self.store, self._keys(site), mask=site.mask, listener=self._listener
        )
        by_name = dict(zip(self.experiment.systems, rankings, strict=True))
        costs = self._costs(site)
        evaluation = evaluate(site.qrels, by_name, self.experiment.measures)
        systems = {}
        for name, ranking in by_name.items():
            path, digest = self._write_run(site, folder, name, ranking)
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
        index = {"key": site.index.documents.key, "rows": len(site.index), "filter": site.collection.filter}
        if site.index.has_manifest:
            index |= {"index": site.index.manifest.index, "generation": site.index.generation}
        pairs = [[query, sorted(grades.items())] for query, grades in sorted(site.qrels.items())]
        return CollectionResult(
            index=index,
            topics={**topics_identity(site.collection.topics, site.queries), "unjudged": site.unjudged},
            qrels={"name": source_name(site.collection.qrels), "queries": len(pairs), "sha256": sha256_json(pairs)},
            query_ids=evaluation.query_ids,
            systems=systems,
            steps=tuple(_step(one) for one in sorted(done, key=lambda one: one.key.step)),
            warnings=tuple((warning.code, warning.message) for warning in evaluation.warnings),
        )

    def _write_run(self, site: _Site, folder: Path, name: str, ranking: Ranking) -> tuple[str, str]:
        relative = f"{RUNS}/{site.collection.name}/{name}.run.gz"
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        manifest = {"experiment": self.experiment.name, "system": name, "pipeline": self.experiment.systems[name]}
        write_run(ranking, path, tag=name.replace(" ", "_"), manifest=manifest, overwrite=True)
        return relative, sha256_file(path)

    def _costs(self, site: _Site) -> dict[str, Cost]:
        """Measure the costs that are not remembered, of all systems in turns."""
        rules = self.experiment.cost
        if not rules.topics:
            return {}
        asked = draw(site.queries, rules)
        machine = [platform.platform(), platform.node(), os.cpu_count(), self._threads]
        keys, found = {}, {}
        for name, text in self.experiment.systems.items():
            addresses = [
                str(split_depth(node.address)[0])  # type: ignore[attr-defined]
                for node in Pipeline.of(text).walk()
                if getattr(node, "address", None) is not None
            ]
            stages = [site.identity(Stage(one, None), self.store) for one in addresses]
            keys[name] = sha256_json(
                [site.scope(), str(Pipeline.of(text)), stages, self.experiment.k, asked.texts, rules.rounds, machine]
            )
            known = self.store.cost(keys[name])
            if known is not None:
                found[name] = Cost.from_json(known)
        missing = {name: text for name, text in self.experiment.systems.items() if name not in found}
        if missing:
            measured = measure_costs(
                site.runner, missing, asked, self.experiment.k, rules.rounds,
                manifest=site.index.manifest if site.index.has_manifest else None, mask=site.mask, listener=self._listener,
            )  # fmt: skip
            for name, cost in measured.items():
                self.store.keep_cost(keys[name], cost.to_json())
            found |= measured
        return found


def _step(done: Done) -> StepResult:
    return StepResult(done.key.name, done.computed, done.recalled, done.seconds)
