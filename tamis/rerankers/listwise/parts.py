"""Questions about more candidates than a model reads: they are asked in parts, and every candidate is in one.

What asks for an order becomes windows over half as many candidates, which slide over those of the question from the end to the
beginning and overlap by half; what asks for the best becomes bubbles of half as many. A part that does not fit either is asked in
parts itself, down to two candidates.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from enum import Enum

from tamis.rerankers.listwise.strategies import Answer, Ask, Steps, setwise_bubble, sliding


class Unfit(Enum):
    """No answer, since the question is longer than the model reads."""

    UNFIT = "unfit"


UNFIT = Unfit.UNFIT

Reply = Answer | Unfit
"""What comes of a question: an answer, none, or that it has to be asked in parts."""

_Asking = Generator[list[Ask], Sequence[Reply], list[Answer]]


def in_parts(steps: Steps) -> Generator[list[Ask], Sequence[Reply], None]:
    """Run a strategy, and ask in parts what does not fit."""
    try:
        asks = next(steps)
        while True:
            replies = yield asks
            answers = yield from _answered(asks, replies)
            asks = steps.send(answers)
    except StopIteration:
        return
    finally:
        steps.close()


def _answered(asks: Sequence[Ask], replies: Sequence[Reply]) -> _Asking:
    """Return the answers to questions, once those that did not fit were asked in parts, side by side."""
    answers: list[Answer] = [None if isinstance(reply, Unfit) else reply for reply in replies]
    running: dict[int, Generator[list[Ask], Sequence[Answer], list[int]]] = {}
    waiting: dict[int, list[Ask]] = {}
    for i, reply in enumerate(replies):
        if isinstance(reply, Unfit):
            running[i] = _parts(asks[i])
            waiting[i] = next(running[i])
    while waiting:
        flat = [ask for part in waiting.values() for ask in part]
        found = yield flat
        rest = iter((yield from _answered(flat, found)))
        for i, part in list(waiting.items()):
            try:
                waiting[i] = running[i].send([next(rest) for _ in part])
            except StopIteration as end:
                answers[i] = end.value
                del waiting[i]
    return answers


def _parts(ask: Ask) -> Generator[list[Ask], Sequence[Answer], list[int]]:
    """Ask about half as many candidates at a time; return the order that this comes to, by their places in the question."""
    order = list(range(len(ask.places)))
    half = (len(order) + 1) // 2
    steps = setwise_bubble(order, half - 1, 1) if ask.best else sliding(order, half, max(1, half // 2))
    try:
        asks = next(steps)
        while True:
            answers = yield [
                Ask(
                    f"{ask.name}, in parts: {part.name}",
                    [ask.places[i] for i in part.places],
                    None if ask.first is None or part.first is None else ask.first + part.first,
                    ask.best,
                )
                for part in asks
            ]
            asks = steps.send(answers)
    except StopIteration:
        return order
