"""`tamis diagnose`: every command in every form, the same twice; mistakes are named before any work."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from pathlib import Path

import pytest

_PLACE = Path(__file__).resolve().parents[1] / "rerankers" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("rerankers_conftest", _PLACE)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

FORMS = {"csv": "", "markdown": "| ", "latex": "\\begin{tabular}", "json": ""}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def cross(tmp_path_factory):
    return f"cross:{_MODULE.save_cross(tmp_path_factory.mktemp('model') / 'tiny')}"


@pytest.fixture
def judged(built):
    return ["--topics", built.topics, "--qrels", built.qrels]


@pytest.fixture
def commands(built, judged, cross):
    model = ["--model", cross]
    return {
        "position": [built.index, *judged, *model, "--full", "--passage", "2", "--positions", "3"],
        "perturb": [built.index, *judged, *model, "--perturbation", "identity", "--perturbation", "sort-document"],
        "listwise": [built.index, *judged, *model, "--pipeline", "bm25 + ql", "--orders", "2"],
        "truncation": [built.index, *judged, *model],
        "scores": [built.bm25, "--qrels", built.qrels],
        "misses": [built.bm25, built.ql, "--qrels", built.qrels],
    }


COMMANDS = ["position", "perturb", "listwise", "truncation", "scores", "misses"]


@pytest.mark.parametrize("name", COMMANDS)
def test_forms_and_drawing(name, commands, tmp_path, tamis):
    done = tamis("diagnose", name, *commands[name], "--plot", tmp_path / "one.svg", "--no-progress")
    assert done.code == 0, done.err
    assert "nan" not in done.out.lower()
    assert (tmp_path / "one.svg").read_text().startswith("<svg")
    for form, start in FORMS.items():
        again = tamis("diagnose", name, *commands[name], "--format", form, "--no-progress")
        assert (again.code, again.out.startswith(start)) == (0, True), again.err
        if form == "csv":
            assert len({len(row) for row in csv.reader(again.out.splitlines())}) == 1
    values = json.loads(again.out)
    envelope = tamis("diagnose", name, *commands[name], "--json").envelope
    assert envelope["command"] == f"diagnose {name}"
    for one in (values, envelope["results"]):
        if name == "listwise":
            one.pop("cost")  # it holds seconds
    assert envelope["results"] == values
    assert envelope["resolved"]["seed"] == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_drawings_are_not_overwritten(name, commands, tmp_path, tamis):
    plot = tmp_path / "one.svg"
    plot.write_text("mine")
    refused = tamis("diagnose", name, *commands[name], "--plot", plot)
    assert (refused.code, refused.out, plot.read_text()) == (2, "", "mine")
    assert "--force" in refused.err
    assert tamis("diagnose", name, *commands[name], "--plot", tmp_path / "one.png").code == 2
    assert tamis("diagnose", name, *commands[name], "--plot", tmp_path / "none" / "one.svg").code == 4
    assert tamis("diagnose", name, *commands[name], "--format", "tabel").code == 2
    assert tamis("diagnose", name, *commands[name], "--plot", plot, "--force").code == 0


def test_the_identity_is_exact(commands, tamis):
    (identity, changed) = tamis("diagnose", "perturb", *commands["perturb"], "--json").envelope["results"]["effects"]
    assert identity["unchanged"]
    assert identity["score_change"]["mean"] == identity["differences"]["nDCG@10"]["mean"] == 0.0
    assert not changed["unchanged"]


def test_a_pointwise_reranker_has_no_bias(commands, tamis):
    found = tamis("diagnose", "listwise", *commands["listwise"], "--json").envelope["results"]
    assert found["invariant"]
    assert {slot["bias"]["mean"] for slot in found["slots"]} == {0.0}


def test_segments(built, judged, tmp_path, tamis):
    place = _PLACE.parents[1] / "encoders" / "conftest.py"
    spec = importlib.util.spec_from_file_location("encoders_conftest", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = f"dense:{module.save_sentence_model(tmp_path / 'dense')}"
    arguments = [built.index, "--model", model, "--segments", "--positions", "3"]
    found = tamis("diagnose", "position", *arguments, "--json").envelope["results"]
    assert (found["documents"], len(found["cosines"])) == (4, 3)
    cut = tamis("diagnose", "truncation", built.index, "--model", model, "--json").envelope["results"]
    assert [one["what"] for one in cut["inputs"]] == ["documents"]
    assert cut["effectiveness"] is None
    fewer = tmp_path / "fewer"
    shutil.copytree(built.index, fewer)
    assert tamis("delete", fewer, "soup").code == 0
    left = tamis("diagnose", "truncation", fewer, "--model", model, "--json").envelope["results"]
    assert [one["count"] for one in (*cut["inputs"], *left["inputs"])] == [4, 3]
    both = tamis("diagnose", "truncation", built.index, "--model", model, *judged, "--sample", "2", "--json")
    assert [one["count"] for one in both.envelope["results"]["inputs"]] == [2, 2]
    assert both.envelope["resolved"]["pipeline"] == f"bm25 % 100 >> {model}"


def test_an_index_in_place_of_runs(built, judged, tamis):
    pipelines = ["--pipeline", "bm25", "--pipeline", "ql"]
    searched = tamis("diagnose", "misses", built.index, *judged, *pipelines, "--json").envelope
    read = tamis("diagnose", "misses", built.bm25, built.ql, "--qrels", built.qrels, "--json").envelope
    assert searched["results"]["systems"] == read["results"]["systems"] == ["bm25", "ql"]
    assert searched["results"]["depths"] == read["results"]["depths"]
    per_query = tamis("diagnose", "misses", built.index, *judged, *pipelines, "--per-query", "--format", "csv").out
    assert per_query.splitlines()[0] == "depth,query,both,only A,only B,neither"
    assert len(per_query.splitlines()) == 1 + 2 * 3
    found = tamis("diagnose", "scores", built.index, *judged, *pipelines, "--json").envelope["results"]
    assert [one["system"] for one in found] == ["bm25", "ql"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["misses", "{index}", "--qrels", "{qrels}"], 2, "needs --topics"),
        (["misses", "{index}", "{bm25}", "--qrels", "{qrels}", "--topics", "{topics}"], 2, "one index, or runs"),
        (["misses", "{bm25}", "{ql}", "--qrels", "{qrels}", "--topics", "{topics}"], 2, "runs say which topics"),
        (["misses", "{bm25}", "--qrels", "{qrels}"], 2, "exactly two"),
        (["misses", "{bm25}", "{ql}", "--qrels", "{qrels}", "--depth", "0"], 2, "--depth 0"),
        (["misses", "{bm25}", "{ql}", "--qrels", "{qrels}", "--rel", "9"], 5, "graded at least 9"),
        (["scores", "{bm25}", "{ql}", "--qrels", "{qrels}", "--plot", "x.svg"], 2, "scores of one run"),
        (["scores", "none.run", "--qrels", "{qrels}"], 4, "none.run"),
        (["truncation", "{index}", "--model", "{cross}"], 2, "give --topics and --qrels"),
        (["truncation", "{index}", "--model", "{cross}", "--topics", "{topics}"], 2, "go together"),
        (["truncation", "{index}", "--model", "bm25"], 2, "name a model that reads texts"),
        (["perturb", "{index}", "{judged}", "--model", "bm25"], 2, "name a model that reads texts"),
        (["perturb", "{index}", "{judged}", "--model", "maxp"], 2, "groups passages"),
        (["perturb", "{index}", "{judged}", "--model", "crosss:x"], 2, "did you mean 'cross'"),
        (
            ["perturb", "{index}", "{judged}", "--model", "{cross}", "--perturbation", "suffle"],
            2,
            "unknown perturbation",
        ),
        (["perturb", "{index}", "{judged}", "--model", "{cross}", "--sample", "1"], 2, "sample=1"),
        (["listwise", "{index}", "{judged}", "--model", "{cross}", "--depth", "1"], 5, "two candidates"),
        (["position", "{index}", "{judged}", "--model", "{cross}", "--positions", "1"], 2, "positions=1"),
        (["position", "{index}", "--model", "{cross}", "--segments"], 2, "makes no vector"),
        (["position", "{index}", "--model", "{cross}", "--topics", "{topics}"], 2, "--topics and --qrels are needed"),
        (["position", "{index}", "{judged}", "--model", "{cross}"], 5, "too short"),
        (["positon"], 2, "positon"),
    ],
)
def test_mistakes_are_named(arguments, code, words, built, cross, judged, tamis):
    names = {name: getattr(built, name) for name in ("index", "bm25", "ql", "qrels", "topics")}
    given = []
    for argument in arguments:
        given += judged if argument == "{judged}" else [argument.format(cross=cross, **names)]
    refused = tamis("diagnose", *given)
    assert (refused.code, refused.out) == (code, ""), refused.err
    assert words in refused.err


def test_one_judged_topic_is_not_enough(built, tmp_path, tamis):
    qrels = tmp_path / "qrels.txt"
    qrels.write_text("q1 0 sieve 1\nq2 0 rank 0\n")
    refused = tamis("diagnose", "misses", built.bm25, built.ql, "--qrels", qrels)
    assert refused.code == 5
    assert "1 of the 2 topics have a document graded at least 1" in refused.err


def test_passages_need_to_be_grouped(built, tmp_path, judged, cross, tamis):
    index = tmp_path / "passages"
    assert tamis("index", built.corpus, "-o", index, "--passages", "tokens:4/2", "--quiet").code == 0
    refused = tamis("diagnose", "perturb", index, *judged, "--model", cross)
    assert (refused.code, "holds passages" in refused.err) == (2, True)
    arguments = ["diagnose", "misses", index, *judged, "--pipeline", "bm25"]
    refused = tamis(*arguments, "--pipeline", "ql >> maxp")
    assert (refused.code, "bm25 finds passages" in refused.err) == (2, True)
    done = tamis("diagnose", "misses", index, *judged, "--pipeline", "bm25 >> maxp", "--pipeline", "ql >> maxp")
    assert done.code == 0, done.err


@pytest.mark.parametrize("name", COMMANDS)
def test_columns_have_names_of_their_own(name, commands, tamis):
    header = next(csv.reader(tamis("diagnose", name, *commands[name], "--format", "csv").out.splitlines()))
    assert len(set(header)) == len(header)
