from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.mark.parametrize("by", ["path", "other path", "name", "outside"])
def test_the_baseline_by_path_or_name(by, built, tamis):
    bm25 = Path(built.bm25)
    runs = [built.ql] if by == "outside" else [built.ql, built.bm25]
    baseline = {"path": bm25, "other path": bm25.parent / "." / ".." / bm25.parent.name / bm25.name, "name": "bm25"}
    done = tamis("compare", built.qrels, *runs, "--baseline", baseline.get(by, bm25), "-m", "AP", "--json")
    assert done.code == 0
    assert done.envelope["resolved"]["baseline"] == "bm25"
    assert [d["system"] for d in done.envelope["metrics"]["differences"]] == ["ql"]


def test_table_has_summary_and_details(built, tamis):
    done = tamis("compare", built.qrels, built.bm25, built.ql, "--baseline", built.bm25, "-m", "nDCG@10")
    assert done.code == 0
    assert "Means over 3 queries." in done.out
    assert "95% CI low" in done.out
    assert "two-sided paired t-test" in done.out
    assert "Holm correction" in done.out


def test_options_reach_the_comparison(built, tamis):
    options = ["--test", "randomisation", "--correction", "bonferroni", "--alpha", "0.1", "--format", "json"]
    values = json.loads(tamis("compare", built.qrels, built.bm25, built.ql, "--baseline", "bm25", *options).out)
    assert (values["test"], values["correction"], values["alpha"]) == ("randomisation", "bonferroni", 0.1)


def test_judged_only_condenses_the_lists(tmp_path, tamis):
    qrels, full, holes = (tmp_path / name for name in ("qrels.txt", "full.run", "holes.run"))
    qrels.write_text("1 0 a 1\n1 0 b 0\n2 0 a 1\n2 0 b 0\n")
    full.write_text("".join(f"{q} Q0 a 1 2 x\n{q} Q0 b 2 1 x\n" for q in (1, 2)))
    holes.write_text("".join(f"{q} Q0 new 1 3 x\n{q} Q0 a 2 2 x\n{q} Q0 b 3 1 x\n" for q in (1, 2)))
    for options, difference in ([], -0.5), (["--judged-only"], 0.0):
        done = tamis("compare", qrels, full, holes, "--baseline", full, "-m", "AP", "--json", *options)
        assert [d["difference"] for d in done.envelope["metrics"]["differences"]] == [difference]


@pytest.mark.parametrize("form", ["csv", "markdown", "latex"])
def test_forms(form, built, tamis):
    out = tamis("compare", built.qrels, built.bm25, built.ql, "--baseline", "bm25", "--format", form).out
    assert out.startswith({"csv": "measure,system,", "markdown": "| system |", "latex": r"\begin{tabular}"}[form])


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--baseline", "nope"], 4),
        (["--baseline", "bm25", "--test", "wilcoxon"], 2),
        (["--baseline", "bm25", "--correction", "homl"], 2),
        (["--baseline", "bm25", "--alpha", "1.5"], 2),
    ],
)
def test_bad_options(options, code, built, tamis):
    refused = tamis("compare", built.qrels, built.bm25, built.ql, *options)
    assert (refused.code, refused.out) == (code, "")


def test_one_run_alone(built, tamis):
    refused = tamis("compare", built.qrels, built.bm25, "--baseline", built.bm25)
    assert refused.code == 2
    assert "only system" in refused.err
