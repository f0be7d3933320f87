"""Many lists on their way through a strategy at once: what they ask is put to one model, and what it says is read.

The model is given the questions of the first lists first, as many as it takes at a time. A list whose time or budget is over is
left as it stands then.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from tamis.errors import MissingResourceError, ModelError, TamisError
from tamis.rerankers.lists import CandidateList
from tamis.rerankers.listwise.calls import Answer, Model, OverBudgetError, Session, TooManyError
from tamis.rerankers.listwise.consensus import consensus, shuffle
from tamis.rerankers.listwise.parsing import Order, parse_best, parse_order
from tamis.rerankers.listwise.parts import UNFIT, Reply, in_parts
from tamis.rerankers.listwise.prompts import Question, Style
from tamis.rerankers.listwise.strategies import Ask, Steps


class Move(NamedTuple):
    """What the answer to a question did to a candidate.

    Attributes:
        ask: the question.
        before: where it stood among the candidates of the question, from 0.
        after: where it stands after the answer, from 0.
        score: that the model gave it, the mean where it was asked several times; None where it only named an order.
        repairs: what was mended of the answer.
    """

    ask: Ask
    before: int
    after: int
    score: float | None
    repairs: Counter[str]


@dataclass
class Sorted:
    """A list in the model's order.

    Attributes:
        order: numbers of candidates, best first.
        counts: what it has cost.
        partial: whether something was left out.
        moves: of every candidate, question by question.
    """

    order: list[int]
    counts: Counter[str] = field(default_factory=Counter)
    partial: bool = False
    moves: list[list[Move]] = field(default_factory=list)


@dataclass(frozen=True)
class Manner:
    """How questions are put.

    Attributes:
        order: the style in which an order is asked for.
        best: the style in which the best of a few is asked for.
        words: that are shown of a passage.
        shuffles: how often a question is put, its candidates shuffled each time; 0: once, as they stand.
        seed: of the shuffles.
        consensus: what is made of the answers, see `tamis.rerankers.listwise.consensus`.
    """

    order: Style
    best: Style
    words: int
    shuffles: int = 0
    seed: int = 0
    consensus: str = "kemeny"

    def question(self, candidates: CandidateList, ask: Ask, number: int) -> tuple[Question, list[int]]:
        """Return what is asked the time of that number, and in which order the candidates of a question are shown."""
        passages = [candidates.passages[i] for i in ask.places]
        shown = list(range(len(passages)))
        if self.shuffles:
            texts = [passage.joined for passage in passages]
            shown = shuffle(len(passages), self.seed, number, candidates.query, *texts)
        style = self.best if ask.best else self.order
        return Question(style, candidates.query, [passages[i] for i in shown], self.words, ask.best), shown


@dataclass
class _Vote:
    """An answer, by the places of the candidates in the question."""

    order: list[int]
    known: bool
    scores: list[float] | None
    repairs: Counter[str]


class _Poll:
    """A question, and the answers to it."""

    def __init__(self, ask: Ask, times: int) -> None:
        self.ask, self.open = ask, times
        self.votes: list[_Vote] = []
        self.unfit = False

    def outcome(self, method: str) -> tuple[list[int] | None, list[float] | None, Counter[str]]:
        """Return the order that the answers come to, None where there is none, mean scores, and what was mended."""
        repairs = sum((vote.repairs for vote in self.votes), Counter[str]())
        known = [vote for vote in self.votes if vote.known]
        if not known:
            return None, None, repairs
        scores = [vote.scores for vote in known if vote.scores is not None]
        means = [sum(column) / len(scores) for column in zip(*scores, strict=True)] if scores else None
        if len(known) == 1:
            return known[0].order, means, repairs
        return consensus([vote.order for vote in known], "best" if self.ask.best else method), means, repairs


class _List:
    """A list that is being sorted."""

    def __init__(self, candidates: CandidateList, start: Callable[[list[int]], Steps], manner: Manner) -> None:
        count = len(candidates.passages)
        self.candidates, self._manner = candidates, manner
        self.found = Sorted(list(range(count)), moves=[[] for _ in range(count)])
        self._steps = in_parts(start(self.found.order))
        self.polls: list[_Poll] = []
        self.done = False
        self._advance(lambda: next(self._steps))

    def take(self, place: int, vote: _Vote | None) -> bool:
        """Take an answer, or that there is none; return whether it was the last of its round, and `polls` is the next."""
        poll = self.polls[place]
        poll.open -= 1
        if vote is not None:
            poll.votes.append(vote)
        if any(one.open for one in self.polls):
            return False
        answers = [self._settle(one) for one in self.polls]
        self._advance(lambda: self._steps.send(answers))
        return True

    def leave(self) -> None:
        """Ask nothing more."""
        self.found.partial = self.done = True
        self._steps.close()

    def _settle(self, poll: _Poll) -> Reply:
        if poll.unfit and not poll.votes:
            return UNFIT
        order, scores, repairs = poll.outcome(self._manner.consensus)
        for after, before in enumerate(order if order is not None else range(len(poll.ask.places)) if repairs else ()):
            score = None if scores is None else scores[before]
            self.found.moves[poll.ask.places[before]].append(Move(poll.ask, before, after, score, repairs))
        return order

    def _advance(self, step: Callable[[], list[Ask]]) -> None:
        try:
            asks = step()
        except StopIteration:
            asks, self.done = [], True
        self.polls = [_Poll(ask, max(self._manner.shuffles, 1)) for ask in asks]


class _Call(NamedTuple):
    """A call: of which list, which question of its round, and the how manieth of that."""

    number: int
    place: int
    time: int


class Sorter:
    """Lists that are sorted side by side.

    Args:
        lists: one a query.
        start: begins a strategy over numbers of candidates (see `tamis.rerankers.listwise.strategies`).
        manner: how questions are put.
        finished: hears the number of a list that is done.

    Attributes:
        failure: the first failure of a call, or of looking one up.
    """

    def __init__(
        self,
        lists: Sequence[CandidateList],
        start: Callable[[list[int]], Steps],
        manner: Manner,
        finished: Callable[[int], None],
    ) -> None:
        self._manner, self._finished = manner, finished
        self._work = [_List(one, start, manner) for one in lists]
        self._waiting: list[_Call] = []  # a heap: the calls of the first lists first
        self._running: dict[int, tuple[_Call, list[int]]] = {}
        self._tickets = count()
        self.failure: TamisError | None = None

    def run(self, model: Model, until: float | None = None) -> list[Sorted]:
        """Put every list in order.

        Args:
            model: is asked.
            until: when to stop, by ``time.monotonic``.

        Raises:
            TamisError: see `tamis.rerankers.listwise.calls.Session.collect`.
        """
        for number in range(len(self._work)):
            self._queue(number)
        with model.session(until) as session:
            while self._waiting or self._running:
                self._submit(session, until)
                if self._running:
                    for ticket, outcome in session.collect():
                        self._take(*self._running.pop(ticket), outcome)
        return [one.found for one in self._work]

    def _queue(self, number: int) -> None:
        """Let the calls of a list's round wait for their turn."""
        one = self._work[number]
        if one.done:
            self._finished(number)
        for place, poll in enumerate(one.polls):
            for time_ in range(poll.open):
                heapq.heappush(self._waiting, _Call(number, place, time_))

    def _submit(self, session: Session, until: float | None) -> None:
        while self._waiting and session.room > 0:
            call = heapq.heappop(self._waiting)
            one = self._work[call.number]
            if one.done:
                continue
            if until is not None and time.monotonic() > until:
                self._leave(call.number, "late")
                continue
            ticket = next(self._tickets)
            question, shown = self._manner.question(one.candidates, one.polls[call.place].ask, call.time)
            self._running[ticket] = call, shown
            session.submit(ticket, question)

    def _take(self, call: _Call, shown: list[int], outcome: Answer | Exception) -> None:
        one = self._work[call.number]
        if not isinstance(outcome, (Answer, ModelError)):
            if isinstance(outcome.__cause__, MissingResourceError):
                self.failure = self.failure or outcome.__cause__
            self._leave(call.number, "over_budget" if isinstance(outcome, OverBudgetError) else "late")
            return
        vote = None
        if isinstance(outcome, Answer):
            vote = self._read(one, call.place, shown, outcome)
        elif isinstance(outcome, TooManyError):
            one.found.counts["split"] += not one.polls[call.place].unfit
            one.polls[call.place].unfit = True
        else:
            self.failure = self.failure or outcome
            one.found.counts["failed"] += 1
            one.found.partial = True
        if not one.done and one.take(call.place, vote):
            self._queue(call.number)

    def _leave(self, number: int, why: str) -> None:
        one = self._work[number]
        one.found.counts[why] += 1
        if not one.done:
            one.leave()
            self._finished(number)

    def _read(self, one: _List, place: int, shown: list[int], answer: Answer) -> _Vote:
        """Return what an answer says, and count what it took."""
        ask, counts = one.polls[place].ask, one.found.counts
        style = self._manner.best if ask.best else self._manner.order
        if answer.shown is not None:
            shown = [shown[i] for i in answer.shown]
        scores = None
        if answer.scores is not None:
            by_place = dict(zip(shown, answer.scores, strict=True))
            scores = [by_place[i] for i in range(len(shown))]
            order = Order(sorted(range(len(shown)), key=lambda i: (-by_place[shown[i]], i)), Counter())
        elif ask.best:
            order = parse_best(answer.text, style.labels(len(shown)))
        else:
            order = parse_order(answer.text, len(shown), letters=style.letters)
        counts["calls" if answer.fresh else "replayed"] += 1
        counts["tokens"] += answer.tokens
        counts["answers_cut"] += answer.cut
        counts["shrunk"] += answer.words is not None
        counts["repairs"] += bool(order.repairs)
        counts.update({f"repairs_{kind}": number for kind, number in order.repairs.items()})
        return _Vote([shown[i] for i in order.places], order.known, scores, order.repairs)
