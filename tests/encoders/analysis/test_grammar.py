"""The word grammar against the automaton of Lucene's scanner, as a whole rather than by example.

A finite automaton with at most m states beyond those of a reference equals it if the two agree on every string made of a way
to each state of the reference, up to m + 1 further letters, and an ending that tells any two states apart (the W-method: T. S.
Chow, "Testing software design modeled by finite-state machines", IEEE TSE 4(3), 1978). Here m is 1; the observed output is the
length of the longest match.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import chain, combinations, product
from typing import Any

import pytest

from tamis.encoders.analysis.tables import word_break_classes
from tamis.encoders.analysis.words import _ASCII_WORD, _class_word

DEAD = -1


@dataclass(frozen=True)
class Automaton:
    """`step[state][class number]`, whether a state accepts a word, and each class's letter in our grammar."""

    step: list[list[int]]
    accepts: list[bool]
    letters: list[str]

    def longest(self, numbers: tuple[int, ...]) -> int:
        state = best = 0
        for length, number in enumerate(numbers, 1):
            state = self.step[state][number]
            if state == DEAD:
                break
            if self.accepts[state]:
                best = length
        return best


@pytest.fixture(scope="module")
def automaton(lucene: Any) -> Automaton:
    """The scanner's own, each class of it kept apart, so that our joining of classes is tested too."""
    from tamis.indexer.lucene.jvm import java

    scanner = java("org.apache.lucene.analysis.standard.StandardTokenizerImpl").class_

    def constant(name: str) -> list[int]:
        field = scanner.getDeclaredField(name)
        field.setAccessible(True)
        return list(field.get(None))

    top, blocks = constant("ZZ_CMAP_TOP"), constant("ZZ_CMAP_BLOCKS")
    letters: dict[int, str] = {}
    for code in range(0x110000):
        letters.setdefault(blocks[top[code >> 8] | (code & 0xFF)], word_break_classes()[code])
    rows, cells, actions = constant("ZZ_ROWMAP"), constant("ZZ_TRANS"), constant("ZZ_ACTION")
    step = [[cells[row + number] for number in range(len(letters))] for row in rows]
    accepting = [bool(attribute & 1) for attribute in constant("ZZ_ATTRIBUTE")]
    skip = actions[step[0][blocks[top[0] | ord(" ")]]]  # what the scanner does with a space
    accepts = [final and action != skip for final, action in zip(accepting, actions, strict=True)]
    return Automaton(step, accepts, [letters[number] for number in range(len(letters))])


def ways(automaton: Automaton) -> dict[int, tuple[int, ...]]:
    """A shortest string to every state that can be reached."""
    found: dict[int, tuple[int, ...]] = {0: ()}
    queue = deque(found)
    while queue:
        state = queue.popleft()
        for number, target in enumerate(automaton.step[state]):
            if target != DEAD and target not in found:
                found[target] = (*found[state], number)
                queue.append(target)
    return found


def endings(automaton: Automaton) -> set[tuple[int, ...]]:
    """Strings that tell any two states apart that can be told apart, the dead one included."""
    numbers = range(len(automaton.letters))
    states = [DEAD, *range(len(automaton.step))]
    step = {(s, n): DEAD if s == DEAD else automaton.step[s][n] for s in states for n in numbers}
    accepts = {DEAD: False, **dict(enumerate(automaton.accepts))}
    apart: dict[tuple[int, int], tuple[int, ...]] = {}
    fresh = True
    while fresh:
        fresh = False
        for pair in combinations(states, 2):
            if pair in apart:
                continue
            for number in numbers:
                after = step[pair[0], number], step[pair[1], number]
                follow = apart.get((min(after), max(after)))
                if accepts[after[0]] != accepts[after[1]]:
                    apart[pair] = (number,)
                elif follow is not None:
                    apart[pair] = (number, *follow)
                else:
                    continue
                fresh = True
                break
    return set(apart.values())


def test_grammar_is_the_scanners(automaton: Automaton) -> None:
    numbers = range(len(automaton.letters))
    final, match = endings(automaton), _class_word().match
    starts, compared = ways(automaton).values(), 0
    for way in starts:
        for middle in chain(((),), product(numbers, repeat=1), product(numbers, repeat=2)):
            for ending in final:
                string = (*way, *middle, *ending)
                found = match("".join([automaton.letters[number] for number in string]))
                assert (found.end() if found else 0) == automaton.longest(string), string
                compared += 1
    assert len(starts) == len(automaton.step) == 59
    assert compared > 1_000_000


def test_ascii_expression_is_the_grammar() -> None:
    classes = word_break_classes()
    for length in range(1, 6):
        for letters in product("\"',.:_#0a ", repeat=length):
            text = "".join(letters)
            expected = [match.span() for match in _class_word().finditer(text.translate(classes))]
            assert [match.span() for match in _ASCII_WORD.finditer(text)] == expected, text


def test_ascii_characters_are_of_the_classes_tried() -> None:
    classes = word_break_classes()
    assert {classes[code] for code in range(128)} == {classes[ord(letter)] for letter in "\"',.:_#0a "}
    for one, other in ((",", ";"), ("#", "*"), ("a", "Z"), ("0", "9"), (" ", "\0"), (" ", "-"), (" ", "\x7f")):
        assert classes[ord(one)] == classes[ord(other)]
