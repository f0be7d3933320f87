"""Questions that are longer than a model reads are asked in parts: every candidate is seen, at every length."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.rerankers.listwise.parts import UNFIT, Reply, in_parts
from tamis.rerankers.listwise.strategies import Ask, plan

PLANS = [
    ("sliding", {"size": 7, "stride": 3}),
    ("full", {}),
    ("top-down", {"size": 8}),
    ("setwise-bubble", {"children": 6, "top": 4}),
    ("setwise-heap", {"children": 6, "top": 4}),
]
USUAL = {"size": 20, "stride": 10, "passes": 1, "children": 3, "top": 10}

Put = Generator[list[Ask], Sequence[Reply], None]


def follow(steps: Put, reply: Callable[[Ask], Reply]) -> tuple[list[Ask], int]:
    """Run a strategy to its end; return the questions that fitted, and how many did not."""
    fitted, split = list[Ask](), 0
    try:
        asks = next(steps)
        while True:
            replies = [reply(ask) for ask in asks]
            fitted += [ask for ask, one in zip(asks, replies, strict=True) if one is not UNFIT]
            split += sum(one is UNFIT for one in replies)
            asks = steps.send(replies)
    except StopIteration:
        return fitted, split


def reading(most: int, best: Sequence[int]) -> Callable[[Ask], Reply]:
    """A ranker that is honest, and reads no more than `most` candidates."""
    return lambda ask: (
        UNFIT if len(ask.places) > max(most, 2) else sorted(range(len(ask.places)), key=lambda i: best[ask.places[i]])
    )


@pytest.mark.parametrize(("name", "changes"), PLANS)
@given(count=st.integers(0, 70), most=st.integers(2, 12), seed=st.integers(0, 100))
def test_every_candidate_is_seen_and_the_best_comes_first(
    name: str, changes: dict[str, int], count: int, most: int, seed: int
) -> None:
    best = np.random.default_rng([count, seed]).permutation(count).tolist()
    order = list(range(count))
    fitted, _ = follow(in_parts(plan(name, **{**USUAL, **changes})(order)), reading(most, best))
    assert sorted(order) == list(range(count))
    assert all(2 <= len(set(ask.places)) == len(ask.places) <= most for ask in fitted)
    assert {i for ask in fitted for i in ask.places} == (set(range(count)) if count > 1 else set())
    if count and name != "top-down":  # whose pivot in parts is compared with what windows carry to it only
        assert best[order[0]] == 0


@pytest.mark.parametrize(("name", "changes"), PLANS)
def test_what_fits_is_asked_as_ever(name: str, changes: dict[str, int]) -> None:
    for count in (0, 1, 2, 7, 23, 64):
        best = np.random.default_rng(count).permutation(count).tolist()
        one, other = list(range(count)), list(range(count))
        asked, split = follow(in_parts(plan(name, **{**USUAL, **changes})(one)), reading(99, best))
        plain, _ = follow(plan(name, **{**USUAL, **changes})(other), reading(99, best))  # type: ignore[arg-type]
        assert (asked, split, one) == (plain, 0, other)


def test_a_part_says_where_its_candidates_stand() -> None:
    order = list(range(9))
    asked, split = follow(in_parts(plan("full", **USUAL)(order)), reading(5, list(range(9))))
    assert split == 1
    assert [(ask.name, ask.places, ask.first) for ask in asked] == [
        ("window 1 to 9, in parts: window 5 to 9", [4, 5, 6, 7, 8], 4),
        ("window 1 to 9, in parts: window 3 to 7", [2, 3, 4, 5, 6], 2),
        ("window 1 to 9, in parts: window 1 to 5", [0, 1, 2, 3, 4], 0),
    ]


def test_a_strategy_that_is_left_is_closed() -> None:
    closed = []

    def steps() -> Generator[list[Ask], Sequence[list[int] | None], None]:
        try:
            yield [Ask("x", [0, 1, 2, 3])]
        finally:
            closed.append(True)

    put = in_parts(steps())
    next(put)
    put.send([UNFIT])
    put.close()
    assert closed == [True]
