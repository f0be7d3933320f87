"""SPLADE and UHD through an index: what the encoder gives is what a search scores."""

from __future__ import annotations

import importlib.util
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tamis
from tamis.encoders.base import Passage, SparseVectors
from tamis.encoders.registry import open_encoder
from tamis.encoders.sparse_rows import Pruning
from tamis.errors import UsageError

DOCUMENTS = [
    {"id": "sieve", "title": "Drum", "text": "what is a drum sieve"},
    {"id": "soup", "text": "the cook pass soup through a finer sieve"},
    {"id": "rank", "title": "rank", "text": "query term weight"},
    {"id": "blank", "text": ""},
    *({"id": f"d{i}", "text": f"term {chr(97 + i)} of document {chr(122 - i)}"} for i in range(20)),
]
QUERIES = {"1": "fine drum sieve", "2": "weight of a query term"}


def helpers(name: str) -> ModuleType:
    """A module of the encoders' tests."""
    path = Path(__file__).parent.parent / "encoders" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"encoders_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def dense(vectors: SparseVectors, dimensions: int) -> Any:
    found = np.zeros((len(vectors.offsets) - 1, dimensions))
    found[np.repeat(np.arange(len(found)), np.diff(vectors.offsets)), vectors.indices] = vectors.values
    return found


def scores_of(address: str) -> dict[str, dict[str, float]]:
    encoder = open_encoder(address)
    held = [d for d in DOCUMENTS if d["text"]]
    documents = dense(
        encoder.encode_passages([Passage(d.get("title", ""), d["text"]) for d in held]), encoder.dimensions
    )
    queries = dense(encoder.encode_queries(list(QUERIES.values())), encoder.dimensions)
    ids = [d["id"] for d in held]
    return {q: dict(zip(ids, row.tolist(), strict=True)) for q, row in zip(QUERIES, queries @ documents.T, strict=True)}


def build(folder: Path, address: str) -> tamis.Index:
    index = tamis.Index.create(folder)
    index.add(DOCUMENTS[:9])
    index.add_part(address, "sparse")
    index.add(DOCUMENTS[9:])  # encoded as they come, by the model that the manifest names
    return index


@pytest.fixture(scope="module")
def splade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = helpers("test_splade").save_mlm(
        tmp_path_factory.mktemp("splade") / "model", helpers("conftest").save_tiny
    )
    return folder


def test_splade(tmp_path: Path, splade: Path) -> None:
    address = f"splade:{splade}"
    with build(tmp_path / "index", f"{address}?bits=16") as index:
        ranking = index.rank(QUERIES, 100, pipeline=address)
        for query, scores in scores_of(address).items():
            found = {hit.id: hit.score for hit in ranking[query]}
            assert found == pytest.approx({key: value for key, value in scores.items() if value > 0}, rel=1e-3)
            order = [scores[hit.id] for hit in ranking[query]]
            assert all(a >= b - 1e-3 * abs(a) for a, b in pairwise(order))
        explained = index.explain(QUERIES["1"], "sieve", pipeline=address)
        pieces = {child.name for child in explained.stages[-1].evidence.children}
        assert pieces
        assert pieces <= set(open_encoder(address).names())
        statistics = index.manifest.parts["sparse"]["facts"]["statistics"]
        assert statistics["empty"] == 1
        assert statistics["mean_dimensions"] > 5
        assert statistics["truncated"] == 0
        rescored = index.rank(QUERIES, 5, pipeline=f"bm25 >> {address}")
        assert {hit.id for hit in rescored["1"]} >= {"sieve"}


def test_cut_texts_are_counted(tmp_path: Path, splade: Path) -> None:
    address = f"splade:{splade}?query_weights=ones&max_length=6"
    with build(tmp_path / "index", address) as index:
        passages = [Passage(d.get("title", ""), d["text"]) for d in DOCUMENTS if d["text"]]
        cut = open_encoder(address).encode_passages(passages).truncated
        assert index.manifest.parts["sparse"]["facts"]["statistics"]["truncated"] == cut > 0


def test_the_first_pieces_of_a_query_and_of_documents(tmp_path: Path, splade: Path) -> None:
    address = f"splade:{splade}"
    with build(tmp_path / "index", f"{address}?top=4") as index:
        part = index.part("sparse")
        lengths = [len(part.row(i)[0]) for i in range(len(DOCUMENTS))]
        assert max(lengths) == 4
        encoder = open_encoder(address)
        vectors = encoder.encode_passages([Passage("", DOCUMENTS[-1]["text"])])
        best = vectors.indices[np.argsort(-vectors.values)[:4]]
        assert part.row(len(DOCUMENTS) - 1)[0].tolist() == sorted(best.tolist())
        few = index.rank(QUERIES, 100, pipeline=f"{address}?query_top=1")
        assert (np.diff(few.offsets) <= np.diff(index.rank(QUERIES, 100, pipeline=address).offsets)).all()


def test_without_a_part_candidates_are_encoded(tmp_path: Path, splade: Path) -> None:
    address = f"splade:{splade}"
    with tamis.Index.create(tmp_path / "index") as index:
        index.add(DOCUMENTS)
        scores = scores_of(address)["1"]
        hits = index.rank({"1": QUERIES["1"]}, 10, pipeline=f"bm25 >> {address}")["1"]
        assert hits
        assert {hit.id: hit.score for hit in hits} == pytest.approx({hit.id: scores[hit.id] for hit in hits}, rel=1e-4)


