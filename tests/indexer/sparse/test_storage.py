"""Sparse rows on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.errors import CorruptIndexError
from tamis.indexer.sparse.storage import CODES, DIMENSIONS, OFFSETS, SparseRows, join_rows, open_rows, write_rows


def make_rows(seed: int, rows: int = 40, dims: int = 70_000) -> SparseRows:
    rng = np.random.default_rng(seed)
    lists = [np.unique(rng.integers(0, dims, rng.integers(0, 30))) for _ in range(rows)]
    offsets = np.cumsum([0, *map(len, lists)])
    every = np.concatenate([np.zeros(0, np.int64), *lists]).astype(np.uint32)
    return SparseRows(offsets, every, rng.integers(1, 200, len(every)).astype(np.uint8))


def dense(rows: SparseRows, dims: int = 70_000) -> Any:
    matrix = np.zeros((len(rows), dims), np.uint8)
    for i in range(len(rows)):
        held, values = rows.row(i)
        matrix[i, held] = values
    return matrix


def test_round_trip_and_the_narrowest_type(tmp_path: Path) -> None:
    for name, dims, kind in (("wide", 70_000, np.uint32), ("narrow", 60_000, np.uint16)):
        rows = make_rows(1, dims=dims)
        folder = tmp_path / name
        folder.mkdir()
        write_rows(folder, rows, CODES)
        back = open_rows(folder, CODES)
        assert back.dimensions.dtype == kind
        assert (dense(back) == dense(rows)).all()


def test_taking_joining_and_blocks() -> None:
    first, second = make_rows(2), make_rows(3)
    joined = join_rows([first, second])
    assert (dense(joined) == np.concatenate([dense(first), dense(second)])).all()
    places = np.array([5, 5, 0, 39])
    assert (dense(first.take(places)) == dense(first)[places]).all()
    starts, blocks = zip(*joined.blocks(entries=50), strict=True)
    assert starts[0] == 0
    assert len(blocks) > 5
    assert (dense(join_rows(blocks)) == dense(joined)).all()


@pytest.mark.parametrize("fault", ["missing", "short", "offsets", "type"])
def test_damage_is_named(tmp_path: Path, fault: str) -> None:
    rows = make_rows(4)
    write_rows(tmp_path, rows, CODES)
    if fault == "missing":
        (tmp_path / CODES).unlink()
    elif fault == "short":
        np.save(tmp_path / DIMENSIONS, rows.dimensions[:-1])
    elif fault == "offsets":
        np.save(tmp_path / OFFSETS, rows.offsets[::-1])
    else:
        np.save(tmp_path / DIMENSIONS, rows.dimensions.astype(np.float32))
    with pytest.raises(CorruptIndexError, match="tamis verify"):
        open_rows(tmp_path, CODES)
