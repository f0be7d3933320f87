"""Evaluation: hand-computed values, agreement with ir_measures, ties, missing queries and warnings."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from math import log2
from pathlib import Path
from subprocess import run as run_process

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.data.qrels import read_qrels
from tamis.data.runs import read_run
from tamis.errors import DataError, PrerequisiteError, UnknownNameError, UsageError
from tamis.eval import evaluate
from tamis.eval.evaluate import Evaluation
from tamis.ranking import IdSpace, Ranking


def ranking_of(run: Mapping[str, Sequence[tuple[str, float]]], *, extra_ids: Sequence[str] = ()) -> Ranking:
    space = IdSpace([*extra_ids, *(doc for hits in run.values() for doc, _ in hits)])
    lists = [(space.rows([d for d, _ in hits]), [s for _, s in hits]) for hits in run.values()]
    return Ranking.from_lists(space, list(run), lists)


def listed(docs: str) -> list[tuple[str, float]]:
    """Documents named by single letters, at strictly falling scores."""
    return [(doc, float(len(docs) - i)) for i, doc in enumerate(docs)]


def means(evaluation: Evaluation, system: str = "run") -> dict[str, float]:
    return {measure.name: evaluation.mean(system, measure) for measure in evaluation.measures}


def test_hand_computed_values() -> None:
    # Ranked x(unjudged) a(3) b(0) c(1); d(2) is relevant and not retrieved.
    qrels = {"q": {"a": 3, "b": 0, "c": 1, "d": 2}}
    got = means(
        evaluate(qrels, ranking_of({"q": listed("xabc")}), ["nDCG@10", "AP", "RR@10", "R@3", "P@4", "Judged@4", "RR"])
    )
    dcg = 3 / log2(3) + 1 / log2(5)
    ideal = 3 + 2 / log2(3) + 1 / log2(4)
    assert got["nDCG@10"] == pytest.approx(dcg / ideal)
    assert got["AP"] == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert got["RR@10"] == got["RR"] == 0.5
    assert got["R@3"] == pytest.approx(1 / 3)
    assert got["P@4"] == 0.5
    assert got["Judged@4"] == 0.75


def test_linear_and_exponential_ndcg_in_one_call() -> None:
    # ir_measures alone returns .950801 and 0 for these two when asked together with explicit gains.
    qrels = {"q": {"a": 3, "b": 0, "c": 2, "d": 1}}
    names = ["nDCG(gains={1:1,2:3,3:7})@10", "nDCG@10", "nDCG(dcg='exp-log2')@10", "nDCG(dcg='exp-log2')"]
    got = evaluate(qrels, ranking_of({"q": listed("abcd")}), names).values[0, :, 0]
    assert got.tolist() == pytest.approx([0.950801, 0.930451, 0.950801, 0.950801], abs=5e-7)


def test_err_and_rbp_by_hand() -> None:
    qrels = {"q": {"a": 4, "b": 0, "c": 2}}
    got = means(
        evaluate(qrels, ranking_of({"q": listed("bcxa")}), ["ERR@20", "ERR@2", "RBP(p=0.8,rel=2)", "RBP(rel=3)@3"])
    )
    assert got["ERR@2"] == pytest.approx(3 / 16 / 2)
    assert got["ERR@20"] == pytest.approx(3 / 16 / 2 + (1 - 3 / 16) * 15 / 16 / 4)
    assert got["RBP(rel=2)"] == pytest.approx(0.2 * (0.8 + 0.8**3))
    assert got["RBP(rel=3)@3"] == 0
    with pytest.raises(DataError, match="up to 4, but the qrels hold 5"):
        evaluate({"q": {"a": 5}}, ranking_of({"q": listed("a")}), "ERR@20")
    with pytest.raises(DataError, match="grade 40"):
        evaluate({"q": {"a": 40}}, ranking_of({"q": listed("a")}), "nDCG(dcg='exp-log2')@10")


def test_accuracy_by_hand() -> None:
    run = ranking_of({"q": listed("abxc"), "r": listed("a"), "s": listed("xy")})
    qrels = {"q": {"a": 1, "b": 0, "c": 1}, "r": {"a": 1}, "s": {"a": 1}}
    # q: a stands above b and x, c above neither; r and s hold no pair.
    assert evaluate(qrels, run, ["Accuracy", "Accuracy@3"]).values[0].tolist() == [[0.5, 0, 0], [1, 0, 0]]
    assert ir_measures.Accuracy.calc_aggregate({"q": qrels["q"]}, {"q": dict(listed("abxc"))}) == 0.5


def test_tie_rules_decide_every_measure_alike() -> None:
    # The only relevant document ties with another: trec_eval ranks the later id first.
    run = ranking_of({"q": [("a", 1.0), ("b", 1.0)]})
    names = ["nDCG@10", "RR@10", "RR", "Success@1", "Judged@1", "Compat"]
    qrels = {"q": {"b": 1}}
    assert means(evaluate(qrels, run, names, ties="trec_eval")) == dict.fromkeys(names, 1.0)
    assert means(evaluate(qrels, run, names)) == means(evaluate(qrels, run, names, ties="stable"))
    for ties in ("docid", "stable"):
        got = means(evaluate(qrels, run, names, ties=ties))
        assert got["nDCG@10"] == pytest.approx(0.630930, abs=5e-7)
        assert (got["RR@10"], got["RR"], got["Success@1"], got["Judged@1"]) == (0.5, 0.5, 0.0, 0.0)
    reordered = ranking_of({"q": [("b", 1.0), ("a", 1.0)]})
    assert evaluate(qrels, reordered, "RR@10", ties="stable").mean("run", "RR@10") == 1.0
    with pytest.raises(UnknownNameError, match="tie rule 'docno'"):
        evaluate(qrels, run, names, ties="docno")  # type: ignore[arg-type]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.integers(0, 3)), unique_by=lambda pair: pair[0], min_size=1),
    st.dictionaries(st.sampled_from("abcdefghijkl"), st.integers(-1, 3), min_size=1),
)
def test_trec_eval_order_is_trec_evals(hits: list[tuple[str, int]], grades: dict[str, int]) -> None:
    """pytrec_eval orders score descending, id descending on its own: the raw run must give it the same values."""
    names = ["nDCG@3", "AP", "P@2", "R@5", "RR"]
    qrels, raw = {"q": grades}, {"q": {doc: float(score) for doc, score in hits}}
    measures = [ir_measures.parse_measure(name) for name in names]
    want = ir_measures.pytrec_eval.calc_aggregate(measures, qrels, raw)
    run = ranking_of({"q": [(doc, float(score)) for doc, score in hits]})
    got = evaluate(qrels, run, names, ties="trec_eval").values[0, :, 0]
    assert got.tolist() == pytest.approx([want[m] for m in measures], abs=1e-12)


ALL = [
    "nDCG@10", "nDCG", "nDCG(judged_only=True)@10", "nDCG(gains={1:5,2:1})@5", "AP", "AP(rel=2)@20", "P@5", "P(rel=2)@5",
    "P(judged_only=True)@5", "R@10", "R(rel=2)@20", "RR", "RR@10", "RR(rel=2)@10", "RR(judged_only=True)", "Rprec",
    "Success@5", "Judged@10", "Judged", "Bpref", "infAP", "IPrec@0.1", "SetP", "SetR", "SetF(beta=2.0)", "SetAP",
    "SetP(relative=True)", "NumRet", "NumRet(rel=1)", "NumRel", "NumQ", "Compat",
]  # fmt: skip


def test_agrees_with_ir_measures_on_runs_without_ties() -> None:
    rng = random.Random(3)
    docs = [f"d{i}" for i in range(80)]
    qrels = {f"q{q}": {d: rng.choice([-1, 0, 0, 1, 2, 3]) for d in rng.sample(docs, 25)} for q in range(600)}
    raw = {
        q: {d: rng.random() for d in rng.sample(docs, rng.randint(1, 60))} for q in list(qrels)[:-20]
    }  # the last 20 queries have no results; more than one batch do
    run = ranking_of({q: list(hits.items()) for q, hits in raw.items()})
    got = evaluate(qrels, run, ALL, ties="trec_eval")
    position = {q: i for i, q in enumerate(got.query_ids)}
    for measure in got.measures:
        want = np.full(len(qrels), np.nan)
        for metric in ir_measures.iter_calc([measure.definition], qrels, raw):
            want[position[metric.query_id]] = metric.value
        assert np.allclose(got.per_query("run", measure), want, atol=1e-9, rtol=0), measure.name
        total = ir_measures.calc_aggregate([measure.definition], qrels, raw)[measure.definition]
        assert got.aggregate("run", measure) == pytest.approx(total), measure.name


def test_err_agrees_with_the_web_track_script() -> None:
    if not ir_measures.gdeval.is_available():
        pytest.skip("gdeval needs Perl")
    rng = random.Random(5)
    qrels = {str(q): {f"d{i}": rng.choice([0, 1, 2, 3, 4]) for i in range(30)} for q in range(5)}
    raw = {q: {f"d{i}": rng.random() for i in range(10, 50)} for q in qrels}
    run = ranking_of({q: list(h.items()) for q, h in raw.items()})
    got = evaluate(qrels, run, ["ERR@20", "nDCG(dcg='exp-log2')@20"], ties="trec_eval")
    for measure in got.measures:
        want = {m.query_id: m.value for m in ir_measures.gdeval.iter_calc([measure.definition], qrels, raw)}
        assert got.per_query("run", measure).tolist() == pytest.approx([want[q] for q in got.query_ids], abs=6e-6)


def test_judged_only_condenses_where_a_measure_can() -> None:
    qrels = {"q": {"a": 1, "b": 0, "n": -1}}
    run = ranking_of({"q": listed("xnba")})
    got = evaluate(qrels, run, ["RR@2", "nDCG@10", "Judged@4", "RR"], judged_only=True)
    assert means(got) == {
        "RR(judged_only=True)@2": 0.5,  # x is unjudged, n is graded -1: "pooled, not judged"
        "nDCG(judged_only=True)@10": pytest.approx(1 / log2(3)),
        "Judged@4": 0.75,
        "RR(judged_only=True)": 0.5,
    }
    assert evaluate(qrels, run, "RR@2").mean("run", "RR@2") == 0


def test_missing_queries_count_as_zero_and_are_reported() -> None:
    qrels = {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"b": 1}, "q4": {}}
    run = ranking_of({"q9": listed("a"), "q1": listed("a"), "q3": []}, extra_ids=["z"])
    got = evaluate(qrels, {"sys": run}, ["RR@10", "nDCG@10", "NumRet", "Judged@5"])
    assert got.query_ids == ("q1", "q2", "q3", "q4")
    assert got.per_query("sys", "MRR@10").tolist() == [1, 0, 0, 0]
    assert (got.mean("sys", "nDCG@10"), got.aggregate("sys", "NumRet"), got.mean("sys", "NumRet")) == (0.25, 1, 0.25)
    messages = {w.code: w.message for w in got.warnings}
    assert messages.keys() == {"queries_without_results", "queries_not_in_qrels"}
    assert "sys: 3 of the 4 queries" in messages["queries_without_results"]
    assert "q2, q3, q4" in messages["queries_without_results"]
    assert "sys: 1 of its 3 queries" in messages["queries_not_in_qrels"]
    assert "q9" in messages["queries_not_in_qrels"]


def test_ties_and_unjudged_at_the_cutoff_are_reported() -> None:
    qrels = {"q1": {"a": 1, "b": 0}, "q2": {"a": 1, "c": 1}, "q3": {"a": 1, "b": 1}}
    run = ranking_of(
        {
            "q1": [("a", 3.0), ("b", 2.0), ("c", 2.0)],  # tied across rank 2
            "q2": [("a", 3.0), ("b", 3.0), ("c", 1.0)],  # tied above it only
            "q3": [("a", 1.0), ("b", 1.0)],  # tied, but nothing lies beyond the cutoff
        }
    )
    messages = {w.code: w.message for w in evaluate(qrels, run, ["P@2", "RR"], ties="trec_eval").warnings}
    assert "queries: 1 at rank 2" in messages["ties_at_cutoff"]
    # q1 ranks a c b, q2 b a c, q3 b a: one unjudged document of two, one of two, none.
    assert "33.3% of the top 2" in messages["unjudged_at_cutoff"]
    assert not evaluate(qrels, run, ["RR"]).warnings


def test_a_run_of_other_topics_is_an_error_that_names_both() -> None:
    with pytest.raises(DataError, match=r"bm25: none of its 2 queries.*'q8'.*'q1'"):
        evaluate({"q1": {"a": 1}}, {"bm25": ranking_of({"q8": listed("a"), "q9": listed("b")})}, "RR")


def test_bad_input_is_refused() -> None:
    run = ranking_of({"q": listed("ab")})
    with pytest.raises(UnknownNameError, match="nDCG"):
        evaluate({"q": {"a": 1}}, run, "nDGC@10")
    with pytest.raises(DataError, match="no queries"):
        evaluate({}, run, "RR")
    with pytest.raises(UsageError, match="at least one ranking"):
        evaluate({"q": {"a": 1}}, {}, "RR")
    with pytest.raises(DataError, match=r"query 'q' grades document 'a' 0\.5"):
        evaluate({"q": {"a": 0.5}}, run, "RR")  # type: ignore[dict-item]
    twice = Ranking.from_lists(run.space, ["q"], [([0, 1, 0], [3.0, 2.0, 1.0])])
    with pytest.raises(DataError, match="run: query 'q': document 'a' is ranked twice"):
        evaluate({"q": {"a": 1}}, twice, "RR")
    with pytest.raises(DataError, match="'q' twice"):
        evaluate({"q": {"a": 1}}, Ranking.from_lists(run.space, ["q", "q"], [([0], [1.0]), ([1], [1.0])]), "RR")


def test_measures_that_nothing_here_computes_are_refused_before_any_work() -> None:
    run = ranking_of({"q": listed("ab")})
    with pytest.raises(UsageError, match="subtopic"):
        evaluate({"q": {"a": 1}}, run, "alpha_nDCG@20")
    with pytest.raises(UsageError, match="state which grades are relevant"):
        evaluate({"q": {"a": 1}}, run, "RBP(p=0.8)")
    if not ir_measures.cwl_eval.is_available():
        with pytest.raises(PrerequisiteError, match="pip install"):
            evaluate({"q": {"a": 1}}, run, "INST(max_rel=3)")


def test_evaluation_is_read_by_any_spelling_and_as_json() -> None:
    got = evaluate({"q": {"a": 1}}, {"s": ranking_of({"q": listed("ba")})}, ["nDCG@10", "NumRet"])
    assert got.mean("s", "ndcg_cut_10") == got.mean("s", "nDCG@10")
    with pytest.raises(UnknownNameError, match="system 'x'"):
        got.mean("x", "nDCG@10")
    with pytest.raises(UnknownNameError, match="measure of this evaluation 'AP'"):
        got.mean("s", "map")
    value = got.mean("s", "nDCG@10")
    assert got.to_dict(per_query=True) == {
        "queries": 1,
        "measures": ["nDCG@10", "NumRet"],
        "ties": "stable",
        "conventions": {
            "profile": None,
            "ignore_self": False,
            "depth": None,
            "removed_self": {"s": 0},
            "beyond_depth": {"s": 0},
        },
        "systems": {"s": {"nDCG@10": value, "NumRet": 2.0}},
        "warnings": [{"code": "unjudged_at_cutoff", "message": "s: documents without judgement: 50.0% of the top 10"}],
        "per_query": {"s": {"q": {"nDCG@10": value, "NumRet": 2.0}}},
    }


def test_import_loads_no_heavy_library() -> None:
    code = "import sys, tamis.eval; sys.exit(bool({'scipy', 'ir_measures', 'pandas', 'pyarrow', 'torch'} & set(sys.modules)))"
    assert run_process([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.real
def test_dl19_bm25_reproduces_the_published_figure(collections: Path) -> None:
    folder = collections / "msmarco-dl19-pool"
    qrels = read_qrels(folder / "qrels" / "test.full.tsv")
    systems = {name: read_run(folder / "runs" / f"{name}.top100.trec.gz") for name in ("bm25", "rep_llama")}
    got = evaluate(qrels, systems, ["nDCG@10", "RR(rel=2)@10"])
    assert round(got.mean("bm25", "nDCG@10"), 4) == 0.5058
    assert len(got.query_ids) == 43
    assert "ties_at_cutoff" in {w.code for w in got.warnings if w.message.startswith("rep_llama")}
