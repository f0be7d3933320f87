"""Exports below the cache's folder: made once, whole or not at all, and few of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tamis.encoders import graphs
from tamis.errors import StorageError

LAST = "card.json"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "onnx"


def write(folder: Path) -> None:
    (folder / "model.onnx").write_text("graph")
    (folder / LAST).write_text("{}")


def test_an_export_is_made_once_for_what_decides_it() -> None:
    made: list[Path] = []

    def counted(folder: Path) -> None:
        made.append(folder)
        write(folder)

    folders = [graphs.kept_export(decides, LAST, counted)[0] for decides in (["a", 1], ["a", 1], ["a", 2])]
    assert folders[0] == folders[1] != folders[2]
    assert len(made) == 2
    assert (folders[0] / "model.onnx").read_text() == "graph"


def test_a_failed_export_leaves_nothing(cache: Path) -> None:
    def fail(folder: Path) -> None:
        write(folder)
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        graphs.kept_export("x", LAST, fail)
    assert not list(cache.iterdir())
    assert (graphs.kept_export("x", LAST, write)[0] / LAST).exists()


def test_another_process_may_be_sooner(cache: Path) -> None:
    def slow(folder: Path) -> None:
        graphs.kept_export("x", LAST, write)
        write(folder)
        (folder / "mine").touch()

    folder, _ = graphs.kept_export("x", LAST, slow)
    assert not (folder / "mine").exists()
    assert list(cache.iterdir()) == [folder]


def test_the_one_not_opened_for_longest_goes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "KEPT", 2)
    for age, name in ((300, "a"), (200, "b")):
        folder, _ = graphs.kept_export(name, LAST, write)
        os.utime(folder, (folder.stat().st_mtime - age,) * 2)
    graphs.kept_export("a", LAST, write)  # opened again
    kept = {graphs.kept_export(name, LAST, write)[0] for name in ("a", "c")}
    assert set(cache.iterdir()) == kept


def test_without_a_cache_the_folder_lives_as_long_as_it_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_CACHE", "off")
    folder, keep = graphs.kept_export("x", LAST, write)
    assert (folder / LAST).exists()
    del keep
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="file"):
        graphs.kept_export("x", LAST, write)
