"""The stage of pair models: the model's order, nothing computed twice, and the best order so far when something gives way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.errors import ModelError, SpaceMismatchError, UsageError
from tamis.events import Advanced, Event, Finished, Started
from tamis.families import open_model
from tamis.pipeline import Pipeline
from tamis.pipeline.runner import Runner, rescore_top
from tamis.ranking import IdSpace, Queries, Ranking
from tamis.rerankers import stage as module
from tamis.rerankers.base import PairScores
from tamis.rerankers.options import RerankOptions
from tamis.rerankers.registry import open_reranker
from tamis.rerankers.stage import PairReranker
from tamis.rerankers.windows import Windows
from tamis.stages import Explainer, Rescorer

BODIES = {
    "a": "a drum sieve is fine",
    "b": "butter and milk",
    "c": "the cook pass potato soup through a finer sieve",
    "d": "a drum sieve is fine",  # the same text as a
    "e": "",
    "f": "soup soup soup of the document",
}


class Documents(IdSpace):
    """A document space over texts in memory; every title is "of"."""

    def __init__(self, bodies: dict[str, str] = BODIES) -> None:
        super().__init__(bodies)
        self._bodies = bodies
        self.row_limit = len(bodies)

    def titles(self, rows: Any) -> list[str]:
        return ["of"] * len(rows)

    def bodies(self, rows: Any) -> list[str]:
        return [self._bodies[i] for i in self.ids(np.asarray(rows))]

    def texts(self, rows: Any) -> list[str]:
        return [f"of {body}".strip() for body in self.bodies(rows)]


class Source:
    documents = Documents()

    def part(self, name: str) -> Any:
        raise AssertionError(name)

    def models(self) -> dict[str, str]:
        return {}


class Overlap:
    """A scorer that needs no model: how many of the passage's characters the query has, less what `losses` says of a pair."""

    def __init__(self, version: str = "1", seconds: float = 0.0) -> None:
        self.identity = ModelIdentity("overlap:1", settings={"version": version})
        self.asked: list[tuple[str, str]] = []
        self.calls: list[int] = []
        self.fails: set[str] = set()
        self.stops_after: int | None = None
        self.seconds, self.now = seconds, 0.0

    def clock(self) -> float:
        return self.now

    def score_pairs(self, queries: Sequence[str], passages: Sequence[Passage], *, tick: Tick = no_tick) -> PairScores:
        if self.stops_after is not None and len(self.calls) >= self.stops_after:
            raise ModelError("interrupted")
        self.calls.append(len(queries))
        self.asked += [(query, passage.text) for query, passage in zip(queries, passages, strict=True)]
        self.now += self.seconds * len(queries)
        tick(len(queries))
        scores = [
            np.nan if passage.text in self.fails else float(sum(map(passage.text.count, query)))
            for query, passage in zip(queries, passages, strict=True)
        ]
        return PairScores(np.array(scores, np.float32), sum(len(passage.text) > 30 for passage in passages))


def ranking(lists: Sequence[str], documents: Documents | None = None, partial: Sequence[bool] | None = None) -> Ranking:
    """Lists of ids, best first, with scores 10, 9, 8 …"""
    space = documents or Source.documents
    rows = [space.rows(list(ids)) for ids in lists]
    scores = [10.0 - np.arange(len(ids)) for ids in lists]
    names = [f"q{i}" for i in range(len(lists))]
    return Ranking.from_lists(space, names, list(zip(rows, scores, strict=True)), partial=partial)


def queries(*texts: str) -> Queries:
    return Queries(tuple(f"q{i}" for i in range(len(texts))), texts)


def reranker(scorer: Any, documents: Documents | None = None, **options: Any) -> PairReranker:
    how = RerankOptions(**options)
    return PairReranker(documents or Source.documents, lambda: scorer, how, clock=getattr(scorer, "clock", lambda: 0.0))


def order(found: Ranking) -> list[str]:
    return ["".join(found.space.ids(rows)) for _, rows, _ in found.lists()]


def test_candidates_come_in_the_models_order(cross_folder: Path) -> None:
    model = open_model(Source(), f"cross:{cross_folder}")
    assert isinstance(model, Rescorer)
    assert isinstance(model, Explainer)
    texts = ("what is a drum sieve", "soup")
    found = model.rescore(queries(*texts), ranking(["abcdef", "fc"]))
    scorer = open_reranker(f"cross:{cross_folder}")
    for (_, rows, scores), text, size in zip(found.lists(), texts, (6, 2), strict=True):
        passages = [Passage("of", BODIES[i]) for i in found.space.ids(rows)]
        expected = scorer.score_pairs([text] * len(passages), passages).scores
        np.testing.assert_allclose(scores, expected, atol=1e-5)
        assert len(rows) == size
        assert (np.diff(scores) <= 0).all()
    assert not found.partial.any()
    first = found.at(0)
    tied = [i for i in found.space.ids(first[0]) if i in "ad"]
    assert tied == ["a", "d"]  # equal texts score alike, and the lower row comes first


