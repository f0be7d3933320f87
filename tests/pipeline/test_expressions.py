"""Nodes as values: operators, normal forms, spelling, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.errors import UnknownNameError, UsageError
from tamis.pipeline import Cut, Interleave, Model, Opened, Pipeline, Rrf, Scale, Sum, Then, interleave, parse, rrf, wsum
from tamis.ranking import Queries, Ranking
from tamis.retrievers.fusion import MISSING, NORMS

bm25, ql, cross = Model("bm25"), Model("ql"), Model("cross:a/b")


class KeepAll:
    """A re-scoring stage, as a user would write one."""

    def rescore(self, queries: Queries, ranking: Ranking) -> Ranking:
        return ranking


def test_operators_have_pythons_precedence() -> None:
    assert bm25 % 100 >> cross == Then(Cut(bm25, 100), cross)
    assert 0.7 * bm25 + 0.3 * ql >> cross == Then(Sum((Scale(bm25, 0.7), Scale(ql, 0.3))), cross)
    assert 0.5 * bm25 % 10 == Cut(Scale(bm25, 0.5), 10)
    assert bm25 * 2 == 2 * bm25 == np.float64(2) * bm25 == Scale(bm25, 2.0)


def test_strings_and_stage_objects_are_operands() -> None:
    stage = KeepAll()
    assert bm25 % 100 >> "cross:a/b" >> stage == Then(Then(Cut(bm25, 100), cross), Opened(stage))
    assert "bm25 % 100" >> cross == Then(Cut(bm25, 100), cross)
    assert "bm25" + ql == bm25 + "ql" == Sum((bm25, ql))
    assert rrf("bm25", ql, k=10) == Rrf((bm25, ql), 10)
    assert interleave("ql", bm25) == Interleave((ql, bm25))
    assert wsum(0.7 * bm25, "0.3*ql", norm="minmax") == Sum((Scale(bm25, 0.7), Scale(ql, 0.3)), "minmax")


def test_what_is_associative_has_one_form() -> None:
    assert (bm25 + ql) + cross == bm25 + (ql + cross) == wsum(bm25, ql, cross)
    assert (bm25 >> ql) >> cross == bm25 >> (ql >> cross)
    assert 2 * (3 * bm25) == 6 * bm25
    assert wsum(bm25 + ql, cross, norm="minmax") != wsum(bm25, ql, cross, norm="minmax")


def test_equal_addresses_have_one_spelling() -> None:
    assert Model("bm25?k1=1&b=0.5") == Model("bm25?b=0.5&k1=1")
    assert Model("./a folder?b=1&a=2").address == "./a folder?a=2&b=1"  # no disk is touched for its family


def test_an_opened_stage_equals_only_itself() -> None:
    stage = KeepAll()
    assert Opened(stage) == Opened(stage) != Opened(KeepAll())
    assert len({Opened(stage), Opened(stage)}) == 1
    assert str(bm25 >> Opened(stage)) == "bm25 >> <KeepAll object>"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: bm25 % 0, "k=0"),
        (lambda: bm25 % 1.5, "k=1.5"),
        (lambda: "x" * bm25, "'x' is no weight"),
        (lambda: float("inf") * bm25, "not a finite number"),
        (lambda: bm25 >> 5, "5 cannot stand in a pipeline"),
        (lambda: bm25 >> KeepAll, "KeepAll is a class"),
        (lambda: rrf(bm25), "at least two pipelines, found 1"),
        (lambda: interleave(), "at least two pipelines, found none"),
        (lambda: rrf(bm25, ql, k=-1), "k=-1"),
        (lambda: rrf(bm25, 0.5 * ql), "ranks only"),
        (lambda: rrf(bm25, 0.5 * ql % 10), "ranks only"),
        (lambda: wsum(), "at least one"),
        (lambda: Model("bm25?k1"), "'k1' is not option=value"),
    ],
)
def test_refusals(build: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build()  # type: ignore[operator]


def test_an_unknown_norm_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'minmax'"):
        wsum(bm25, norm="min-max")


def test_a_weight_under_a_cut_stays_a_weight() -> None:
    """Otherwise ``wsum(0.7*a % 100, …, norm=minmax)``, by Python's precedence, would normalise the weight away."""
    assert wsum(0.7 * bm25 % 100, ql).weighted == [(0.7, Cut(bm25, 100)), (1.0, ql)]
    assert wsum(-1 * bm25 % 100, ql).weighted[0] == (1.0, Cut(Scale(bm25, -1), 100))


addresses = st.one_of(
    st.sampled_from(
        ["bm25", "bm25?k1=0.9&b=0.4", "dense:./my model@v1?x=a,b", "1e5", "-0.5", "7b:x", "a(b)", "rrf", "k=3"]
    ),
    st.text(min_size=1, max_size=8).map(lambda text: "f:" + text.replace("@", "").replace("?", "")),
    st.text(max_size=8).map(lambda text: "f?x=" + text.replace("&", "")),
)
models = addresses.map(Model)
weights = st.floats(-1e6, 1e6)


def grown(inner: st.SearchStrategy[Pipeline]) -> st.SearchStrategy[Pipeline]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    ranked = st.lists(inner.filter(lambda e: "*" not in str(e)), min_size=2, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Cut, inner, st.integers(1, 2000)),
        st.builds(Then, inner, inner),
        st.builds(Scale, inner, weights),
        st.builds(Sum, several),
        st.builds(
            Sum, st.lists(inner, min_size=1, max_size=3).map(tuple), st.sampled_from(NORMS), st.sampled_from(MISSING)
        ),
        st.builds(Rrf, ranked, st.integers(0, 100)),
        st.builds(Interleave, ranked),
    )


@given(st.recursive(models, grown, max_leaves=12))
def test_the_spelling_of_any_pipeline_parses_back_to_it(pipeline: Pipeline) -> None:
    again = parse(str(pipeline))
    assert again == pipeline
    assert hash(again) == hash(pipeline)
    assert str(again) == str(pipeline)
