from __future__ import annotations

import re
from pathlib import Path

import pytest

from tamis.data.qrels import read_qrels
from tamis.data.topics import read_topics
from tamis.engine import Index
from tamis.eval import evaluate


def test_runs(built, tamis, tmp_path):
    done = tamis("tune-fusion", built.qrels, built.bm25, built.ql, "--norm", "minmax", "--folds", "3", "--top", "2")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["setting", "nDCG@10"]
    assert lines[2].startswith("--method wsum --weights 0.5,0.5 --norm minmax --missing zero")
    assert [line.split()[0] for line in lines[4:6]] == ["bm25", "ql"]
    assert "tuned on 3 topics of bm25.run, ql.run: they are spent" in done.out
    assert "3-fold cross-validation" in done.out
    command = re.search(r"recommended: tamis (fuse .*)", done.out)[1]
    fused = tmp_path / "fused.run"
    assert tamis(*command.split(), "-o", str(fused)).code == 0
    scored = tamis("evaluate", built.qrels, str(fused), "-m", "nDCG@10", "--format", "json", "--json").envelope
    shown = float(lines[2].split()[-1])
    assert scored["metrics"]["systems"]["fused"]["nDCG@10"] == pytest.approx(shown, abs=5e-5)


def test_an_index(built, tamis):
    args = ["tune-fusion", built.qrels, "--index", built.index, "--topics", built.topics, "-m", "AP"]
    done = tamis(*args, "--pipeline", "wsum(bm25?k1=2, 5*ql % 2, norm=minmax)", "--json")
    results = done.envelope["results"]
    assert done.envelope["command"] == "tune-fusion"
    assert results["inputs"] == ["bm25?k1=2", "ql % 2"]
    assert results["tuned_on"] == {"queries": 3, "query_ids": ["q1", "q2", "q3"]}
    assert {trial["norm"] for trial in results["trials"]} == {"minmax"}
    assert done.envelope["resolved"]["topics"]["name"] == "topics.tsv"
    assert done.envelope["resolved"]["topics"]["sha256"]
    with Index.open(built.index) as index:
        ranking = index.rank(read_topics(built.topics), 1000, pipeline=results["recommended"])
    assert evaluate(read_qrels(built.qrels), ranking, "AP").mean("run", "AP") == pytest.approx(results["best"]["mean"])
    ranks = tamis(*args, "--pipeline", "rrf(bm25, ql)", "--json").envelope["results"]
    assert ranks["best"]["method"] == "rrf"
    assert re.fullmatch(r"rrf\(bm25, ql(, k=\d+)?\)", ranks["recommended"])


def test_a_filter(built, tamis):
    args = ["tune-fusion", built.qrels, "--index", built.index, "--topics", built.topics, "--pipeline", "bm25 + ql"]
    free, old = (tamis(*args, *extra, "--json").envelope for extra in ([], ["--filter", "year<2010"]))
    assert old["resolved"]["filter"] == "year < 2010"
    assert old["results"]["best"]["mean"] < free["results"]["best"]["mean"]


def test_a_fusion_that_does_not_help_is_told(built, tamis, tmp_path):
    worse = tmp_path / "worse.run"
    worse.write_text("q1 Q0 cat 1 2 x\nq2 Q0 cat 1 2 x\nq3 Q0 cat 1 2 x\n")
    done = tamis("tune-fusion", built.qrels, built.bm25, str(worse), "--json")
    assert [warning["code"] for warning in done.envelope["warnings"]] == ["fusion-does-not-help"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "either two runs or more, or --index"),
        (["{bm25}"], "1 rankings"),
        (["{bm25}", "{ql}", "--topics", "t"], "either two runs"),
        (["{bm25}", "{ql}", "--method", "interleave"], "valid: rrf, wsum"),
        (["{bm25}", "{ql}", "--method", "rrf", "--norm", "minmax"], "rrf looks at ranks only"),
        (["{bm25}", "{ql}", "-m", "nDGC@10"], "nDCG"),
        (["{bm25}", "{ql}", "--top", "0"], "--top 0"),
        (["--index", "{index}"], "--index goes with --topics and --pipeline"),
        (["--index", "{index}", "--topics", "{topics}", "--pipeline", "bm25"], "no fusion that can be tuned"),
        (["--index", "{index}", "--topics", "{topics}", "--pipeline", "rrf(ql, ql)"], "holds 'ql' twice"),
        (
            ["--index", "{index}", "--topics", "{topics}", "--pipeline", "bm25+ql", "--method", "rrf"],
            "--method is for runs",
        ),
    ],
)
def test_what_is_refused(built, tamis, args, message):
    names = {name: getattr(built, name) for name in ("bm25", "ql", "index", "topics")}
    done = tamis("tune-fusion", built.qrels, *(arg.format(**names) for arg in args))
    assert done.code == 2
    assert message in done.err
    assert Path(built.index).is_dir()
