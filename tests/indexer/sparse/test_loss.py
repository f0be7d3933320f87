"""The loss that a part states is the one that plain arithmetic finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tamis
from tamis.indexer.sparse import loss
from tamis.indexer.sparse.loss import DEPTH, QUERY_WEIGHTS, measure_loss
from tamis.indexer.sparse.storage import SparseRows

ROWS, WIDTH = 150, 300


def rows_of(matrix: np.ndarray, *, binary: bool = False) -> SparseRows:
    held = matrix > 0
    offsets = np.concatenate([[0], np.cumsum(held.sum(1))]).astype(np.int64)
    return SparseRows(offsets, held.nonzero()[1].astype(np.uint16), None if binary else matrix[held].astype(np.float32))


def drawn(seed: int = 4) -> np.ndarray:
    random = np.random.default_rng(seed)
    matrix = random.gamma(1, 0.8, (ROWS, WIDTH)) + 0.01
    matrix[random.random((ROWS, WIDTH)) > 0.15] = 0
    matrix[7] = 0  # a row without text
    return matrix.astype(np.float32)


def plain_overlap(whole: np.ndarray, kept: np.ndarray) -> float:
    shares = []
    for row in np.unique(np.linspace(0, ROWS - 1, loss.QUERIES).astype(int)).tolist():
        heaviest = np.argsort(-whole[row], kind="stable")[:QUERY_WEIGHTS]
        query = np.zeros(WIDTH)
        query[heaviest] = whole[row, heaviest]
        lists = []
        for matrix in (whole, kept):
            scores = matrix.astype(np.float64) @ query
            scores[row] = 0
            lists.append([i for i in np.argsort(-scores, kind="stable")[:DEPTH].tolist() if scores[i] > 0])
        if lists[0]:
            shares.append(len(set(lists[0]) & set(lists[1])) / len(lists[0]))
    return float(np.mean(shares))


def test_nothing_is_lost_of_what_is_kept_whole() -> None:
    rows = rows_of(drawn())
    found = measure_loss(rows, rows)
    assert found["overlap@10"] == 1.0
    assert (found["dropped_entries"], found["dropped_weight"], found["rows"]) == (0.0, 0.0, ROWS)
    assert 90 <= found["queries"] <= 100


def test_pruning_and_rounding_lose_what_plain_arithmetic_says() -> None:
    whole = drawn()
    kept = np.where(whole >= 0.9, np.rint(whole / 0.7) * 0.7, 0).astype(np.float32)
    found = measure_loss(rows_of(whole), rows_of(kept))
    assert found["overlap@10"] == pytest.approx(plain_overlap(whole, kept), abs=2e-3)
    assert found["overlap@10"] < 0.95
    assert found["dropped_entries"] == pytest.approx(1 - (kept > 0).sum() / (whole > 0).sum(), abs=1e-6)
    assert found["dropped_weight"] == pytest.approx(1 - whole[kept > 0].sum() / whole.sum(), abs=1e-5)


def test_sets_lose_by_entries() -> None:
    whole = (drawn() > 0).astype(np.float32)
    kept = whole.copy()
    kept[:, ::3] = 0
    found = measure_loss(rows_of(whole, binary=True), rows_of(kept, binary=True))
    assert found["dropped_weight"] == found["dropped_entries"] == pytest.approx(1 - kept.sum() / whole.sum(), abs=1e-6)
    assert found["overlap@10"] == pytest.approx(plain_overlap(whole, kept), abs=2e-3)


def test_a_part_without_weights_has_no_overlap() -> None:
    empty = SparseRows(np.zeros(4, np.int64), np.zeros(0, np.uint16), np.zeros(0, np.float32))
    assert measure_loss(empty, empty) == {
        "rows": 3,
        "queries": 0,
        "dropped_entries": 0.0,
        "dropped_weight": 0.0,
        "overlap@10": None,
    }
    nothing = SparseRows(np.zeros(1, np.int64), np.zeros(0, np.uint16), None)
    assert measure_loss(nothing, nothing)["rows"] == 0


def test_large_samples_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows_of(drawn())
    monkeypatch.setattr(loss, "ENTRIES", int(whole.offsets[40]))
    assert measure_loss(whole, whole)["rows"] == 40


def test_the_manifest_states_it(tmp_path: Path) -> None:
    matrix = drawn()
    path = tmp_path / "vectors.jsonl"

    def line(i: int) -> dict[str, Any]:
        vector = {f"t{j}": round(float(matrix[i, j]), 4) for j in np.flatnonzero(matrix[i]).tolist()}
        return {"id": f"d{i}", "vector": vector}

    path.write_text("".join(json.dumps(line(i)) + "\n" for i in range(ROWS)), "utf-8")
    with tamis.Index.create(tmp_path / "index") as index:
        index.add([{"id": f"d{i}", "text": f"text {i}"} for i in range(ROWS)])
        index.add_part(f"impacts:{path}?bits=12", "whole")
        index.add_part(f"impacts:{path}?bits=3&top=8", "cut")
        parts = index.manifest.parts
        whole, cut = (parts[name]["facts"]["loss"] for name in ("whole", "cut"))
        assert whole["dropped_entries"] == 0
        assert whole["overlap@10"] > 0.98
        assert whole["coding_error"] < 0.01
        part = index.part("cut")
        kept = np.zeros_like(matrix)
        names = {name: int(name[1:]) for name in part.names}
        for i in range(ROWS):
            dims, weights = part.row(i)
            kept[i, [names[part.names[d]] for d in dims.tolist()]] = weights
        assert ((kept > 0).sum(1) <= 8).all()
        assert cut["overlap@10"] == pytest.approx(plain_overlap(np.round(matrix, 4), kept), abs=0.01)
        assert cut["overlap@10"] < 0.9
        assert cut["dropped_entries"] == pytest.approx(1 - (kept > 0).sum() / (matrix > 0).sum(), abs=1e-6)
        assert cut["coding_error"] > 0.05
        assert not list((tmp_path / "index").rglob("whole"))  # what was kept to measure it is gone
