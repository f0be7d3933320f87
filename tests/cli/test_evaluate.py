from __future__ import annotations

import csv
import io
import json
import math

import pytest

from tamis.data.runs import write_run
from tamis.ranking import IdSpace, Ranking

# q1 ranks sieve (2) first, then cat or soup (1): worked out below from the run itself


def ndcg(grades: list[int], ideal: list[int]) -> float:
    def dcg(values: list[int]) -> float:
        return sum(value / math.log2(rank + 1) for rank, value in enumerate(values, 1))

    return dcg(grades) / dcg(ideal)


def test_the_table_has_a_row_a_run(built, tamis):
    done = tamis("evaluate", built.qrels, built.bm25, built.ql, "-m", "nDCG@10", "-m", "R@100")
    assert done.code == 0
    assert done.out.splitlines()[0].split() == ["system", "nDCG@10", "R@100"]
    assert [line.split()[0] for line in done.out.splitlines()[2:4]] == ["bm25", "ql"]
    assert "Means over 3 queries." in done.out
    assert "warning: " in done.err


def test_values_by_hand(built, tmp_path, tamis):
    run = tmp_path / "hand.run"
    run.write_text("q1 Q0 soup 1 3 t\nq1 Q0 sieve 2 2 t\nq2 Q0 cat 1 1 t\n")
    done = tamis("evaluate", built.qrels, run, "-m", "nDCG@10", "-m", "RR", "--json", "-q")
    metrics = done.envelope["metrics"]
    first = ndcg([1, 2], [2, 1])
    assert metrics["per_query"]["hand"]["q1"]["nDCG@10"] == pytest.approx(first)
    assert metrics["systems"]["hand"]["nDCG@10"] == pytest.approx(first / 3)
    assert metrics["systems"]["hand"]["RR"] == pytest.approx(1 / 3)
    assert {w["code"] for w in done.envelope["warnings"]} >= {"queries_without_results"}


def test_default_measures(built, tamis):
    assert tamis("evaluate", built.qrels, built.bm25).out.splitlines()[0].split() == [
        "system", "nDCG@10", "R@100", "AP", "RR@10",
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["json", "csv", "markdown", "latex"])
def test_forms(form, built, tamis):
    out = tamis("evaluate", built.qrels, built.bm25, "-m", "AP", "--format", form).out
    if form == "json":
        assert json.loads(out)["systems"]["bm25"]["AP"] > 0
    elif form == "csv":
        rows = list(csv.reader(io.StringIO(out)))
        assert rows[0] == ["system", "AP"]
        assert float(rows[1][1]) > 0
    elif form == "markdown":
        assert out.startswith("| system | AP |")
    else:
        assert out.startswith(r"\begin{tabular}")


def test_per_query(built, tamis):
    out = tamis("evaluate", built.qrels, built.bm25, "-m", "AP", "-q", "--format", "csv").out
    assert [row[:2] for row in csv.reader(io.StringIO(out))] == [
        ["system", "query"],
        ["bm25", "q1"],
        ["bm25", "q2"],
        ["bm25", "q3"],
    ]
    both = tamis("evaluate", built.qrels, built.bm25, "-m", "AP", "-q").out
    assert "q2" in both
    assert "Means over 3 queries." in both


def test_judged_only_says_so(built, tamis):
    out = tamis("evaluate", built.qrels, built.bm25, "-m", "nDCG@10", "--judged-only").out
    assert "judged_only=True" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-m", "nDGC@10"], "did you mean 'nDCG'"),
        (["-m", "nDCG@0"], "cutoff"),
        (["--ties", "stabel"], "did you mean 'stable'"),
        (["--format", "jsn"], "did you mean 'json'"),
    ],
)
def test_bad_options(options, said, built, tmp_path, tamis):
    refused = tamis("evaluate", tmp_path / "not-looked-for", built.bm25, *options)
    assert (refused.code, refused.out) == (2, "")
    assert said in refused.err


def test_missing_files(built, tmp_path, tamis):
    assert tamis("evaluate", tmp_path / "no.qrels", built.bm25).code == 4
    assert tamis("evaluate", built.qrels, tmp_path / "no.run").code == 4


