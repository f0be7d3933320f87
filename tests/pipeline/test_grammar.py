"""The string grammar: what it reads, and that every fault is pointed at."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tamis.errors import EXIT_USAGE, ParseError
from tamis.pipeline import Cut, Model, Pipeline, Scale, interleave, parse, rrf, wsum

bm25, ql, cross = Model("bm25"), Model("ql"), Model("cross:a/b@v2?window=20")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bm25", bm25),
        ("  bm25 % 1000 ", bm25 % 1000),
        ("bm25?k1=0.9&b=0.4 % 10", Model("bm25?b=0.4&k1=0.9") % 10),
        ("0.7*bm25 + 0.3*ql", 0.7 * bm25 + 0.3 * ql),
        ("0.7 * bm25 + ql * 0.3", 0.7 * bm25 + 0.3 * ql),
        ("2 * 3 * bm25", 6 * bm25),
        ("-1.5e-3*bm25 + .5*ql", -0.0015 * bm25 + 0.5 * ql),
        ("bm25 % 100 >> cross:a/b@v2?window=20 % 10 >> ql", bm25 % 100 >> cross % 10 >> ql),
        ("bm25 + ql >> ql % 5", (bm25 + ql) >> (ql % 5)),
        ("0.5 * bm25 % 10", Cut(Scale(bm25, 0.5), 10)),
        ("0.5 * (bm25 % 10)", Scale(Cut(bm25, 10), 0.5)),
        ("(bm25)%10>>ql", bm25 % 10 >> ql),
        ("bm25\n  % 10\n\t>> ql", bm25 % 10 >> ql),
        ("rrf(bm25, ql)", rrf(bm25, ql)),
        ("rrf( bm25 % 100 ,(ql) ,k = 10 )", rrf(bm25 % 100, ql, k=10)),
        ("rrf(bm25,ql,k=60)", rrf(bm25, ql)),
        ("interleave(rrf(ql, bm25), bm25 >> ql)", interleave(rrf(ql, bm25), bm25 >> ql)),
        ("wsum(0.7*bm25, ql, norm=minmax, missing='min')", wsum(0.7 * bm25, ql, norm="minmax", missing="min")),
        ("'dense:./my model, (new)' % 10", Model("dense:./my model, (new)") % 10),
        (r'"f:a\"b\\c\d"', Model('f:a"b\\c\\d')),
        ("f?x=a%20b", Model("f?x=a b")),
        ("7b:model % 3", Model("7b:model") % 3),
        ("./my-uhd >> ~/model", Model("./my-uhd") >> Model("~/model")),
    ],
)
def test_reads(text: str, expected: Pipeline) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "fault", "message"),  # the circumflex points at the fault
    [
        ("", "^", "the pipeline is empty"),
        ("bm25 %", "      ^", "how many results to keep"),
        ("bm25 % 0", "       ^", "at least 1.*found '0'"),
        ("bm25 % x", "       ^", "whole number.*found 'x'"),
        ("bm25 % 1.5", "       ^", "whole number.*found '1.5'"),
        ("bm25 % -5 >> ql", "       ^", "found '-5'"),
        ("bm25 >>", "       ^", "expected a model address.*after '>>'"),
        ("bm25 + * ql", "       ^", r"found '\*'"),
        ("bm25 ql", "     ^", "expected an operator.*found 'ql'"),
        ("bm25 > ql", "     ^", "expected '>>'"),
        ("bm25 | ql", "     ^", r"expected an operator \(>>, \+, \*, %\)"),
        ("bm25)", "    ^", "closes nothing"),
        ("bm25, ql", "    ^", "quotation marks"),
        ("(bm25", "     ^", "never closed"),
        ("('bm25' ql)", "        ^", "expected an operator or '\\)'.*found 'ql"),
        ("'bm25", "^", "quotation mark is never closed"),
        ("0.5 bm25", "    ^", r"expected '\*' and a pipeline after the weight 0.5"),
        ("bm25 + 0.5", "          ^", "after the weight 0.5"),
        ("bm25 * ql", "       ^", "needs a number on one side"),
        ("2 % 3", "^", "not a number"),
        ("1e999*bm25", "^", "too large"),
        ("bm25 + 1e300*1e300*ql", "       ^", "not a finite number"),
        ("rrf()", "    ^", "at least two pipelines, found none"),
        ("rrf(bm25)", "        ^", "found 1"),
        ("rrf(bm25", "        ^", r"expected ',' or '\)'"),
        ("rrf(bm25, ", "          ^", "expected a model address.*after ','"),
        ("rrf(bm25 ql)", "         ^", r"expected ',' or '\)'.*found 'ql\)'"),
        ("bm25 + rrf(0.5*bm25, ql)", "       ^", "ranks only"),
        ("bm25 >> rff(bm25, ql)", "        ^", "unknown function 'rff': did you mean 'rrf'"),
        ("wsum(bm25, nrm=minmax)", "           ^", "'nrm': did you mean 'norm'"),
        ("wsum(bm25, norm=minmx)", "                ^", "'minmx': did you mean 'minmax'"),
        ("rrf(bm25, ql, k=x)", "                ^", "whole number of at least 0.*found 'x'"),
        ("rrf(bm25, ql, k=1, k=2)", "                   ^", "given twice"),
        ("rrf(bm25, k=5, ql)", "               ^", "before its options"),
        ("ql >> bm25?k1", "      ^", "'k1' is not option=value"),
        ("bm25 % " + "9" * 5000, "       ^", "whole number"),
    ],
)
def test_points_at_the_fault(text: str, fault: str, message: str) -> None:
    with pytest.raises(ParseError, match=f"(?s){message}") as caught:
        parse(text)
    assert caught.value.position == len(fault) - 1
    assert caught.value.text == text
    assert caught.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize("text", ["(" * 5000, "bm25" + " % 1" * 5000, "rrf(a, " * 5000, "1*" * 5000])
def test_a_bomb_is_refused_and_not_recursed_into(text: str) -> None:
    with pytest.raises(ParseError, match="more than 100 operators"):
        parse(text)


@given(st.one_of(st.text(), st.text("ab1 .*%+>,()'\"=rf-", max_size=30)))
@example("\x1c")
@example("bm25 % ²")
@example("rrf(a, b, k=٣)")
def test_any_text_is_a_pipeline_or_a_parse_error(text: str) -> None:
    pipeline, fault = None, -1
    try:
        pipeline = parse(text)
    except ParseError as error:
        fault = error.position
    assert 0 <= fault <= len(text) if pipeline is None else parse(str(pipeline)) == pipeline
