"""Which fields are searched, with what weight: the ``--fields title^2,body`` notation."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from tamis.data.document import Document
from tamis.errors import ParseError

BODY, TITLE, CONTENTS = "body", "title", "contents"
_FIELD = re.compile(r"\s*(?P<name>[^\s^,]+)\s*(?:\^\s*(?P<weight>[^\s,^]*)\s*)?")


@dataclass(frozen=True, slots=True)
class Field:
    """A searched field: ``title``, ``body``, ``contents`` (both in one) or a metadata key; and its weight, above 0."""

    name: str
    weight: float = 1.0

    def __str__(self) -> str:
        return self.name if self.weight == 1 else f"{self.name}^{self.weight:g}"

    def text(self, document: Document) -> str:
        """Return what `document` holds in this field; a list's items are joined by spaces, anything missing is empty."""
        if self.name == BODY:
            return document.text
        if self.name == TITLE:
            return document.title
        if self.name == CONTENTS:
            return document.contents
        return _flat(document.metadata.get(self.name))


def parse_fields(text: str) -> tuple[Field, ...]:
    """Parse ``name[^weight],…``, in order.

    ``body`` and ``text`` mean the body, ``title`` the title, ``contents`` both in one, any other name a metadata key.

    Raises:
        ParseError: an empty or repeated name, or a weight that is not a number above 0; carries the position.
    """
    fields: list[Field] = []
    position = 0
    while True:
        found = _FIELD.match(text, position)
        if found is None:
            raise ParseError("a field name is expected, as in title^2,body", text, _skip_space(text, position))
        name = BODY if found["name"] == "text" else found["name"]
        if any(name == other.name for other in fields):
            raise ParseError(f"field {name!r} is named twice", text, found.start("name"))
        fields.append(Field(name, _weight(found, text)))
        position = found.end()
        if position == len(text):
            return tuple(fields)
        if text[position] != ",":
            raise ParseError(f"',' is expected after field {name!r}", text, position)
        position += 1


def _weight(found: re.Match[str], text: str) -> float:
    if found["weight"] is None:
        return 1.0
    try:
        weight = float(found["weight"])
    except ValueError:
        weight = math.nan
    if not (0 < weight < math.inf):
        raise ParseError(
            f"the weight {found['weight']!r} of field {found['name']!r} must be a number above 0",
            text,
            found.start("weight"),
        )
    return weight


def _skip_space(text: str, position: int) -> int:
    return position + len(text[position:]) - len(text[position:].lstrip())


def _flat(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(filter(None, map(_flat, value)))
    return "" if value is None else str(value)
