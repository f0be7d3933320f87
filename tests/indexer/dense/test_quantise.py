"""Files of codes: the same as in memory, whatever the type of the store, and refused when damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.errors import CorruptIndexError, DataError, MissingResourceError, UnknownNameError, UsageError
from tamis.indexer.dense import quantise
from tamis.indexer.dense.quantise import build_codes, codes_of, open_codes
from tamis.kernels.codes import KINDS, to_bfloat16
from tamis.kernels.dense import search_codes, search_flat


@pytest.fixture
def rows() -> np.ndarray[Any, Any]:
    rows = np.random.default_rng(1).standard_normal((1000, 70)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
def test_streamed_codes(
    kind: str, stored: str, rows: np.ndarray[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantise, "_ROWS", 300)
    np.save(tmp_path / "v.npy", to_bfloat16(rows) if stored == "bfloat16" else rows.astype(stored))
    vectors = np.load(tmp_path / "v.npy", mmap_mode="r")
    files = build_codes(vectors, kind, tmp_path)
    assert sorted(files) == sorted(tmp_path.glob(f"{kind}-*"))
    opened = open_codes(kind, tmp_path, 1000, 70)
    assert isinstance(opened.rows, np.memmap)
    hits = search_codes([vectors], [opened], rows[:5], 10, oversample=90)
    wanted = search_flat([vectors], rows[:5], 10)
    assert hits.docs.tolist() == wanted.docs.tolist()
    assert hits.scores.tobytes() == wanted.scores.tobytes()
    if kind != "bit":  # a mean summed in pieces may differ in its last bit
        whole = codes_of(vectors, kind)
        assert opened.rows.tobytes() == whole.rows.tobytes()
    again = {file.name: file.read_bytes() for file in files}
    build_codes(vectors, kind, tmp_path)
    assert {file.name: file.read_bytes() for file in files} == again


def test_no_vectors(tmp_path: Path) -> None:
    for kind in KINDS:
        build_codes(np.zeros((0, 5), np.float32), kind, tmp_path)
        assert len(open_codes(kind, tmp_path, 0, 5)) == 0


def test_vectors_that_cannot_be_encoded(tmp_path: Path) -> None:
    bad = np.ones((20, 4), np.float32)
    bad[17, 2] = np.nan
    for kind in KINDS:
        with pytest.raises(DataError, match="vector 17"):
            build_codes(bad, kind, tmp_path)
        assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="float64"):
        build_codes(np.ones((2, 2)), "int8", tmp_path)
    with pytest.raises(UnknownNameError, match="bit"):
        build_codes(bad, "bits", tmp_path)


def test_damaged_files(rows: np.ndarray[Any, Any], tmp_path: Path) -> None:
    build_codes(rows, "int8", tmp_path)
    with pytest.raises(MissingResourceError, match="bit-codes"):
        open_codes("bit", tmp_path, 1000, 70)
    with pytest.raises(CorruptIndexError, match="1000 vectors for 999"):
        open_codes("int8", tmp_path, 999, 70)
    with pytest.raises(CorruptIndexError, match="codes should be"):
        open_codes("int8", tmp_path, 1000, 71)
    file = tmp_path / "int8-codes.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CorruptIndexError, match="cannot be read"):
        open_codes("int8", tmp_path, 1000, 70)
    file.write_bytes(b"not an array")
    with pytest.raises(CorruptIndexError, match="cannot be read"):
        open_codes("int8", tmp_path, 1000, 70)
