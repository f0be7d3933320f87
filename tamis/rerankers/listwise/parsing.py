"""What a listwise model answered: an order of identifiers, the best one, or neither.

An answer should read ``[2] > [1] > [3]``. Models add words, repeat and leave out identifiers, and a number in a sentence is no
identifier. So an order is taken only from what has the form of one; what is missing follows in the order it had, and everything
that had to be mended is counted. An answer without an order keeps the list as it was.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


class _Forms:
    """The forms of an answer whose identifiers match `name`; what stands alone in words needs a mark between two."""

    def __init__(self, name: str, between: str) -> None:
        one = rf"\[{name}\]"
        self.chain = re.compile(rf"{one}(?:\s*>\s*{one})*")
        self.ending_chain = re.compile(rf"{one}(?:\s*>\s*{one})+(?=[\s.*`]*$)", re.MULTILINE)
        self.commas = re.compile(rf"{one}(?:\s*,\s*{one})+")
        self.numbered = re.compile(rf"\s*(?:(?:\d+[.):]|[-*])\s*)?\[({name})\]\s*[>,]?\s*")
        self.bare = re.compile(rf"[\[(]?{name}[\])]?(?:{between}[\[(]?{name}[\])]?)+")
        self.name = re.compile(name)


_NUMBERS = _Forms(r"\d+", r"[\s>,]+")
_LETTERS = _Forms(r"(?:[A-Z]|\d+)", r"\s*[>,]\s*")  # a digit where letters were asked for is out of range


@dataclass(frozen=True)
class Order:
    """What was read out of an answer.

    Attributes:
        places: a permutation of 0 … count - 1, best first.
        repairs: what was mended, by kind: ``format`` (no plain list, or none at all), ``repeated``, ``out_of_range`` and
            ``missing`` identifiers.
        known: whether anything was read at all.
    """

    places: list[int]
    repairs: Counter[str]
    known: bool = True


def parse_order(answer: str, count: int, *, letters: bool = False) -> Order:
    """Read the order of `count` candidates out of an answer, whatever it is.

    Args:
        answer: what the model wrote.
        count: how many candidates it saw.
        letters: whether they are called A, B, C … and not 1, 2, 3 …
    """
    found, plain = _identifiers(answer, _LETTERS if letters else _NUMBERS)
    repairs = Counter[str]() if plain else Counter(format=1)
    places = list[int]()
    for name in found:
        number = _number(name, letters=letters)
        if not 1 <= number <= count:
            repairs["out_of_range"] += 1
        elif number - 1 in places:
            repairs["repeated"] += 1
        else:
            places.append(number - 1)
    if found and len(places) < count:
        repairs["missing"] += count - len(places)
    return Order(_completed(places, count), repairs, bool(places))


_BEST = re.compile(
    r"""["'(\[*]*(?:passage\s+)?["'(\[*]*([A-Za-z])["')\]*]*[.:]?(?:\s+".*)?""", re.IGNORECASE | re.DOTALL
)
_NAMED = re.compile(r"\bPassage\s+[\[(*]*([A-Z])\b")


def parse_best(answer: str, labels: Sequence[str]) -> Order:
    """Read the best of several candidates out of an answer: ``B``, ``Passage B``, or one that is named in a sentence.

    Returns:
        The best one first and the rest in the order it had; the order as it was, with a repair, where none can be read, or
        several are named.
    """
    text = _spoken(answer)
    known = {label: i for i, label in enumerate(labels)}
    plain = _BEST.fullmatch(text)
    named = {plain[1].upper()} if plain else set(_NAMED.findall(text))
    repairs = Counter[str]() if plain else Counter(format=1)
    places = [known[label] for label in named if label in known] if len(named) == 1 else []
    if named and not places:
        repairs["out_of_range" if len(named) == 1 else "format"] = 1
    return Order(_completed(places, len(labels)), repairs, bool(places))


def _completed(places: list[int], count: int) -> list[int]:
    held = set(places)
    return places + [place for place in range(count) if place not in held]


def _spoken(answer: str) -> str:
    """Return what an answer says once the model has thought; nothing where it never came to an end of that."""
    text = answer.rpartition("</think>")[2]
    if "<think>" in text:
        return ""
    if "<answer>" in text:
        text = text.rpartition("<answer>")[2].partition("</answer>")[0]
    return text.strip()


def _identifiers(answer: str, forms: _Forms) -> tuple[list[str], bool]:
    """Return the identifiers in the order of an answer, and whether it has the form that was asked for."""
    text = _spoken(answer)
    if forms.chain.fullmatch(text):
        return forms.name.findall(text), True
    lines = [line.strip() for line in text.splitlines()]
    chains = [line for line in lines if forms.chain.fullmatch(line) and ">" in line] or forms.ending_chain.findall(text)
    chains = chains or [line for line in lines if forms.commas.fullmatch(line)]
    if chains:  # the last of the longest: what comes first may be the example that it was given
        return forms.name.findall(max(reversed(chains), key=lambda chain: chain.count("["))), False
    numbered = [match for match in map(forms.numbered.fullmatch, lines) if match]
    if len(numbered) > 1:
        return [match[1] for match in numbered], False
    return (forms.name.findall(text), False) if forms.bare.fullmatch(text) else ([], False)


def _number(name: str, *, letters: bool) -> int:
    """Return the number of a candidate by what it is called, from 1; 0 for what it cannot be called."""
    if letters:
        return ord(name) - ord("A") + 1 if name.isalpha() else 0
    return int(name[:9])