def test_uhd_counts_shared_winners(tmp_path: Path) -> None:
    from tamis.encoders import uhd

    folder = tmp_path / "uhd"
    recipe = uhd.Recipe(layers=(1, -1), dimensions=200, winners=7)
    uhd.create(helpers("conftest").save_tiny(tmp_path / "bert"), recipe, seed=3, device="cpu").save(folder)
    address = f"uhd:{folder}"
    with build(tmp_path / "index", address) as index:
        part = index.part("sparse")
        assert part.levels.binary  # a set needs no option to be kept as one
        assert not list(part.folder.rglob("codes.npy"))
        assert part.query_encoder(Pruning()) is not None
        ranking = index.rank(QUERIES, 100, pipeline=address)
        for query, scores in scores_of(address).items():
            found = [(hit.id, hit.score) for hit in ranking[query]]
            wanted = [(key, value) for key, value in scores.items() if value > 0]
            assert sorted(found) == sorted(wanted)
        few = index.rank(QUERIES, 100, pipeline=f"{address}?query_winners=1")  # which no exported encoder knows
        own = open_encoder(f"{address}?query_winners=1").encode_queries([QUERIES["1"]]).indices.tolist()
        held = part.row(0)[0].tolist()
        assert {hit.id: hit.score for hit in few["1"]}.get("sieve", 0) == len(set(own) & set(held))
        explained = index.explain(QUERIES["1"], "sieve", pipeline=address).stages[-1].evidence.children
        shared = set(open_encoder(address).encode_queries([QUERIES["1"]]).indices.tolist())
        shared &= set(part.row(0)[0].tolist())
        layers = {0: 1, 1: 2}
        assert {child.name for child in explained} == {f"{d % 200} of layer {layers[d // 200]}" for d in shared}
        with pytest.raises(UsageError, match="names"):
            index.rank(tamis.Queries(("q",), ("",), terms=({"a": 1.0},)), 5, pipeline=address)


def test_real_values_are_kept_where_they_are_asked_for(tmp_path: Path) -> None:
    from tamis.encoders import uhd

    folder = tmp_path / "uhd"
    recipe = uhd.Recipe(layers=(-1,), dimensions=200, winners=7)
    uhd.create(helpers("conftest").save_tiny(tmp_path / "bert"), recipe, seed=3, device="cpu").save(folder)
    address = f"uhd:{folder}?binary=false"
    with build(tmp_path / "index", f"{address}&bits=16") as index:
        assert list(index.part("sparse").folder.rglob("codes.npy"))
        found = {hit.id: hit.score for hit in index.rank(QUERIES, 100, pipeline=address)["1"]}
        assert found == pytest.approx({k: v for k, v in scores_of(address)["1"].items() if v > 0}, rel=1e-3)


def test_a_set_keeps_its_largest_winners_whenever_a_document_comes(tmp_path: Path) -> None:
    from tamis.encoders import uhd

    folder = tmp_path / "uhd"
    recipe = uhd.Recipe(layers=(1, -1), dimensions=200, winners=7)
    uhd.create(helpers("conftest").save_tiny(tmp_path / "bert"), recipe, seed=3, device="cpu").save(folder)
    real = open_encoder(f"uhd:{folder}?binary=false")
    with build(tmp_path / "index", f"uhd:{folder}?top=6") as index:
        part = index.part("sparse")
        for i, document in enumerate(DOCUMENTS):  # the last ones came after the part was made
            if not document["text"]:
                continue
            found = real.encode_passages([Passage(document.get("title", ""), document["text"])])
            best = found.indices[np.lexsort((found.indices, -found.values))[:6]]
            assert part.row(i)[0].tolist() == sorted(best.tolist())
            assert set(part.row(i)[1].tolist()) == {1.0}
        stated = index.manifest.parts["sparse"]["facts"]["loss"]
        assert stated["dropped_entries"] == stated["dropped_weight"] > 0.5


@pytest.mark.parametrize("options", ["", "?query_weights=ones"])
def test_a_fresh_process_searches_without_the_model(tmp_path: Path, splade: Path, options: str) -> None:
    import json
    import subprocess

    address = f"splade:{splade}{options}"
    with build(tmp_path / "index", f"{address}{'&' if options else '?'}bits=16") as index:
        assert "not_exported" not in index.manifest.parts["sparse"]["facts"]
    scores = scores_of(address)["1"]
    heavy = ["torch", "transformers", "sentence_transformers"] + (["onnxruntime"] if options else [])
    code = (
        "import json, sys\nfrom tamis.cli.app import main\n"
        f"status = main(['search', {str(tmp_path / 'index')!r}, {QUERIES['1']!r}, '--pipeline', {address!r}, '--json'])\n"
        f"sys.stderr.write(json.dumps([status, [name for name in {heavy!r} if name in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stderr.splitlines()[-1]) == [0, []]
    hits = json.loads(done.stdout)["results"]
    assert {hit["id"]: hit["score"] for hit in hits} == pytest.approx(
        {hit["id"]: scores[hit["id"]] for hit in hits}, rel=1e-3
    )


def test_what_cannot_be_exported_is_stated_and_searched_by_the_model(
    tmp_path: Path, splade: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    address = f"splade:{splade}"
    with build(tmp_path / "index", f"{address}?bits=16") as index:
        assert "no such operator" in index.manifest.parts["sparse"]["facts"]["not_exported"]
        assert index.part("sparse").query_encoder(Pruning()) is None
        found = {hit.id: hit.score for hit in index.rank(QUERIES, 100, pipeline=address)["1"]}
        assert found == pytest.approx({k: v for k, v in scores_of(address)["1"].items() if v > 0}, rel=1e-3)
        assert index.verify().ok
