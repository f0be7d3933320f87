"""Names in a pipeline: families and options are looked up, the nearest is suggested."""

from __future__ import annotations

import pytest

from tamis.errors import EXIT_USAGE, UnknownNameError, UsageError
from tamis.families import Address
from tamis.pipeline import Pipeline, check, parse, with_option
from tamis.pipeline.names import split_depth


@pytest.mark.parametrize(
    "text", ["bm25?k1=1.2 % 10 >> ql?depth=5&mu=100", "rrf(bm25, 'ql')", "bm25?fields=title^2%2Cbody"]
)
def test_known_names_pass(text: str) -> None:
    check(parse(text))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("rrf(bm25, bm52)", UnknownNameError, "unknown family 'bm52': did you mean 'bm25'"),
        ("ql >> bm25?k=3", UnknownNameError, "'k': did you mean 'k1'"),
        ("bm25?k1=x", UsageError, "'x' is not a number"),
        ("bm25?b=7", UsageError, "at most 1"),
        ("bm25?depth=0", UsageError, "depth='0' must be a whole number"),
        ("bm25%1000", UnknownNameError, "did you mean 'bm25'.*put spaces around the operators"),
        ("bm25>>ql", UnknownNameError, "put spaces around the operators"),
        ("bm25?k1=0.9%1000", UsageError, "put spaces around the operators"),
    ],
)
def test_unknown_names_are_refused(text: str, error: type[UsageError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        check(parse(text))
    assert caught.value.exit_code == EXIT_USAGE


def test_depth_is_split_off_an_address() -> None:
    assert split_depth("bm25?b=0.5&depth=20&k1=1") == (Address.parse("bm25?b=0.5&k1=1"), 20)
    assert split_depth("bm25") == (Address("bm25"), None)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("bm25", "bm25?deadline=0.2"),
        ("bm25?deadline=3 % 10", "bm25?deadline=3 % 10"),
        (
            "rrf(bm25?k1=1.2, dense:minilm, k=10) % 5 >> 0.5*ql",
            "rrf(bm25?deadline=0.2&k1=1.2, dense:minilm, k=10) % 5 >> 0.5*ql?deadline=0.2",
        ),
        ("wsum(0.7*bm25, ql, norm=minmax)", "wsum(0.7*bm25?deadline=0.2, ql?deadline=0.2, norm=minmax)"),
    ],
)
def test_an_option_for_every_model_that_knows_it(text: str, wanted: str) -> None:
    assert str(with_option(Pipeline.of(text), "deadline", "0.2")) == str(Pipeline.of(wanted))


def test_an_option_that_no_model_knows() -> None:
    with pytest.raises(UsageError, match="deadline"):
        with_option(Pipeline.of("dense:minilm"), "deadline", "0.2")
