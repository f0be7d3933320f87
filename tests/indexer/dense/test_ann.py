"""faiss indexes: round trips, masks, what is exact by construction, and errors that say the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.errors import CorruptIndexError, DataError, MissingResourceError, UsageError
from tamis.indexer.dense import ann as module
from tamis.indexer.dense.ann import Ann, build_ann, choose_factory, make_index, open_ann
from tamis.indexer.dense.recall import perturbed_queries, recall_of
from tamis.kernels.codes import to_bfloat16
from tamis.kernels.dense import search_flat

faiss = pytest.importorskip("faiss")
FACTORIES = [
    "Flat",
    "HNSW8",
    "IVF8,Flat",
    "IVF8,PQ8x4",
    "OPQ8,IVF8,PQ8x4",
    "IVF8,SQ8",
    "SQ8",
    "IVF8,SQ4,RFlat",
    "HNSW8,SQ8",
]


@pytest.fixture(scope="module")
def rows() -> np.ndarray[Any, Any]:
    random = np.random.default_rng(1)
    rows = random.standard_normal((2000, 6)) @ random.standard_normal((6, 32)) + 0.1 * random.standard_normal(
        (2000, 32)
    )
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("factory", FACTORIES)
def test_round_trip(factory: str, rows: np.ndarray[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", 700)
    path = tmp_path / "ann.faiss"
    name, recall = build_ann(rows, path, factory=factory, sample=50)
    assert name == factory
    assert recall["queries"] == 50
    assert [file.name for file in tmp_path.iterdir()] == ["ann.faiss"]
    ann = Ann([open_ann(path)], [rows])
    queries = perturbed_queries(rows, 20, 3)
    wanted = search_flat([rows], queries, 10)
    # All lists read, all rows candidates: every kind is exact after rescoring.
    found = ann.search(queries, 10, ef=4000, nprobe=8, oversample=200)
    if not factory.startswith("HNSW"):
        assert found.docs.tolist() == wanted.docs.tolist()
        assert found.scores.tobytes() == wanted.scores.tobytes()
    assert np.diff(found.offsets).tolist() == [10] * 20
    # Without rescoring: what faiss itself returns for the same index and parameters.
    index = faiss.read_index(str(path))
    inner = module._inner(index)
    if hasattr(inner, "nprobe"):
        inner.nprobe = 8
    if hasattr(inner, "hnsw"):
        inner.hnsw.efSearch = 64
    scores, numbers = index.search(queries, 10)
    raw = ann.search(queries, 10, ef=64, nprobe=8, rescore=False)
    assert np.sort(raw.scores.reshape(20, 10)).tobytes() == np.sort(scores).tobytes()
    assert set(raw.docs.tolist()) == set(numbers.ravel().tolist())


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("share", [0.6, 0.1, 0.003])
def test_masks(factory: str, share: float, rows: np.ndarray[Any, Any], tmp_path: Path) -> None:
    build_ann(rows, tmp_path / "ann.faiss", factory=factory, sample=5)
    ann = Ann([open_ann(tmp_path / "ann.faiss")], [rows])
    allowed = np.random.default_rng(2).random(2000) < share
    mask = [np.packbits(allowed, bitorder="little")]
    queries = perturbed_queries(rows, 20, 3)
    found = ann.search(queries, 15, mask=mask)
    assert allowed[found.docs].all()
    assert np.diff(found.offsets).tolist() == [min(15, int(allowed.sum()))] * 20
    if share < module.SELECTIVITY:
        assert found.docs.tolist() == search_flat([rows], queries, 15, mask=mask).docs.tolist()
    # Too few candidates from the index: k hits all the same.
    few = ann.search(queries, 500, nprobe=1, ef=1, mask=mask, selectivity=0)
    assert np.diff(few.offsets).tolist() == [min(500, int(allowed.sum()))] * 20
    assert not len(ann.search(queries, 5, mask=[np.zeros(250, np.uint8)]).docs)


def test_several_arrays_and_types(rows: np.ndarray[Any, Any], tmp_path: Path) -> None:
    arrays = [rows[:900], rows[900:].astype(np.float16), to_bfloat16(rows[:300])]
    for i, array in enumerate(arrays):
        build_ann(array, tmp_path / str(i), factory="IVF4,Flat", sample=5)
    ann = Ann([open_ann(tmp_path / str(i)) for i in range(3)], arrays)
    queries = perturbed_queries(rows, 10, 3)
    found, wanted = ann.search(queries, 20, nprobe=4), search_flat(arrays, queries, 20)
    assert found.docs.tolist() == wanted.docs.tolist()
    assert found.scores.tobytes() == wanted.scores.tobytes()
    assert not len(Ann([], []).search(queries, 3).docs)


def test_recall_counts_what_is_missed(rows: np.ndarray[Any, Any]) -> None:
    queries = perturbed_queries(rows, 10, 3)
    assert recall_of(lambda q, k: search_flat([rows], q, k), [rows], queries) == {
        "recall@10": 1.0,
        "recall@100": 1.0,
        "queries": 10,
    }
    seven = recall_of(lambda q, _: search_flat([rows], q, 7), [rows], queries)
    assert seven["recall@10"] == pytest.approx(0.7)
    assert seven["recall@100"] == pytest.approx(0.07)


def test_queries_near_documents(rows: np.ndarray[Any, Any]) -> None:
    queries = perturbed_queries(rows, 100, 3)
    assert queries.tobytes() == perturbed_queries(rows, 100, 3).tobytes()
    assert np.linalg.norm(queries, axis=1) == pytest.approx(1, abs=1e-5)
    # Noise of half a length at a right angle, nearly: cosine 1 / sqrt(1.25).
    assert search_flat([rows], queries, 1).scores.mean() == pytest.approx(1.25**-0.5, abs=0.06)


def test_sizes_choose_kinds() -> None:
    assert choose_factory(50_000, 384) == "HNSW32"
    assert choose_factory(4_000_000, 384) == "IVF8192,SQ8"
    assert choose_factory(100_000_000, 384) == "OPQ96,IVF32768,PQ96"
    for n in (10, 4_000_000, 100_000_000):
        assert make_index(choose_factory(n, 384), 384).d == 384


@pytest.mark.parametrize("factory", ["HNWS32", "", "IVF8,PQ7", "IVF,Flat", "PQ8x99"])
def test_factory_strings_that_are_wrong(factory: str) -> None:
    with pytest.raises(UsageError, match="no faiss index of 32 dimensions"):
        make_index(factory, 32)


def test_errors(rows: np.ndarray[Any, Any], tmp_path: Path) -> None:
    path = tmp_path / "ann.faiss"
    with pytest.raises(UsageError, match="3000 lists for 2000 vectors"):
        build_ann(rows, path, factory="IVF3000,Flat")
    with pytest.raises(UsageError, match="cannot be trained on 100 vectors"):
        build_ann(rows[:100], path, factory="PQ8")
    bad = rows.copy()
    bad[1500, 3] = np.nan
    with pytest.raises(DataError, match="vector 1500"):
        build_ann(bad, path, factory="Flat")
    with pytest.raises(DataError, match="at least one"):
        build_ann(rows[:0], path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(MissingResourceError, match=r"ann\.faiss is missing"):
        open_ann(path)
    build_ann(rows, path, factory="IVF8,Flat", sample=5)
    with pytest.raises(CorruptIndexError, match="2000"):
        Ann([open_ann(path)], [rows[:1999]])
    for name, value in (("ef", 0), ("nprobe", 0), ("oversample", 0)):
        with pytest.raises(UsageError, match=f"{name}=0"):
            Ann([open_ann(path)], [rows]).search(rows[:1], 1, **{name: value})
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CorruptIndexError, match="build the faiss index again"):
        open_ann(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(CorruptIndexError, match="build the faiss index again"):
        open_ann(path)
