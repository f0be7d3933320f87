"""Lists side by side: who is asked first, what an answer moves, and where lists are left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tamis.encoders.base import ModelIdentity, Passage
from tamis.errors import MissingResourceError, ModelError
from tamis.rerankers.lists import CandidateList
from tamis.rerankers.listwise.calls import Answer, LateError, OverBudgetError
from tamis.rerankers.listwise.prompts import SETWISE, STYLES, Question
from tamis.rerankers.listwise.sorting import Manner, Sorter
from tamis.rerankers.listwise.strategies import plan

Say = Callable[[Question], Answer | Exception]


class Scripted:
    """A model that says what a test says, the last question first, so many at a time."""

    identity = ModelIdentity("scripted")

    def __init__(self, say: Say, room: int = 3) -> None:
        self._say, self._room = say, room
        self.asked: list[Question] = []
        self._open: list[tuple[int, Question]] = []

    @contextmanager
    def session(self, until: float | None) -> Iterator[Scripted]:
        yield self

    @property
    def room(self) -> int:
        return self._room - len(self._open)

    def submit(self, ticket: int, question: Question) -> None:
        assert self.room > 0
        self.asked.append(question)
        self._open.append((ticket, question))

    def collect(self) -> list[tuple[int, Answer | Exception]]:
        ticket, question = self._open.pop()
        return [(ticket, self._say(question))]


def written(text: str, **more: Any) -> Answer:
    return Answer(text, 10, cut=False, fresh=True, **more)


def longest_first(question: Question) -> Answer:
    order = sorted(range(len(question.passages)), key=lambda i: -len(question.passages[i].text))
    return written(f"Passage {'ABCD'[order[0]]}" if question.best else " > ".join(f"[{i + 1}]" for i in order))


def candidates(count: int, query: str = "q") -> CandidateList:
    return CandidateList(query, [Passage("", "x" * (i + 1)) for i in range(count)], -np.arange(float(count)))


def sorter(
    lists: list[CandidateList], strategy: str = "sliding", done: list[int] | None = None, **manner: Any
) -> Sorter:
    start = plan(strategy, size=4, stride=2, passes=1, children=3, top=2)
    heard = [] if done is None else done
    return Sorter(lists, start, Manner(STYLES["rankzephyr"], SETWISE, 300, **manner), heard.append)


def test_the_first_lists_are_asked_about_first() -> None:
    model = Scripted(longest_first, room=1)
    done: list[int] = []
    found = sorter([candidates(6, "a"), candidates(0), candidates(6, "b")], done=done).run(model)
    assert [question.query for question in model.asked] == ["a", "a", "b", "b"]
    assert done == [1, 0, 2]
    assert [one.order[:2] for one in found] == [[5, 4], [], [5, 4]]


def test_answers_that_come_in_any_order_find_their_lists() -> None:
    found = sorter([candidates(9, str(i)) for i in range(7)], "top-down").run(Scripted(longest_first, room=5))
    assert all(one.order[:2] == [8, 7] and not one.partial for one in found)


def test_passages_that_were_shown_in_another_order() -> None:
    said = written("[2] > [3] > [1]", shown=(2, 0, 1))
    (found,) = sorter([candidates(3)]).run(Scripted(lambda _: said))
    assert found.order == [0, 1, 2]  # shown as 2, 0, 1; the second of these is 0, the third 1, the first 2
    said = written("", scores=(0.1, 0.3, 0.2), shown=(1, 2, 0))
    (found,) = sorter([candidates(3)]).run(Scripted(lambda _: said))
    assert found.order == [2, 0, 1]
    assert [moves[0].score for moves in found.moves] == [0.2, 0.1, 0.3]


def test_equal_scores_stay_as_they_were() -> None:
    (found,) = sorter([candidates(4)]).run(Scripted(lambda _: written("", scores=(1.0, 2.0, 1.0, 2.0))))
    assert found.order == [1, 3, 0, 2]


@pytest.mark.parametrize(("outcome", "why"), [(OverBudgetError(), "over_budget"), (LateError(), "late")])
def test_a_list_that_may_not_go_on_is_left_as_it_stands(outcome: Exception, why: str) -> None:
    model = Scripted(lambda question: outcome if len(model.asked) > 1 else longest_first(question), room=1)
    done: list[int] = []
    first, second = sorter([candidates(6), candidates(6)], done=done).run(model)
    assert first.order == [0, 1, 5, 4, 3, 2]
    assert second.order == list(range(6))
    assert (first.partial, second.partial, first.counts[why], second.counts[why], done) == (True, True, 1, 1, [0, 1])


def test_a_list_is_left_once_though_more_of_its_calls_end() -> None:
    done: list[int] = []
    (found,) = sorter([candidates(20)], "top-down", done).run(
        Scripted(lambda question: LateError() if len(question.passages) < 4 else longest_first(question))
    )
    assert (done, found.partial) == ([0], True)
    assert sorted(found.order) == list(range(20))


def test_a_failure_is_remembered_and_the_list_goes_on() -> None:
    model = Scripted(lambda question: ModelError("no") if len(model.asked) == 1 else longest_first(question), room=1)
    one = sorter([candidates(6)])
    (found,) = one.run(model)
    assert (found.order, found.partial, str(one.failure)) == ([3, 2, 1, 0, 4, 5], True, "no")


def test_what_is_fatal_is_raised() -> None:
    class Broken(Scripted):
        def collect(self) -> list[tuple[int, Answer | Exception]]:
            raise MissingResourceError("holds no call")

    with pytest.raises(MissingResourceError):
        sorter([candidates(6)]).run(Broken(longest_first))


def test_a_question_is_put_as_often_as_it_is_shuffled() -> None:
    model = Scripted(longest_first)
    (found,) = sorter([candidates(4)], shuffles=5).run(model)
    assert found.order == [3, 2, 1, 0]
    assert len({tuple(p.text for p in question.passages) for question in model.asked}) > 1
    assert len(model.asked) == found.counts["calls"] == 5
    (moves, *_) = found.moves
    assert [(move.before, move.after) for move in moves] == [(0, 3)]
