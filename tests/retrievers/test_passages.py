"""MaxP, SumP and FirstP on an index of passages."""

from __future__ import annotations

from typing import Any

import pytest

import tamis
from tamis.errors import SpaceMismatchError, UsageError

DOCUMENTS = [
    {"id": "long", "text": "sieve sieve filler filler filler filler sieve filler"},
    {"id": "short", "text": "sieve"},
    {"id": "late", "text": "filler filler filler filler sieve sieve sieve sieve"},
    {"id": "none", "text": "drum"},
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with tamis.Index.create(tmp_path_factory.mktemp("passages") / "index", passages="tokens:4/4") as made:
        made.add(DOCUMENTS)
        yield made


def passages(index: Any) -> dict[str, float]:
    return {hit.id: hit.score for hit in index.rank("sieve", 100)["1"]}


def documents(index: Any, stage: str) -> dict[str, float]:
    return {hit.id: hit.score for hit in index.rank("sieve", 100, pipeline=f"bm25 >> {stage}")["1"]}


def test_maxp_is_the_best_passage(index: Any) -> None:
    rows = passages(index)
    assert set(rows) == {"long#0", "long#1", "short#0", "late#1"}
    assert documents(index, "maxp") == {
        "long": max(rows["long#0"], rows["long#1"]),
        "short": rows["short#0"],
        "late": rows["late#1"],
    }


def test_sump_adds_the_passages(index: Any) -> None:
    rows = passages(index)
    found = documents(index, "sump")
    assert found["long"] == pytest.approx(rows["long#0"] + rows["long#1"], abs=1e-12)
    assert found["late"] == rows["late#1"]


def test_firstp_sees_only_the_first_passage(index: Any) -> None:
    rows = passages(index)
    assert documents(index, "firstp") == {"long": rows["long#0"], "short": rows["short#0"]}


def test_a_cut_counts_documents(index: Any) -> None:
    assert [hit.rank for hit in index.rank("sieve", 2, pipeline="bm25 >> maxp")["1"]] == [1, 2]
    assert len(index.rank("sieve", 100, pipeline="bm25 % 1 >> maxp")["1"]) == 1


def test_documents_are_shown_and_found_again(index: Any) -> None:
    ranking = index.rank("sieve", 100, pipeline="bm25 >> maxp")
    assert (ranking.space.rows(ranking.space.ids(ranking.rows)) == ranking.rows).all()
    assert ranking.space.rows(["absent"]).tolist() == [-1]
    hit = index.search("sieve", 1, pipeline="bm25 >> maxp")[0]
    assert hit.id == "late"
    assert hit.text.startswith("filler")


def test_spaces_are_not_mixed(index: Any) -> None:
    with pytest.raises(SpaceMismatchError):
        index.rank("sieve", 10, pipeline="bm25 >> maxp >> ql")


def test_rows_that_are_documents_need_no_stage(tmp_path: Any) -> None:
    with tamis.Index.create(tmp_path / "whole") as whole:
        whole.add(DOCUMENTS)
        with pytest.raises(UsageError, match="--passages"):
            whole.rank("sieve", 10, pipeline="bm25 >> maxp")


def test_at_the_head_it_asks_for_a_retriever(index: Any) -> None:
    with pytest.raises(UsageError, match="put a retriever before it"):
        index.rank("sieve", 10, pipeline="maxp")
