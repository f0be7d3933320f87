"""Models that compare by a network of their own: re-scoring over a part's vectors and over texts, and nothing else."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import tamis
from tamis.cli.app import main
from tamis.encoders.base import Passage
from tamis.encoders.registry import open_encoder
from tamis.errors import FingerprintError, UsageError
from tamis.retrievers import pairs
from tamis.testing import FamilyConformance

DOCUMENTS = [
    {"id": "sieve", "title": "fine", "text": "a drum sieve"},
    {"id": "soup", "title": "", "text": "the cook soup through a fine sieve"},
    {"id": "query", "title": "term", "text": "the weight of a query"},
    {"id": "blank", "title": "", "text": ""},
    *({"id": f"d{i}", "text": f"the {'fine ' * i} drum term"} for i in range(6)),
]
QUERIES = {"1": "fine drum sieve", "2": "weight of a query term"}
CANDIDATES = "bm25 % 20"


def load(name: str, file: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent.parent / "encoders" / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    base = tmp_path_factory.mktemp("pairs")
    tiny = load("encoder_models", "conftest.py").save_tiny
    d2llm = load("d2llm_models", "test_d2llm.py").save_d2llm(base / "d2llm")
    dse = load("dse_models", "test_dse.py").save_dse(base / "dse", tiny)
    return {"d2llm": f"d2llm:{d2llm}", "dse": f"dse:{dse}"}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, models: dict[str, str]) -> Iterator[tamis.Index]:
    with tamis.Index.create(tmp_path_factory.mktemp("pairs") / "index") as made:
        made.add(DOCUMENTS[:5])
        for address in models.values():
            made.add_part(address)
        made.add(DOCUMENTS[5:])  # a second segment, encoded as it comes
        yield made


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tamis.Index]:
    with tamis.Index.create(tmp_path_factory.mktemp("pairs") / "bare") as made:
        made.add(DOCUMENTS)
        yield made


class TestD2LLM(FamilyConformance):
    """What every family must do."""

    queries: ClassVar = QUERIES
    family_name: ClassVar = "d2llm"

    @pytest.fixture(autouse=True)
    def _over(self, index: tamis.Index, models: dict[str, str]) -> None:
        self._index = index
        type(self).address = models[self.family_name]

    def source(self) -> Any:
        return self._index


class TestDSE(TestD2LLM):
    """What every family must do."""

    family_name: ClassVar = "dse"


def own_scores(address: str, **options: Any) -> dict[str, dict[str, float]]:
    encoder = open_encoder(address)
    vectors = encoder.encode_passages([Passage(str(d.get("title", "")), str(d["text"])) for d in DOCUMENTS]).vectors
    queries = encoder.encode_queries(list(QUERIES.values())).vectors
    ids = [str(document["id"]) for document in DOCUMENTS]
    return {
        query: dict(zip(ids, encoder.score(vector, vectors, **options).tolist(), strict=True))
        for query, vector in zip(QUERIES, queries, strict=True)
    }


@pytest.mark.parametrize("name", ["d2llm", "dse"])
def test_candidates_are_scored_with_the_part_and_without(
    index: tamis.Index, bare: tamis.Index, models: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_AT_ONCE", 3)
    address = models[name]
    want = own_scores(address)
    found = index.rank(QUERIES, 20, pipeline=f"{CANDIDATES} >> {address}")
    texts = bare.rank(QUERIES, 20, pipeline=f"{CANDIDATES} >> {address}")
    candidates = index.rank(QUERIES, 20, pipeline=CANDIDATES)
    for query in QUERIES:
        for ranking in (found, texts):
            hits = ranking[query]
            assert {hit.id for hit in hits} == {hit.id for hit in candidates[query]}
            np.testing.assert_allclose([hit.score for hit in hits], [want[query][hit.id] for hit in hits], atol=1e-5)
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len(found["1"]) > 5


def test_the_vectors_are_the_part_s(
    index: tamis.Index, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a passage was encoded at search")

    monkeypatch.setattr("tamis.encoders.d2llm.D2LLM.encode_passages", refuse)
    assert index.rank(QUERIES, 5, pipeline=f"{CANDIDATES} >> {models['d2llm']}")["1"]


def test_the_command_line_says_how_to_go_on(
    bare: tamis.Index, models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "copy"
    shutil.copytree(bare.path, path)
    assert main(["add-part", str(path), f"mine={models['dse']}"]) == 0
    pipeline = f"{CANDIDATES.replace('20', '100')} >> {models['dse']}"
    assert f'--pipeline "{pipeline}"' in capsys.readouterr().err
    assert main(["search", str(path), "drum", "--pipeline", pipeline]) == 0
    assert main(["search", str(path), "drum", "--pipeline", models["dse"]]) == 2


def test_no_part_is_searched(index: tamis.Index, models: dict[str, str]) -> None:
    for address in models.values():
        with pytest.raises(UsageError, match=f"bm25 % 100 >> {address}"):
            index.rank(QUERIES, 5, pipeline=address)
    with pytest.raises(FingerprintError):
        index.rank(QUERIES, 5, pipeline=f"{CANDIDATES} >> {models['dse']}?part={models['d2llm']}")


def test_the_task_is_free_at_search(index: tamis.Index, models: dict[str, str]) -> None:
    address = models["d2llm"]
    want = own_scores(address, task="symmetric")["1"]
    hits = index.rank(QUERIES, 20, pipeline=f"{CANDIDATES} >> {address}?task=symmetric")["1"]
    np.testing.assert_allclose([hit.score for hit in hits], [want[hit.id] for hit in hits], atol=1e-5)
    assert max(abs(want[hit.id] - own_scores(address)["1"][hit.id]) for hit in hits) > 0.01


def test_evidence_is_the_score(index: tamis.Index, models: dict[str, str]) -> None:
    stage = tamis.families.open_model(index, models["dse"])
    rows = index.documents.rows(["soup", "sieve"])
    evidence = stage.explain(tamis.Queries.of(QUERIES), rows)
    want = own_scores(models["dse"])
    values = [[one.value for one in line] for line in evidence]
    np.testing.assert_allclose(values, [[want[q]["soup"], want[q]["sieve"]] for q in QUERIES], atol=1e-5)
