"""What a listwise model answered: an order of identifiers, or not.

An answer should read ``[2] > [1] > [3]``. Models add words, repeat and leave out identifiers, and a number in a sentence is no
identifier. So an order is taken only from what has the form of one; what is missing follows in the order it had, and everything
that had to be mended is counted. An answer without an order keeps the list as it was.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

_CHAIN = re.compile(r"\[\d+\](?:\s*>\s*\[\d+\])*")
_ENDING_CHAIN = re.compile(r"\[\d+\](?:\s*>\s*\[\d+\])+(?=[\s.*`]*$)", re.MULTILINE)
_COMMAS = re.compile(r"\[\d+\](?:\s*,\s*\[\d+\])+")
_NUMBERED = re.compile(r"\s*(?:(?:\d+[.):]|[-*])\s*)?\[(\d+)\]\s*[>,]?\s*")
_BARE = re.compile(r"[\[(]?\d+[\])]?(?:[\s>,]+[\[(]?\d+[\])]?)+")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Order:
    """What was read out of an answer.

    Attributes:
        places: a permutation of 0 … count - 1, best first.
        repairs: what was mended, by kind: ``format`` (no plain list, or none at all), ``repeated``, ``out_of_range`` and
            ``missing`` identifiers.
    """

    places: list[int]
    repairs: Counter[str]


def parse_order(answer: str, count: int) -> Order:
    """Read the order of `count` candidates out of an answer, whatever it is."""
    found, plain = _identifiers(answer)
    repairs = Counter[str]() if plain else Counter(format=1)
    places = list[int]()
    for number in found:
        if not 1 <= number <= count:
            repairs["out_of_range"] += 1
        elif number - 1 in places:
            repairs["repeated"] += 1
        else:
            places.append(number - 1)
    if found and len(places) < count:
        repairs["missing"] += count - len(places)
    held = set(places)
    return Order(places + [place for place in range(count) if place not in held], repairs)


def _identifiers(answer: str) -> tuple[list[int], bool]:
    """Return the identifiers in the order of an answer, and whether it has the form that was asked for."""
    text = answer.rpartition("</think>")[2]
    if "<think>" in text:  # it never came to an answer
        return [], False
    if "<answer>" in text:
        text = text.rpartition("<answer>")[2].partition("</answer>")[0]
    text = text.strip()
    if _CHAIN.fullmatch(text):
        return _numbers(text), True
    lines = [line.strip() for line in text.splitlines()]
    chains = [line for line in lines if _CHAIN.fullmatch(line) and ">" in line] or _ENDING_CHAIN.findall(text)
    chains = chains or [line for line in lines if _COMMAS.fullmatch(line)]
    if chains:  # the last of the longest: what comes first may be the example that it was given
        return _numbers(max(reversed(chains), key=lambda chain: chain.count("["))), False
    numbered = [match for match in map(_NUMBERED.fullmatch, lines) if match]
    if len(numbered) > 1:
        return [int(match[1]) for match in numbered], False
    return (_numbers(text), False) if _BARE.fullmatch(text) else ([], False)


def _numbers(text: str) -> list[int]:
    return [int(number[:9]) for number in _NUMBER.findall(text)]
