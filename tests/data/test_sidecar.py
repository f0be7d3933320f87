"""tamis.data.sidecar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tamis.data import read_sidecar, sidecar_path, write_run
from tamis.errors import DataError
from tamis.ranking import IdSpace, Ranking

SPACE = IdSpace("abcdefgh")


@pytest.mark.parametrize(
    ("run", "name"),
    [
        ("bm25", "bm25.run.json"),
        ("bm25.run", "bm25.run.json"),
        ("bm25.run.gz", "bm25.run.json"),
        ("bm25.trec.gz", "bm25.trec.run.json"),
        ("x/dl19.top100.txt", "dl19.top100.txt.run.json"),
    ],
)
def test_names(run: str, name: str) -> None:
    assert sidecar_path(run) == Path(run).parent / name


def write_two(tmp_path: Path) -> Path:
    ranking = Ranking.from_lists(
        SPACE,
        ["none", "q", "last", "p"],
        [([], []), ([0, 1, 2, 3, 4, 5], [5, 5, 5, 4, 3, 3]), ([], []), ([7, 6], [1, 1])],
        partial=[False, True, False, False],
    )
    write_run(ranking, tmp_path / "r.run", tag="mine", manifest={"command": "tamis search", "seconds": 1.5})
    return tmp_path / "r.run"


def test_contents(tmp_path: Path) -> None:
    run = write_two(tmp_path)
    sidecar = read_sidecar(run)
    assert sidecar is not None
    assert (sidecar.lines, sidecar.queries, sidecar.tag, sidecar.format) == (8, 4, "mine", "trec")
    assert sidecar.empty == ((0, "none"), (2, "last"))
    assert sidecar.partial == ("q",)
    assert sidecar.lowered == ((1, 2, 5.0), (5, 1, 3.0), (7, 1, 1.0))
    assert sidecar.manifest == {"command": "tamis search", "seconds": 1.5}
    assert "float32" in json.loads(sidecar_path(run).read_text())["tie_rule"]


def test_it_is_bound_to_the_runs_bytes(tmp_path: Path) -> None:
    run = write_two(tmp_path)
    run.write_bytes(run.read_bytes() + b"\n")
    assert read_sidecar(run) is None


def test_none_and_foreign_files(tmp_path: Path) -> None:
    run = write_two(tmp_path)
    sidecar_path(run).write_text('{"another": "tool"}')
    assert read_sidecar(run) is None
    sidecar_path(run).unlink()
    assert read_sidecar(run) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, r"r\.run\.json has version 2, this Tamis reads 1: upgrade"),
        ({"lowered": [[1]]}, r"r\.run\.json is damaged .* delete it to read the run without it"),
        ({"lines": None}, r"r\.run\.json is damaged"),
    ],
)
def test_damage(tmp_path: Path, change: dict[str, object], message: str) -> None:
    run = write_two(tmp_path)
    path = sidecar_path(run)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        read_sidecar(run)


def test_broken_json(tmp_path: Path) -> None:
    run = write_two(tmp_path)
    sidecar_path(run).write_text("{")
    with pytest.raises(DataError, match=r"r\.run\.json is not readable JSON .* delete it"):
        read_sidecar(run)
