"""Filter expressions over metadata: ``year >= 1970 and lang == "en"``, parsed, never evaluated as code.

    filter      =  both { "or" both }
    both        =  negation { "and" negation }
    negation    =  "not" negation | "(" filter ")" | condition
    condition   =  KEY ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) VALUE
                |  KEY [ "not" ] "in" "[" VALUE { "," VALUE } "]"
                |  KEY "is" [ "not" ] "null"
    VALUE       =  STRING | NUMBER | "true" | "false" | "null"

A key is a word, which may hold dots and hyphens, or any text in quotation marks; it names a top-level key of the metadata, dots
included. A string stands in single or double quotation marks, in which a backslash protects a quotation mark or a backslash.

What a condition means depends on the document's value alone:

- a value that is missing or null satisfies no comparison, ``!=`` and ``not in`` included; ``is null`` asks for it, and
  ``== null`` is the same;
- numbers compare with numbers by value, strings with strings by code points (so ISO dates compare as dates), true and
  false with themselves. A value of another kind than the literal's is unequal to it, and neither below nor above it;
- a list satisfies a comparison if one of its items does; ``!=`` and ``not in`` hold where no item is equal;
- an object is there (``is not null``) and equal to nothing.

``not`` is plain negation: ``not year == 1970`` holds where the year is missing, ``year != 1970`` does not.
"""

from __future__ import annotations

import json
import operator
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, TypeAlias

from tamis.data.sources import replace_surrogates
from tamis.errors import ParseError

Value: TypeAlias = str | int | float | bool
"""A literal of a filter."""

ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_LIMIT = 200  # conditions and parentheses: far above real filters, below Python's recursion limit
_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[^\W\d][\w.-]*")
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?=[\s,)\]]|$)")
_TOKEN = re.compile(r"[^\s,()\[\]]+")
_QUOTED = re.compile(r"""(["'])((?:\\["'\\]|(?!\1).)*)\1""", re.DOTALL)
_COMPARISON = re.compile(r"==|!=|<=|>=|<|>")
_RESERVED = frozenset({"and", "or", "not", "in", "is", "null", "true", "false"})
_CONSTANTS = {"true": True, "false": False, "null": None}
_VALUE = 'expected a value: a string in quotation marks, a number, true, false or null, as in lang == "en"'


class Filter(ABC):
    """A parsed filter: the base of all nodes. `str()` is the canonical spelling, which parses back to an equal node."""

    __slots__ = ()
    binding: ClassVar[int] = 3

    @staticmethod
    def of(value: str | Filter) -> Filter:
        """Return `value` as a filter, a string parsed.

        Raises:
            ParseError: the string is no filter; carries the position of the fault.
        """
        return value if isinstance(value, Filter) else parse_filter(value)

    def children(self) -> tuple[Filter, ...]:
        """Return the filters that this one is made of."""
        return ()

    def keys(self) -> list[str]:
        """Return the keys that it names, each once, in order."""
        return list(dict.fromkeys(self._keys()))

    def _keys(self) -> Iterator[str]:
        for child in self.children():
            yield from child.keys()

    @abstractmethod
    def accepts(self, metadata: Any) -> bool:
        """Whether a document's metadata (a mapping) satisfy the filter."""


class Condition(Filter):
    """A filter on one key: the base of `Comparison`, `Membership` and `IsNull`."""

    __slots__ = ()
    key: str

    def _keys(self) -> Iterator[str]:
        yield self.key

    def accepts(self, metadata: Any) -> bool:
        """Whether a document's metadata satisfy the condition."""
        return self.holds(metadata.get(self.key))

    @abstractmethod
    def holds(self, value: Any) -> bool:
        """Whether a document's value of the key, None where it is missing, satisfies the condition."""


@dataclass(frozen=True, slots=True)
class Comparison(Condition):
    """A key against one value; `symbol` is ``<``, ``<=``, ``>`` or ``>=``. Equality is a `Membership`."""

    key: str
    symbol: str
    value: str | int | float

    def holds(self, value: Any) -> bool:
        """See `Condition`."""
        compare = ORDER[self.symbol]
        items = value if isinstance(value, list) else [value]
        return any(kind_of(item) == kind_of(self.value) and compare(item, self.value) for item in items)

    def __str__(self) -> str:
        return f"{spell_key(self.key)} {self.symbol} {spell_value(self.value)}"


