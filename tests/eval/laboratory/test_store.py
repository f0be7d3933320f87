from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tamis.eval.laboratory.store import FILE, Store, default_store
from tamis.pipeline.remembered import StepKey
from tamis.ranking import IdSpace, Queries, Ranking

SPACE = IdSpace("ABCDEF")
QUERIES = Queries(("1", "2"), ("x", "y"))
LISTS = [(np.array([2, 0, 1]), np.array([0.1, 0.1, -1e-300])), (np.array([], np.int64), np.array([]))]
DEEP = StepKey(1, "bm25", "abc", 3)


def ranking(partial: tuple[bool, bool] = (False, False)) -> Ranking:
    return Ranking.from_lists(SPACE, QUERIES.ids, LISTS, partial=partial)


def test_lists_come_back_to_the_bit_and_outlive_the_process(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite3")
    assert store.recall(DEEP, QUERIES) == [None, None]
    store.keep(DEEP, QUERIES, ranking(), 2.0)
    store.close()
    again = Store(store.path)
    found = again.recall(DEEP, QUERIES)
    for one, (rows, scores) in zip(found, LISTS, strict=True):
        assert one is not None
        assert one[0].tolist() == rows.tolist()
        assert one[1].tobytes() == scores.tobytes()
    assert again.known(DEEP, QUERIES).tolist() == [True, True]
    assert again.pace(DEEP) == 1.0
    again.keep(DEEP, QUERIES.take([0]), ranking().take([0]), 4.0)
    assert again.pace(DEEP) == 2.0


def test_a_list_is_known_by_step_id_and_text(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite3")
    store.keep(DEEP, QUERIES, ranking(), 0.0)
    others = [
        (StepKey(1, "bm25", "abd", 3), Queries(("1",), ("x",))),
        (DEEP, Queries(("3",), ("x",))),
        (DEEP, Queries(("1",), ("y",))),
        (DEEP, Queries(("",), ("1x",))),
    ]
    for key, queries in others:
        assert store.recall(key, queries) == [None]
        assert not store.known(key, queries).any()
    assert store.known(StepKey(9, "other name", "abc", 3), QUERIES).all()


def test_shallower_is_cut_and_deeper_is_not_known(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite3")
    store.keep(DEEP, QUERIES, ranking(), 0.0)
    two = store.recall(StepKey(1, "", "abc", 2), QUERIES)[0]
    assert two is not None
    assert two[0].tolist() == [2, 0]
    assert store.recall(StepKey(1, "", "abc", 4), QUERIES) == [None, None]
    assert not store.known(StepKey(1, "", "abc", 4), QUERIES).any()
    store.keep(StepKey(1, "", "abc", 4), QUERIES, ranking(), 0.0)
    assert store.known(StepKey(1, "", "abc", 4), QUERIES).all()


def test_partial_lists_are_not_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite3")
    store.keep(DEEP, QUERIES, ranking((True, False)), 0.0)
    assert store.known(DEEP, QUERIES).tolist() == [False, True]


def test_it_is_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite3", limit=400_000)
    rows = np.arange(1000)
    for number in range(100):
        one = Ranking.from_lists(SPACE, ["1"], [(rows, rows * 0.5)])
        store.keep(StepKey(1, "", str(number), 1000), QUERIES.take([0]), one, 0.0)
    assert 10 < len(store) < 40
    assert store.known(StepKey(1, "", "99", 1000), QUERIES.take([0])).all()
    assert not store.known(StepKey(1, "", "0", 1000), QUERIES.take([0])).any()


def test_a_file_is_hashed_again_only_if_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tamis.eval.laboratory import store as module

    read: list[Path] = []
    whole = module.sha256_file
    monkeypatch.setattr(module, "sha256_file", lambda path: (read.append(path), whole(path))[1])
    store, path = Store(tmp_path / "store.sqlite3"), tmp_path / "weights"
    path.write_bytes(b"one")
    first = store.hash_of(path)
    assert store.hash_of(path) == first
    assert len(read) == 1
    path.write_bytes(b"other")
    assert store.hash_of(path) != first
    assert len(read) == 2


def test_costs(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite3")
    assert store.cost("a") is None
    store.keep_cost("a", {"p50_ms": 0.1})
    store.keep_cost("a", {"p50_ms": 0.2})
    assert store.cost("a") == {"p50_ms": 0.2}


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))
    assert default_store(tmp_path / "results").path == tmp_path / "cache" / FILE
    monkeypatch.setenv("TAMIS_CACHE", "off")
    assert default_store(tmp_path / "results").path == tmp_path / "results" / "work" / FILE
