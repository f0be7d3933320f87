"""``listwise``: a language model is asked to put passages in order.

    listwise:rank_zephyr_7b?endpoint=http://localhost:8000/v1
    listwise:gpt-4o-mini?style=rankgpt&record=calls.jsonl&budget=200000
    listwise:castorini/rank_zephyr_7b_v1_full?backend=local
    listwise:castorini/first_mistral?backend=local&decoding=first

The model stands behind an endpoint that speaks OpenAI's chat protocol, as OpenAI, vLLM, SGLang, llama.cpp and Ollama do, or runs
here (`tamis.rerankers.listwise.local`). See `tamis.rerankers.listwise.strategies` for what it sees at a time, and
`tamis.rerankers.listwise.parsing` for what is read out of its answers. The score of a candidate is 1 / its rank, so that no ties
are left for an evaluation to break.

A call that fails for good leaves its candidates as they were; the query is marked partial. So it is when time or budget end. Only
where no call succeeds at all is the failure raised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tamis.encoders.base import ModelIdentity, Tick, no_tick
from tamis.encoders.remote import Remote, check_endpoint
from tamis.errors import UsageError
from tamis.families import Address
from tamis.rerankers.lists import CandidateList, ListScores
from tamis.rerankers.listwise.calls import Budget, Model
from tamis.rerankers.listwise.chat import Chat
from tamis.rerankers.listwise.pace import Pace
from tamis.rerankers.listwise.prompts import ATTENDED, SETWISE, STYLES, Style, is_cut
from tamis.rerankers.listwise.sorting import Manner, Move, Sorted, Sorter
from tamis.rerankers.listwise.strategies import plan
from tamis.rerankers.listwise.transcript import Transcript
from tamis.rerankers.listwise.windows import check_windows
from tamis.rerankers.options import ListwiseOptions
from tamis.stages import Evidence

VERSION = 2
ENDPOINT, KEY = "https://api.openai.com/v1", "OPENAI_API_KEY"
_ASKED = (
    "strategy",
    "window",
    "stride",
    "passes",
    "children",
    "top",
    "shuffles",
    "seed",
    "consensus",
    "words",
    "max_tokens",
)
"""Options that decide what is asked and what is made of it, wherever the model runs."""


class Listwise:
    """A `tamis.rerankers.lists.ListScorer`.

    Args:
        model: is asked.
        options: how.

    Raises:
        UsageError: options contradict each other.
    """

    def __init__(self, model: Model, options: ListwiseOptions) -> None:
        check(options)
        self.model, self.options = model, options
        self.identity = model.identity
        self._manner = Manner(*styles_of(options), options.words, options.shuffles, options.seed, options.consensus)
        names = ("stride", "passes", "children", "top")
        self._start = plan(options.strategy, size=options.window, **{name: getattr(options, name) for name in names})

    def score_lists(
        self, lists: Sequence[CandidateList], *, tick: Tick = no_tick, until: float | None = None
    ) -> ListScores:
        """Put every list in order; see `tamis.rerankers.lists.ListScorer`.

        Raises:
            ModelError: no call succeeded.
            PrerequisiteError: the endpoint wants a key.
            MissingResourceError: a call is replayed that was not recorded.
            UsageError: a list is longer than there are letters to call its passages by.
        """
        found = self._sort(lists, lambda number: tick(len(lists[number].passages)), until)
        scores = []
        for one in found:
            own = np.empty(len(one.order))
            own[one.order] = 1 / np.arange(1, len(one.order) + 1)
            scores.append(own)
        counts = sum((one.counts for one in found), Counter[str]())
        return ListScores(scores, counts, [one.partial for one in found])

    def explain_list(self, candidates: CandidateList) -> list[Evidence]:
        """Return where each candidate stood before and after every question that it was in, and the score it got there."""
        (found,) = self._sort([candidates], lambda _: None, None)
        rank = {place: i for i, place in enumerate(found.order, 1)}
        return [
            Evidence(f"rank {rank[i]} of {len(found.order)}", 1 / rank[i], {}, tuple(map(_evidence, moves)))
            for i, moves in enumerate(found.moves)
        ]

    def _sort(
        self, lists: Sequence[CandidateList], finished: Callable[[int], None], until: float | None
    ) -> list[Sorted]:
        longest = max((len(one.passages) for one in lists), default=0)
        if self.options.strategy == "full" and len(self._manner.order.labels(longest)) < longest:
            raise UsageError(
                f"strategy=full over {longest} candidates: style={style_of(self.options)} calls them by letters, of which there "
                "are 26; take strategy=sliding, or re-rank fewer"
            )
        sorter = Sorter(lists, self._start, self._manner, finished)
        found = sorter.run(self.model, until)
        for one, candidates in zip(found, lists, strict=True):
            one.counts["truncated"] = sum(is_cut(passage, self.options.words) for passage in candidates.passages)
        if sorter.failure is not None and not any(one.counts["calls"] + one.counts["replayed"] for one in found):
            raise sorter.failure
        return found


def _evidence(move: Move) -> Evidence:
    notes = tuple(f"{number} {kind.replace('_', ' ')}" for kind, number in move.repairs.items())
    first = 1 if move.ask.first is None else move.ask.first + 1
    details = {"from": first + move.before, "to": first + move.after}
    return Evidence(move.ask.name, move.score, details, (), notes)


def style_of(options: ListwiseOptions) -> str:
    """Return how an order is asked for."""
    return options.style or {"generate": "rankzephyr", "first": "first", "attention": "attended"}[options.decoding]


def styles_of(options: ListwiseOptions) -> tuple[Style, Style]:
    """Return how an order is asked for, and how the best of a few."""
    return (ATTENDED, ATTENDED) if options.decoding == "attention" else (STYLES[style_of(options)], SETWISE)


def check(options: ListwiseOptions) -> None:
    """Check that options go together.

    Raises:
        UsageError: they do not.
    """
    if options.strategy == "sliding":
        check_windows(options.window, options.stride)
    if options.record and options.replay:
        raise UsageError("record= and replay= exclude each other: record= takes from the file what it holds, too")
    local = {"decoding": options.decoding, "calibrate": options.calibrate, "attention_sort": options.attention_sort}
    for name, value in local.items():
        if options.backend != "local" and value not in ("generate", "first", None, False, 0):
            raise UsageError(
                f"{name}={value} looks into a model, which has to run here: take backend=local, or leave it out"
            )
    if options.decoding == "attention" and options.style:
        raise UsageError(f"style={options.style}: decoding=attention has a prompt of its own")
    if options.decoding == "generate" and options.calibrate:
        raise UsageError("calibrate=true: an order that a model writes has no scores; take decoding=first or attention")
    style = style_of(options)
    lettered = styles_of(options)[0].letters
    if lettered and options.strategy in ("sliding", "top-down") and options.window > 26:
        raise UsageError(f"window={options.window}: style={style} calls passages by letters, of which there are 26")
    asks_orders = not options.strategy.startswith("setwise")
    if (
        options.decoding == "first"
        and not lettered
        and asks_orders
        and (options.window > 9 or options.strategy == "full")
    ):
        raise UsageError(
            f"window={options.window}: decoding=first needs one token a passage, which style={style} has up to 9; take "
            "style=first, or window=9"
        )


def load(address: Address, options: ListwiseOptions) -> Listwise:
    """Return the reranker of a model behind an endpoint, of which nothing is asked yet, or of one that runs here.

    Raises:
        UsageError: no model is named, the endpoint is no URL, or options contradict each other.
        MissingResourceError: there is no transcript to replay, or no such checkpoint.
        ModelError: the checkpoint cannot be used.
    """
    model = f"{address.id}@{address.revision}" if address.revision else address.id
    if not model:
        raise UsageError(f"{address}: name the model, as in  listwise:gpt-4o-mini")
    check(options)
    file = options.replay or options.record
    transcript = None if file is None else Transcript(Path(file).expanduser(), replay=bool(options.replay))
    settings: dict[str, Any] = {
        "family": "listwise",
        "version": VERSION,
        "model": model,
        "style": style_of(options),
        **{name: getattr(options, name) for name in _ASKED},
    }
    if options.backend == "local":
        from tamis.rerankers.listwise.local import load_local

        return Listwise(load_local(address, options, settings, transcript), options)
    url = check_endpoint(options.endpoint or ENDPOINT)
    # OpenAI's key is for OpenAI: another endpoint gets one only by its name
    remote = Remote(url, options.key or (KEY if url == ENDPOINT else None), options.timeout, options.retries)
    settings |= {"host": urlsplit(url).hostname, "context": options.context, "decoding": options.decoding}
    chat = Chat(
        ModelIdentity(str(address), {}, settings),
        None if options.replay else remote,
        model,
        max_tokens=options.max_tokens,
        context=options.context,
        concurrency=options.concurrency,
        scored=options.decoding == "first",
        budget=Budget(options.budget),
        pace=Pace(options.rpm, options.tpm),
        transcript=transcript,
    )
    return Listwise(chat, options)
