"""What a call of a model is, wherever the model runs: its answer, its failures, what it may cost."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from tamis.encoders.base import ModelIdentity
from tamis.errors import ModelError
from tamis.rerankers.listwise.prompts import Messages, Question

CHARACTERS_A_TOKEN = 4
"""How tokens are reckoned where nothing counts them."""

ANSWER_TOKENS = 6
"""Tokens that the identifier of a passage takes in an answer, as is reckoned before it is there."""

FAILED, REFUSED = "error", "refused"
"""What a transcript keeps of calls without an answer."""

LENGTH = "length"
"""Why a call was refused that has more passages than the model reads."""

FEWEST = 2
"""Passages that a question has at least."""


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        text: that the model wrote; nothing where it was not asked to.
        tokens: read and written.
        cut: whether the answer ended for want of tokens.
        fresh: whether the model was asked, and not a transcript.
        scores: of the passages as they were shown, larger is better; None: the text says it.
        words: that were shown of a passage, where all that were asked for did not fit; else None.
        shown: the order in which the passages were shown in the end, by their places in the question; None: as they stand there.
    """

    text: str
    tokens: int
    cut: bool
    fresh: bool
    scores: tuple[float, ...] | None = None
    words: int | None = None
    shown: tuple[int, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what a transcript keeps."""
        more: dict[str, Any] = {} if self.scores is None else {"scores": list(self.scores)}
        if self.words is not None:
            more["words"] = self.words
        if self.shown is not None:
            more["shown"] = list(self.shown)
        return {"answer": self.text, "tokens": self.tokens, "cut": self.cut, **more}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Answer:
        """Return the answer of a call that a transcript holds.

        Raises:
            OverBudgetError: it was refused.
            TooManyError: it was too long.
            ModelError: it failed.
        """
        if kept.get(REFUSED) == LENGTH:
            raise TooManyError("the prompt was longer than the model reads")
        if REFUSED in kept:
            raise OverBudgetError
        if FAILED in kept:
            raise ModelError(kept[FAILED])
        scores, shown = kept.get("scores"), kept.get("shown")
        return cls(
            kept["answer"],
            kept["tokens"],
            kept["cut"],
            fresh=False,
            scores=None if scores is None else tuple(map(float, scores)),
            words=kept.get("words"),
            shown=None if shown is None else tuple(shown),
        )


class TooManyError(ModelError):
    """A prompt is longer than the model reads whatever it shows of its passages: there are too many of them."""


class OverBudgetError(Exception):
    """Nothing more may be asked."""


class LateError(Exception):
    """The time is over."""


class Session(Protocol):
    """Calls of one model that run side by side."""

    @property
    def room(self) -> int:
        """How many more calls it takes now."""

    def submit(self, ticket: int, question: Question) -> None:
        """Take a question, to be answered under that number."""

    def collect(self) -> list[tuple[int, Answer | Exception]]:
        """Wait until at least one of the calls has ended, and return those that have, with their numbers.

        Returns:
            An answer, or why there is none: `OverBudgetError`, `LateError` or `ModelError`, and of those `TooManyError` where
            fewer passages might be asked about.

        Raises:
            TamisError: no call can succeed: a key is missing, a transcript does not hold the call or cannot be written.
        """


class Model(Protocol):
    """What a listwise reranker asks."""

    identity: ModelIdentity

    def session(self, until: float | None) -> AbstractContextManager[Session]:
        """Return a session that ends, with calls under way cut off, at `until` by ``time.monotonic``."""


def reckoned(messages: Messages, question: Question, max_tokens: int | None) -> int:
    """Return the tokens that a call is reckoned to take, prompt and answer, before it is made."""
    prompt = sum(len(one["content"]) for one in messages) // CHARACTERS_A_TOKEN
    return prompt + (max_tokens or ANSWER_TOKENS * (1 if question.best else len(question.passages)))


class Budget:
    """Tokens that may be read and written; may be used by several threads.

    What a call is reckoned to take is set aside before it is made, so that the budget is kept as well as the reckoning is good.

    Args:
        tokens: in all; None: any number.
    """

    def __init__(self, tokens: int | None) -> None:
        self._tokens = tokens
        self._spent, self._pending = 0, 0
        self._changed = threading.Condition()

    def reserve(self, tokens: int, stop: threading.Event, until: float | None) -> None:
        """Set tokens aside for a call; waits where what calls under way leave over may be enough.

        Raises:
            OverBudgetError: there are not as many left.
            LateError: the time was over before that was known.
        """
        with self._changed:
            while not self.reserve_now(tokens):
                if stop.is_set() or (until is not None and time.monotonic() > until):
                    raise LateError
                self._changed.wait(0.1)

    def reserve_now(self, tokens: int) -> bool:
        """Set tokens aside, or return False where that has to wait for calls under way.

        Raises:
            OverBudgetError: there will never be as many.
        """
        with self._changed:
            if self._tokens is not None and self._spent + self._pending + tokens > self._tokens:
                if self._pending:
                    return False
                raise OverBudgetError
            self._pending += tokens
            return True

    def settle(self, reserved: int, spent: int) -> None:
        """Say what a call has taken, for which so much was set aside."""
        with self._changed:
            self._pending -= reserved
            self._spent += spent
            self._changed.notify_all()
