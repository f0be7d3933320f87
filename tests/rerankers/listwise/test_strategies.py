"""Strategies under an honest ranker, a random one and one that is cut off; and how many calls they take."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.rerankers.listwise.strategies import (
    Ask,
    Steps,
    most_heap_calls,
    plan,
    setwise_bubble,
    setwise_heap,
    sliding,
    top_down,
)
from tamis.rerankers.listwise.windows import plan_windows

Ranker = Callable[[Ask], list[int] | None]


def follow(steps: Steps, ranker: Ranker, order: list[int]) -> list[Ask]:
    """Run a strategy to its end, and return what it asked."""
    asked: list[Ask] = []
    try:
        round_ = next(steps)
        while True:
            assert round_
            asked += round_
            assert sorted(order) == list(range(len(order)))
            round_ = steps.send([ranker(ask) for ask in round_])
    except StopIteration:
        return asked


def honest(best: list[int]) -> Ranker:
    return lambda ask: sorted(range(len(ask.places)), key=lambda i: best[ask.places[i]])


def shuffled(count: int, seed: int = 0) -> list[int]:
    found: list[int] = np.random.default_rng([count, seed]).permutation(count).tolist()
    return found


@pytest.mark.parametrize("size", [2, 3, 4, 10, 20, 50])
def test_top_down_settles_its_first_places(size: int) -> None:
    for count in range(1, 301, 1 if size == 20 else 7):
        best, order = shuffled(count), list(range(count))
        asked = follow(top_down(order, size), honest(best), order)
        sure = count if count <= size else max(size // 2, 1)
        assert [best[i] for i in order[:sure]] == list(range(sure))
        assert all(2 <= len(ask.places) <= size and len(set(ask.places)) == len(ask.places) for ask in asked)
        assert {i for ask in asked for i in ask.places} == (set(range(count)) if count > 1 else set())


def calls_of_top_down(count: int, size: int, best: list[int], order: list[int]) -> int:
    """The formula, from what beats the pivot at each stage."""
    if count < 2:
        return 0
    if count <= size:
        return 1
    pivot = sorted(best[i] for i in order[:size])[size // 2 - 1]
    better = [i for i in order if best[i] < pivot]
    again = (
        calls_of_top_down(len(better), size, best, _as_found(order, best, pivot, size))
        if len(better) >= size // 2
        else 0
    )
    return 1 + math.ceil((count - size) / (size - 1)) + again


def _as_found(order: list[int], best: list[int], pivot: int, size: int) -> list[int]:
    found = sorted((i for i in order[:size] if best[i] < pivot), key=best.__getitem__)
    for first in range(size, len(order), size - 1):
        found += sorted((i for i in order[first : first + size - 1] if best[i] < pivot), key=best.__getitem__)
    return found


@pytest.mark.parametrize("size", [4, 10, 20])
def test_top_down_takes_the_calls_of_the_formula(size: int) -> None:
    for count in range(301):
        best, order = shuffled(count, 1), list(range(count))
        expected = calls_of_top_down(count, size, best, list(order))
        assert len(follow(top_down(order, size), honest(best), order)) == expected


def test_top_down_asks_less_than_windows_of_a_hundred() -> None:
    best = list(range(100))  # the first stage is right: nothing beats the pivot
    order = list(range(100))
    assert len(follow(top_down(order, 20), honest(best), order)) == 1 + 5
    best = [*range(1, 100), 0]  # one at the end does
    order = list(range(100))
    assert len(follow(top_down(order, 20), honest(best), order)) == 1 + 5 + 1
    assert order[:10] == [99, *range(9)]
    assert len(plan_windows(100, 20, 10)) == 9


def test_top_down_is_not_led_on_for_ever() -> None:
    def pivot_last(ask: Ask) -> list[int]:
        return [*range(1, len(ask.places)), 0]

    order = list(range(300))
    asked = follow(top_down(order, 20), pivot_last, order)
    assert sorted(order) == list(range(300))
    assert len(asked) < 7 * 17


@pytest.mark.parametrize(("children", "top"), [(1, 10), (2, 10), (3, 10), (3, 1), (9, 10), (3, 400)])
def test_setwise_brings_the_best_to_the_top(children: int, top: int) -> None:
    for count in (*range(12), 15, 40, 100):
        best = shuffled(count)
        sure = min(top, count)
        for strategy in (setwise_bubble, setwise_heap):
            order = list(range(count))
            asked = follow(strategy(order, children, top), honest(best), order)
            assert [best[i] for i in order[:sure]] == list(range(sure))
            assert order[sure:] == [i for i in range(count) if best[i] >= sure] or strategy is setwise_bubble
            assert all(2 <= len(ask.places) <= children + 1 and ask.best for ask in asked)
            if strategy is setwise_bubble:
                assert len(asked) == sum(math.ceil((count - 1 - i) / children) for i in range(min(top, count - 1)))
            else:
                assert len(asked) <= most_heap_calls(count, children, top)


def test_the_calls_of_a_heap() -> None:
    # in order already: building asks each inner node once; then what is moved to the top sinks as deep as it can
    best, order = list(range(13)), list(range(13))
    assert len(follow(setwise_heap(order, 3, 1), honest(best), order)) == 4
    # by hand: reversed, 4 candidates of 3 children: one call builds, and 3, 2, 1 are then on top of what is left
    best, order = [3, 2, 1, 0], [0, 1, 2, 3]
    assert len(follow(setwise_heap(order, 3, 4), honest(best), order)) == 1 + 1 + 1
    assert order == [3, 2, 1, 0]
    assert most_heap_calls(4, 3, 4) == 1 + 1 + 1
    assert most_heap_calls(13, 3, 1) == 3 * 1 + 2
    # of 100: 20 + 2 nodes of height 1, 7 of 2, 3 of 3 and the root of 4; nine times from there
    assert most_heap_calls(100, 3, 10) == 22 * 1 + 7 * 2 + 3 * 3 + 4 + 9 * 4


def test_levels_of_a_heap_are_built_side_by_side() -> None:
    order = list(range(100))
    steps = setwise_heap(order, 3, 10)
    assert len(next(steps)) == 33 - 13  # nodes 13 to 32, of the lowest level that has children


PLANS = [
    ("sliding", {"size": 5, "stride": 2}),
    ("full", {}),
    ("top-down", {"size": 5}),
    ("setwise-bubble", {"children": 3, "top": 4}),
    ("setwise-heap", {"children": 3, "top": 4}),
]
USUAL = {"size": 20, "stride": 10, "passes": 1, "children": 3, "top": 10}


@pytest.mark.parametrize(("name", "changes"), PLANS)
@given(count=st.integers(0, 60), seed=st.integers(0, 1000), stop=st.integers(0, 40))
def test_any_ranker_and_any_end_leave_a_permutation(
    name: str, changes: dict[str, int], count: int, seed: int, stop: int
) -> None:
    rng = np.random.default_rng(seed)
    order = list(range(count))
    steps = plan(name, **{**USUAL, **changes})(order)
    try:
        round_ = next(steps)
        for _ in range(stop):
            assert sorted(order) == list(range(count))
            round_ = steps.send([rng.permutation(len(ask.places)).tolist() for ask in round_])
        steps.close()
    except StopIteration:
        pass
    assert sorted(order) == list(range(count))


@pytest.mark.parametrize(("name", "changes"), PLANS)
def test_without_answers_the_order_stays(name: str, changes: dict[str, int]) -> None:
    for count in (0, 1, 2, 5, 6, 23, 64):
        order = list(range(count))
        follow(plan(name, **{**USUAL, **changes})(order), lambda ask: None, order)
        assert order == list(range(count))


def test_sliding_is_its_windows() -> None:
    order = list(range(95))
    asked = follow(sliding(order, 20, 10, 2), lambda ask: list(range(len(ask.places))), order)
    assert [(ask.first, (ask.first or 0) + len(ask.places)) for ask in asked] == plan_windows(95, 20, 10) * 2
