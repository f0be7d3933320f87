"""``listwise``: a language model is asked to put passages in order.

    listwise:rank_zephyr_7b?endpoint=http://localhost:8000/v1
    listwise:gpt-4o-mini?style=rankgpt&record=calls.jsonl&budget=200000

The model stands behind an endpoint that speaks OpenAI's chat protocol, as OpenAI, vLLM, SGLang, llama.cpp and Ollama do. See
`tamis.rerankers.listwise.windows` for what it sees at a time, and `tamis.rerankers.listwise.parsing` for what is read out of its
answers. The score of a candidate is 1 / its rank, so that no ties are left for an evaluation to break.

A call that fails for good leaves its window as it was; the query is marked partial. So it is when time or budget end. Only where
no call succeeds at all is the failure raised.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np

from tamis.encoders.base import ModelIdentity, Tick, no_tick
from tamis.encoders.remote import Remote, check_endpoint
from tamis.errors import ModelError, UsageError
from tamis.families import Address
from tamis.rerankers.lists import CandidateList, ListScores
from tamis.rerankers.listwise.chat import Chat, OverBudgetError
from tamis.rerankers.listwise.parsing import parse_order
from tamis.rerankers.listwise.prompts import is_cut, prompt
from tamis.rerankers.listwise.transcript import Transcript
from tamis.rerankers.listwise.windows import check_windows, plan_windows
from tamis.rerankers.options import ListwiseOptions
from tamis.stages import Evidence

VERSION = 1
ENDPOINT, KEY = "https://api.openai.com/v1", "OPENAI_API_KEY"


class _Move(NamedTuple):
    """What a window did to a candidate: places in the list, from 0, and what was mended of the answer."""

    first: int
    end: int
    before: int
    after: int
    repairs: Counter[str]


@dataclass
class _Sorted:
    """A list in the model's order.

    Attributes:
        order: numbers of candidates, best first.
        counts: what it has cost.
        partial: whether a window was left out.
        moves: of every candidate, window by window.
    """

    order: list[int]
    counts: Counter[str] = field(default_factory=Counter)
    partial: bool = False
    moves: list[list[_Move]] = field(default_factory=list)


class Listwise:
    """A `tamis.rerankers.lists.ListScorer`.

    Args:
        identity: of the model.
        chat: asks it.
        options: how.

    Raises:
        UsageError: windows do not overlap.
    """

    def __init__(self, identity: ModelIdentity, chat: Chat, options: ListwiseOptions) -> None:
        check_windows(options.window, options.stride)
        self.identity, self.chat, self.options = identity, chat, options

    def score_lists(
        self, lists: Sequence[CandidateList], *, tick: Tick = no_tick, until: float | None = None
    ) -> ListScores:
        """Put every list in order; see `tamis.rerankers.lists.ListScorer`.

        Raises:
            ModelError: no call succeeded.
            PrerequisiteError: the endpoint wants a key.
            MissingResourceError: a call is replayed that was not recorded.
        """
        stop, failures = threading.Event(), list[ModelError]()

        def work(one: CandidateList) -> _Sorted:
            found = self._sort(one, until, stop, failures)
            tick(len(one.passages))
            return found

        with ThreadPoolExecutor(self.options.concurrency, "tamis-listwise") as workers:
            try:
                found = list(workers.map(work, lists))
            except BaseException:  # an interrupt too: neither waiting nor queued calls go on
                stop.set()
                workers.shutdown(wait=False, cancel_futures=True)
                raise
        counts = sum((one.counts for one in found), Counter[str]())
        if failures and not counts["calls"] + counts["replayed"]:
            raise failures[0]
        scores = []
        for one in found:
            own = np.empty(len(one.order))
            own[one.order] = 1 / np.arange(1, len(one.order) + 1)
            scores.append(own)
        return ListScores(scores, counts, [one.partial for one in found])

    def explain_list(self, candidates: CandidateList) -> list[Evidence]:
        """Return where each candidate stood before and after every window that it was in."""
        failures = list[ModelError]()
        found = self._sort(candidates, None, threading.Event(), failures)
        if failures and not found.counts["calls"] + found.counts["replayed"]:
            raise failures[0]
        rank = {place: i for i, place in enumerate(found.order, 1)}
        return [
            Evidence(f"rank {rank[i]} of {len(found.order)}", 1 / rank[i], {}, tuple(map(_evidence, moves)))
            for i, moves in enumerate(found.moves)
        ]

    def _windows(self, count: int) -> list[tuple[int, int]]:
        size = max(count, 2) if self.options.strategy == "full" else self.options.window
        return plan_windows(count, size, self.options.stride) * self.options.passes

    def _sort(
        self, candidates: CandidateList, until: float | None, stop: threading.Event, failures: list[ModelError]
    ) -> _Sorted:
        count = len(candidates.passages)
        found = _Sorted(list(range(count)), moves=[[] for _ in range(count)])
        found.counts["truncated"] = sum(is_cut(passage, self.options.words) for passage in candidates.passages)
        for first, end in self._windows(count):
            if stop.is_set() or (until is not None and time.monotonic() > until):
                found.partial = True
                break
            places = found.order[first:end]
            passages = [candidates.passages[i] for i in places]
            try:
                answer = self.chat.ask(prompt(self.options.style, candidates.query, passages, self.options.words), stop)
            except OverBudgetError:
                found.partial = True
                found.counts["over_budget"] += 1
                break
            except ModelError as error:
                failures.append(error)
                found.partial = True
                found.counts["failed"] += 1
                continue
            order = parse_order(answer.text, len(places))
            found.counts["calls" if answer.fresh else "replayed"] += 1
            found.counts["tokens"] += answer.tokens
            found.counts["answers_cut"] += answer.cut
            found.counts["repairs"] += bool(order.repairs)
            found.counts.update({f"repairs_{kind}": number for kind, number in order.repairs.items()})
            found.order[first:end] = [places[i] for i in order.places]
            for after, before in enumerate(order.places):
                move = _Move(first, end, first + before, first + after, order.repairs)
                found.moves[places[before]].append(move)
        return found


def _evidence(move: _Move) -> Evidence:
    notes = tuple(f"{number} {kind.replace('_', ' ')}" for kind, number in move.repairs.items())
    details = {"from": move.before + 1, "to": move.after + 1}
    return Evidence(f"window {move.first + 1} to {move.end}", None, details, (), notes)


def load(address: Address, options: ListwiseOptions) -> Listwise:
    """Return the reranker of a model behind an endpoint; nothing is asked yet.

    Raises:
        UsageError: no model is named, the endpoint is no URL, or options contradict each other.
        MissingResourceError: there is no transcript to replay.
    """
    model = f"{address.id}@{address.revision}" if address.revision else address.id
    if not model:
        raise UsageError(f"{address}: name the model, as in  listwise:gpt-4o-mini")
    if options.record and options.replay:
        raise UsageError("record= and replay= exclude each other: record= takes from the file what it holds, too")
    url = check_endpoint(options.endpoint or ENDPOINT)
    # OpenAI's key is for OpenAI: another endpoint gets one only by its name
    remote = Remote(url, options.key or (KEY if url == ENDPOINT else None), options.timeout, options.retries)
    file = options.replay or options.record
    transcript = None if file is None else Transcript(Path(file).expanduser(), replay=bool(options.replay))
    names = ("style", "strategy", "window", "stride", "passes", "words", "max_tokens")
    settings = {
        "family": "listwise",
        "version": VERSION,
        "model": model,
        "host": urlsplit(url).hostname,
        **{name: getattr(options, name) for name in names},
    }
    chat = Chat(
        None if options.replay else remote,
        model,
        max_tokens=options.max_tokens,
        budget=options.budget,
        transcript=transcript,
    )
    return Listwise(ModelIdentity(str(address), {}, settings), chat, options)
