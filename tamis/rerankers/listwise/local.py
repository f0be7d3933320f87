"""Asking a language model on this machine, causal or with an encoder: questions of many queries side by side, kept and replayed.

With ``decoding=generate`` the model writes an answer, greedily, of as many tokens as an order of all passages takes and a few
more. With ``decoding=first`` it writes nothing (Gangi Reddy et al., "FIRST: Faster Improved Listwise Reranking with Single Token
Decoding", 2024): passages are ranked by the logits of the tokens that they are called by, where the answer would name the best.
With ``decoding=attention`` it is not even asked: see `tamis.rerankers.listwise.attention`.

Calibrated, the logits are those beyond what the identifiers get where every passage is `NOTHING`, as in Zhao et al., "Calibrate
Before Use", 2021: what a model has for a letter, or a place, goes out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from tamis.encoders.base import ModelIdentity, Passage
from tamis.encoders.batching import Numerics
from tamis.encoders.checkpoints import checkpoint_files, find_checkpoint
from tamis.errors import ModelError, UsageError
from tamis.families import Address
from tamis.files import sha256_json
from tamis.rerankers.listwise.attention import last_attention, query_attention
from tamis.rerankers.listwise.calls import (
    FAILED,
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
from tamis.rerankers.listwise.causal import Causal, load_causal
from tamis.rerankers.listwise.prompts import Question
from tamis.rerankers.listwise.shrinking import fewer_words, most_words
from tamis.rerankers.listwise.transcript import Transcript
from tamis.rerankers.options import ListwiseOptions

_LOCAL = ("decoding", "calibrate", "attention_sort", "template", "context")
"""Options that decide what comes out of a model here."""

AHEAD = 64
"""Questions that are looked at at once, to find some of like lengths."""

REMEMBERED = 1000
"""Prompts with nothing to rank whose scores are remembered, about one a query."""

NOTHING = "N/A"
"""A passage without content."""

SLACK = 8
"""Tokens that an answer may have beyond those of a plain one."""


@dataclass(frozen=True)
class _Prompt:
    """A question as the model reads it.

    Attributes:
        ticket: its number.
        question: itself.
        request: its name in a transcript.
        ids: tokens.
        limit: of its answer's tokens.
        words: that are shown of a passage, where fewer than were asked for.
        opening: how the answer begins, with ``decoding=first``.
        tokens: whose logits are wanted, with ``decoding=first``.
    """

    ticket: int
    question: Question
    request: Mapping[str, Any]
    ids: list[int]
    limit: int
    words: int | None
    opening: str
    tokens: list[int]

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.ids) + self.limit


class Local:
    """A `tamis.rerankers.listwise.calls.Model` on this machine.

    Args:
        identity: of the model.
        causal: itself; None where all calls come out of a transcript.
        options: how it is asked.
        budget: of tokens, those that come out of a transcript too.
        transcript: where calls are kept; None: nowhere.
    """

    def __init__(
        self,
        identity: ModelIdentity,
        causal: Causal | None,
        options: ListwiseOptions,
        *,
        budget: Budget | None = None,
        transcript: Transcript | None = None,
    ) -> None:
        self.identity, self.causal, self.options = identity, causal, options
        self.budget, self.transcript = budget or Budget(None), transcript
        self.lock = threading.Lock()
        self._bias: dict[tuple[int, ...], list[float]] = {}
        # another model under the same name is another model
        self.weights = sha256_json([dict(identity.files), causal.numerics.dtype])[:32] if causal is not None else ""

    @contextmanager
    def session(self, until: float | None) -> Iterator[Session]:
        """See `tamis.rerankers.listwise.calls.Model`."""
        yield _Session(self, until)

    def request(self, question: Question) -> dict[str, Any]:
        """Return what a call is known by in a transcript."""
        options = self.options
        return {
            "model": self.identity.settings["model"],
            "messages": question.messages(),
            "decoding": options.decoding,
            "template": options.template,
            "context": options.context,
            "max_tokens": options.max_tokens,
            "calibrate": self.calibrated,
            "attention_sort": options.attention_sort,
        }

    @property
    def calibrated(self) -> bool:
        """Whether scores are calibrated."""
        return self.options.decoding == "attention" if self.options.calibrate is None else self.options.calibrate

    def keep(self, request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Keep what came of a call."""
        if self.transcript is not None:
            self.transcript.put(request, {**answer, "weights": self.weights})

    def write(self, causal: Causal, ticket: int, question: Question, request: Mapping[str, Any]) -> _Prompt:
        """Return a question as the model reads it, with as many words of a passage as fit.

        Raises:
            TooManyError: nothing fits of so many passages.
            ModelError: nothing fits at all.
        """
        form, labels = question.style.answer, question.labels
        opening, tokens, limit = "", list[int](), 1
        if self.options.decoding == "first":
            opening, tokens = causal.opening(tuple(labels), form)
        elif self.options.decoding == "generate":
            plain = form.format(labels[0]) if question.best else " > ".join(form.format(label) for label in labels)
            limit = self.options.max_tokens or len(causal.ids(plain)) + SLACK

        def ids(words: int) -> list[int]:
            return causal.prompt(question.messages(words), opening)

        reader = f"{self.identity.address}, which reads {causal.context} tokens,"
        words = fewer_words(question, lambda words: len(ids(words)) + limit - causal.context, reader)
        shown = words if words < most_words(question) else None
        return _Prompt(ticket, question, request, ids(words), limit, shown, opening, tokens)

    def answer(self, causal: Causal, batch: list[_Prompt], until: float | None) -> list[Answer | None]:
        """Put a batch of questions to the model.

        Returns:
            The answers; None for those that were not written when the time was over.

        Raises:
            LateError: the time was over before anything was.
            ModelError: the model gives numbers that are not finite, or does not tell of its attention.
        """
        with self.lock:
            batch, shown, read = self._sorted(causal, batch, until)
            found: list[Answer | None]
            if self.options.decoding == "attention":
                found = [self._attended(causal, one, until) for one in batch]
            elif self.options.decoding == "first":
                found = [*self._first(causal, batch)]
            else:
                written = causal.generate([one.ids for one in batch], [one.limit for one in batch], until)
                found = [
                    None
                    if answer is None
                    else Answer(
                        causal.tokenizer.decode(answer.ids, skip_special_tokens=True),
                        len(one.ids) + len(answer.ids),
                        answer.cut,
                        fresh=True,
                    )
                    for one, answer in zip(batch, written, strict=True)
                ]
        return [
            None if answer is None else replace(answer, words=one.words, shown=order, tokens=answer.tokens + more)
            for one, answer, order, more in zip(batch, found, shown, read, strict=True)
        ]

    def _first(self, causal: Causal, batch: list[_Prompt]) -> list[Answer]:
        scores = causal.first([one.ids for one in batch], [one.tokens for one in batch], [one.opening for one in batch])
        more = [0] * len(batch)
        if self.calibrated:
            if len(self._bias) > REMEMBERED:
                self._bias.clear()
            blanks = [self._blank(causal, one) for one in batch]
            unknown = list(dict.fromkeys(blank for blank in blanks if blank not in self._bias))
            if unknown:
                known = dict(zip(blanks, batch, strict=True))
                tokens, openings = zip(*((known[blank].tokens, known[blank].opening) for blank in unknown), strict=True)
                found = causal.first(unknown, tokens, openings)
                self._bias.update(zip(unknown, found, strict=True))
            more = [len(blank) if blank in unknown else 0 for blank in blanks]
            scores = [
                [score - bias for score, bias in zip(row, self._bias[blank], strict=True)]
                for row, blank in zip(scores, blanks, strict=True)
            ]
        return [
            Answer("", len(one.ids) + tokens, cut=False, fresh=True, scores=tuple(row))
            for one, row, tokens in zip(batch, scores, more, strict=True)
        ]

    def _blank(self, causal: Causal, one: _Prompt) -> tuple[int, ...]:
        """Return the prompt of the same query with nothing to rank."""
        nothing = replace(one.question, passages=[Passage("", NOTHING)] * len(one.question.passages))
        return tuple(causal.prompt(nothing.messages(), one.opening))

    def _attended(self, causal: Causal, one: _Prompt, until: float | None) -> Answer:
        if until is not None and time.monotonic() > until:
            raise LateError
        scores, tokens = query_attention(causal, one.question, one.words, calibrated=self.calibrated)
        return Answer("", tokens, cut=False, fresh=True, scores=tuple(scores))

    def _sorted(
        self, causal: Causal, batch: list[_Prompt], until: float | None
    ) -> tuple[list[_Prompt], list[tuple[int, ...] | None], list[int]]:
        """Return prompts with their passages sorted by attention, in which order that is, and the tokens that it took."""
        rounds = self.options.attention_sort
        if not rounds:
            return batch, [None] * len(batch), [0] * len(batch)
        prompts, orders, read = list[_Prompt](), list[tuple[int, ...] | None](), list[int]()
        for one in batch:
            question, order, tokens = one.question, list(range(len(one.question.passages))), 0
            for _ in range(rounds):
                if until is not None and time.monotonic() > until:
                    raise LateError
                scores, count = last_attention(causal, question, one.words, one.opening)
                places = sorted(range(len(scores)), key=lambda i: scores[i])
                order = [order[i] for i in places]
                question = replace(question, passages=[question.passages[i] for i in places])
                tokens += count
            ids = causal.prompt(question.messages(one.words), one.opening)
            prompts.append(replace(one, question=question, ids=ids))
            orders.append(tuple(order))
            read.append(tokens)
        return prompts, orders, read