def test_equal_pairs_are_scored_once() -> None:
    scorer = Overlap()
    model = reranker(scorer, cache=False)
    found = model.rescore(queries("soup", "soup", "milk"), ranking(["abcdef", "da", "a"]))
    assert len(scorer.asked) == len(set(scorer.asked)) == 5 + 1
    assert order(found)[0] == "cfadbe"
    usage = model.usage
    assert (usage.pairs, usage.distinct, usage.cached, usage.scored) == (9, 6, 0, 6)
    assert usage.truncated == 1


def test_the_cache_makes_a_second_run_free() -> None:
    first, second, other = Overlap(), Overlap(), Overlap("2")
    before = reranker(first).rescore(queries("soup", "milk"), ranking(["abcdef", "fb"]))
    model = reranker(second)
    after = model.rescore(queries("soup", "milk"), ranking(["abcdef", "fb"]))
    assert second.calls == []
    assert order(before) == order(after)
    np.testing.assert_array_equal(before.scores, after.scores)
    assert (model.usage.cached, model.usage.scored) == (model.usage.distinct, 0)
    reranker(other).rescore(queries("soup"), ranking(["ab"]))
    assert len(other.asked) == 2  # another fingerprint is another model
    off = Overlap()
    reranker(off, cache=False).rescore(queries("soup"), ranking(["ab"]))
    assert len(off.asked) == 2


def test_an_interrupted_run_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_CHUNK", 2)
    monkeypatch.setattr(module, "CHUNK", 2)
    first, second = Overlap(seconds=1.0), Overlap(seconds=1.0)
    first.stops_after = 2
    with pytest.raises(ModelError, match="interrupted"):
        reranker(first).rescore(queries("soup"), ranking(["abcdef"]))
    assert len(first.asked) == 4
    found = reranker(second).rescore(queries("soup"), ranking(["abcdef"]))
    assert not set(first.asked) & set(second.asked)
    assert len(second.asked) == 1
    assert order(found) == ["cfadbe"]


def test_under_a_deadline_the_highest_ranks_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_CHUNK_OF_DEADLINE", 2)
    scorer = Overlap(seconds=1.0)
    model = reranker(scorer, deadline=4.5, cache=False)
    found = model.rescore(queries("soup", "milk"), ranking(["ebfca", "bf"]))
    assert scorer.now <= 4.5
    assert {text for query, text in scorer.asked if query == "soup"} == {BODIES["e"], BODIES["b"]}
    assert order(found) == ["befca", "bf"]  # what was not scored follows as it stood
    assert found.partial.tolist() == [True, False]
    scores = found.at(0)[1]
    assert (np.diff(scores) < 0).all()
    np.testing.assert_allclose(np.diff(scores)[2:], -1)  # at its old distances
    assert model.usage.late == 3
    assert model.usage.scored == 4


def test_without_time_the_list_stays_as_it_was() -> None:
    scorer = Overlap(seconds=1.0)
    model = reranker(scorer, deadline=1e-9, cache=False)
    scorer.seconds = 0.0
    model._clock = iter(np.arange(0.0, 100.0)).__next__
    given = ranking(["cab", ""], partial=[False, False])
    found = model.rescore(queries("soup", "milk"), given)
    assert scorer.calls == []
    assert order(found) == ["cab", ""]
    np.testing.assert_array_equal(found.scores, given.scores)
    assert found.partial.tolist() == [True, False]


def test_a_pair_that_cannot_be_scored_keeps_below() -> None:
    scorer = Overlap()
    scorer.fails = {BODIES["f"], BODIES["e"]}
    model = reranker(scorer)
    found = model.rescore(queries("soup", "milk"), ranking(["efabc", "bc"]))
    assert order(found) == ["cabef", "bc"]
    assert found.partial.tolist() == [True, False]
    assert model.usage.failed == 2
    again = Overlap()
    reranker(again).rescore(queries("soup"), ranking(["efabc"]))
    assert {text for _, text in again.asked} == scorer.fails  # a failure is not remembered


def test_what_was_partial_stays_so() -> None:
    found = reranker(Overlap()).rescore(queries("soup"), ranking(["ab"], partial=[True]))
    assert found.partial.tolist() == [True]


