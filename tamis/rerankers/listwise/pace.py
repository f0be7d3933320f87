"""How fast an endpoint is asked: at most so many requests, and so many tokens, in any minute."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from tamis.rerankers.listwise.calls import LateError

MINUTE = 60.0


class Pace:
    """Limits of an endpoint; may be used by several threads.

    Args:
        requests: in any minute; None: any number.
        tokens: read and written in any minute, as they are reckoned before a call; None: any number. A call that is larger than
            that goes alone.
        clock: tells the time in seconds.
    """

    def __init__(
        self, requests: int | None, tokens: int | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._requests, self._tokens, self._clock = requests, tokens, clock
        self._made: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    def wait(self, tokens: int, stop: threading.Event, until: float | None = None) -> None:
        """Return when a request may be made, which counts from then.

        Args:
            tokens: that it is reckoned to take.
            stop: ends the waiting.
            until: when to give up, by the clock.

        Raises:
            LateError: it may not be made in time.
        """
        while True:
            with self._lock:
                now = self._clock()
                seconds = self._seconds(now, tokens)
                if seconds <= 0:
                    self._made.append((now, tokens))
                    return
            if until is not None and now + seconds >= until:
                raise LateError
            if stop.wait(seconds):
                raise LateError

    def _seconds(self, now: float, tokens: int) -> float:
        """Return how long it takes until a request of so many tokens fits."""
        made = self._made
        while made and made[0][0] + MINUTE <= now:
            made.popleft()
        used, seconds = sum(one for _, one in made), 0.0
        for left, (begun, one) in zip(range(len(made), 0, -1), made, strict=True):  # the oldest go first
            full = self._requests is not None and left >= self._requests
            if not full and (self._tokens is None or used + tokens <= self._tokens):
                break
            used, seconds = used - one, begun + MINUTE - now
        return seconds
