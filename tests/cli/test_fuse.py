from __future__ import annotations

import json
from pathlib import Path

import pytest

from tamis.data.runs import read_run, write_run
from tamis.ranking import IdSpace, Ranking

A = "q1 Q0 x 1 4.0 a\nq1 Q0 y 2 2.0 a\nq1 Q0 z 3 0.0 a\n"
B = "q1 Q0 y 1 10.0 b\nq1 Q0 w 2 5.0 b\n"


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "a.run", tmp_path / "b.run"]
    for path, text in zip(paths, (A, B), strict=True):
        path.write_text(text)
    return paths


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"y": 1 / 62 + 1 / 61, "x": 1 / 61, "w": 1 / 62, "z": 1 / 63}),
        (["--k", "0"], {"y": 1.5, "x": 1.0, "w": 0.5, "z": 1 / 3}),
        (["--depth", "1"], {"y": 1 / 62 + 1 / 61}),
        (["--method", "wsum"], {"y": 1.5, "x": 1.0, "w": 0.0, "z": 0.0}),
        (["--method", "wsum", "--norm", "none", "--weights", "1,0.5"], {"y": 7.0, "x": 4.0, "w": 2.5, "z": 0.0}),
        (
            ["--method", "wsum", "--norm", "none", "--missing", "min"],
            {"y": 12.0, "x": 9.0, "w": 5.0, "z": 5.0},
        ),
    ],
)
def test_methods(options, expected, runs, tmp_path, tamis):
    done = tamis("fuse", *runs, *options, "-o", tmp_path / "f.run")
    assert (done.code, done.out) == (0, "")
    assert {hit.id: hit.score for hit in read_run(tmp_path / "f.run")["q1"]} == pytest.approx(expected)


def test_interleave_takes_turns(runs, tamis):
    done = tamis("fuse", *runs, "--method", "interleave")
    assert [line.split()[2] for line in done.out.splitlines()] == ["x", "y", "w", "z"]


def test_the_manifest_names_the_runs(runs, tmp_path, tamis):
    assert tamis("fuse", *runs, "-o", tmp_path / "f.run").code == 0
    manifest = json.loads((tmp_path / "f.run.json").read_text())["manifest"]
    assert manifest["method"] == "rrf"
    assert manifest["k"] == 60
    assert [run["name"] for run in manifest["runs"]] == ["a.run", "b.run"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "rff"], "did you mean 'rrf'"),
        (["--weights", "1,2"], "--method wsum"),
        (["--method", "wsum", "--k", "60"], "--method rrf"),
        (["--method", "wsum", "--weights", "1"], "1 weights for 2 runs"),
        (["--method", "wsum", "--weights", "a,b"], "numbers"),
        (["--method", "wsum", "--norm", "minmx"], "did you mean 'minmax'"),
        (["--k", "-1"], "k=-1"),
        (["--depth", "0"], "k=0"),
    ],
)
def test_bad_options(options, said, runs, tamis):
    refused = tamis("fuse", *runs, *options)
    assert (refused.code, refused.out) == (2, "")
    assert said in refused.err


def test_missing_run_and_taken_output(runs, tmp_path, tamis):
    assert tamis("fuse", runs[0], tmp_path / "none.run").code == 4
    assert tamis("fuse", *runs, "-o", runs[0]).code == 2
    assert runs[0].read_text() == A


def test_queries_that_were_cut_short_end_in_exit_code_7(tmp_path, tamis):
    lists = [([0], [1.0]), ([0], [1.0])]
    run = Ranking.from_lists(IdSpace(["x"]), ["q1", "q2"], lists, partial=[False, True])
    write_run(run, tmp_path / "cut.run")
    done = tamis("fuse", tmp_path / "cut.run", "-o", tmp_path / "f.run", "--json")
    assert done.code == done.envelope["exit_code"] == 7
    assert "1 of 2 queries were cut short: q2" in done.err
    assert (tmp_path / "f.run").exists()
