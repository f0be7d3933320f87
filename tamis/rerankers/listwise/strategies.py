"""How a list is put in order by asking about a few of its candidates at a time.

A strategy is a generator. It gives the questions that may be asked side by side, is sent the answers, and so on. The list of
candidates, which it rearranges in place, stands in the best order known so far in between, so that it can be left at any time.

- ``sliding``: windows from the end of the list to its beginning (`tamis.rerankers.listwise.windows`); ``full`` is one window.
- ``top-down``: Parry et al., "Top-Down Partitioning for Efficient List-Wise Ranking", 2024. The first window is put in order;
  the candidate in its middle is the pivot that all others are compared with, side by side; those that beat it are put in order.
- ``setwise-heap``, ``setwise-bubble``: Zhuang et al., "A Setwise Approach", 2024. The model is asked for the best of a few;
  a heap, or bubbles, bring the best of all to the top.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from tamis.rerankers.listwise.windows import plan_windows


class Ask(NamedTuple):
    """A question about some candidates.

    Attributes:
        name: what it is for.
        places: numbers of the candidates, in the order in which they are shown.
        first: the place in the list of the first of them, from 0; None where they do not stand together.
        best: whether only the best of them is asked for.
    """

    name: str
    places: list[int]
    first: int | None = None
    best: bool = False


Answer = Sequence[int] | None
"""A permutation of 0 … the number of candidates - 1, best first; None where there is no answer."""

Answers = Sequence[Answer]
"""To every question of a round, in order."""

Steps = Generator[list[Ask], Answers, None]


def sliding(order: list[int], size: int, stride: int, passes: int = 1) -> Steps:
    """Slide a window of `size` candidates over `order`; calls: those of `plan_windows` a pass."""
    for first, end in plan_windows(len(order), size, stride) * passes:
        places = order[first:end]
        (answer,) = yield [Ask(f"window {first + 1} to {end}", places, first)]
        order[first:end] = _ordered(places, answer)


def top_down(order: list[int], size: int) -> Steps:
    """Partition `order` by pivots.

    With an honest ranker the first ``size // 2`` candidates come out in order. Calls: 1 where all fit into one window of `size`;
    else 1 + ceil((count - size) / (size - 1)), and then those of putting the candidates that beat the pivot in order, where
    there are any beyond those of the first window. A ranker that lets nearly all pass is not followed further than
    `_rounds` times.
    """
    head = len(order)
    for _ in range(_rounds(len(order), size)):
        places = order[: min(head, size)]
        if len(places) < 2:
            return
        (answer,) = yield [Ask(f"first {len(places)}", places, 0)]
        order[: len(places)] = places = _ordered(places, answer)
        if head <= size:
            return
        middle = size // 2 - 1
        pivot, better, worse = places[middle], places[:middle], places[middle + 1 :]
        rest = order[size:head]
        parts = [[pivot, *rest[i : i + size - 1]] for i in range(0, len(rest), size - 1)]
        answers = yield [Ask("against the pivot", part) for part in parts]
        for part, answer in zip(parts, answers, strict=True):
            ranked = _ordered(part, answer)
            at = ranked.index(pivot)
            better += ranked[:at]
            worse += ranked[at + 1 :]
        order[:head] = [*better, pivot, *worse]
        if len(better) == middle:
            return
        head = len(better)


def _rounds(count: int, size: int) -> int:
    """Return how many times a list may be partitioned: a pivot halves it, give or take."""
    return 3 + math.ceil(math.log2(max(count / size, 1)))


def setwise_bubble(order: list[int], children: int, top: int) -> Steps:
    """Bring the best `top` candidates to the beginning of `order`, one after the other.

    A bubble rises from the end: the best of `children` + 1 candidates goes to the first of their places. Calls: the sum of
    ceil((count - 1 - i) / children) over i < min(top, count - 1).
    """
    for settled in range(min(top, len(order) - 1)):
        end = len(order)
        while end - settled > 1:
            first = max(settled, end - children - 1)
            places = order[first:end]
            (answer,) = yield [Ask(f"best of {first + 1} to {end}", places, first, best=True)]
            best = order.index(_ordered(places, answer)[0])
            order[first], order[best] = order[best], order[first]
            end = first + 1


def setwise_heap(order: list[int], children: int, top: int) -> Steps:
    """Bring the best `top` candidates to the beginning of `order` by a heap of which each node has `children` children.

    Calls: one for every node that a candidate passes on its way down, and one where it stays, if there are children. Building
    asks about the nodes of a level side by side; see `most_heap_calls`.
    """
    heap = list(order)
    size = len(heap)
    level = _first_of_last_inner_level(size, children)
    while level is not None:
        end = min(level * children + 1, _inner(size, children))
        yield from _sift(heap, list(range(level, end)), size, children)
        level = None if level == 0 else (level - 1) // children
    done = list[int]()
    for _ in range(min(top, len(order))):
        done.append(heap[0])
        size -= 1
        heap[0] = heap[size]
        chosen = set(done)
        order[:] = done + [place for place in order if place not in chosen]
        if len(done) < top and size > 1:
            yield from _sift(heap, [0], size, children)


def _sift(heap: list[int], nodes: list[int], size: int, children: int) -> Steps:
    """Let the candidates of nodes whose subtrees are apart sink to where they belong, side by side."""
    while nodes := [node for node in nodes if node * children + 1 < size]:
        spans = [(node, range(node * children + 1, min(node * children + children + 1, size))) for node in nodes]
        answers = yield [
            Ask(f"best of {len(span) + 1}", [heap[node], *(heap[i] for i in span)], best=True) for node, span in spans
        ]
        nodes = []
        for (node, span), answer in zip(spans, answers, strict=True):
            shown = [node, *span]
            # without an answer the first stage decides: what came up from the end of the heap has no claim to stay there
            best = min(shown, key=heap.__getitem__) if answer is None else shown[answer[0]]
            if best != node:
                heap[node], heap[best] = heap[best], heap[node]
                nodes.append(best)


def _ordered(places: Sequence[int], answer: Answer) -> list[int]:
    return list(places) if answer is None else [places[i] for i in answer]


def _inner(count: int, children: int) -> int:
    """Return how many nodes of a heap have children."""
    return math.ceil((count - 1) / children) if count > 1 else 0


def _first_of_last_inner_level(count: int, children: int) -> int | None:
    """Return the first node of the lowest level on which a node has children; None where none has any."""
    inner, level = _inner(count, children), 0
    if not inner:
        return None
    while level * children + 1 < inner:
        level = level * children + 1
    return level


def most_heap_calls(count: int, children: int, top: int) -> int:
    """Return how many calls `setwise_heap` takes at most: every candidate that sinks goes all the way down."""

    def height(node: int, size: int) -> int:
        return 0 if node * children + 1 >= size else 1 + height(node * children + 1, size)

    built = sum(height(node, count) for node in range(_inner(count, children)))
    return built + sum(height(0, count - i) for i in range(1, min(top, count)))


def plan(
    strategy: str, *, size: int, stride: int, passes: int, children: int, top: int
) -> Callable[[list[int]], Steps]:
    """Return what puts a list in order by a strategy of that name."""
    plans: dict[str, Callable[[list[int]], Steps]] = {
        "sliding": lambda order: sliding(order, size, stride, passes),
        "full": lambda order: sliding(order, max(len(order), 2), 1, passes),
        "top-down": lambda order: top_down(order, size),
        "setwise-bubble": lambda order: setwise_bubble(order, children, top),
        "setwise-heap": lambda order: setwise_heap(order, children, top),
    }
    return plans[strategy]
