from __future__ import annotations

import csv
import io
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


@pytest.fixture
def three_runs(tmp_path: Path) -> Path:
    """Judgements, topics and three runs of twelve queries: `same` is `base` again, `worse` loses the first six queries."""
    queries = [f"q{number:02}" for number in range(12)]
    judged = "".join(f"{q} 0 good 2\n{q} 0 fair 1\n{q} 0 bad 0\n" for q in queries)
    (tmp_path / "qrels.txt").write_text(judged)
    texts = ["who knows", "what is a tamis", "how does it sieve flour and soup at once", "drum sieve"] * 3
    (tmp_path / "topics.tsv").write_text("".join(f"{q}\t{text}\n" for q, text in zip(queries, texts, strict=True)))
    for name in "base", "same", "worse":
        order = [["bad", "fair", "good"] if name == "worse" and q < "q06" else ["good", "fair", "bad"] for q in queries]
        lines = (
            f"{q} Q0 {doc} {rank} {4 - rank} {name}\n"
            for q, docs in zip(queries, order, strict=True)
            for rank, doc in enumerate(docs, 1)
        )
        (tmp_path / f"{name}.run").write_text("".join(lines))
    return tmp_path


def compared(tamis, folder, *options, code=0):
    runs = [folder / f"{name}.run" for name in ("base", "same", "worse")]
    done = tamis("compare", folder / "qrels.txt", *runs, "--baseline", "base", *options)
    assert done.code == code, done.err
    return done


def test_equivalence(three_runs, tamis):
    values = compared(tamis, three_runs, "-m", "nDCG@10", "--equivalent", "5%", "--json").envelope["metrics"]
    assert values["bound"] == "5%"
    assert [d["equivalent"] for d in values["differences"]] == [True, False]
    assert values["differences"][1]["corrected_equivalence_p"] == values["differences"][1]["equivalence_p"]
    text = compared(tamis, three_runs, "-m", "nDCG@10", "--equivalent", "0.01").out
    assert "≈: shown equivalent to base, the difference within ±0.01;" in text
    assert "TOST p" in text
    assert any(line.split()[:2] == ["same", "1.0000≈"] for line in text.splitlines())


def test_queries_that_changed_most(three_runs, tamis):
    options = ["-m", "RR", "--queries", "2", "--topics", three_runs / "topics.tsv"]
    changes = compared(tamis, three_runs, *options, "--json").envelope["metrics"]["changes"]
    assert [(c["system"], c["query_id"], c["difference"], c["text"]) for c in changes] == [
        ("worse", "q00", -0.5, "who knows"),
        ("worse", "q01", -0.5, "what is a tamis"),
    ]
    text = compared(tamis, three_runs, *options).out
    assert "who knows" in text
    assert "No query changed: same (RR)." in text
    rows = list(csv.DictReader(io.StringIO(compared(tamis, three_runs, *options, "--format", "csv").out)))
    assert [row["query"] for row in rows] == ["q00", "q01"]
    assert "text" not in compared(tamis, three_runs, "-m", "RR", "--queries", "1", "--format", "csv").out


def test_slices(three_runs, tamis):
    (three_runs / "mine.tsv").write_text("".join(f"q{n:02}\t{'early' if n < 6 else 'late'}\n" for n in range(12)))
    by = ["query-length", "first-word", "relevant", "judged-share", three_runs / "mine.tsv"]
    options = ["-m", "RR", "--topics", three_runs / "topics.tsv", *(part for name in by for part in ("--by", name))]
    slices = compared(tamis, three_runs, *options, "--json").envelope["metrics"]["slices"]
    assert [s["by"] for s in slices] == ["query-length", "first-word", "relevant", "judged-share", "mine"]
    found = {s["by"]: [d["slice"] for d in s["differences"] if d["system"] == "worse"] for s in slices}
    assert found == {
        "query-length": ["1-3", "4-6", "7-10"],
        "first-word": ["who", "what", "how", "other"],
        "relevant": ["2-5"],
        "judged-share": ["100%"],
        "mine": ["early", "late"],
    }
    early, late = (d for d in slices[4]["differences"] if d["system"] == "worse")
    assert (early["difference"], early["untested"], late["difference"], late["untested"]) == (
        -0.5, "equal differences", 0, "no difference",
    )  # fmt: skip
    text = compared(tamis, three_runs, *options).out
    assert "Slices by query-length: number of words of the query" in text
    assert "No interval and no test (-):" in text
    assert "nan" not in text.casefold()
    rows = list(csv.DictReader(io.StringIO(compared(tamis, three_runs, *options, "--format", "csv").out)))
    assert len(rows) == 2 * (3 + 4 + 1 + 1 + 2)


