"""What Lucene and Java know of every character: its part in word breaking, and its lower case.

Two packaged files, made by scripts/generate_analysis_tables.py, hold the facts as runs of code points. Python's own
Unicode data is of another version, and `str.lower` is the full mapping, not the simple one of Java's
``Character.toLowerCase``. ASCII text needs neither file, so they are read when the first other character comes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from pathlib import Path

WORD_BREAKS = Path(__file__).with_name("word_breaks.tsv")
LOWER_CASE = Path(__file__).with_name("lower_case.tsv")

OTHER = "-"
"""The class of a character that is part of no word."""

_REMEMBERED = 1 << 16


class WordBreakClasses(dict[int, str]):
    """Code point to word-break class (`tamis.encoders.analysis.words.CLASSES`), worked out on demand for `str.translate`."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._classes: list[str] = []
        for first, last, letter in _rows(WORD_BREAKS):
            self._firsts.append(int(first, 16))
            self._lasts.append(int(last, 16))
            self._classes.append(letter)

    def __missing__(self, code: int) -> str:
        run = bisect_right(self._firsts, code) - 1
        letter = self._classes[run] if run >= 0 and code <= self._lasts[run] else OTHER
        if len(self) < _REMEMBERED:
            self[code] = letter
        return letter


word_break_classes = cache(WordBreakClasses)
"""The process's one table."""


def lower_case(word: str) -> str:
    """Return `word` with every character replaced by its simple lower-case mapping, if it has one."""
    if word.isascii():
        return word.lower()
    lower = _lower_case()
    return "".join([lower.get(character, character) for character in word])


@cache
def _lower_case() -> dict[str, str]:
    mapping = {}
    for first, last, step, distance in _rows(LOWER_CASE):
        for code in range(int(first, 16), int(last, 16) + 1, int(step)):
            mapping[chr(code)] = chr(code + int(distance))
    return mapping


def _rows(path: Path) -> Iterator[list[str]]:
    """The rows of a table, less its comment lines."""
    return (line.split("\t") for line in path.read_text("ascii").splitlines() if not line.startswith("#"))
