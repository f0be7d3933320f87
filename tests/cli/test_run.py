"""`tamis run` and `tamis report`: an experiment from a file to a page."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))


def write(built, folder: Path, systems: str = 'bm25 = "bm25"\nfused = "rrf(bm25, ql)"\n', extra: str = "") -> Path:
    path = folder / "first.toml"
    where = f'index = "{built.index}"\ntopics = "{built.topics}"\nqrels = "{built.qrels}"\n'
    path.write_text(f"{extra}\n[collections.tiny]\n{where}[systems]\n{systems}[cost]\ntopics = 2\nrounds = 1\n")
    return path


def test_from_a_file_to_a_page(built, tamis, tmp_path):
    path, results, page = write(built, tmp_path), tmp_path / "results", tmp_path / "report.html"
    done = tamis("run", path, "-o", results)
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].split()[:3] == ["system", "nDCG@10", "R@100"]
    assert "bm25 retrieves" in done.err
    assert f"next: tamis report {results}" in done.err
    assert (results / "runs/tiny/fused.run.gz").exists()
    evaluated = tamis("evaluate", built.qrels, results / "runs/tiny/fused.run.gz", "--json").envelope
    ran = tamis("run", path, "-o", results, "--json").envelope
    own = ran["metrics"]["collections"]["tiny"]["evaluation"]["systems"]["fused"]
    assert own["nDCG@10"] == pytest.approx(evaluated["metrics"]["systems"]["fused"]["nDCG@10"])
    assert {step["computed"] for step in ran["metrics"]["collections"]["tiny"]["steps"]} == {0}
    assert ran["artifacts"]["results"] == str(results)
    assert tamis("report", results, "-o", page).code == 0
    assert "<!doctype html>" in page.read_text("utf-8")
    again = tamis("report", results, "-o", page)
    assert again.code == 2
    assert "exists" in again.err
    assert tamis("report", results, "-o", page, "--force").code == 0


@pytest.mark.parametrize(
    ("form", "mark"), [("markdown", "| system"), ("latex", r"\toprule"), ("csv", "system,nDCG@10"), ("text", "----")]
)
def test_tables_go_to_standard_output(built, tamis, tmp_path, form, mark):
    results = tmp_path / "results"
    assert tamis("run", write(built, tmp_path), "-o", results, "--quiet").code == 0
    done = tamis("report", results, "--format", form)
    assert (done.code, done.err) == (0, "")
    assert mark in done.out


def test_the_plan_alone(built, tamis, tmp_path):
    done = tamis("run", write(built, tmp_path), "--dry-run")
    assert done.code == 0
    assert "tiny: 3 topics" in done.out
    assert "ql retrieves 1000 for [0]" in done.out
    assert "estimated time: not known yet" in done.out
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["cache"]
    plan = tamis("run", write(built, tmp_path), "--dry-run", "--json").envelope["resolved"]["plan"]
    assert plan["collections"]["tiny"]["steps"][0]["recalled"] == 0


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"systems": 'a = "bm52"\n'}, 2, "did you mean"),
        ({"systems": 'a = "dense:minilm"\n'}, 2, "system 'a'"),
        ({"extra": "measures = ['nDGC']"}, 2, "nDGC"),
        ({"extra": "what = 1"}, 2, "what"),
        ({"extra": "k ="}, 5, "not TOML"),
    ],
)
def test_mistakes_are_named_before_any_work(built, tamis, tmp_path, change, code, words):
    done = tamis("run", write(built, tmp_path, **change), "-o", tmp_path / "results")
    assert done.code == code, done.err
    assert words in done.err
    assert not (tmp_path / "results").exists()


def test_what_is_not_there(built, tamis, tmp_path):
    assert tamis("run", tmp_path / "none.toml", "-o", tmp_path / "r").code == 4
    done = tamis("run", write(built, tmp_path))
    assert (done.code, "-o RESULTS" in done.err) == (2, True)
    assert tamis("report", tmp_path, "-o", tmp_path / "r.html").code == 4
    (tmp_path / "results.json").write_text("{}")
    assert tamis("report", tmp_path, "-o", tmp_path / "r.html").code == 5
    assert tamis("report", tmp_path, "--format", "html").code == 2
    assert tamis("report", tmp_path, "--format", "pdf").code == 2
