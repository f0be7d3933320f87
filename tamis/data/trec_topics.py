"""TREC topics as marked-up text.

Two forms are read. The classic one, ``<top> <num> Number: 301 <title> … <desc> Description: … </top>``, with its tags closed or
(as TREC mostly wrote them) not; and the XML of later tracks, ``<topic number="1"> <query>…</query> … </topic>``. Both go through
one tolerant scanner, because real topic files are often well-formed in neither sense.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tamis.data.sgml import plain_text
from tamis.errors import BadRecordError

_TOPIC = re.compile(r"<(top|topic)(\s[^>]*)?>(.*?)</\1\s*>", re.IGNORECASE | re.DOTALL)
_NUMBER = re.compile(r"""\b(?:number|id|num)\s*=\s*["']\s*(.*?)\s*["']""", re.IGNORECASE)
_TAG = re.compile(r"<([A-Za-z][\w-]*)(?:\s[^>]*)?>")
_NEXT = re.compile(r"^\s*<[A-Za-z]|<(?:num|title|desc|narr)\b", re.IGNORECASE | re.MULTILINE)
_ALIASES = {
    "query": "title",
    "description": "desc",
    "question": "desc",
    "narrative": "narr",
}
_LABELS = {
    "num": re.compile(r"\s*Number\s*:", re.IGNORECASE),
    "title": re.compile(r"\s*Topic\s*:", re.IGNORECASE),
    "desc": re.compile(r"\s*Description\s*:", re.IGNORECASE),
    "narr": re.compile(r"\s*Narrative\s*:", re.IGNORECASE),
}


def parse_topics(markup: str, path: Path, fields: list[str]) -> Iterator[tuple[str, str, int]]:
    """Yield (id, the wanted fields joined by a space, line) for every topic of a file.

    Labels that the classic form repeats inside a tag (``Number:``, ``Topic:``, ``Description:``, ``Narrative:``) are dropped, as
    are the leading zeros of a number there, which the judgements do not write. ``query`` is a title, ``description`` and
    ``question`` a desc, ``narrative`` a narr. A topic without elements is all title.

    Raises:
        BadRecordError: a topic without a number or a wanted field.
    """
    line, seen = 1, 0
    for topic in _TOPIC.finditer(markup):
        line += markup.count("\n", seen, topic.start())
        seen = topic.start()
        elements = _elements(topic[3])
        attribute = _NUMBER.search(topic[2] or "")
        number = attribute[1] if attribute else elements.pop("num", elements.pop("number", ""))
        if number.isdecimal() and not attribute:
            number = number.lstrip("0") or "0"
        if not number:
            raise BadRecordError("the topic that begins here has no number", path, line)
        if attribute and not elements:
            elements = {"title": " ".join(plain_text(topic[3]).split())}
        yield number, " ".join(topic_fields(elements, fields, path, line)), line


def topic_fields(elements: Mapping[str, str], fields: list[str], source: object, line: int) -> list[str]:
    """Return the wanted fields of one topic, by the names of `parse_topics`.

    Raises:
        BadRecordError: the topic lacks one of them.
    """
    named: dict[str, str] = {}
    for name, text in elements.items():
        named.setdefault(_ALIASES.get(name, name), text)
    missing = [name for name in fields if _ALIASES.get(name, name) not in named]
    if missing:
        raise BadRecordError(
            f"the topic has no field {missing[0]!r}; it has {', '.join(sorted(named)) or 'none'}", source, line
        )
    return [named[_ALIASES.get(name, name)] for name in fields]


def _elements(markup: str) -> dict[str, str]:
    """Return the text of each element, first of a name.

    An element that is not closed reaches to the next tag of a topic: a known one, or one that begins a line (so that inline
    markup does not end it).
    """
    elements: dict[str, str] = {}
    position = 0
    while tag := _TAG.search(markup, position):
        name = tag[1].lower()
        close = re.compile(rf"</{name}\s*>", re.IGNORECASE).search(markup, tag.end())
        following = _NEXT.search(markup, tag.end())
        position = close.end() if close else following.start() if following else len(markup)
        text = markup[tag.end() : close.start() if close else position]
        name = _ALIASES.get(name, name)
        if name in _LABELS and (label := _LABELS[name].match(text)):
            text = text[label.end() :]
        elements.setdefault(name, " ".join(plain_text(text).split()))
    return elements
