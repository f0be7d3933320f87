"""The stage of list models: each query's candidates in one list, the model's order, and what stays unscored below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tamis.encoders.base import ModelIdentity, Tick, no_tick
from tamis.errors import SpaceMismatchError
from tamis.events import Advanced, Event, Finished, Started
from tamis.pipeline import Pipeline
from tamis.pipeline.explain import explain
from tamis.pipeline.runner import Runner
from tamis.ranking import IdSpace, Queries, Ranking
from tamis.rerankers.base import Reranker
from tamis.rerankers.lists import CandidateList, ListOptions, ListReranker, ListScorer, ListScores
from tamis.stages import CandidateExplainer, Evidence, PartSource, RowMask

BODIES = {
    "a": "a drum sieve is fine",
    "b": "butter and milk",
    "c": "the cook pass potato soup through a finer sieve",
    "d": "a drum sieve is fine",
    "e": "",
    "f": "soup soup soup of the document",
}


class Documents(IdSpace):
    """A document space over texts in memory; every title is "of"."""

    row_limit = len(BODIES)

    def titles(self, rows: Any) -> list[str]:
        return ["of"] * len(rows)

    def bodies(self, rows: Any) -> list[str]:
        return [BODIES[i] for i in self.ids(np.asarray(rows))]

    def texts(self, rows: Any) -> list[str]:
        return [f"of {body}".strip() for body in self.bodies(rows)]


class Longest:
    """Scores a body by its length beside the list's longest; of a list `reach` candidates at most."""

    def __init__(self, reach: int = 100) -> None:
        self.identity = ModelIdentity("longest:1", settings={})
        self.reach, self.seen = reach, list[CandidateList]()
        self.until: float | None = None

    def score_lists(
        self, lists: Sequence[CandidateList], *, tick: Tick = no_tick, until: float | None = None
    ) -> ListScores:
        self.seen += lists
        self.until = until
        scores = []
        for one in lists:
            lengths = np.array([len(p.text) for p in one.passages], np.float64)
            found = lengths / lengths.max(initial=1)
            found[self.reach :] = np.nan
            scores.append(found)
            tick(len(found))
        return ListScores(scores, {"calls": len(lists), "tokens": 7.0})


class Explaining(Longest):
    def explain_list(self, candidates: CandidateList) -> list[Evidence]:
        return [Evidence(p.text, float(i)) for i, p in enumerate(candidates.passages)]


QUERIES = Queries(("1", "2", "3"), ("drum", "soup", "nothing"))
DOCUMENTS = Documents(BODIES)


def ranking(*lists: str, falling: float = 10.0) -> Ranking:
    parts = [(DOCUMENTS.rows(list(ids)), falling - np.arange(len(ids))) for ids in lists]
    return Ranking.from_lists(DOCUMENTS, QUERIES.ids[: len(lists)], parts)


def order(found: Ranking) -> list[str]:
    return ["".join(found.space.ids(found.at(i)[0])) for i in range(len(found))]


def reranker(model: Longest, **options: float) -> ListReranker:
    return ListReranker(DOCUMENTS, lambda: model, ListOptions(**options), name="longest")


def test_lists_come_whole_and_leave_in_the_models_order() -> None:
    model = Longest()
    stage = reranker(model)
    assert isinstance(model, ListScorer)
    assert isinstance(stage, Reranker)
    assert isinstance(stage, CandidateExplainer)
    events: list[Event] = []
    found = stage.rescore(QUERIES, ranking("bcf", "ea", ""), listener=events.append)
    assert order(found) == ["cfb", "ae", ""]
    assert found.scores.tolist() == pytest.approx([1, 29 / 48, 15 / 48, 1, 0], abs=0.2)
    assert [one.query for one in model.seen] == list(QUERIES.texts)
    assert [p.text for p in model.seen[0].passages] == [BODIES[i] for i in "bcf"]
    assert {p.title for one in model.seen for p in one.passages} == {"of"}
    assert model.seen[0].scores.tolist() == [10, 9, 8]
    assert stage.cost()["candidates"] == 5
    assert stage.cost()["lists"] == stage.cost()["calls"] == 3
    assert [type(event) for event in (events[0], events[-1])] == [Started, Finished]
    assert sum(event.count for event in events if isinstance(event, Advanced)) == 5
    assert not found.partial.any()


def test_equal_scores_keep_the_lower_row_first() -> None:
    assert order(reranker(Longest()).rescore(QUERIES.take([0]), ranking("da"))) == ["ad"]


def test_what_was_not_reached_follows_below_and_its_query_is_partial() -> None:
    found = reranker(Longest(reach=2)).rescore(QUERIES.take([0, 1]), ranking("bcfa", "ae"))
    assert order(found) == ["cbfa", "ae"]
    assert found.partial.tolist() == [True, False]
    assert (np.diff(found.at(0)[1]) < 0).all()


def test_a_deadline_reaches_the_model_as_a_point_in_time() -> None:
    model = Longest()
    stage = ListReranker(DOCUMENTS, lambda: model, ListOptions(deadline=2.5), clock=lambda: 100.0)
    stage.rescore(QUERIES.take([0]), ranking("ab"))
    assert model.until == 102.5


def test_nothing_to_do_loads_nothing() -> None:
    def fail() -> ListScorer:
        raise AssertionError

    stage = ListReranker(DOCUMENTS, fail, ListOptions())
    assert order(stage.rescore(QUERIES, ranking("", "", ""))) == ["", "", ""]


def test_a_ranking_of_another_space_is_refused() -> None:
    other = IdSpace(["a", "z"])
    strange = Ranking.from_lists(other, ("1",), [(np.array([0]), np.array([1.0]))])
    with pytest.raises(SpaceMismatchError):
        reranker(Longest()).rescore(QUERIES.take([0]), strange)


class First:
    """A retriever of the first documents."""

    def retrieve(self, queries: Queries, k: int, *, mask: RowMask | None = None) -> Ranking:
        rows = np.arange(min(k, len(BODIES)))
        return Ranking.from_lists(DOCUMENTS, queries.ids, [(rows, -rows.astype(np.float64))] * len(queries))


class Source:
    documents = DOCUMENTS

    def part(self, name: str) -> object:
        raise AssertionError(name)

    def models(self) -> dict[str, str]:
        return {}


@pytest.mark.parametrize(
    ("model", "name", "value"), [(Longest(), "score within the list", 1.0), (Explaining(), BODIES["c"], 2.0)]
)
def test_evidence_is_of_the_list(model: Longest, name: str, value: float) -> None:
    source: PartSource = Source()
    pipeline = Pipeline.of(First()) % 3 >> reranker(model)
    report = explain(Runner(source), pipeline, "drum", "c", 3).stages[-1]
    assert (report.rank, report.evidence) == (1, Evidence(name, value))
    assert report.notes[0].startswith("rank 3 → 1")
