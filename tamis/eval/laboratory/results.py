"""The folder of an experiment's results: what was run, every query's values, what it cost, and the runs themselves.

RESULTS/
results.json          all figures, unrounded; bound to the runs by their hashes
experiment.json       what was asked for, complete with defaults
runs/COLLECTION/SYSTEM.run.gz (and its .run.json)
work/                 what is remembered, where there is no cache elsewhere; safe to delete
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tamis.errors import DataError, MissingResourceError, OutputExistsError
from tamis.eval.evaluate import Conventions, Evaluation
from tamis.eval.laboratory.costs import Cost
from tamis.eval.measures import parse_measures
from tamis.eval.profiles import find_profile
from tamis.events import Warned
from tamis.files import write_json

KIND = "tamis-results"
VERSION = 1
FILE = "results.json"
EXPERIMENT = "experiment.json"
RUNS = "runs"
WORK = "work"


@dataclass(frozen=True, slots=True)
class SystemResult:
    """One system on one collection.

    Attributes:
        pipeline: canonical spelling.
        values: of every measure, one a query.
        run: path of the run within the folder.
        run_sha256: hash of the run's file.
        results: lines of the run.
        partial: queries that a deadline cut short.
        cost: what it costs; None where that was not measured.
    """

    pipeline: str
    values: Mapping[str, tuple[float, ...]]
    run: str
    run_sha256: str
    results: int
    partial: int
    cost: Cost | None


@dataclass(frozen=True, slots=True)
class StepResult:
    """One piece of work of an experiment.

    Attributes:
        step: what was done.
        computed: queries that it was done for now.
        recalled: queries whose result was remembered.
        seconds: that it took now.
    """

    step: str
    computed: int
    recalled: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CollectionResult:
    """All systems on one collection.

    Attributes:
        index: identity and state of the index: uuid, generation, rows, filter.
        topics: identity of the topics that were run.
        qrels: identity of the judgements.
        query_ids: the queries that figures are over.
        measures: canonical names, in the experiment's order; a profile may have given them a grade.
        profile: name of the conventions that figures follow; None for the measures' own.
        systems: by name.
        steps: the work, in its order.
        warnings: (code, message) of what limits the figures.
    """

    index: Mapping[str, Any]
    topics: Mapping[str, Any]
    qrels: Mapping[str, Any]
    query_ids: tuple[str, ...]
    measures: tuple[str, ...]
    profile: str | None
    systems: Mapping[str, SystemResult]
    steps: tuple[StepResult, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Results:
    """The outcome of an experiment.

    Attributes:
        name: of the experiment.
        measures: canonical names.
        k: results a query.
        baseline: name of the baseline.
        collections: by name.
        made: versions and machine.
    """

    name: str
    measures: tuple[str, ...]
    k: int
    baseline: str
    collections: Mapping[str, CollectionResult]
    made: Mapping[str, Any] = field(default_factory=dict)

    def evaluation(self, collection: str) -> Evaluation:
        """Return the values of a collection as `tamis.eval.evaluate` would."""
        one = self.collections[collection]
        values = np.array(
            [[system.values[measure] for measure in one.measures] for system in one.systems.values()], np.float64
        )
        warnings = tuple(Warned(code, message) for code, message in one.warnings)
        measures = parse_measures(one.measures)
        shape = (len(one.systems), len(one.measures), len(one.query_ids))
        profile = None if one.profile is None else find_profile(one.profile)
        conventions = Conventions(profile, depth=None if profile is None else profile.depth)
        return Evaluation(
            tuple(one.systems), measures, one.query_ids, values.reshape(shape), "stable", warnings, conventions
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "kind": KIND,
            "version": VERSION,
            "name": self.name,
            "measures": list(self.measures),
            "k": self.k,
            "baseline": self.baseline,
            "collections": {name: _collection_json(one) for name, one in self.collections.items()},
            "made": dict(self.made),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Results:
        """Build from JSON values."""
        return cls(
            name=value["name"],
            measures=tuple(value["measures"]),
            k=value["k"],
            baseline=value["baseline"],
            collections={name: _collection(one) for name, one in value["collections"].items()},
            made=value["made"],
        )


def read_results(folder: Path) -> Results:
    """Read the results of an experiment.

    Raises:
        MissingResourceError: the folder holds none.
        DataError: they are damaged, or of another version.
    """
    path = folder / FILE
    try:
        value = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise MissingResourceError(
            f"{folder} holds no results of an experiment (no {FILE}): make them with  tamis run EXPERIMENT.toml -o {folder}"
        ) from None
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict) or value.get("kind") != KIND:
        raise DataError(f"{path} holds no results of an experiment")
    if value.get("version") != VERSION:
        raise DataError(
            f"{path} is of version {value.get('version')}, and this Tamis reads version {VERSION}: run it again"
        )
    try:
        return Results.from_json(value)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged: {error!r}") from error


def check_folder(folder: Path, *, force: bool = False) -> None:
    """Check that results may be written into a folder: a new or empty one, or one of results.

    Raises:
        OutputExistsError: it holds something else, and `force` is false.
        MissingResourceError: the folder that it is to be made in is not there.
    """
    if folder.exists():
        ours = {FILE, EXPERIMENT, RUNS, WORK}
        foreign = folder.is_file() or any(path.name not in ours for path in folder.iterdir())
        if folder.is_file() or (foreign and not force and not (folder / FILE).exists()):
            raise OutputExistsError(f"{folder} is there and holds no results of an experiment: choose another name")
    elif not folder.absolute().parent.is_dir():
        raise MissingResourceError(f"cannot write {folder}: there is no folder {folder.parent}; make it first")


def write_results(folder: Path, results: Results, experiment: Mapping[str, Any]) -> None:
    """Publish results whose runs are in the folder already; runs that they do not name go."""
    write_json(folder / EXPERIMENT, dict(experiment))
    write_json(folder / FILE, results.to_json())
    named = {folder / system.run for one in results.collections.values() for system in one.systems.values()}
    from tamis.data.sidecar import sidecar_path

    kept = named | {sidecar_path(path) for path in named}
    for path in sorted((folder / RUNS).rglob("*"), reverse=True):
        if path.is_file() and path not in kept:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _collection_json(one: CollectionResult) -> dict[str, Any]:
    return {
        "index": dict(one.index),
        "topics": dict(one.topics),
        "qrels": dict(one.qrels),
        "query_ids": list(one.query_ids),
        "measures": list(one.measures),
        "profile": one.profile,
        "systems": {
            name: {
                "pipeline": system.pipeline,
                "values": {measure: list(values) for measure, values in system.values.items()},
                "run": system.run,
                "run_sha256": system.run_sha256,
                "results": system.results,
                "partial": system.partial,
                "cost": None if system.cost is None else system.cost.to_json(),
            }
            for name, system in one.systems.items()
        },
        "order": list(one.systems),  # keys are sorted on disk
        "steps": [
            {"step": step.step, "computed": step.computed, "recalled": step.recalled, "seconds": round(step.seconds, 4)}
            for step in one.steps
        ],
        "warnings": [{"code": code, "message": message} for code, message in one.warnings],
    }


def _collection(value: Mapping[str, Any]) -> CollectionResult:
    systems = {}
    for name in value["order"]:
        system = value["systems"][name]
        cost = system["cost"]
        values = {measure: tuple(numbers) for measure, numbers in system["values"].items()}
        systems[name] = SystemResult(
            **{**system, "values": values, "cost": None if cost is None else Cost.from_json(cost)}
        )
    return CollectionResult(
        index=value["index"],
        topics=value["topics"],
        qrels=value["qrels"],
        query_ids=tuple(value["query_ids"]),
        measures=tuple(value["measures"]),
        profile=value["profile"],
        systems=systems,
        steps=tuple(StepResult(**step) for step in value["steps"]),
        warnings=tuple((warning["code"], warning["message"]) for warning in value["warnings"]),
    )
