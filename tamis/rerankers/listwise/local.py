"""Asking a causal language model on this machine: questions of many queries side by side, kept and replayed like any others.

With ``decoding=generate`` the model writes an answer, greedily, of as many tokens as an order of all passages takes and a few
more. With ``decoding=first`` it writes nothing (Gangi Reddy et al., "FIRST: Faster Improved Listwise Reranking with Single Token
Decoding", 2024): passages are ranked by the logits of the tokens that they are called by, where the answer would name the best.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from tamis.encoders.base import ModelIdentity
from tamis.encoders.batching import Numerics
from tamis.encoders.checkpoints import checkpoint_files, find_checkpoint
from tamis.errors import ModelError
from tamis.families import Address
from tamis.files import sha256_json
from tamis.rerankers.listwise.calls import (
    FAILED,
    REFUSED,
    Answer,
    Budget,
    LateError,
    OverBudgetError,
    Session,
    reckoned,
)
from tamis.rerankers.listwise.causal import Causal, load_causal
from tamis.rerankers.listwise.prompts import Question
from tamis.rerankers.listwise.shrinking import fewer_words, most_words
from tamis.rerankers.listwise.transcript import Transcript
from tamis.rerankers.options import ListwiseOptions

AHEAD = 64
"""Questions that are looked at at once, to find some of like lengths."""

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
        tokens: whose logits are wanted, with ``decoding=first``.
    """

    ticket: int
    question: Question
    request: Mapping[str, Any]
    ids: list[int]
    limit: int
    words: int | None
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
        }

    def keep(self, request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Keep what came of a call."""
        if self.transcript is not None:
            self.transcript.put(request, {**answer, "weights": self.weights})

    def write(self, causal: Causal, ticket: int, question: Question, request: Mapping[str, Any]) -> _Prompt:
        """Return a question as the model reads it, with as many words of a passage as fit.

        Raises:
            ModelError: nothing fits.
        """
        form, labels = question.style.answer, question.labels
        opening, tokens, limit = "", list[int](), 1
        if self.options.decoding == "first":
            opening, tokens = causal.opening(tuple(labels), form)
        else:
            plain = form.format(labels[0]) if question.best else " > ".join(form.format(label) for label in labels)
            limit = self.options.max_tokens or len(causal.ids(plain)) + SLACK

        def ids(words: int) -> list[int]:
            return causal.ids(causal.text(question.messages(words)) + opening)

        reader = f"{self.identity.address}, which reads {causal.context} tokens,"
        words = fewer_words(question, lambda words: len(ids(words)) + limit - causal.context, reader)
        shown = words if words < most_words(question) else None
        return _Prompt(ticket, question, request, ids(words), limit, shown, tokens)

    def answer(self, causal: Causal, batch: list[_Prompt], until: float | None) -> list[Answer]:
        """Put a batch of questions to the model."""
        prompts = [one.ids for one in batch]
        with self.lock:
            if self.options.decoding == "first":
                scores = causal.first(prompts, [one.tokens for one in batch])
                return [
                    Answer("", len(one.ids), cut=False, fresh=True, scores=tuple(found), words=one.words)
                    for one, found in zip(batch, scores, strict=True)
                ]
            written = causal.generate(prompts, [one.limit for one in batch], until)
        return [
            Answer(
                causal.tokenizer.decode(found.ids, skip_special_tokens=True),
                len(one.ids) + len(found.ids),
                found.cut,
                fresh=True,
                words=one.words,
            )
            for one, found in zip(batch, written, strict=True)
        ]


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
        known = None if local.transcript is None else local.transcript.get(request)
        try:
            if local.causal is None:
                self._ready.append((ticket, Answer.from_json(known or {})))
            elif known is not None and "answer" in known and known["weights"] == local.weights:
                answer = Answer.from_json(known)
                local.budget.settle(0, answer.tokens)
                self._ready.append((ticket, answer))
            else:
                self._waiting.append(local.write(local.causal, ticket, question, request))
        except (OverBudgetError, ModelError) as error:
            self._ready.append((ticket, error))

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
    settings = settings | {name: getattr(options, name) for name in ("decoding", "template", "context")}
    if options.replay:
        return Local(ModelIdentity(str(address), {}, settings), None, options, budget=budget, transcript=transcript)
    folder = find_checkpoint(address.id, address.revision)
    numerics = _numerics(options)
    causal = load_causal(folder, numerics, template=options.template, context=options.context, attention=None)
    identity = ModelIdentity(str(address), checkpoint_files(folder), settings | {"dtype": numerics.dtype})
    return Local(identity, causal, options, budget=budget, transcript=transcript)


def _numerics(options: ListwiseOptions) -> Numerics:
    """Return where the model runs; bfloat16 where an accelerator has it, if nothing else is asked for."""
    if options.dtype != "auto":
        return replace(Numerics.of(options.device, options.dtype), tokens=options.batch_tokens)
    device = Numerics.of(options.device, "float32").device
    able = device.startswith("cuda") and torch.cuda.is_bf16_supported()
    return Numerics(device, "bfloat16" if able else "float32", options.batch_tokens)