@dataclass(frozen=True, slots=True)
class Membership(Condition):
    """A key that is, or is not (`negated`), one of `values`."""

    key: str
    values: tuple[Value, ...]
    negated: bool = False

    def holds(self, value: Any) -> bool:
        """See `Condition`."""
        if value is None:
            return False
        items = value if isinstance(value, list) else [value]
        wanted = {(kind_of(v), v) for v in self.values}
        found = any((kind_of(item), item) in wanted for item in items if kind_of(item) != "other")
        return found != self.negated

    def __str__(self) -> str:
        if len(self.values) == 1:
            return f"{spell_key(self.key)} {'!=' if self.negated else '=='} {spell_value(self.values[0])}"
        listed = ", ".join(map(spell_value, self.values))
        return f"{spell_key(self.key)} {'not in' if self.negated else 'in'} [{listed}]"


@dataclass(frozen=True, slots=True)
class IsNull(Condition):
    """A key that is missing or null, or (`negated`) that has a value."""

    key: str
    negated: bool = False

    def holds(self, value: Any) -> bool:
        """See `Condition`."""
        return (value is None) != self.negated

    def __str__(self) -> str:
        return f"{spell_key(self.key)} is {'not ' if self.negated else ''}null"


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """The rows that a filter leaves out."""

    inner: Filter
    binding: ClassVar[int] = 2

    def children(self) -> tuple[Filter, ...]:
        """Return the filter that is negated."""
        return (self.inner,)

    def accepts(self, metadata: Any) -> bool:
        """See `Filter`."""
        return not self.inner.accepts(metadata)

    def __str__(self) -> str:
        return f"not {_spell(self.inner, self.binding)}"


@dataclass(frozen=True, slots=True)
class And(Filter):
    """All of several filters."""

    inputs: tuple[Filter, ...]
    binding: ClassVar[int] = 1

    def children(self) -> tuple[Filter, ...]:
        """Return the filters that must all hold."""
        return self.inputs

    def accepts(self, metadata: Any) -> bool:
        """See `Filter`."""
        return all(part.accepts(metadata) for part in self.inputs)

    def __str__(self) -> str:
        return " and ".join(_spell(part, self.binding + 1) for part in self.inputs)


@dataclass(frozen=True, slots=True)
class Or(Filter):
    """At least one of several filters."""

    inputs: tuple[Filter, ...]
    binding: ClassVar[int] = 0

    def children(self) -> tuple[Filter, ...]:
        """Return the filters of which one must hold."""
        return self.inputs

    def accepts(self, metadata: Any) -> bool:
        """See `Filter`."""
        return any(part.accepts(metadata) for part in self.inputs)

    def __str__(self) -> str:
        return " or ".join(_spell(part, self.binding + 1) for part in self.inputs)


