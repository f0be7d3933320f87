"""An experiment as a file: systems × collections × measures, in TOML.

    measures = ["nDCG@10", "R@100"]
    baseline = "bm25"

    [collections.nfcorpus]
    index = "nfcorpus-index"
    topics = "nfcorpus#test"
    qrels = "nfcorpus#test"

    [systems]
    bm25 = "bm25"
    fused = "rrf(bm25, dense:minilm)"

    [cost]
    topics = 30

Paths are relative to the file. What a key means stands in `Experiment`, `Collection` and `CostRules`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from tamis.data.filters import Filter
from tamis.errors import DataError, MissingResourceError, UnknownNameError, UsageError
from tamis.eval.measures import Measure, parse_measures
from tamis.eval.profiles import choose_profile
from tamis.pipeline import Pipeline, check

T = TypeVar("T")

MEASURES = ("nDCG@10", "R@100")
_NAME = re.compile(r"[\w.+-][\w.+ -]*")


@dataclass(frozen=True, slots=True)
class Collection:
    """Where systems are tried.

    Attributes:
        name: of the collection.
        index: folder of the index.
        topics: a path, ``FOLDER#SPLIT`` or an ir_datasets id.
        qrels: the same; what `topics` says if not given.
        filter: which documents may be found.
        profile: conventions that it is scored by, by name; ``auto`` finds them by the name of the judgements.
    """

    name: str
    index: str
    topics: str
    qrels: str
    filter: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class CostRules:
    """How the cost of a system is measured.

    Attributes:
        topics: how many are drawn and asked one by one; 0 for no measurement.
        rounds: how often each is asked; a topic's time is the median.
        seed: of the draw.
    """

    topics: int = 20
    rounds: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.topics < 0:
            raise UsageError(f"cost.topics = {self.topics}: at least 0 is needed")
        if self.rounds < 1:
            raise UsageError(f"cost.rounds = {self.rounds}: at least 1 is needed")


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is to be run.

    Attributes:
        name: of the experiment; the file's, if it says none.
        systems: pipelines by name, in the file's order.
        collections: by name, in the file's order.
        measures: measures.
        k: results a query.
        baseline: name of the system that others are compared with.
        cost: how cost is measured.
    """

    name: str
    systems: Mapping[str, str]
    collections: Mapping[str, Collection]
    measures: tuple[Measure, ...]
    k: int
    baseline: str
    cost: CostRules = field(default_factory=CostRules)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "name": self.name,
            "systems": dict(self.systems),
            "collections": {
                name: {f.name: getattr(one, f.name) for f in fields(one) if f.name != "name"}
                for name, one in self.collections.items()
            },
            "measures": [measure.name for measure in self.measures],
            "k": self.k,
            "baseline": self.baseline,
            "cost": {f.name: getattr(self.cost, f.name) for f in fields(self.cost)},
        }


