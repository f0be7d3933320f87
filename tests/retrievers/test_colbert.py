"""Late interaction over an index: exact MaxSim, at the head and after ``>>``, kept in step with the documents."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import tamis
from tamis.encoders.base import Passage
from tamis.encoders.registry import open_encoder
from tamis.errors import MissingResourceError
from tamis.indexer.multivector import part as multivector
from tamis.testing import FamilyConformance

DOCUMENTS = [
    {"id": "sieve", "title": "Drum", "text": "what is a drum sieve"},
    {"id": "cook", "title": "", "text": "the cook pass through a finer sieve"},
    {"id": "blank", "title": "", "text": ""},
    *({"id": f"d{i}", "text": f"term {chr(97 + i)} of document {chr(122 - i)} rank"} for i in range(20)),
]
QUERIES = {"1": "fine drum sieve", "2": "rank of a term"}


def load(name: str, file: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent.parent / "encoders" / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiny = load("encoder_models", "conftest.py").save_tiny
    return load("colbert_models", "test_colbert.py").save_colbert(tmp_path_factory.mktemp("late") / "model", tiny)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[tamis.Index]:
    with tamis.Index.create(tmp_path_factory.mktemp("late") / "index") as made:
        made.add(DOCUMENTS[:10])
        made.add_part(f"colbert:{model}?store=float32")
        made.add(DOCUMENTS[10:])
        yield made


class TestConformance(FamilyConformance):
    """What every family must do."""

    queries: ClassVar = QUERIES

    @pytest.fixture(autouse=True)
    def _over(self, index: tamis.Index, model: Path) -> None:
        self._index = index
        type(self).address = f"colbert:{model}"

    def source(self) -> Any:
        return self._index


def own_scores(model: Path, query: str) -> dict[str, float]:
    """MaxSim by its definition, two loops."""
    encoder = open_encoder(f"colbert:{model}")
    asked, found = encoder.encode_queries([query]).vectors, {}
    for document in DOCUMENTS:
        if document["text"]:
            tokens = encoder.encode_passages([Passage(document.get("title", ""), document["text"])]).vectors
            found[document["id"]] = sum(max(float(q @ t) for t in tokens) for q in asked)
    return found


def test_all_documents_come_in_the_order_of_maxsim(
    index: tamis.Index, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tile in (1 << 16, 7):
        monkeypatch.setattr(multivector, "_TILE_TOKENS", tile)
        ranking = index.rank(QUERIES, 100, pipeline=f"colbert:{model}")
        for query, text in QUERIES.items():
            scores = own_scores(model, text)
            assert {hit.id for hit in ranking[query]} == set(scores)  # the blank document is not among them
            np.testing.assert_allclose(
                [hit.score for hit in ranking[query]], [scores[h.id] for h in ranking[query]], atol=1e-4
            )
            listed = [hit.score for hit in ranking[query]]
            assert listed == sorted(listed, reverse=True)


def test_rescoring_gives_the_same_scores(index: tamis.Index, model: Path, tmp_path: Path) -> None:
    address = f"colbert:{model}"
    alone = {hit.id: hit.score for hit in index.rank(QUERIES, 100, pipeline=address)["1"]}
    rescored = index.rank(QUERIES, 100, pipeline=f"bm25 % 20 >> {address}")["1"]
    assert rescored
    assert all(alone[hit.id] == hit.score for hit in rescored)
    with tamis.Index.create(tmp_path / "bare") as bare:
        bare.add(DOCUMENTS)
        found = bare.rank(QUERIES, 100, pipeline=f"bm25 % 20 >> {address}")["1"]
        np.testing.assert_allclose([hit.score for hit in found], [alone[hit.id] for hit in found], atol=1e-4)
        with pytest.raises(MissingResourceError, match="tamis add-part"):
            bare.rank(QUERIES, 10, pipeline=address)


def test_deletes_and_compaction_keep_the_vectors(index: tamis.Index, model: Path, tmp_path: Path) -> None:
    shutil.copytree(index.path, tmp_path / "copy")
    address = f"colbert:{model}"
    before = {hit.id: hit.score for hit in index.rank(QUERIES, 100, pipeline=address)["1"]}
    with tamis.open(tmp_path / "copy") as copy:
        copy.delete(["cook", "d3"])
        copy.compact()
        after = {hit.id: hit.score for hit in copy.rank(QUERIES, 100, pipeline=address)["1"]}
        assert copy.verify().problems == ()
    assert after == {name: score for name, score in before.items() if name not in ("cook", "d3")}


def test_the_alignment_adds_up(index: tamis.Index, model: Path) -> None:
    address = f"colbert:{model}"
    score = {hit.id: hit.score for hit in index.rank(QUERIES, 100, pipeline=address)["1"]}
    (evidence,) = [s.evidence for s in index.explain(QUERIES["1"], "sieve", pipeline=address).stages if s.evidence][:1]
    assert evidence.value == pytest.approx(score["sieve"], abs=1e-5)
    assert sum(child.value for child in evidence.children) == pytest.approx(score["sieve"], abs=1e-5)
    assert len(evidence.children) == 10


def test_codes_by_address(model: Path, tmp_path: Path) -> None:
    """The options reach the part: nearly the scores of vectors, and what is explained is what was scored."""
    plain, coded = f"colbert:{model}?part=plain", f"colbert:{model}?part=coded"
    with tamis.Index.create(tmp_path / "index") as made:
        made.add(DOCUMENTS[:12])
        made.add_part(f"colbert:{model}?store=float32", name="plain")
        made.add_part(f"colbert:{model}?bits=4", name="coded")
        made.add(DOCUMENTS[12:])
        assert made.part("coded").entry.options["bits"] == 4
        wanted = {hit.id: hit.score for hit in made.rank(QUERIES, 100, pipeline=plain)["1"]}
        for options in ("", "&exact=true", "&nprobe=3&candidates=5"):
            hits = made.rank(QUERIES, 5, pipeline=coded + options)["1"]
            assert len(hits) == 5
            np.testing.assert_allclose([hit.score for hit in hits], [wanted[hit.id] for hit in hits], atol=0.2)
        (evidence,) = [s.evidence for s in made.explain(QUERIES["1"], hits[0].id, pipeline=coded).stages if s.evidence]
        assert evidence.value == hits[0].score
        made.delete([hits[0].id])
        made.compact()
        assert made.rank(QUERIES, 5, pipeline=coded)["1"][0].id == hits[1].id
        with pytest.raises(tamis.TamisError, match=r"bits=2\.2"):
            made.add_part(f"colbert:{model}?bits=2.2", name="wrong")


def test_damaged_offsets_are_refused(index: tamis.Index, model: Path, tmp_path: Path) -> None:
    shutil.copytree(index.path, tmp_path / "copy")
    paths = [
        p for p in sorted((tmp_path / "copy" / "parts").glob("*/*/offsets.npy")) if (p.parent / "tokens.npy").exists()
    ]
    offsets = np.load(paths[0])
    offsets[-1] += 1
    np.save(paths[0], offsets)
    with tamis.open(tmp_path / "copy") as copy, pytest.raises(tamis.TamisError, match="tamis verify"):
        copy.rank(QUERIES, 10, pipeline=f"colbert:{model}")
