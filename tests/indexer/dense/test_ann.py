"""faiss behind the part's interface: what it finds is scored exactly, masks hold, bad strings are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tamis.errors import CorruptIndexError, MissingResourceError, UsageError
from tamis.indexer.dense.ann import Ann, build_ann, choose_factory, make_index, open_ann
from tamis.indexer.dense.quantise import build_codes, open_codes
from tamis.kernels.dense import search_flat


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, 16))
    rows = centres[rng.integers(0, 20, 2000)] + 0.3 * rng.standard_normal((2000, 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF16,Flat", "IVF16,SQ8", "IVF16,PQ8", "OPQ8,IVF16,PQ8", "SQ8"])
def test_saved_indexes_find_what_was_measured(vectors: np.ndarray, tmp_path: Path, factory: str) -> None:
    chosen, recall = build_ann(vectors, tmp_path / "ann.faiss", factory=factory)
    assert chosen == factory
    assert 0.5 < recall["recall@10"] <= 1
    ann = Ann([open_ann(tmp_path / "ann.faiss")], [vectors])
    found = ann.search(vectors[:5], 10, oversample=3, nprobe=16)
    exact = search_flat([vectors], vectors[:5], 10)
    for i in range(5):
        known = dict(
            zip(*(column.tolist() for column in search_flat([vectors], vectors[i : i + 1], 2000)[0]), strict=True)
        )
        rows, scores = found[i]
        assert rows[0] == exact[i][0][0] == i
        assert [
            known[row] for row in rows.tolist()
        ] == scores.tolist()  # scored with the vectors, whatever faiss stores


def test_all_lists_of_a_flat_index_are_exact(vectors: np.ndarray, tmp_path: Path) -> None:
    build_ann(vectors, tmp_path / "ann.faiss", factory="IVF16,Flat")
    ann = Ann([open_ann(tmp_path / "ann.faiss")], [vectors])
    found, exact = ann.search(vectors[:9], 10, nprobe=16), search_flat([vectors], vectors[:9], 10)
    assert found.docs.tobytes() == exact.docs.tobytes()
    assert found.scores.tobytes() == exact.scores.tobytes()


@pytest.mark.parametrize("share", [0.001, 0.3])
def test_masks_hold(vectors: np.ndarray, tmp_path: Path, share: float) -> None:
    build_ann(vectors, tmp_path / "ann.faiss", factory="HNSW16")
    ann = Ann([open_ann(tmp_path / "ann.faiss")], [vectors])
    allowed = np.random.default_rng(4).random(2000) < share
    allowed[[5, 6]] = True
    found = ann.search(vectors[:3], 10, mask=[np.packbits(allowed, bitorder="little")])
    for i in range(3):
        rows, _ = found[i]
        assert allowed[rows].all()
        assert len(rows) == min(10, int(allowed.sum()))


def test_bad_factory_strings_are_refused(vectors: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no faiss index"):
        make_index("Nonsense7", 16)
    with pytest.raises(UsageError, match="lists"):
        build_ann(vectors[:100], tmp_path / "ann.faiss", factory="IVF4096,Flat")
    assert not (tmp_path / "ann.faiss").exists()


def test_the_factory_grows_with_the_collection() -> None:
    assert choose_factory(10_000, 384) == "HNSW32"
    assert choose_factory(8_800_000, 384).endswith("SQ8")
    assert choose_factory(100_000_000, 384).startswith("OPQ96,IVF")


def test_damaged_files_are_refused(vectors: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError):
        open_ann(tmp_path / "nothing.faiss")
    (tmp_path / "bad.faiss").write_bytes(b"no index at all, but some bytes")
    with pytest.raises(CorruptIndexError):
        open_ann(tmp_path / "bad.faiss")
    build_ann(vectors[:500], tmp_path / "ann.faiss", factory="Flat")
    with pytest.raises(CorruptIndexError, match="500"):
        Ann([open_ann(tmp_path / "ann.faiss")], [vectors])


@pytest.mark.parametrize("kind", ["bf16", "int8", "bit"])
def test_code_files_round_trip_and_damage_shows(vectors: np.ndarray, tmp_path: Path, kind: str) -> None:
    files = build_codes(vectors, kind, tmp_path)
    codes = open_codes(kind, tmp_path, 2000, 16)
    assert len(codes) == 2000
    with pytest.raises(CorruptIndexError):
        open_codes(kind, tmp_path, 1999, 16)
    files[0].write_bytes(files[0].read_bytes()[:-8])
    with pytest.raises(CorruptIndexError):
        open_codes(kind, tmp_path, 2000, 16)
