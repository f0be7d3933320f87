"""The ``dense`` family over an index: conformance, parity with a plain inner product, and what keeps it honest."""

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
from tamis.errors import FingerprintError, MissingResourceError, UsageError
from tamis.testing import FamilyConformance

DOCUMENTS = [
    {"id": "sieve", "title": "Drum", "text": "what is a drum sieve", "year": 1999},
    {"id": "soup", "title": "", "text": "the cook pass soup through a finer sieve", "year": 2001},
    {"id": "rank", "title": "rank", "text": "query term weight", "year": 2005},
    {"id": "milk", "title": "", "text": "butter milk potato", "year": 2010},
    {"id": "blank", "title": "", "text": "", "year": 2010},
    *({"id": f"d{i}", "text": f"term {chr(97 + i)} of document {chr(122 - i)}", "year": 1980 + i} for i in range(20)),
]
QUERIES = {"1": "fine drum sieve", "2": "weight of a query term"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(__file__).parent.parent / "encoders" / "conftest.py"
    spec = importlib.util.spec_from_file_location("encoder_models", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.save_sentence_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[tamis.Index]:
    with tamis.Index.create(tmp_path_factory.mktemp("dense") / "index", filterable=("year",)) as made:
        made.add(DOCUMENTS[:10])
        made.add_part(f"dense:{model}")
        made.add(DOCUMENTS[10:])  # a second segment, encoded as it comes
        yield made


class TestConformance(FamilyConformance):
    """What every family must do."""

    queries: ClassVar = QUERIES

    @pytest.fixture(autouse=True)
    def _over(self, index: tamis.Index, model: Path) -> None:
        self._index = index
        type(self).address = f"dense:{model}"

    def source(self) -> Any:
        return self._index


def own_scores(model: Path) -> dict[str, dict[str, float]]:
    encoder = open_encoder(f"dense:{model}")
    held = [d for d in DOCUMENTS if d["text"]]
    vectors = encoder.encode_passages([Passage(str(d.get("title", "")), str(d["text"])) for d in held]).vectors
    queries = encoder.encode_queries(list(QUERIES.values())).vectors
    return {
        query: dict(zip((d["id"] for d in held), (vectors @ vector).tolist(), strict=True))
        for query, vector in zip(QUERIES, queries, strict=True)
    }


def test_all_rows_with_text_come_in_the_order_of_their_inner_product(index: tamis.Index, model: Path) -> None:
    ranking = index.rank(QUERIES, 100, pipeline=f"dense:{model}")
    for query, scores in own_scores(model).items():
        hits = ranking[query]
        assert {hit.id for hit in hits} == set(scores)  # the blank document is not among them
        np.testing.assert_allclose([hit.score for hit in hits], [scores[hit.id] for hit in hits], atol=1e-5)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_rescoring_gives_the_same_scores(index: tamis.Index, model: Path) -> None:
    address = f"dense:{model}"
    alone = {hit.id: hit.score for hit in index.rank(QUERIES, 100, pipeline=address)["1"]}
    rescored = index.rank(QUERIES, 100, pipeline=f"bm25 % 20 >> {address}")["1"]
    assert rescored
    assert all(alone[hit.id] == hit.score for hit in rescored)


def test_without_a_part_candidates_are_encoded(tmp_path: Path, index: tamis.Index, model: Path) -> None:
    address = f"dense:{model}"
    with tamis.Index.create(tmp_path / "bare") as bare:
        bare.add(DOCUMENTS)
        found = bare.rank(QUERIES, 100, pipeline=f"bm25 % 20 >> {address}")["1"]
        expected = own_scores(model)["1"]
        np.testing.assert_allclose([hit.score for hit in found], [expected[hit.id] for hit in found], atol=1e-5)
        with pytest.raises(MissingResourceError, match="tamis add-part"):
            bare.rank(QUERIES, 10, pipeline=address)


def test_filters_return_k_allowed_rows(index: tamis.Index, model: Path) -> None:
    found = index.rank("drum sieve", 4, pipeline=f"dense:{model}", filter="year >= 2001")["1"]
    assert {hit.id for hit in found} == {"soup", "rank", "milk"}


@pytest.mark.parametrize(
    "options", ["codes=bit", "codes=int8", "codes=bf16", "store=float16", "store=bfloat16&codes=int8", "index=HNSW16"]
)
def test_quick_searches_score_exactly(
    tmp_path: Path, index: tamis.Index, model: Path, options: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr("tamis.indexer.dense.kind.ANN_ROWS", 5)
    path = tmp_path / "copy"
    shutil.copytree(index.path, path)
    with tamis.open(path) as copy:
        name = copy.add_part(f"dense:{model}?{options}", "quick")
        quick = copy.rank(QUERIES, 5, pipeline=f"dense:{model}?part={name}")
        exact = copy.rank(QUERIES, 5, pipeline=f"dense:{model}?part={name}&exact=true")
        assert [[(h.id, h.score) for h in quick[q]] for q in QUERIES] == [
            [(h.id, h.score) for h in exact[q]] for q in QUERIES
        ]
        assert copy.verify().problems == ()
        copy.delete(["sieve"])
        copy.compact()
        assert "sieve" not in {h.id for h in copy.rank(QUERIES, 100, pipeline=f"dense:{model}?part={name}")["1"]}
        assert copy.verify().problems == ()
        with pytest.raises(UsageError, match="choose one"):
            copy.rank(QUERIES, 5, pipeline=f"dense:{model}")
        if "index" in options:
            assert copy.manifest.parts["quick"]["facts"]["ann"]["recall@10"] == 1


def test_a_part_of_another_model_is_refused_by_name(index: tamis.Index, model: Path) -> None:
    with pytest.raises(FingerprintError, match=r"encoded by .*cannot be searched with dense:minilm"):
        index.rank("x", 5, pipeline=f"dense:minilm?part=dense:{model}")


def test_a_query_needs_no_torch(index: tamis.Index, model: Path) -> None:
    import subprocess
    import sys

    code = (
        f"import sys, tamis\nwith tamis.open({str(index.path)!r}) as index:\n"
        f"    assert index.search('drum sieve', 3, pipeline='rrf(bm25, dense:{model})')\n"
        "print([name for name in ('torch', 'transformers', 'pyarrow', 'faiss', 'jpype') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_explanations_give_the_similarity(index: tamis.Index, model: Path) -> None:
    address = f"dense:{model}"
    score = {hit.id: hit.score for hit in index.rank(QUERIES["1"], 100, pipeline=address)["1"]}
    told = index.explain(QUERIES["1"], "soup", pipeline=f"rrf(bm25, {address})")
    (value,) = [s.evidence.value for s in told.stages if s.evidence is not None and s.evidence.name == "cosine"]
    assert value == pytest.approx(score["soup"], abs=1e-6)
    (blank,) = [
        s.evidence for s in index.explain(QUERIES["1"], "blank", pipeline=address).stages if s.evidence is not None
    ][:1]
    assert blank.value is None
