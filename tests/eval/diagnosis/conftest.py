"""Models small enough to know by heart, through the stages that real ones are used through, and tiny checkpoints."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.eval.diagnosis.models import TextModel
from tamis.eval.diagnosis.texts import Texts
from tamis.ranking import Queries, Ranking
from tamis.rerankers.base import PairScores
from tamis.rerankers.lists import CandidateList, ListOptions, ListReranker, ListScores
from tamis.rerankers.options import RerankOptions
from tamis.rerankers.stage import PairReranker

HERE = Path(__file__).resolve()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))


def helpers(room: str) -> Any:
    """The conftest of another room of tests: it makes checkpoints."""
    spec = importlib.util.spec_from_file_location(f"{room}_helpers", HERE.parents[2] / room / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Bag:
    """A pair scorer that counts the words of a passage which are in the query, of its first `reach` words."""

    def __init__(self, reach: int | None = None) -> None:
        self.identity = ModelIdentity(f"bag:{reach}", {}, {"reach": reach})
        self.reach = reach

    def score_pairs(self, queries: Sequence[str], passages: Sequence[Passage], *, tick: Tick = no_tick) -> PairScores:
        read = [passage.joined.split() for passage in passages]
        found = [
            sum(word in query.split() for word in words[: self.reach])
            for query, words in zip(queries, read, strict=True)
        ]
        cut = 0 if self.reach is None else sum(len(words) > self.reach for words in read)
        return PairScores(np.array(found, np.float32), cut)


class InOrder:
    """A list scorer that gives its input back: the most biased there is; `blind` ones go by the length of texts."""

    def __init__(self, *, blind: bool = False) -> None:
        self.identity, self.blind = ModelIdentity(f"in-order:{blind}"), blind

    def score_lists(
        self, lists: Sequence[CandidateList], *, tick: Tick = no_tick, until: float | None = None
    ) -> ListScores:
        scores = [
            np.array([len(p.text) for p in one.passages], np.float64)
            if self.blind
            else -np.arange(len(one.passages), dtype=np.float64)
            for one in lists
        ]
        return ListScores(scores)


def of_pairs(scorer: Any) -> TextModel:
    """A pair scorer as a diagnosis uses it."""
    options = RerankOptions(cache=False)
    name = scorer.identity.address
    return TextModel(name, "pairs", lambda documents: PairReranker(documents, lambda: scorer, options), lambda: scorer)


def of_lists(scorer: Any) -> TextModel:
    """A list scorer as a diagnosis uses it."""
    name = scorer.identity.address
    return TextModel(
        name, "lists", lambda documents: ListReranker(documents, lambda: scorer, ListOptions()), lambda: scorer
    )


@pytest.fixture
def bag() -> Callable[..., TextModel]:
    return lambda reach=None: of_pairs(Bag(reach))


@pytest.fixture
def in_order() -> Callable[..., TextModel]:
    return lambda *, blind=False: of_lists(InOrder(blind=blind))


@pytest.fixture(scope="session")
def cross_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = helpers("rerankers").save_cross(tmp_path_factory.mktemp("diagnosis") / "cross", length=64)
    return folder


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = helpers("rerankers").save_t5(tmp_path_factory.mktemp("diagnosis") / "t5")
    return folder


@pytest.fixture(scope="session")
def dense_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = helpers("encoders").save_sentence_model(tmp_path_factory.mktemp("diagnosis") / "dense")
    return folder


TEXTS = (
    "a drum sieve is a fine sieve of the cook",
    "butter and milk and butter",
    "the cook pass potato soup through a finer sieve",
    "soup of potato is what the cook pass",
    "how fine is a query of the document",
    "rank the document by the weight of a term",
)
QUERIES = {"q1": "drum sieve", "q2": "potato soup", "q3": "rank a document"}
QRELS = {"q1": {"0": 2, "2": 1}, "q2": {"2": 1, "3": 2}, "q3": {"5": 1}}


class Small:
    """Six documents, three judged queries, and every document as everybody's candidate in the order of rows."""

    def __init__(self) -> None:
        self.documents = Texts([Passage("", text) for text in TEXTS])
        self.queries = Queries.of(QUERIES)
        self.qrels = QRELS
        rows = np.arange(len(TEXTS))
        lists = [(rows, -rows.astype(np.float64))] * len(QUERIES)
        self.candidates = Ranking.from_lists(self.documents, self.queries.ids, lists)


@pytest.fixture
def small() -> Small:
    return Small()