def test_judged_shares_stand_beside_the_measures_and_are_not_taken_apart(three_runs, tamis):
    options = ["-m", "RR", "-m", "P@2", "--judged", "--queries", "1", "--by", "relevant"]
    values = compared(tamis, three_runs, *options, "--json").envelope["metrics"]
    assert values["evaluation"]["measures"] == ["RR", "Judged", "P@2", "Judged@2"]
    assert {d["measure"] for d in values["differences"]} == {"RR", "Judged", "P@2", "Judged@2"}
    assert {c["measure"] for c in values["changes"]} == {"RR", "P@2"}
    assert {d["measure"] for d in values["slices"][0]["differences"]} == {"RR", "P@2"}
    asked = compared(tamis, three_runs, *options, "-m", "Judged@2", "--json").envelope["metrics"]["slices"]
    assert "Judged@2" in {d["measure"] for d in asked[0]["differences"]}


def test_a_profile_is_followed_by_measures_and_slices_and_named(three_runs, tamis):
    values = compared(tamis, three_runs, "--profile", "dl19", "-m", "RR", "--by", "relevant", "--json").envelope
    assert values["resolved"]["profile"] == "trec-dl-2019"
    metrics = values["metrics"]
    assert metrics["evaluation"]["conventions"]["profile"]["binary_threshold"] == 2
    assert metrics["evaluation"]["measures"] == ["RR(rel=2)"]
    assert {d["slice"] for d in metrics["slices"][0]["differences"]} == {"1"}
    assert "Profile trec-dl-2019 (TREC 2019" in compared(tamis, three_runs, "--profile", "dl19").out


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--equivalent", "5 percent"], 2, "write a share of the mean as 5%"),
        (["--equivalent", "-1%"], 2, "above 0"),
        (["--queries", "0"], 2, "--queries 0"),
        (["--by", "first-word"], 2, "give them with --topics"),
        (["--by", "query-lenght"], 2, "did you mean 'query-length'"),
        (["--by", "relevant", "--queries", "1", "--format", "csv"], 2, "CSV holds one table"),
        (["--profile", "dl09"], 2, "valid: auto, beir/arguana"),
        (["--profile", "auto"], 2, "name one of: msmarco-passage"),
        (["--topics", "nowhere.tsv", "--queries", "1"], 4, "nowhere.tsv"),
    ],
)
def test_bad_options_of_the_laboratory(options, code, said, three_runs, tamis):
    done = compared(tamis, three_runs, *options, code=code)
    assert done.out == ""
    assert said in done.err


def test_topics_that_do_not_fit_the_judgements(three_runs, tamis):
    other = three_runs / "other.tsv"
    other.write_text("x1\tnothing\n")
    refused = compared(tamis, three_runs, "--queries", "1", "--topics", other, code=5)
    assert "none of the 1 topics" in refused.err
    assert "'x1'" in refused.err
    other.write_text("x1\tnothing\nq00\twho is it\n")
    done = compared(tamis, three_runs, "-m", "RR", "--by", "first-word", "--topics", other, "--json")
    assert {w["code"] for w in done.envelope["warnings"]} >= {"queries_without_text", "topics_without_judgements"}
    labels = [d["slice"] for d in done.envelope["metrics"]["slices"][0]["differences"] if d["system"] == "worse"]
    assert labels == ["who", "(no text)"]


@pytest.mark.parametrize(
    ("run", "code", "said"),
    [
        ("", 5, "bad.run"),
        ("q00 Q0 good 1 nan x\n", 5, "bad.run:1"),
        ("zz Q0 good 1 1 x\n", 5, "none of its 1 queries is in the qrels"),
    ],
)
def test_runs_that_return_nothing_or_no_numbers(run, code, said, three_runs, tamis):
    bad = three_runs / "bad.run"
    bad.write_text(run)
    refused = tamis("compare", three_runs / "qrels.txt", bad, "--baseline", three_runs / "base.run", "-m", "RR")
    assert (refused.code, refused.out) == (code, "")
    assert said in refused.err


def test_a_baseline_that_finds_nothing_relevant_has_no_relative_bound(three_runs, tamis):
    (three_runs / "nil.run").write_text("q00 Q0 bad 1 1 x\n")
    runs = [three_runs / "nil.run", three_runs / "base.run"]
    done = tamis("compare", three_runs / "qrels.txt", *runs, "--baseline", "nil", "-m", "RR", "--equivalent", "5%")
    assert done.code == 0
    assert "No equivalence test on RR: nil scores 0 on average" in done.out


def test_one_query(three_runs, tamis):
    (three_runs / "qrels.txt").write_text("q00 0 good 1\n")
    options = ["-m", "RR", "--equivalent", "5%", "--queries", "3", "--by", "relevant"]
    text = compared(tamis, three_runs, *options).out
    assert "No significance test and no equivalence test: it needs at least two queries, and there is one." in text
    assert "-¹" in text
    assert "nan" not in text.casefold()
    json.dumps(compared(tamis, three_runs, *options, "--json").envelope, allow_nan=False)
