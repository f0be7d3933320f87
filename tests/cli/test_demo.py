from __future__ import annotations

import json

import pytest

from tamis.data.runs import read_run


@pytest.mark.slow
def test_the_demo_from_nothing_and_again(tmp_path, tamis):
    folder = tmp_path / "demo"
    first = tamis("demo", "-o", folder)
    assert first.code == 0
    assert [line.split()[0] for line in first.out.splitlines()[2:7]] == ["bm25", "ql", "bm25-rm3", "dense", "fused"]
    assert "**csv**" in first.out
    assert f"tamis search {folder}/index" in first.err
    for name in ("index", "topics.tsv", "qrels.txt", "bm25.run", "ql.run", "bm25-rm3.run", "dense.run", "fused.run"):
        assert (folder / name).exists()

    evaluated = tamis("evaluate", folder / "qrels.txt", folder / "bm25.run", "-m", "nDCG@10", "--format", "json")
    value = json.loads(evaluated.out)["systems"]["bm25"]["nDCG@10"]
    assert 0.3 < value < 0.9  # far from perfect: later stages have something to win
    assert f"{value:.4f}" in first.out.splitlines()[2]
    searched = tamis("search", folder / "index", "--topics", folder / "topics.tsv", "-k", "100")
    assert len(searched.out.splitlines()) == len(read_run(folder / "bm25.run").rows)

    again = tamis("demo", "-o", folder, "--json")
    assert again.code == 0
    assert again.envelope["resolved"]["generation"] == 2
    means = {name: values["nDCG@10"] for name, values in again.envelope["metrics"]["systems"].items()}
    assert min(means["fused"], means["dense"]) > means["bm25"] + 0.05
    assert again.envelope["metrics"]["systems"]["bm25"]["nDCG@10"] == pytest.approx(value)
    assert tamis("delete", folder / "index", "csv").code == 0
    assert tamis("demo", "-o", folder).code == 2


def test_a_folder_with_something_else_is_left_alone(tmp_path, tamis):
    (tmp_path / "letter.txt").write_text("keep me")
    refused = tamis("demo", "-o", tmp_path)
    assert (refused.code, refused.out) == (2, "")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.slow
def test_without_the_models_weights_it_says_how_to_get_them(tmp_path, tamis, monkeypatch):
    monkeypatch.setattr("tamis.encoders.checkpoints._MINILM_PACKAGE", "no_such_package")
    done = tamis("demo", "-o", tmp_path / "demo", "--json")
    assert done.code == 0
    assert list(done.envelope["metrics"]["systems"]) == ["bm25", "ql", "bm25-rm3"]
    assert ["tamis[minilm]" in warning["message"] for warning in done.envelope["warnings"]] == [True]
    assert tamis("demo", "-o", tmp_path / "demo", "--force", "--quiet").code == 0
