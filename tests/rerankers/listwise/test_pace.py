"""Rate limits, by a clock that a test turns."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tamis.rerankers.listwise.calls import LateError
from tamis.rerankers.listwise.pace import MINUTE, Pace


class Turned(threading.Event):
    """A clock, and what waits by it."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.waits = 0.0, list[float]()

    def __call__(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        assert timeout > 0
        self.waits.append(timeout)
        self.now += timeout
        return self.is_set()


def test_no_limit_never_waits() -> None:
    clock = Turned()
    pace = Pace(None, None, clock=clock)
    for _ in range(1000):
        pace.wait(10**6, clock)
    assert clock.waits == []


def test_requests_of_a_minute() -> None:
    clock = Turned()
    pace = Pace(3, None, clock=clock)
    begun = []
    for _ in range(8):
        pace.wait(1, clock)
        begun.append(clock.now)
        clock.now += 1
    assert begun == [0, 1, 2, 60, 61, 62, 120, 121]


def test_tokens_of_a_minute() -> None:
    clock = Turned()
    pace = Pace(None, 100, clock=clock)
    for tokens, at in [(60, 0), (40, 0), (50, 60), (51, 120), (1000, 180), (1, 240)]:
        pace.wait(tokens, clock)
        assert clock.now == at


@pytest.mark.parametrize("seed", range(5))
def test_no_minute_has_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clock = Turned()
    pace = Pace(5, 100, clock=clock)
    made: list[tuple[float, int]] = []
    for _ in range(200):
        clock.now += int(rng.exponential(40)) / 8  # times that add up without rounding
        tokens = int(rng.integers(1, 60))
        pace.wait(tokens, clock)
        made.append((clock.now, tokens))
    for end, _ in made:
        inside = [tokens for at, tokens in made if end - MINUTE < at <= end]
        assert len(inside) <= 5
        assert sum(inside) <= 100


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    clock = Turned()
    pace = Pace(1, None, clock=clock)
    pace.wait(1, clock)
    with pytest.raises(LateError):
        pace.wait(1, clock, until=59.0)
    assert clock.waits == []
    pace.wait(1, clock, until=61.0)
    clock.set()
    with pytest.raises(LateError):
        pace.wait(1, clock)
