"""Windows: nothing of a text is lost, none is longer than asked, words stay whole; pools by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.encoders.text import Tokenizer
from tamis.errors import UsageError
from tamis.rerankers.windows import Windows, _token_windows, parse_pool


@pytest.fixture(scope="module")
def tokenizer(cross_folder: Path) -> Tokenizer:
    return Tokenizer(cross_folder)


@pytest.mark.parametrize(
    ("spec", "text", "expected"),
    [
        ("tokens:3/2", "the cook of soup is fine", ["the cook of", "of soup is", "is fine"]),
        ("tokens:3", "the cook of soup is fine", ["the cook of", "soup is fine"]),
        ("tokens:9/4", "the cook of soup", ["the cook of soup"]),
        ("tokens:3/3", "the zig soup", ["the", "zig", "soup"]),  # zig is z ##i ##g, which no window of three shares
        ("tokens:2/2", "zigzag", ["zi", "gz", "ag"]),  # a word longer than a window is cut
        ("tokens:4/2", "", [""]),
        ("tokens:4/2", " \n", [" \n"]),
        ("sentences:2/1", "A b. C d! E f? G", ["A b. C d!", "C d! E f?", "E f? G"]),
        ("sentences:1", 'He said "no." She 3.5 left\n\nEnd', ['He said "no."', "She 3.5 left", "End"]),
        ("sentences:1", "一。二。三", ["一。", "二。", "三"]),
        ("sentences:10/5", "One. Two.", ["One. Two."]),
        ("sentences:10/5", "", [""]),
    ],
)
def test_windows_by_hand(spec: str, text: str, expected: list[str], tokenizer: Tokenizer) -> None:
    assert Windows.parse(spec).cut([text], tokenizer) == [expected]


@settings(max_examples=200, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), max_size=40), size=st.integers(1, 12), data=st.data())
def test_every_token_is_in_a_window(lengths: list[int], size: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, size))
    words = [word for word, length in enumerate(lengths) for _ in range(length)]
    spans = [
        (place, place + 1) for place in range(len(words))
    ]  # a character a token, so that windows are ranges of tokens
    found = list(_token_windows(spans, words, size, stride))
    assert {place for first, end in found for place in range(first, end)} == set(range(len(words)))
    assert all(0 < end - first <= size for first, end in found)
    for (first, end), (following, later) in pairwise(found):
        assert first < following <= min(end, first + stride)
        assert later >= end
    for first, end in found[:-1]:  # a window that ends inside a word holds nothing but a part of it
        assert words[end] != words[end - 1] or words[first] == words[end]
    if stride == size:
        assert sum(end - first for first, end in found) == len(words)


def test_some_windows_of_many(tokenizer: Tokenizer) -> None:
    text = " ".join(["soup"] * 9 + ["end"])
    found = Windows.parse("tokens:1", 4).cut([text], tokenizer)[0]
    assert len(found) == 4
    assert (found[0], found[-1]) == ("soup", "d")  # end is e ##n ##d


def test_what_cannot_be_meant_is_refused() -> None:
    for spec in ("words:3", "tokens", "tokens:0", "tokens:3/4", "tokens:3/0", "tokens:-1/1"):
        with pytest.raises(UsageError, match="windows="):
            Windows.parse(spec)
    for pool in ("median", "top", "top:0", "top:x"):
        with pytest.raises(UsageError, match="pool="):
            parse_pool(pool)


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("first", [1.0, 5.0, -2.0]),
        ("max", [3.0, 5.0, 4.0]),
        ("sum", [6.0, 5.0, 1.0]),
        ("mean", [2.0, 5.0, 1 / 3]),
        ("top:1", [3.0, 5.0, 4.0]),
        ("top:2", [2.5, 5.0, 1.5]),
        ("top:9", [2.0, 5.0, 1 / 3]),
    ],
)
def test_pools_by_hand(pool: str, expected: list[float]) -> None:
    scores, starts = np.array([1.0, 2.0, 3.0, 5.0, -2.0, 4.0, -1.0]), np.array([0, 3, 4])
    np.testing.assert_allclose(parse_pool(pool)(scores, starts), expected)
    scores[5] = np.nan  # a window without a score leaves its document without one, unless it does not count
    found = parse_pool(pool)(scores, starts)
    assert np.isnan(found[2]) == (pool != "first")
    np.testing.assert_allclose(found[:2], expected[:2])