def kind_of(value: Any) -> str:
    """Return ``number``, ``string``, ``bool`` or ``other``: what may be compared with what."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    return "string" if isinstance(value, str) else "other"


def spell_key(key: str) -> str:
    """Return a key as a filter spells it."""
    return key if _WORD.fullmatch(key) and key not in _RESERVED else _quote(key)


def spell_value(value: Value) -> str:
    """Return a literal as a filter spells it."""
    if isinstance(value, str):
        return _quote(value)
    return json.dumps(value)


def parse_filter(text: str) -> Filter:
    """Parse a filter; see the module's docstring for the grammar.

    Raises:
        ParseError: the text is no filter; carries the position of the fault and what was expected there.
    """
    return _Parser(replace_surrogates(text)).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.at, self.steps = text, 0, 0

    def whole(self) -> Filter:
        found = self.either()
        if self.here() < len(self.text):
            problem = (
                "')' closes nothing" if self.peek(")") else f"expected and, or, or the end, found {self.token()!r}"
            )
            self.fail(problem)
        return found

    def either(self) -> Filter:
        parts = [self.both()]
        while self.word("or"):
            parts.append(self.both())
        return _joined(Or, parts)

    def both(self) -> Filter:
        parts = [self.negation()]
        while self.word("and"):
            parts.append(self.negation())
        return _joined(And, parts)

    def negation(self) -> Filter:
        self.steps += 1
        self.here()
        if self.steps > _LIMIT:
            self.fail(f"the filter has more than {_LIMIT} conditions and parentheses: list values with in […]")
        if self.word("not"):
            inner = self.negation()
            return inner.inner if isinstance(inner, Not) else Not(inner)
        if self.take("("):
            inner = self.either()
            if not self.take(")"):
                self.fail("'(' is never closed: expected and, or, or ')'")
            return inner
        return self.condition()

    def condition(self) -> Filter:
        key = self.key()
        if self.word("is"):
            negated = self.word("not")
            if not self.word("null"):
                self.fail("expected null or not null after is")
            return IsNull(key, negated)
        if self.word("not"):
            if not self.word("in"):
                self.fail("expected in after not")
            return Membership(key, self.values(), negated=True)
        if self.word("in"):
            return Membership(key, self.values())
        symbol = _COMPARISON.match(self.text, self.here())
        if symbol is None:
            hint = ": equality is written ==" if self.peek("=") else ""
            self.fail(f"expected ==, !=, <, <=, >, >=, in, not in or is after the key {key!r}{hint}")
        self.at = symbol.end()
        start = self.here()
        value = self.value()
        if symbol[0] in ORDER:
            if value is None or isinstance(value, bool):
                self.fail(f"{symbol[0]} compares numbers or strings, not {json.dumps(value)}", start)
            return Comparison(key, symbol[0], value)
        negated = symbol[0] == "!="
        return IsNull(key, negated) if value is None else Membership(key, (value,), negated)

    def key(self) -> str:
        start = self.here()
        if self.text[start : start + 1] in ("'", '"'):
            return self.quoted()
        found = _WORD.match(self.text, start)
        if found is None or found[0] in _RESERVED:
            shown = f", found {self.token()!r}" if start < len(self.text) else ""
            self.fail(f"expected a metadata key, not, or '('{shown}; the key stands on the left, as in year >= 1970")
        self.at = found.end()
        return found[0]

    def values(self) -> tuple[Value, ...]:
        if not self.take("["):
            self.fail('expected a list of values after in, as in lang in ["en", "de"]')
        values: list[Value] = []
        while True:
            start = self.here()
            value = self.value()
            if value is None:
                self.fail("null cannot stand in a list: add  or KEY is null", start)
            values.append(value)
            if not self.take(","):
                break
        if not self.take("]"):
            self.fail("expected ',' or ']' in the list of values")
        return tuple({spell_value(v): v for v in values}.values())

    def value(self) -> Value | None:
        start = self.here()
        if self.text[start : start + 1] in ("'", '"'):
            return self.quoted()
        if number := _NUMBER.match(self.text, start):
            self.at = number.end()
            return self.number(number[0], start)
        word = self.token()
        if word not in _CONSTANTS:
            self.fail(f"{_VALUE}; found {word!r}" if word else _VALUE)
        self.at = start + len(word)
        return _CONSTANTS[word]

    def number(self, text: str, start: int) -> int | float:
        if re.fullmatch(r"-?\d+", text):
            if len(text) > 400:
                self.fail("the number is too large", start)
            return int(text)
        value = float(text)
        if abs(value) == float("inf"):
            self.fail(f"the number {text} is too large", start)
        return int(value) if value.is_integer() and abs(value) < 1 << 53 else value

    def quoted(self) -> str:
        found = _QUOTED.match(self.text, self.at)
        if found is None:
            self.fail("the quotation mark is never closed")
        self.at = found.end()
        return re.sub(r"\\([\"'\\])", r"\1", found[2])

    def here(self) -> int:
        """Skip white space and return the position after it."""
        skipped = _SPACE.match(self.text, self.at)
        self.at = skipped.end() if skipped else self.at
        return self.at

    def token(self) -> str:
        found = _TOKEN.match(self.text, self.here())
        return found[0] if found else self.text[self.at : self.at + 1]

    def peek(self, symbol: str) -> bool:
        return self.text.startswith(symbol, self.here())

    def take(self, symbol: str) -> bool:
        if not self.peek(symbol):
            return False
        self.at += len(symbol)
        return True

    def word(self, word: str) -> bool:
        """Pass over `word` if it is next, and ends there."""
        found = _WORD.match(self.text, self.here())
        if found is None or found[0] != word:
            return False
        self.at = found.end()
        return True

    def fail(self, message: str, position: int | None = None) -> NoReturn:
        raise ParseError(message, self.text, self.at if position is None else position)


def _joined(kind: type[And] | type[Or], parts: list[Filter]) -> Filter:
    flat = [inner for part in parts for inner in (part.inputs if isinstance(part, kind) else (part,))]
    return flat[0] if len(flat) == 1 else kind(tuple(flat))


def _spell(part: Filter, least: int) -> str:
    return str(part) if part.binding >= least else f"({part})"


def _quote(text: str) -> str:
    return '"' + re.sub(r'([\\"])', r"\\\1", text) + '"'
