"""Asking a chat model that runs behind an endpoint, within a budget and at a pace, and keeping what it said.

Greedy decoding is always asked for: servers have other defaults, and rankings get worse by them. An endpoint that fails for good
is an error, whose text is never taken for an answer. One that says that a prompt is too long for it is asked again with less of
every passage.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from tamis.encoders.base import ModelIdentity
from tamis.encoders.remote import DeadlineError, Remote
from tamis.errors import ModelError
from tamis.rerankers.listwise.calls import (
    CHARACTERS_A_TOKEN,
    FAILED,
    FEWEST,
    LENGTH,
    REFUSED,
    Answer,
    Budget,
    LateError,
    OverBudgetError,
    Session,
    TooManyError,
    reckoned,
)
from tamis.rerankers.listwise.logprobs import ANSWER, MOST, read_scores
from tamis.rerankers.listwise.pace import Pace
from tamis.rerankers.listwise.prompts import Messages, Question
from tamis.rerankers.listwise.shrinking import fewer_words, most_words
from tamis.rerankers.listwise.transcript import Transcript

_TOO_LONG = re.compile(
    r"answered (?:400|413|422): .*(?:context.{0,3}(?:length|window|size)|(?:prompt|input).{0,20}too long|too many tokens|"
    r"maximum.{0,20}tokens)",
    re.IGNORECASE,
)
_LESS = 0.7
"""What is left of the words of a passage where an endpoint says that there are too many."""


class Chat:
    """A `tamis.rerankers.listwise.calls.Model` behind an endpoint.

    Args:
        identity: of the model.
        remote: the endpoint; None where all calls come out of a transcript.
        model: its name there.
        max_tokens: of an answer; None: not said.
        context: tokens of prompt and answer together that the model reads, as they are reckoned; None: any number.
        concurrency: calls at a time.
        budget: of tokens, those that come out of a transcript too.
        scored: whether passages are ranked by the likeliest tokens that an answer begins with, and nothing more is written.
        pace: how fast it may be asked; replayed calls do not count.
        transcript: where calls are kept; None: nowhere.
    """

    def __init__(
        self,
        identity: ModelIdentity,
        remote: Remote | None,
        model: str,
        *,
        max_tokens: int | None = None,
        context: int | None = None,
        concurrency: int = 1,
        scored: bool = False,
        budget: Budget | None = None,
        pace: Pace | None = None,
        transcript: Transcript | None = None,
    ) -> None:
        self.identity, self._remote, self.model = identity, remote, model
        self._max_tokens = ANSWER if scored and max_tokens is None else max_tokens
        self._context, self._concurrency, self._scored = context, concurrency, scored
        self._budget, self._transcript = budget or Budget(None), transcript
        self._pace = pace or Pace(None, None)

    @contextmanager
    def session(self, until: float | None) -> Iterator[Session]:
        """See `tamis.rerankers.listwise.calls.Model`."""
        stop = threading.Event()
        with ThreadPoolExecutor(self._concurrency, "tamis-listwise") as workers:
            try:
                yield _Session(self, workers, self._concurrency, stop, until)
            except BaseException:  # an interrupt too: neither waiting nor queued calls go on
                stop.set()
                workers.shutdown(wait=False, cancel_futures=True)
                raise

    def ask(self, question: Question, stop: threading.Event | None = None, until: float | None = None) -> Answer:
        """Return what the model answers; what came of it is kept, but for what only came too late.

        Args:
            question: what it is asked.
            stop: once it is set, nothing is repeated any more.
            until: when to give up, by ``time.monotonic``.

        Raises:
            OverBudgetError: it would be more than the budget.
            LateError: there was no answer in time.
            TooManyError: the prompt is too long for the model whatever it shows of the passages.
            ModelError: the endpoint fails, or does not speak the protocol.
            PrerequisiteError: it wants a key.
            MissingResourceError: the transcript is all there is, and does not hold the call.
        """
        stop = stop or threading.Event()
        messages, transcript = question.messages(), self._transcript
        asked = self.request(messages) | ({} if self._context is None else {"context": self._context})
        known = None if transcript is None else transcript.get(asked, hurried=until is not None)
        if self._remote is None:
            return Answer.from_json(known or {})

        def keep(outcome: Mapping[str, Any]) -> None:
            if transcript is not None:
                transcript.put(asked, outcome)

        tokens, spent = reckoned(messages, question, self._max_tokens), 0
        try:
            self._budget.reserve(tokens, stop, until)
        except OverBudgetError:
            keep({REFUSED: "budget"})
            raise
        try:
            if known is not None and "answer" in known:
                answer = Answer.from_json(known)
            else:
                answer = self._fitting(self._remote, question, stop, until)
                keep(answer.to_json())
            spent = answer.tokens
        except DeadlineError as error:
            raise LateError from error
        except ModelError as error:
            keep({REFUSED: LENGTH} if isinstance(error, TooManyError) else {FAILED: str(error)})
            raise
        finally:
            self._budget.settle(tokens, spent)
        return answer

    def request(self, messages: Messages) -> dict[str, Any]:
        """Return what is sent to the endpoint."""
        found: dict[str, Any] = {"model": self.model, "messages": messages, "temperature": 0}
        if self._scored:
            found |= {"logprobs": True, "top_logprobs": MOST}
        return found if self._max_tokens is None else found | {"max_tokens": self._max_tokens}

    def _fitting(self, remote: Remote, question: Question, stop: threading.Event, until: float | None) -> Answer:
        """Ask with as many words of a passage as fit."""
        words = self._words(question)
        while True:
            messages = question.messages(words)
            tokens = reckoned(messages, question, self._max_tokens)
            pace = partial(self._pace.wait, tokens, stop, until)
            try:
                raw = remote.post("chat/completions", self.request(messages), stop, until=until, before=pace)
            except ModelError as error:
                if isinstance(error, DeadlineError) or not _TOO_LONG.search(str(error)):
                    raise
                if words <= 1:
                    if len(question.passages) > FEWEST:
                        raise TooManyError(str(error)) from error
                    raise
                words = int(words * _LESS)
            else:
                answer = read_answer(raw, messages)
                if self._scored:
                    scores = read_scores(raw["choices"][0], question.labels, question.style.answer)
                    answer = replace(answer, scores=scores, cut=False)
                return replace(answer, words=words) if words < most_words(question) else answer

    def _words(self, question: Question) -> int:
        """Return how many words of a passage fit into the context, as tokens are reckoned."""
        if self._context is None:
            return most_words(question)
        limit = self._context

        def overflow(words: int) -> int:
            return reckoned(question.messages(words), question, self._max_tokens) - limit

        return fewer_words(question, overflow, f"{self.model}, by context={limit},")


class _Session:
    """A `tamis.rerankers.listwise.calls.Session` over threads."""

    def __init__(
        self, chat: Chat, workers: ThreadPoolExecutor, concurrency: int, stop: threading.Event, until: float | None
    ) -> None:
        self._chat, self._workers, self._concurrency = chat, workers, concurrency
        self._stop, self._until = stop, until
        self._running: dict[Future[Answer], int] = {}

    @property
    def room(self) -> int:
        return self._concurrency - len(self._running)

    def submit(self, ticket: int, question: Question) -> None:
        self._running[self._workers.submit(self._chat.ask, question, self._stop, self._until)] = ticket

    def collect(self) -> list[tuple[int, Answer | Exception]]:
        ended, _ = wait(self._running, return_when=FIRST_COMPLETED)
        found: list[tuple[int, Answer | Exception]] = []
        for one in ended:
            ticket, error = self._running.pop(one), one.exception()
            if error is None:
                found.append((ticket, one.result()))
            elif isinstance(error, (OverBudgetError, LateError, ModelError)):
                found.append((ticket, error))
            else:
                raise error
        return found


def read_answer(value: Any, messages: Messages) -> Answer:
    """Return the answer out of what an endpoint sent.

    Args:
        value: that it sent.
        messages: that it was sent.

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