class _Session:
    """A `tamis.rerankers.listwise.calls.Session` that runs batch by batch, when it is asked for answers."""

    def __init__(self, local: Local, until: float | None) -> None:
        self._local, self._until = local, until
        self._ready: list[tuple[int, Answer | Exception]] = []
        self._waiting: list[_Prompt] = []

    @property
    def room(self) -> int:
        return AHEAD - len(self._ready) - len(self._waiting)

    def submit(self, ticket: int, question: Question) -> None:
        local = self._local
        request = local.request(question)
        try:
            known = None
            if local.transcript is not None:
                known = local.transcript.get(request, hurried=self._until is not None)
            if local.causal is None:
                self._ready.append((ticket, Answer.from_json(known or {})))
            elif known is not None and "answer" in known and known.get("weights") == local.weights:
                answer = Answer.from_json(known)
                local.budget.settle(0, answer.tokens)
                self._ready.append((ticket, answer))
            else:
                self._waiting.append(self._written(local.causal, ticket, question, request))
        except (OverBudgetError, LateError, ModelError) as error:
            self._ready.append((ticket, error))

    def _written(self, causal: Causal, ticket: int, question: Question, request: Mapping[str, Any]) -> _Prompt:
        try:
            return self._local.write(causal, ticket, question, request)
        except ModelError as error:
            too_many = isinstance(error, TooManyError)
            self._local.keep(request, {REFUSED: LENGTH} if too_many else {FAILED: str(error)})
            raise

    def collect(self) -> list[tuple[int, Answer | Exception]]:
        if not self._ready:
            self._run()
        ready, self._ready = self._ready, []
        return ready

    def _run(self) -> None:
        """Answer a batch of questions of like lengths, the longest, or refuse one that the budget does not bear."""
        local, causal = self._local, self._local.causal
        assert causal is not None  # noqa: S101 - without a model nothing waits
        batch, reserved = self._batch(causal)
        if not batch:
            return
        spent = [0] * len(batch)
        try:
            answers = local.answer(causal, batch, self._until)
            for i, (one, answer) in enumerate(zip(batch, answers, strict=True)):
                if answer is None:
                    self._ready.append((one.ticket, LateError()))
                    continue
                spent[i] = answer.tokens
                local.keep(one.request, answer.to_json())
                self._ready.append((one.ticket, answer))
        except LateError as error:
            self._ready += [(one.ticket, error) for one in batch]
        except (ModelError, torch.OutOfMemoryError) as error:
            known = error if isinstance(error, ModelError) else _no_memory(error)
            for one in batch:
                local.keep(one.request, {FAILED: str(known)})
                self._ready.append((one.ticket, known))
        finally:
            for tokens, used in zip(reserved, spent, strict=True):
                local.budget.settle(tokens, used)

    def _batch(self, causal: Causal) -> tuple[list[_Prompt], list[int]]:
        """Return what runs next, and the tokens that were set aside for each."""
        self._waiting.sort(key=lambda one: (-one.length, one.ticket))
        size = max(1, causal.numerics.budget // self._waiting[0].length)
        batch, reserved = list[_Prompt](), list[int]()
        while self._waiting and len(batch) < size:
            one = self._waiting[0]
            tokens = reckoned(one.question.messages(one.words), one.question, one.limit)
            try:
                if not self._local.budget.reserve_now(tokens):
                    if batch:
                        break
                    self._local.budget.reserve(tokens, threading.Event(), self._until)
            except (OverBudgetError, LateError) as error:
                if isinstance(error, OverBudgetError):
                    self._local.keep(one.request, {REFUSED: "budget"})
                self._ready.append((self._waiting.pop(0).ticket, error))
                continue
            batch.append(self._waiting.pop(0))
            reserved.append(tokens)
        return batch, reserved


def _no_memory(error: Exception) -> ModelError:
    return ModelError(f"the device has not the memory for a batch: take a smaller batch_tokens= or window= ({error})")


def load_local(
    address: Address, options: ListwiseOptions, settings: dict[str, Any], transcript: Transcript | None
) -> Local:
    """Load a model of this machine; none where all calls are replayed.

    Raises:
        MissingResourceError: there is no such checkpoint.
        ModelError: it cannot be used.
        PrerequisiteError: there is no such device here.
    """
    budget = Budget(options.budget)
    settings = settings | {name: getattr(options, name) for name in _LOCAL}
    if options.replay:
        return Local(ModelIdentity(str(address), {}, settings), None, options, budget=budget, transcript=transcript)
    folder = find_checkpoint(address.id, address.revision)
    numerics = _numerics(options)
    looked_at = options.decoding == "attention" or options.attention_sort
    attention = "eager" if looked_at else None  # the faster ones never have the weights
    causal = load_causal(folder, numerics, template=options.template, context=options.context, attention=attention)
    if looked_at and causal.model.config.is_encoder_decoder:
        raise UsageError(
            f"{address}: decoding=attention and attention_sort= look into a causal language model, and this one has an encoder "
            "and a decoder: take decoding=first or generate"
        )
    identity = ModelIdentity(str(address), checkpoint_files(folder), settings | {"dtype": numerics.dtype})
    return Local(identity, causal, options, budget=budget, transcript=transcript)


def _numerics(options: ListwiseOptions) -> Numerics:
    """Return where the model runs; bfloat16 where an accelerator has it, if nothing else is asked for."""
    if options.dtype != "auto":
        return replace(Numerics.of(options.device, options.dtype), tokens=options.batch_tokens)
    device = Numerics.of(options.device, "float32").device
    able = device.startswith("cuda") and torch.cuda.is_bf16_supported()
    return Numerics(device, "bfloat16" if able else "float32", options.batch_tokens)
