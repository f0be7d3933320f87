"""Asking a chat model that runs behind an endpoint, within a budget, and keeping what it said.

Greedy decoding is always asked for: servers have other defaults, and rankings get worse by them. An endpoint that fails for good
is an error, whose text is never taken for an answer.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from tamis.encoders.remote import Remote
from tamis.errors import ModelError
from tamis.rerankers.listwise.prompts import Messages
from tamis.rerankers.listwise.transcript import Transcript

CHARACTERS_A_TOKEN = 4
"""How tokens are reckoned where an endpoint does not count them."""


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        text: that the model wrote.
        tokens: read and written.
        cut: whether the answer ended for want of tokens.
        fresh: whether the model was asked, and not a transcript.
    """

    text: str
    tokens: int
    cut: bool
    fresh: bool


class OverBudgetError(Exception):
    """Nothing more may be asked."""


class Chat:
    """A chat model; may be used by several threads.

    Args:
        remote: the endpoint; None where all calls come out of a transcript.
        model: its name there.
        max_tokens: of an answer; None: not said.
        budget: tokens that may be read and written, those of replayed calls too; None: any. Nothing is asked once it is spent, or
            would be by the calls under way, as they are reckoned; what these come to is known when they end.
        transcript: where calls are kept; None: nowhere.
    """

    def __init__(
        self,
        remote: Remote | None,
        model: str,
        *,
        max_tokens: int | None = None,
        budget: int | None = None,
        transcript: Transcript | None = None,
    ) -> None:
        self._remote, self.model, self._max_tokens = remote, model, max_tokens
        self._budget, self._transcript = budget, transcript
        self._spent, self._pending = 0, 0
        self._lock = threading.Lock()

    def ask(self, messages: Messages, stop: threading.Event | None = None) -> Answer:
        """Return what the model answers.

        Args:
            messages: the conversation.
            stop: once it is set, nothing is repeated any more.

        Raises:
            OverBudgetError: the budget is spent.
            ModelError: the endpoint fails, or does not speak the protocol.
            PrerequisiteError: it wants a key.
            MissingResourceError: the transcript is all there is, and does not hold the call.
        """
        request: dict[str, Any] = {"model": self.model, "messages": messages, "temperature": 0}
        if self._max_tokens is not None:
            request["max_tokens"] = self._max_tokens
        reckoned = sum(len(one["content"]) for one in messages) // CHARACTERS_A_TOKEN + (self._max_tokens or 0)
        with self._lock:
            if self._budget is not None and self._spent + self._pending >= self._budget:
                raise OverBudgetError
            self._pending += reckoned
        spent = 0
        try:
            answer = self._answer(request, messages, stop)
            spent = answer.tokens
        finally:
            with self._lock:
                self._pending -= reckoned
                self._spent += spent
        return answer

    def _answer(self, request: dict[str, Any], messages: Messages, stop: threading.Event | None) -> Answer:
        """Return what the transcript holds, or what the model says; failures are kept too, and asked again when recording."""
        transcript = self._transcript
        known = None if transcript is None else transcript.get(request)
        if known is not None and "error" not in known:
            return Answer(known["answer"], known["tokens"], known["cut"], fresh=False)
        if self._remote is None:
            assert known is not None  # noqa: S101 - the transcript has raised
            raise ModelError(known["error"])
        try:
            answer = read_answer(self._remote.post("chat/completions", request, stop), messages)
        except ModelError as error:
            if transcript is not None:
                transcript.put(request, {"error": str(error)})
            raise
        if transcript is not None:
            transcript.put(request, {"answer": answer.text, "tokens": answer.tokens, "cut": answer.cut})
        return answer


def read_answer(value: Any, messages: Messages) -> Answer:
    """Return the answer out of what an endpoint sent.

    Raises:
        ModelError: it is not of the protocol.
    """
    choices = value.get("choices") if isinstance(value, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(text, str):
        raise ModelError("the endpoint's answer has no choices[0].message.content: it does not speak the chat protocol")
    usage = value.get("usage")
    tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
    if not isinstance(tokens, int):
        tokens = (sum(len(one["content"]) for one in messages) + len(text)) // CHARACTERS_A_TOKEN
    return Answer(text, tokens, choice.get("finish_reason") == "length", fresh=True)
