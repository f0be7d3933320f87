"""The families of T5 over an index: the conformance of all families, pipelines in writing, `explain`, and the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import tamis
from tamis.encoders.base import Passage
from tamis.errors import UnknownNameError, UsageError
from tamis.rerankers.registry import open_reranker
from tamis.testing import FamilyConformance

DOCUMENTS = [
    {"id": f"d{i}", "title": "of soup", "text": f"the cook rank potato soup {word} {'fine ' * i}"}
    for i, word in enumerate(["sieve", "drum", "butter", "milk", "query", "weight"])
]
QUERY = "potato soup"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tamis.Index]:
    with tamis.Index.create(tmp_path_factory.mktemp("index") / "ix") as made:
        made.add(DOCUMENTS)
        yield made


class TestMonoT5(FamilyConformance):
    """What every family must do."""

    queries: ClassVar = {"1": QUERY, "2": "cook"}

    @pytest.fixture(autouse=True)
    def _over(self, index: tamis.Index, t5_folder: Path) -> None:
        self._index = index
        type(self).address = f"monot5:{t5_folder}?windows=tokens:8/4&pool=top:2"

    def source(self) -> Any:
        return self._index


class TestDuoT5(FamilyConformance):
    """What every family must do."""

    queries: ClassVar = {"1": QUERY, "2": "cook"}

    @pytest.fixture(autouse=True)
    def _over(self, index: tamis.Index, t5_folder: Path) -> None:
        self._index = index
        type(self).address = f"duot5:{t5_folder}?compared=3&aggregation=sym-log"

    def source(self) -> Any:
        return self._index


def test_the_whole_cascade(index: tamis.Index, t5_folder: Path) -> None:
    first = [hit.id for hit in index.search(QUERY, 6)]
    pipeline = f"bm25 % 6 >> monot5:{t5_folder}?depth=5"
    mono = index.search(QUERY, 6, pipeline=pipeline)
    scores = {hit.id: hit.score for hit in mono}
    assert sorted(scores) == sorted(first)
    assert [hit.id for hit in mono][5] == first[5]
    model = open_reranker(f"monot5:{t5_folder}")
    texts = {one["id"]: Passage(one["title"], one["text"]) for one in DOCUMENTS}
    expected = model.score_pairs([QUERY] * 5, [texts[name] for name in first[:5]]).scores
    assert [scores[name] for name in first[:5]] == pytest.approx(expected.tolist(), abs=1e-5)
    duo = index.search(QUERY, 6, pipeline=f"{pipeline} >> duot5:{t5_folder}?compared=3")
    assert [hit.id for hit in duo][3:] == [hit.id for hit in mono][3:]
    assert {hit.id for hit in duo[:3]} == {hit.id for hit in mono[:3]}
    found = [hit.score for hit in duo]
    assert found == sorted(found, reverse=True)
    assert sum(found[:3]) == pytest.approx(6.0)  # p and 1 - p of three candidates, each in two orders with two others


def test_options_reach_the_stage(index: tamis.Index, t5_folder: Path) -> None:
    for aggregation, total in (("binary", None), ("sym-sum", 30.0)):
        hits = index.search(QUERY, 6, pipeline=f"bm25 % 6 >> duot5:{t5_folder}?aggregation={aggregation}&cache=false")
        scores = [hit.score for hit in hits]
        assert sum(scores) == pytest.approx(total) if total else all(score == int(score) for score in scores)
    with pytest.raises(UnknownNameError, match="sym-sum"):
        index.search(QUERY, 6, pipeline=f"bm25 % 6 >> duot5:{t5_folder}?aggregation=sym_sum")
    for family in ("monot5", "duot5"):
        with pytest.raises(UsageError, match="put a retriever before it"):
            index.search(QUERY, 6, pipeline=f"{family}:{t5_folder}")


def test_explain_shows_windows_and_comparisons(index: tamis.Index, t5_folder: Path) -> None:
    found = index.explain(QUERY, "d3", pipeline=f"bm25 % 6 >> monot5:{t5_folder}?windows=tokens:4/4", k=6).stages[-1]
    assert found.evidence is not None
    assert found.evidence.value == pytest.approx(found.score, abs=1e-5)
    assert len(found.evidence.children) > 1
    found = index.explain(QUERY, "d3", pipeline=f"bm25 % 6 >> duot5:{t5_folder}", k=6).stages[-1]
    assert found.evidence is not None
    assert found.evidence.name == "sym-sum over 5 others"
    assert found.evidence.value == pytest.approx(found.score, abs=1e-5)


def test_explain_on_the_command_line(index: tamis.Index, t5_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tamis.cli.app import main

    def call(pipeline: str, *more: str) -> str:
        capsys.readouterr()
        assert main(["explain", str(index.path), QUERY, "d3", "--pipeline", pipeline, *more]) == 0
        return capsys.readouterr().out

    words = call(f"bm25 % 6 >> monot5:{t5_folder}")
    assert "words left out: what the score" in words
    query = next(line for line in words.splitlines() if line.startswith("  query "))
    assert [one.split()[0] for one in query.removeprefix("  query").split(",")] == ["potato", "soup"]
    duo = f"bm25 % 6 >> duot5:{t5_folder}?compared=4"
    evidence = json.loads(call(duo, "--json"))["results"]["stages"][-1]["evidence"]
    assert len(evidence["children"]) == 3
    ranks = {"better than": [], "not better than": []}
    for child in evidence["children"]:
        chance = (child["details"]["first"] + child["details"]["second"]) / 2
        ranks["better than" if chance > 0.5 else "not better than"].append(str(child["details"]["rank"]))
    assert evidence["notes"] == [f"{said} {', '.join(those)}" for said, those in ranks.items() if those]
    assert evidence["notes"][0] in call(duo)


def test_rerank_on_the_command_line(index: tamis.Index, t5_folder: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from tamis.cli.app import app

    topics, run = tmp_path / "topics.tsv", tmp_path / "bm25.run"
    topics.write_text(f"1\t{QUERY}\n")
    run.write_text("".join(f"1 Q0 d{i} {i + 1} {9 - i} x\n" for i in range(6)))
    for family, expected in (("monot5", {"pairs": 6, "scored": 6}), ("duot5", {"lists": 1, "pairs": 30, "scored": 30})):
        output = tmp_path / f"{family}.run"
        asked = ["rerank", str(index.path), str(run), "--topics", str(topics), "--model", f"{family}:{t5_folder}"]
        done = CliRunner().invoke(app, [*asked, "-o", str(output), "--json"])
        assert done.exit_code == 0, done.output
        metrics = json.loads(done.stdout)["metrics"]
        assert expected.items() <= metrics.items()
        assert metrics["tokens"] > 100
        assert len(output.read_text().splitlines()) == 6
    listed = CliRunner().invoke(app, ["models"])
    assert "castorini/duot5-base-msmarco-10k" in listed.output.replace("\n", "")
