"""Measure strings: every spelling has one meaning and one canonical name."""

from __future__ import annotations

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.errors import UnknownNameError, UsageError
from tamis.eval.measures import parse_measure, parse_measures


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("nDCG@10", "nDCG@10"),
        ("RR(rel=2)@10", "RR(rel=2)@10"),
        ("R@1000", "R@1000"),
        ("Judged@10", "Judged@10"),
        ("AP(rel=2)@1000", "AP(rel=2)@1000"),
        ("AP( rel = 2 ) @ 1000", "AP(rel=2)@1000"),
        ("nDCG(dcg='exp-log2')@10", "nDCG(dcg='exp-log2')@10"),
        ("nDCG(judged_only=True, dcg='log2')@5", "nDCG(judged_only=True)@5"),
        ("P(rel=1)@20", "P@20"),
        ("IPrec@0.1", "IPrec@0.1"),
        ("IPrec@1", "IPrec@1.0"),
        ("SetF(beta=2)", "SetF(beta=2.0)"),
        ("MAP", "AP"),
        ("MRR@10", "RR@10"),
        ("Recall@100", "R@100"),
        ("α_nDCG@20", "alpha_nDCG@20"),
        ("NumRelRet", "NumRet(rel=1)"),
        ("ndcg_cut_10", "nDCG@10"),
        ("ndcg_cut.10", "nDCG@10"),
        ("ndcg", "nDCG"),
        ("map", "AP"),
        ("map_cut_1000", "AP@1000"),
        ("recall_100", "R@100"),
        ("P_30", "P@30"),
        ("recip_rank", "RR"),
        ("bpref", "Bpref"),
        ("num_rel_ret", "NumRet(rel=1)"),
        ("iprec_at_recall_0.10", "IPrec@0.1"),
        ("success_5", "Success@5"),
        ("set_F", "SetF"),
        ("ndcg@10", "nDCG@10"),
        ("mrr@10", "RR@10"),
        ("recall@100", "R@100"),
    ],
)
def test_spellings_have_one_canonical_name(text: str, canonical: str) -> None:
    measure = parse_measure(text)
    assert measure.name == canonical
    assert parse_measure(canonical) == measure


@pytest.mark.parametrize(
    "text", ["nDCG@10", "RR(rel=2)@10", "AP", "R(rel=2)@1000", "RBP(p=0.5,rel=1)", "Success@5", "Compat", "SetRelP"]
)
def test_ir_measures_reads_the_same(text: str) -> None:
    assert parse_measure(text).definition == ir_measures.parse_measure(text)


@pytest.mark.parametrize("name", ["ndcg_cut_10", "map", "P_5", "recall_1000", "recip_rank", "Rprec", "set_P", "infAP"])
def test_trec_eval_aliases_agree_with_ir_measures(name: str) -> None:
    assert [m.definition for m in parse_measures(name)] == ir_measures.parse_trec_measure(name)


def test_every_name_of_ir_measures_is_known() -> None:
    required = {"cutoff": "cutoff=10", "recall": "recall=0.1", "max_rel": "max_rel=3"}
    for name, measure in ir_measures.measures.registry.items():
        needed = [required[p] for p, info in measure.SUPPORTED_PARAMS.items() if info.required]
        assert parse_measure(f"{name}({','.join(needed)})").definition.NAME == measure.NAME


def test_families_expand_and_repeats_are_dropped() -> None:
    assert [m.name for m in parse_measures(["P_5,10", "P@10", "nDCG@10"])] == ["P@5", "P@10", "nDCG@10"]
    assert len(parse_measures("ndcg_cut")) == 9
    with pytest.raises(UsageError, match="9 measures"):
        parse_measure("recall_5,10,15,20,30,100,200,500,1000")


@pytest.mark.parametrize("text", ["nDGC@10", "ndcgg", "nDGC_10"])
def test_unknown_measure_suggests_near_names(text: str) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown measure .*did you mean .*(nDCG|ndcg)"):
        parse_measure(text)


def test_unknown_parameter_names_the_valid_ones() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown parameter of nDCG 'reel'.*valid: cutoff, dcg, gains, judged_only"
    ):
        parse_measure("nDCG(reel=2)@10")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("P", "needs cutoff"),
        ("IPrec", "needs recall"),
        ("nDCG@0", "at least 1"),
        ("nDCG@-1", "at least 1"),
        ("nDCG@10.5", "must be int"),
        ("nDCG@True", "must be int"),
        ("nDCG@ten", "not a number"),
        ("nDCG@", "write NAME"),
        ("nDCG@10@5", "write NAME"),
        ("nDCG(10)", "not a list of parameter=value"),
        ("nDCG(**{})@5", "not a list of parameter=value"),
        ("nDCG(rel=)@5", "not a list of parameter=value"),
        ("nDCG(dcg='cubic')@10", "one of 'log2', 'exp-log2'"),
        ("nDCG(gains={0:-1})@10", "whole gains"),
        ("RR(rel=open('x'))", "not a number"),
        ("RBP(p=1.5,rel=1)", "between 0 and 1"),
        ("map_3", "unknown|takes no parameter"),
        ("a b", "write NAME"),
        ("", "write NAME"),
        ("nDCG\0@10", "write NAME"),
    ],
)
def test_malformed_measures_are_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_measure(text)


def test_no_measure_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        parse_measures([])


@given(st.text(max_size=40) | st.from_regex(r"(nDCG|P|RR)\([a-z=,'\"{}\[\]0-9*]*\)@?[0-9.]*", fullmatch=True))
def test_any_text_parses_or_is_a_usage_error(text: str) -> None:
    try:
        parsed = parse_measures(text)
    except UsageError:
        return
    for measure in parsed:
        assert parse_measure(measure.name) == measure
