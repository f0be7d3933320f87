"""Explanations agree with the search that they explain: ranks, scores, and sums of what is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tamis
from tamis.errors import MissingResourceError, UsageError
from tamis.pipeline import Pipeline, Runner
from tamis.pipeline.explain import Explanation, StageReport, explain
from tamis.ranking import IdSpace, Queries, Ranking, State
from tamis.stages import Evidence, Explainer, RowMask

QUERY = "drum sieves of the cook, zebra"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tamis.Index]:
    """Forty documents in two segments with weighted fields at hand, some deleted."""
    nouns = ["sieve", "drum", "cook", "index", "query", "archive", "library"]
    documents = [
        {
            "id": f"d{i}",
            "title": f"The {nouns[i % 7]}",
            "text": " ".join(
                f"{nouns[(i * j) % 7]} {nouns[(i + j * j) % 5]} number{i % 5}" for j in range(1, 2 + i % 6)
            ),
            "half": i % 2,
        }
        for i in range(40)
    ]
    folder = tmp_path_factory.mktemp("explained") / "index"
    with tamis.Index.create(folder, fields="title^2,body", filterable=("half",), threads=1) as made:
        made.add(documents[:25])
        made.add(documents[25:])
        made.delete(["d3", "d30"])
        yield made


@pytest.fixture(scope="module")
def passages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tamis.Index]:
    with tamis.Index.create(tmp_path_factory.mktemp("explained") / "passages", passages="tokens:2") as made:
        made.add(
            [
                {"id": "a", "text": "sieve one two drum drum sieve"},
                {"id": "b", "text": "drum x sieve sieve y z"},
                {"id": "c", "text": "nothing here"},
            ]
        )
        yield made


def stage(found: Explanation, kind: str) -> StageReport:
    return next(report for report in found.stages if report.kind == kind)


def leaves(report: StageReport) -> dict[str, Evidence]:
    assert report.evidence is not None
    return {child.name: child for child in report.evidence.children}


PIPELINES = [
    "bm25",
    "bm25?k1=1.2&fields=body",
    "ql?mu=50",
    "bm25?prf=rm3&fields=body",
    "ql?prf=rocchio&fields=body",
    "bm25 % 5 >> ql",
    "bm25 % 9 >> bm25?prf=rm3&fields=body",
    "0.7*bm25 + 0.3*ql",
    "wsum(0.7*bm25 % 5, 0.3*ql % 3, norm=minmax, missing=min)",
    "rrf(bm25 % 5, ql % 7, k=10) % 6",
    "interleave(ql % 4, bm25 % 9)",
    "-1*bm25",
]


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("chosen", [None, "half == 1"])
def test_ranks_and_scores_are_those_of_the_search(index: tamis.Index, pipeline: str, chosen: str | None) -> None:
    hits = {hit.id: hit for hit in index.rank(QUERY, 8, pipeline=pipeline, filter=chosen)["1"]}
    ids = [f"d{i}" for i in range(40) if i not in (3, 30)]
    for doc_id in ids:
        found = index.explain(QUERY, doc_id, pipeline=pipeline, k=8, filter=chosen)
        hit = hits.get(doc_id)
        assert (found.rank, found.score) == ((None, None) if hit is None else (hit.rank, hit.score))
        for report in found.stages:
            if report.rank is not None and report.evidence is not None:
                assert report.evidence.value is None or report.evidence.value == pytest.approx(report.score, rel=1e-6)
                _check_sum(report)
        json.dumps(found.to_dict(), allow_nan=False)


def _check_sum(report: StageReport) -> None:
    """What is shown adds up to the score."""
    assert report.evidence is not None
    values = [child.value or 0.0 for child in report.evidence.children]
    if report.kind in ("retrieve", "rescore", "weighted sum", "reciprocal rank fusion"):
        assert sum(values) == pytest.approx(report.score, rel=1e-6, abs=1e-7)


def test_a_term_is_told_by_its_figures(tmp_path: Path) -> None:
    with tamis.Index.create(tmp_path / "index", analyzer="whitespace") as index:
        index.add([{"id": "a", "text": "x x y"}, {"id": "b", "text": "y z"}, {"id": "c", "text": "z z z z"}])
        found = index.explain("x x y q", "a")
        own = leaves(found.stages[-1])
        assert list(own) == ["x", "y"]
        assert own["x"].details == {"field": "contents", "tf": 2, "df": 1, "length": 3, "weight": 2.0, "from": "query"}
        idf = np.log(1 + (3 - 1 + 0.5) / 1.5)
        assert own["x"].value == pytest.approx(2 * idf * 2 / (2 + 0.9 * (0.6 + 0.4 * 3 / 3)), rel=1e-6)
        assert found.stages[-1].evidence.notes == ("in no document: q",)  # type: ignore[union-attr]


def test_what_feedback_added_is_flagged(index: tamis.Index) -> None:
    pipeline = "bm25?prf=rm3&fb_terms=5&fields=body"
    expanded = index.explain("drum", "d1", pipeline=pipeline)
    sources = {name: child.details["from"] for name, child in leaves(expanded.stages[-1]).items()}
    assert sources.pop("drum") == "query"
    assert set(sources.values()) <= {"feedback"}


def test_feedback_learns_from_allowed_documents_only(tmp_path: Path) -> None:
    documents = [{"id": f"g{i}", "text": f"drum drum gold{i} gold{i}", "good": True} for i in range(2)]
    documents += [{"id": f"b{i}", "text": f"drum drum drum lead{i} lead{i}", "good": False} for i in range(3)]
    documents += [{"id": f"n{i}", "text": f"other{i} words", "good": True} for i in range(30)]
    with tamis.Index.create(tmp_path / "index", filterable=("good",)) as index:
        index.add(documents)
        pipeline = "bm25?prf=rocchio&fb_docs=2"
        for chosen, learnt in ((None, "lead"), ("good == true", "gold")):
            for expression in (pipeline, f"bm25 >> {pipeline}"):
                found = index.explain("drum", "g0", pipeline=expression, filter=chosen)
                report = stage(found, "rescore" if ">>" in expression else "retrieve")
                assert report.evidence.value == pytest.approx(report.score, rel=1e-6)  # type: ignore[union-attr]
                added = {name for name, child in leaves(report).items() if child.details["from"] == "feedback"}
                assert added
                assert all(name.startswith(learnt) for name in added), added
        with pytest.raises(UsageError, match="row filter"):
            index.rank("drum", pipeline=f"bm25 >> {pipeline}&engine=lucene", filter="good == true")
        plain = index.rank("drum", pipeline="bm25 >> bm25?engine=lucene", filter="good == true")["1"]
        assert {hit.id for hit in plain} == {"g0", "g1"}


def test_why_a_document_is_not_found(index: tamis.Index) -> None:
    full = [hit.id for hit in index.rank(QUERY, 100)["1"]]
    cut = index.explain(QUERY, full[6], pipeline="bm25 % 5")
    assert (cut.rank, cut.stages[-1].notes[0].split(",")[0]) == (None, "dropped by % 5 at rank 7")
    fused = index.explain(QUERY, full[6], pipeline="wsum(bm25, norm=minmax) % 5")
    assert stage(fused, "cut").notes == ("dropped by % 5 at rank 7",)
    missed = next(f"d{i}" for i in range(40) if f"d{i}" not in full and i not in (3, 30))
    unmatched = index.explain(QUERY, missed)
    assert unmatched.stages[-1].notes == ("the query does not match it",)
    assert unmatched.stages[-1].evidence.value is None  # type: ignore[union-attr]
    left_out = index.explain(QUERY, "d1", filter="half == 0")
    assert left_out.stages[-1].notes == ("the filter leaves it out",)
    never = index.explain(QUERY, full[6], pipeline="bm25 % 5 >> ql")
    assert stage(never, "rescore").notes == ("not among the candidates",)
    for gone in ("d3", "no-such"):
        with pytest.raises(MissingResourceError, match=gone):
            index.explain(QUERY, gone)
    with pytest.raises(UsageError, match="k=0"):
        index.explain(QUERY, "d1", k=0)


def test_beyond_the_depth_of_a_rescorer(index: tamis.Index) -> None:
    third = index.rank(QUERY, 100)["1"][2].id
    found = index.explain(QUERY, third, pipeline="bm25 % 5 >> ql?depth=2")
    assert stage(found, "rescore").notes == ("rank 3 is beyond depth=2: not re-scored, it follows below",)


def test_fusions_show_every_input(index: tamis.Index) -> None:
    fused = stage(index.explain(QUERY, "d1", pipeline="rrf(bm25, ql?mu=9, k=7)"), "reciprocal rank fusion")
    for name in ("bm25", "ql?mu=9"):
        hit = next(hit for hit in index.rank(QUERY, 100, pipeline=name)["1"] if hit.id == "d1")
        assert leaves(fused)[name].details == {"rank": hit.rank, "score": hit.score}
        assert leaves(fused)[name].value == 1 / (7 + hit.rank)


def test_passages_behind_a_document(passages: tamis.Index) -> None:
    found = passages.explain("drum sieve", "a", pipeline="bm25 >> maxp")
    first = found.stages[1]
    ranked = passages.rank("drum sieve", 10)["1"]
    best = next(hit for hit in ranked if hit.id.startswith("a#"))
    assert (first.id, first.rank, first.score) == (best.id, best.rank, best.score)
    assert first.notes == ("the best of 3 passages among the results",)
    grouped = stage(found, "group")
    assert {name: child.details["rank"] for name, child in leaves(grouped).items()} == {
        hit.id: hit.rank for hit in ranked if hit.id.startswith("a#")
    }
    assert grouped.score == max(child.value or 0 for child in leaves(grouped).values())
    summed = stage(passages.explain("drum sieve", "b", pipeline="bm25 >> sump"), "group")
    assert summed.score == pytest.approx(sum(child.value or 0 for child in leaves(summed).values()))
    by_passage = passages.explain("drum sieve", "a#2", pipeline="bm25 >> maxp")
    assert (by_passage.stages[1].id, by_passage.stages[2].id, by_passage.rank) == ("a#2", "a", found.rank)
    assert stage(passages.explain("drum sieve", "c", pipeline="bm25 >> maxp"), "group").notes == (
        "none of its passages is among the results",
    )


# -- stages of others ----------------------------------------------------------------------------------------------

SPACE = IdSpace("ABC")


class Finds:
    """Finds A and B; says nothing of why."""

    depth_dependent = True

    def retrieve(self, queries: Queries, k: int, *, mask: RowMask | None = None) -> Ranking:
        return Ranking.from_lists(SPACE, queries.ids, [([0, 1][:k], [2.0, 1.0][:k])] * len(queries))


class Judges:
    """Scores a row by its number, and says so."""

    def rescore(self, queries: Queries, ranking: Ranking) -> Ranking:
        return ranking.with_scores(ranking.rows.astype(float))

    def explain(self, queries: Queries, rows: np.ndarray, *, mask: RowMask | None = None) -> list[list[Evidence]]:
        return [[Evidence("row", float(row), {"row": int(row)}) for row in rows] for _ in queries.texts]


class Rewrites:
    def rewrite(self, state: State) -> Queries:
        return Queries(state.queries.ids, tuple(t.upper() for t in state.queries.texts), terms=({"b": 1.0, "a": 2.0},))


def test_any_stage_may_give_evidence() -> None:
    runner = Runner(SimpleNamespace(documents=SPACE, part=None))  # type: ignore[arg-type]
    assert isinstance(Judges(), Explainer)
    assert not isinstance(Finds(), Explainer)
    pipeline = Pipeline.of(Finds()) >> Rewrites() >> Judges()
    found = explain(runner, pipeline, "q", "B", 10)
    kinds = [report.kind for report in found.stages]
    assert kinds[:4] == ["query", "retrieve", "rewrite", "rescore"]
    assert found.stages[1].notes == ("this stage gives no evidence",)
    assert found.stages[2].notes == ("the query is now: Q",)
    assert [child.name for child in found.stages[2].evidence.children] == ["a", "b"]  # type: ignore[union-attr]
    assert found.stages[3].evidence == Evidence("row", 1.0, {"row": 1})
    assert found.stages[3].notes == ("rank 2 → 1, score 1.0000 → 1.0000",)
    assert explain(runner, Pipeline.of(Finds()) % 1, "q", "B", 10).stages[1].notes[-1] == "not among its 1 results"
    assert "asked for more results" in explain(runner, Pipeline.of(Finds()), "q", "C", 10).stages[1].notes[-1]
