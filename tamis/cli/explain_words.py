"""What words are worth to a model, for people: the strongest for and against, and where they stand in the text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tamis.stages import Evidence

STRONGEST = 8
"""Words that are shown on either side."""

SPANS = 3
"""Spans of a long text that are shown."""

WEAK = 0.02
"""Words that are worth less, of what the strongest is worth, are not shown."""

STRONG = 0.5
"""Words that are worth this much of the strongest have two signs in the text."""

AROUND = 40
"""Characters of a text that are shown on either side of a strong word."""

TINY = 0.001
"""Shares below are written with their power of ten: scores that are logarithms move by as little where a model is sure."""

WIDTH = 100
"""Columns of a line."""

_NAME = 10


def words_view(root: Evidence) -> str:
    """Return lines for people: what words of the query, and of title and passage, are worth; the text with the strongest marked.

    Args:
        root: evidence as of `tamis.rerankers.attribution.attribute`.
    """
    from tamis.rerankers.attribution import QUERY

    fields = {node.name: node for node in root.children}
    known = [word for node in root.children for word in _words(node)]
    least = WEAK * max((abs(word.value or 0.0) for word in known), default=0.0)
    query = [word for word in _words(fields[QUERY]) if word.value is not None] if QUERY in fields else []
    shown = [node for node in root.children if node.name != QUERY]
    read = sorted(
        (w for node in shown for w in _words(node) if abs(w.value or 0.0) >= least), key=lambda w: w.value or 0.0
    )
    against = [word for word in read if (word.value or 0.0) < 0][:STRONGEST]
    support = [word for word in read[::-1] if (word.value or 0.0) > 0][:STRONGEST]
    score, texts = root.details["score"], root.details["texts"]
    lines = [f"words left out: what the score {score:.4f} loses without each; + is for, - against ({texts} texts read)"]
    lines += _line("query", [_signed(word) for word in query], least_said="no word of it was looked into")
    lines += _line("for", [_signed(word) for word in support], least_said="none")
    lines += _line("against", [_signed(word) for word in against], least_said="none")
    marked = {id(word): _sign(word, known) for word in [*support, *against]}
    for node in shown:
        lines += _line(node.name, [_marked(node, marked)], least_said="")
        spans = sorted((one for one in node.children if "words" in one.details), key=lambda one: -abs(one.value or 0.0))
        for span in [one for one in spans if abs(one.value or 0.0) >= least][:SPANS]:
            lines += _line("  span", [f"{_value(span)} {_short(span.name)}"], least_said="")
    for note in root.notes:
        lines += textwrap.wrap(f"({note})", WIDTH, initial_indent="  ", subsequent_indent="   ")
    return "\n".join(lines) + "\n"


def _words(node: Evidence) -> Iterator[Evidence]:
    """The words of a field, those of its spans among them."""
    for one in node.children:
        yield from one.children if "words" in one.details else (one,)


def _line(name: str, items: list[str], *, least_said: str) -> list[str]:
    text = ", ".join(items) or least_said
    indent = " " * (_NAME + 2)
    return textwrap.wrap(text, WIDTH, initial_indent=f"  {name:<{_NAME}}", subsequent_indent=indent) or [f"  {name}"]


def _value(word: Evidence) -> str:
    if word.value is None:
        return "no score"
    return f"{word.value:+.4f}" if abs(word.value) >= TINY or not word.value else f"{word.value:+.1e}"


def _signed(word: Evidence) -> str:
    return f"{_short(word.name)} {_value(word)}"


def _short(text: str) -> str:
    from tamis.cli.drawing import clean

    text = clean(text)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _sign(word: Evidence, known: list[Evidence]) -> str:
    most = max(abs(one.value or 0.0) for one in known)
    sign = "+" if (word.value or 0.0) > 0 else "-"
    return sign * (2 if abs(word.value or 0.0) >= STRONG * most else 1)


def _marked(node: Evidence, marked: dict[int, str]) -> str:
    """Return the text around its marked words, which stand as ``[+word]`` and ``[-word]``."""
    from tamis.cli.drawing import clean

    text = str(node.details["text"])
    words = [word for word in _words(node) if id(word) in marked]
    out, last = "", 0
    for word in words:
        start, end = int(word.details["start"]), int(word.details["end"])
        out += _between(text[last:start], first=last == 0) + f"[{marked[id(word)]}{text[start:end]}]"
        last = end
    return clean(out + _tail(text[last:], whole=not words))


def _between(text: str, *, first: bool) -> str:
    if len(text) <= (AROUND if first else 2 * AROUND) + 3:
        return text
    return ("" if first else _cut(text[:AROUND], 0)) + " … " + _cut(text[-AROUND:], 1)


def _tail(text: str, *, whole: bool) -> str:
    most = 2 * AROUND if whole else AROUND
    return text if len(text) <= most + 3 else _cut(text[:most], 0) + " …"


def _cut(text: str, side: int) -> str:
    """Return a text without the piece of a word at its end (0) or beginning (1)."""
    return (text.rpartition(" ")[0] if side == 0 else text.partition(" ")[2]) or text
