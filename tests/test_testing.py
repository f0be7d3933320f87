"""The conformance class, on the families that Tamis ships and on ones that break its rules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import tamis
from tamis.families import option
from tamis.ranking import Queries, Ranking
from tamis.stages import Evidence
from tamis.testing import FamilyConformance

TEXTS = [
    "a drum sieve for purées",
    "a fine sieve and a coarse sieve",
    "the cook passes a purée through the sieve",
    "a drum is an instrument",
    "drum and bass",
    "a coarse file",
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with tamis.Index.create(tmp_path_factory.mktemp("conformance") / "index") as made:
        made.add({"id": f"d{i}", "text": text} for i, text in enumerate(TEXTS))
        yield made


class OnIndex(FamilyConformance):
    """Gives the families below their source."""

    queries: ClassVar = {"1": "sieve purée drum", "2": "coarse drum sieve"}

    @pytest.fixture(autouse=True)
    def _index(self, index: Any) -> None:
        self._source = index

    def source(self) -> Any:
        return self._source


class TestBM25(OnIndex):
    address = "bm25?k1=1.2&b=0.75"


class TestQueryLikelihood(OnIndex):
    address = "ql?mu=500"


class TestFeedback(OnIndex):
    address = "bm25?prf=rm3&fb_docs=2&fb_terms=3"


@dataclass(frozen=True)
class _Options:
    strength: int = option(1, "how strong")


class _Unsorted:
    """A broken retriever: worst first."""

    summary = "broken"
    part_kind = None
    default_part = None
    Options = _Options

    def __init__(self, source: Any) -> None:
        self._space = source.documents

    @classmethod
    def open(cls, source: Any, address: Any, options: Any) -> _Unsorted:
        return cls(source)

    def retrieve(self, queries: Queries, k: int, *, mask: Any = None) -> Ranking:
        return Ranking.from_lists(self._space, queries.ids, [([0, 1, 2], [1.0, 2.0, 3.0]) for _ in queries.ids])


def test_a_broken_family_is_caught(index: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tamis.families._entry_points", lambda: {"broken": lambda: _Unsorted})

    class Broken(FamilyConformance):
        address = "broken"
        queries: ClassVar = {"1": "x"}

        def source(self) -> Any:
            return index

    case = Broken()
    case.test_is_registered()
    case.test_declares_its_options()
    case.test_opens_as_a_stage()
    with pytest.raises(AssertionError):
        case.test_retrieves_in_order()
    with pytest.raises(AssertionError):
        case.test_a_shorter_list_is_a_prefix()


class _CutsAfterwards(_Unsorted):
    """Broken otherwise: applies the row filter to the finished list, and explains other scores than it gives."""

    def retrieve(self, queries: Queries, k: int, *, mask: Any = None) -> Ranking:
        rows, scores = np.arange(4)[:k], np.array([4.0, 3.0, 2.0, 1.0])[:k]
        kept = slice(None) if mask is None else mask[rows]
        return Ranking.from_lists(self._space, queries.ids, [(rows[kept], scores[kept]) for _ in queries.ids])

    def explain(self, queries: Queries, rows: Any, *, mask: Any = None) -> list[list[Evidence]]:
        return [[Evidence("wrong", 1.0) for _ in rows] for _ in queries.ids]


def test_filters_and_evidence_that_are_wrong_are_caught(index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tamis.families._entry_points", lambda: {"broken": lambda: _CutsAfterwards})

    class Broken(FamilyConformance):
        address = "broken"
        queries: ClassVar = {"1": "x"}

        def source(self) -> Any:
            return index

    case = Broken()
    case.test_retrieves_in_order()
    with pytest.raises(AssertionError):
        case.test_keeps_to_a_mask()
    with pytest.raises(AssertionError):
        case.test_explains_its_scores()