def test_nothing_to_do_is_done() -> None:
    scorer = Overlap()
    model = reranker(scorer)
    assert len(model.rescore(queries(), ranking([])).rows) == 0
    assert order(model.rescore(queries("soup", "milk"), ranking(["", ""]))) == ["", ""]
    assert scorer.calls == []


@pytest.mark.parametrize("pool", ["first", "max", "sum", "mean", "top:2"])
def test_long_documents_are_pooled(cross_folder: Path, pool: str) -> None:
    bodies = {"x": "soup of the day " * 12 + "drum sieve", "y": "milk", "z": ""}
    documents = Documents(bodies)
    scorer = open_reranker(f"cross:{cross_folder}")
    model = reranker(scorer, documents, windows="tokens:10/5", pool=pool)
    found = model.rescore(queries("drum"), ranking(["xyz"], documents))
    assert found.space.key == documents.key
    for name, score in zip(found.space.ids(found.rows), found.scores.tolist(), strict=True):
        (parts,) = Windows("tokens", 10, 5).cut([bodies[name]], scorer.tokenizer)
        scores = scorer.score_pairs(["drum"] * len(parts), [Passage("of", part) for part in parts]).scores
        expected = {
            "first": scores[0],
            "max": scores.max(),
            "sum": scores.sum(),
            "mean": scores.mean(),
            "top:2": np.sort(scores)[-2:].mean(),
        }[pool]
        assert score == pytest.approx(float(expected), abs=1e-4), name
    if pool == "first":
        assert model.usage.pairs == 3  # no other window is scored


def test_evidence_is_the_score_and_its_windows(cross_folder: Path) -> None:
    documents = Documents({"x": "soup of the day " * 6, "y": "milk"})
    model = reranker(open_reranker(f"cross:{cross_folder}"), documents, windows="tokens:10/5", pool="sum")
    asked = queries("drum", "soup")
    found = model.rescore(asked, ranking(["xy", "xy"], documents))
    evidence = model.explain(asked, documents.rows(["x", "y"]))
    for position in range(2):
        rows, scores = found.at(position)
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
            root = evidence[position][row]
            assert root.value == pytest.approx(score, abs=1e-5)
            assert sum(child.value or 0 for child in root.children) == pytest.approx(score, abs=1e-4)
    assert model.explain(asked, documents.rows([])) == [[], []]
    plain = reranker(Overlap()).explain(queries("soup"), Source.documents.rows(["f"]))
    assert plain[0][0].value == 15.0


def test_windows_need_a_tokenizer() -> None:
    with pytest.raises(UsageError, match="no tokenizer"):
        reranker(Overlap(), windows="tokens:4").rescore(queries("soup"), ranking(["ab"]))
    with pytest.raises(UsageError, match="windows="):
        reranker(Overlap(), windows="pages:4")
    with pytest.raises(UsageError, match="pool="):
        reranker(Overlap(), pool="median")


def test_progress_is_told_in_pairs() -> None:
    reranker(Overlap()).rescore(queries("soup"), ranking(["ab"]))
    events: list[Event] = []
    reranker(Overlap()).rescore(queries("soup"), ranking(["abcf"]), listener=events.append)
    assert events[0] == Started("rerank", 4, "pairs")
    assert events[-1] == Finished("rerank")
    assert sum(event.count for event in events if isinstance(event, Advanced)) == 4


def test_tokens_and_batches_are_the_models(cross_folder: Path) -> None:
    scorer = open_reranker(f"cross:{cross_folder}")
    model = reranker(scorer, batch_tokens=16, cache=False)
    found = model.rescore(queries("drum"), ranking(["abc"]))
    assert scorer.numerics.budget == 16
    assert model.usage.tokens == scorer.tokens > 0
    other = reranker(open_reranker(f"cross:{cross_folder}"), cache=False).rescore(queries("drum"), ranking(["abc"]))
    np.testing.assert_allclose(found.scores, other.scores, atol=1e-5)


def test_it_works_in_a_pipeline(cross_folder: Path) -> None:
    address = f"cross:{cross_folder}"
    with pytest.raises(UsageError, match="re-scores candidates and retrieves none"):
        Runner(Source()).plan([Pipeline.of(address)], 10)
    model = open_model(Source(), address)
    given = ranking(["abcdef"])
    found = rescore_top(model, queries("soup"), given, 2)
    assert order(found)[0][2:] == "cdef"
    assert set(order(found)[0][:2]) == {"a", "b"}
    with pytest.raises(SpaceMismatchError):
        model.rescore(queries("soup"), ranking(["a"], Documents({"a": "other"})))