def test_a_run_is_read_as_any_evaluator_reads_it(tmp_path, tamis):
    """Tied scores were lowered in the file to keep their order; the exact ones, in the manifest, play no role here."""
    run = Ranking.from_lists(IdSpace(["a", "b", "c"]), ["q"], [([0, 1, 2], [1.0, 1.0, 1.0])])
    write_run(run, tmp_path / "tied.run")
    (tmp_path / "qrels").write_text("q 0 a 1\n")
    for ties in ("trec_eval", "docid", "stable"):
        done = tamis("evaluate", tmp_path / "qrels", tmp_path / "tied.run", "-m", "RR", "--ties", ties, "--json")
        assert done.envelope["metrics"]["systems"]["tied"]["RR"] == 1.0


@pytest.fixture
def arguments(tmp_path):
    """A collection whose queries are its documents, laid out as BEIR's, and a run that finds each query first."""
    folder = tmp_path / "arguana"
    (folder / "qrels").mkdir(parents=True)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\na\tb\t1\nb\tc\t1\n")
    (tmp_path / "found.run").write_text("a Q0 a 1 3 x\na Q0 b 2 2 x\nb Q0 b 1 3 x\nb Q0 a 2 2 x\nb Q0 c 3 1 x\n")
    return tmp_path


def test_a_profile_brings_its_measures_and_conventions(arguments, tamis):
    qrels, run = f"{arguments / 'arguana'}#test", arguments / "found.run"
    for choice in "auto", "arguana", "beir/arguana":
        done = tamis("evaluate", qrels, run, "--profile", choice, "--json")
        assert done.envelope["resolved"]["profile"] == "beir/arguana"
        metrics = done.envelope["metrics"]
        assert metrics["measures"] == ["nDCG@10", "R@100"]
        assert metrics["systems"]["found"]["nDCG@10"] == pytest.approx((1 + 1 / math.log2(3)) / 2)
        assert metrics["conventions"]["removed_self"] == {"found": 2}
        assert metrics["conventions"]["depth"] == 100
    text = tamis("evaluate", qrels, run, "--profile", "auto").out
    assert "Profile beir/arguana (Thakur et al." in text
    assert "Results with the query's own id were dropped: found 2." in text


def test_self_matches_are_dropped_on_demand_and_warned_of(arguments, tamis):
    qrels, run = f"{arguments / 'arguana'}#test", arguments / "found.run"
    plain = tamis("evaluate", qrels, run, "-m", "RR", "--json").envelope
    assert {w["code"] for w in plain["warnings"]} >= {"self_matches_first", "profile_not_followed"}
    assert plain["metrics"]["systems"]["found"]["RR"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    silent = tamis("evaluate", qrels, run, "-m", "RR", "--profile", "none", "--ignore-self", "--json").envelope
    assert not {w["code"] for w in silent["warnings"]} & {"self_matches_first", "profile_not_followed"}
    assert silent["metrics"]["systems"]["found"]["RR"] == pytest.approx((1 + 1 / 2) / 2)
    assert silent["resolved"]["ignore_self"] is True


def test_a_profile_s_threshold_is_seen_in_the_names(built, tamis):
    done = tamis(
        "evaluate", built.qrels, built.bm25, "--profile", "trec-dl-2020", "-m", "AP", "-m", "nDCG@10", "--json"
    )
    assert done.envelope["metrics"]["measures"] == ["AP(rel=2)", "nDCG@10"]
    assert tamis("evaluate", built.qrels, built.bm25, "--profile", "trec-dl-2020").out.splitlines()[0].split() == [
        "system", "nDCG@10", "RR(rel=2)", "AP(rel=2)", "R(rel=2)@1000",
    ]  # fmt: skip


def test_an_unknown_profile_lists_the_known(built, tamis):
    refused = tamis("evaluate", built.qrels, built.bm25, "--profile", "arguanna")
    assert refused.code == 2
    assert "did you mean 'beir/arguana'" in refused.err
    assert "trec-dl-2023" in refused.err


def test_judged_shares_beside_the_measures(built, tamis):
    out = tamis("evaluate", built.qrels, built.bm25, "-m", "nDCG@10", "-m", "AP", "--judged").out
    assert out.splitlines()[0].split() == ["system", "nDCG@10", "Judged@10", "AP", "Judged"]