def read_experiment(path: Path) -> Experiment:
    """Read an experiment and check all that can be checked without opening an index or a model.

    Raises:
        MissingResourceError: there is no such file.
        DataError: it is not TOML, or a value is of the wrong type.
        UnknownNameError: a key, a measure, a family or an option is unknown; the nearest names are suggested.
        UsageError: a pipeline or a number is wrong; names the system.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise MissingResourceError(f"there is no experiment {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not TOML: {error}") from error
    try:
        return _experiment(values, path)
    except (UnknownNameError, UsageError, DataError) as error:
        error.args = (f"{path}: {error}",)
        raise


def _experiment(values: Mapping[str, Any], path: Path) -> Experiment:
    _known(values, ("name", "measures", "k", "baseline", "collections", "systems", "cost"), "key of an experiment")
    systems = _named(values, "systems", "system", 'bm25 = "bm25"')
    for name, text in systems.items():
        _checked_pipeline(name, text)
    tables = _named(
        values, "collections", "collection", '[collections.NAME] with index = "…", topics = "…", qrels = "…"'
    )
    k = _typed(values.get("k", 1000), int, "k")
    if k < 1:
        raise UsageError(f"k = {k}: at least 1 is needed")
    baseline = _typed(values.get("baseline", next(iter(systems))), str, "baseline")
    if baseline not in systems:
        raise UnknownNameError("system (baseline)", baseline, systems)
    return Experiment(
        name=_typed(values.get("name", path.stem), str, "name"),
        systems=systems,
        collections={name: _collection(name, table, path.parent) for name, table in tables.items()},
        measures=parse_measures(_strings(values.get("measures", list(MEASURES)), "measures")),
        k=k,
        baseline=baseline,
        cost=_cost(_typed(values.get("cost", {}), dict, "cost")),
    )


def _collection(name: str, table: Any, folder: Path) -> Collection:
    where = f"collections.{name}"
    if not isinstance(table, dict):
        raise DataError(f"{where} must be a table with index, topics and qrels")
    _known(table, ("index", "topics", "qrels", "filter", "profile"), f"key of {where}")
    for key in ("index", "topics"):
        if key not in table:
            raise UsageError(
                f"{where} lacks {key!r}: say which {'index to search' if key == 'index' else 'topics to ask'}"
            )
    given = {key: _typed(value, str, f"{where}.{key}") for key, value in table.items()}
    chosen = given.get("filter")
    if chosen is not None:
        Filter.of(chosen)
    topics = _resolve(given["topics"], folder)
    qrels = _resolve(given["qrels"], folder) if "qrels" in given else topics
    choose_profile(given.get("profile"), qrels)
    return Collection(
        name=name,
        index=_resolve(given["index"], folder, must=True),
        topics=topics,
        qrels=qrels,
        filter=chosen,
        profile=given.get("profile"),
    )


def _resolve(source: str, folder: Path, *, must: bool = False) -> str:
    """A path of the file's folder; anything else (an ir_datasets id) stays as it is."""
    name, mark, split = source.partition("#")
    path = folder / Path(name).expanduser()
    return f"{path}{mark}{split}" if must or path.exists() else source


def _cost(table: Mapping[str, Any]) -> CostRules:
    names = [f.name for f in fields(CostRules)]
    _known(table, names, "key of cost")
    return CostRules(**{name: _typed(value, int, f"cost.{name}") for name, value in table.items()})


def _checked_pipeline(name: str, text: Any) -> None:
    if not isinstance(text, str):
        raise DataError(f'systems.{name} must be a pipeline as a text, such as "bm25 % 100"')
    try:
        check(Pipeline.of(text))
    except UsageError as error:  # unknown names are usage errors too
        error.args = (f"system {name!r}: {error}",)
        raise


def _named(values: Mapping[str, Any], key: str, what: str, example: str) -> dict[str, Any]:
    table = values.get(key)
    if not isinstance(table, dict) or not table:
        raise UsageError(f"there is no {what}: give at least one, as in  {example}")
    for name in table:
        if not _NAME.fullmatch(name):
            raise UsageError(f"{what} {name!r}: a name is made of letters, digits, spaces and . _ + - (it names files)")
    folded: dict[str, str] = {}
    for name in table:
        if name.casefold() in folded:
            raise UsageError(
                f"{what}s {folded[name.casefold()]!r} and {name!r} differ in case only, and their files may not"
            )
        folded[name.casefold()] = name
    return dict(table)


def _known(table: Mapping[str, Any], names: Sequence[str], what: str) -> None:
    for name in table:
        if name not in names:
            raise UnknownNameError(what, name, names)


def _strings(value: Any, where: str) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [_typed(one, str, where) for one in _typed(value, list, where)]


def _typed(value: Any, kind: type[T], where: str) -> T:
    if not isinstance(value, kind) or isinstance(value, bool):
        words = {int: "a whole number", str: "a text", list: "a list", dict: "a table"}
        raise DataError(f"{where} = {value!r}: must be {words[kind]}")
    return value
