"""Where in a document the relevant text stands: given, or found by the words of the query.

What finds it must not be the model that is diagnosed: here it is the window of words that holds the rarest words of the
query, the first of those that hold equally many.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import log
from pathlib import Path

from tamis.errors import BadRecordError

_WORD = re.compile(r"\w+")

Weights = Mapping[str, float]


def terms(text: str) -> list[str]:
    """Return the lower-cased words of a text."""
    return _WORD.findall(text.lower())


def word_weights(texts: Iterable[str]) -> Weights:
    """Return log(1 + N / df) of every word of texts."""
    frequencies: Counter[str] = Counter()
    count = 0
    for text in texts:
        count += 1
        frequencies.update(set(terms(text)))
    return {word: log(1 + count / frequency) for word, frequency in frequencies.items()}


def best_window(query: str, words: Sequence[str], size: int, weights: Weights) -> int | None:
    """Return where the window of `size` words begins that holds the most of a query.

    Args:
        query: its text.
        words: of the document, as white space divides them.
        size: words of the window; fewer than the document has.
        weights: of the query's words, by `word_weights`; a distinct word of the query counts once.

    Returns:
        The number of the window's first word; None where the document holds no word of the query.
    """
    wanted = {word: weights.get(word, 0.0) for word in terms(query)}
    held: Counter[str] = Counter()
    total, best, first = 0.0, 0.0, None
    parts = [[word for word in terms(given) if word in wanted] for given in words]
    for end, entering in enumerate(parts):
        for word in entering:
            total += wanted[word] if not held[word] else 0.0
            held[word] += 1
        if end >= size:
            for word in parts[end - size]:
                held[word] -= 1
                total -= wanted[word] if not held[word] else 0.0
        if total > best + 1e-9:
            best, first = total, max(0, end - size + 1)
    if first is None:
        return None
    # the window ends with the last word found: set it so that what is found stands in its middle
    return _centred(parts, first, size)


def _centred(parts: Sequence[Sequence[str]], first: int, size: int) -> int:
    found = [place for place in range(first, min(first + size, len(parts))) if parts[place]]
    middle = (found[0] + found[-1] + 1) // 2
    return max(0, min(middle - size // 2, len(parts) - size))


def read_passages(path: Path) -> dict[tuple[str, str], str]:
    """Read known relevant passages: JSON lines with ``query``, ``document`` and ``text``.

    Returns:
        (query id, document id) → text.

    Raises:
        MissingResourceError: there is no such file.
        BadRecordError: a line is not of that form.
    """
    from tamis.data.jsonl import RecordProblem, parse_object
    from tamis.data.sources import lines

    found: dict[tuple[str, str], str] = {}
    for number, line in lines(path):
        if line.isspace():
            continue
        try:
            record = parse_object(line)
        except RecordProblem as problem:
            raise BadRecordError(str(problem), path, number) from None
        values = [record.get(name) for name in ("query", "document", "text")]
        if not all(isinstance(value, str) and value.strip() for value in values):
            raise BadRecordError("a passage needs the strings query, document and text", path, number)
        query, document, text = map(str, values)
        found[query, document] = text
    return found


def locate(text: str, words: Sequence[str]) -> tuple[int, int] | None:
    """Return first word and number of words of a known passage in a document, None where it is not there word by word."""
    wanted = text.split()
    for first in range(len(words) - len(wanted) + 1):
        if words[first] == wanted[0] and list(words[first : first + len(wanted)]) == wanted:
            return first, len(wanted)
    return None
