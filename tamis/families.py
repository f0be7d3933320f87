"""Model families: how an address becomes a typed, validated object.

An address is ``family:id[@revision][?option=value&…]``. A family is a class that says what it is (`FamilyClass`): a one-line
summary, the kind of index part it reads, and a frozen dataclass of options. The registry holds dotted paths and imports them
on use, so that naming every family loads none. Third parties register a class under the entry-point group
``tamis.families``; the family is never guessed from a model's name.

Each option declares a scope: ``model`` (part of the model's fingerprint: changing it is another model), ``part`` (how it
is stored) or ``search`` (free to change from query to query).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import operator
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from tamis.errors import UnknownNameError, UsageError
from tamis.stages import PartSource

Scope = Literal["model", "part", "search"]
O = TypeVar("O")  # noqa: E741 - the options dataclass

ENTRY_POINTS = "tamis.families"

_BUILTIN: dict[str, str] = {
    "bm25": "tamis.retrievers.bm25:BM25",
    "cedr": "tamis.rerankers.family:Cedr",
    "colbert": "tamis.retrievers.colbert:Colbert",
    "cort": "tamis.retrievers.dense:Cort",
    "d2llm": "tamis.retrievers.pairs:D2LLM",
    "cross": "tamis.rerankers.family:Cross",
    "dense": "tamis.retrievers.dense:Dense",
    "dpr": "tamis.retrievers.dense:DPR",
    "dse": "tamis.retrievers.pairs:DSE",
    "duot5": "tamis.rerankers.family:DuoT5",
    "dyvo": "tamis.entities.dyvo:Dyvo",
    "firstp": "tamis.retrievers.passages:FirstP",
    "fit5": "tamis.rerankers.family:FiT5",
    "impacts": "tamis.retrievers.sparse:Impacts",
    "listwise": "tamis.rerankers.family:Listwise",
    "maxp": "tamis.retrievers.passages:MaxP",
    "monot5": "tamis.rerankers.family:MonoT5",
    "openai": "tamis.retrievers.dense:OpenAI",
    "ql": "tamis.retrievers.ql:QueryLikelihood",
    "spar": "tamis.retrievers.dense:Spar",
    "splade": "tamis.retrievers.sparse:Splade",
    "sump": "tamis.retrievers.passages:SumP",
    "tct-colbert": "tamis.retrievers.dense:TctColbert",
    "tk": "tamis.rerankers.family:TK",
    "tkl": "tamis.rerankers.family:TKL",
    "uhd": "tamis.retrievers.sparse:Uhd",
    "unicoil": "tamis.retrievers.sparse:Unicoil",
    "vectors": "tamis.retrievers.dense:Vectors",
}


def option(
    default: Any,
    help: str,  # noqa: A002 - the word that users see
    *,
    scope: Scope = "search",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    choices: Sequence[str] | None = None,
) -> Any:
    """Declare one option: a dataclass field with a default, a sentence of help, its scope and its limits."""
    limits = {"ge": ge, "gt": gt, "le": le, "choices": tuple(choices) if choices else None}
    return dataclasses.field(default=default, metadata={"help": help, "scope": scope, **limits})


class FamilyClass(Protocol):
    """What a registered class offers. `tamis.testing.FamilyConformance` checks it."""

    summary: ClassVar[str]
    part_kind: ClassVar[str | None]
    default_part: ClassVar[str | None]
    Options: ClassVar[type[Any]]

    @classmethod
    def open(cls, source: PartSource, address: Address, options: Any) -> Any:
        """Return a stage (see `tamis.stages`) over `source`."""


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed model address. `str()` gives the canonical spelling: options sorted by name, defaults as written."""

    family: str
    id: str = ""
    revision: str | None = None
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse ``family:id[@revision][?option=value&…]``, or the path of a folder whose ``tamis.json`` names its family.

        Raises:
            UsageError: the text is not an address.
        """
        head, mark, tail = text.partition("?")
        options: dict[str, str] = {}
        if mark:
            for pair in tail.split("&"):
                name, equals, value = pair.partition("=")
                if not name or not equals:
                    raise UsageError(f"address {text!r}: {pair!r} is not option=value")
                if name in options:
                    raise UsageError(f"address {text!r}: option {name!r} is given twice")
                options[name] = _unescape(value)
        family, colon, rest = head.partition(":")
        if not colon and ("/" in head or "\\" in head):
            family, rest = _family_of_folder(head), head
        if not family:
            raise UsageError(f"address {text!r} names no family: write family:id, for example bm25 or dense:minilm")
        identifier, at, revision = rest.rpartition("@") if "@" in rest else (rest, "", "")
        if at and (not revision or not identifier):
            raise UsageError(f"address {text!r}: '@' separates an id from its revision, and one of them is empty")
        return cls(family, identifier, revision or None, tuple(sorted(options.items())))

    def __str__(self) -> str:
        text = self.family + (f":{self.id}" if self.id else "") + (f"@{self.revision}" if self.revision else "")
        return text + ("?" + "&".join(f"{n}={_escape(v)}" for n, v in self.options) if self.options else "")


def _escape(value: str) -> str:
    return "".join(f"%{ord(c):02X}" if c in "%& \t\r\n,()\"'" else c for c in value)


def _unescape(value: str) -> str:
    if "%" not in value:
        return value
    from urllib.parse import unquote

    return unquote(value)


def _family_of_folder(folder: str) -> str:
    card = Path(folder) / "tamis.json"
    try:
        family = json.loads(card.read_text("utf-8"))["family"]
    except FileNotFoundError:
        raise UsageError(f"{folder!r} names no family and has no tamis.json that does: write family:{folder}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f'{card}: not a checkpoint card with a "family" entry ({error})') from error
    return str(family)


def families() -> list[str]:
    """Return the names of all registered families, third parties' included, without importing any."""
    return sorted({*_BUILTIN, *_entry_points()})


def _entry_points() -> dict[str, Callable[[], Any]]:
    from importlib.metadata import entry_points

    return {point.name: point.load for point in entry_points(group=ENTRY_POINTS)}


def family(name: str) -> type[FamilyClass]:
    """Import and return the class of a family.

    Raises:
        UnknownNameError: no such family; the nearest names are suggested.
    """
    if path := _BUILTIN.get(name):
        module, _, attribute = path.partition(":")
        return typing.cast("type[FamilyClass]", getattr(import_module(module), attribute))
    plugins = _entry_points()
    if name in plugins:
        return typing.cast("type[FamilyClass]", plugins[name]())
    raise UnknownNameError("family", name, [*_BUILTIN, *plugins])


def open_model(source: PartSource, address: Address | str) -> Any:
    """Open the stage that `address` names over `source`, its options checked."""
    parsed = Address.parse(address) if isinstance(address, str) else address
    cls = family(parsed.family)
    return cls.open(source, parsed, parse_options(cls.Options, parsed.options, of=parsed.family))


def open_encoder(address: Address | str) -> Any:
    """Open the encoder that an address names, with whatever its family puts around it.

    Raises:
        UsageError: the family encodes no documents.
    """
    parsed = Address.parse(address) if isinstance(address, str) else address
    encoder_of = getattr(family(parsed.family), "encoder", None)
    if encoder_of is None:
        raise UsageError(f"{parsed}: the family {parsed.family!r} makes no part of an index")
    return encoder_of(parsed)


def parse_options(cls: type[O], pairs: Iterable[tuple[str, str]], *, of: str) -> O:
    """Build an options dataclass from strings.

    Args:
        cls: the dataclass; its fields are made by `option`.
        pairs: names and values as written in an address.
        of: what the options belong to, for messages.

    Raises:
        UnknownNameError: a name is not an option of `cls`.
        UsageError: a value does not parse, or breaks its limits.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = _type_hints(cls)  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, text in pairs:
        if name not in fields:
            raise UnknownNameError(f"option of {of}", name, fields)
        values[name] = _checked(
            f"{of}?{name}={text}", _convert(hints[name], text, f"{of}?{name}"), fields[name].metadata
        )
    return cls(**values)


@functools.cache
def _type_hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)  # compiles every annotation: half a millisecond, too slow for every query


def option_values(options: Any, scope: Scope | None = None) -> dict[str, Any]:
    """Return an options object as a dictionary, only those of one scope if given."""
    return {
        f.name: getattr(options, f.name)
        for f in dataclasses.fields(options)
        if scope is None or f.metadata["scope"] == scope
    }


def scoped_address(address: Address, cls: type[Any], scope: Scope) -> Address:
    """Return the address with only those of its options that are of one scope of the options dataclass `cls`."""
    scopes = {f.name: f.metadata["scope"] for f in dataclasses.fields(cls)}
    kept = tuple((name, value) for name, value in address.options if scopes.get(name) == scope)
    return dataclasses.replace(address, options=kept)


def _convert(kind: Any, text: str, where: str) -> Any:
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        members = [m for m in typing.get_args(kind) if m is not type(None)]
        if text in ("none", "") and len(members) < len(typing.get_args(kind)):
            return None
        kind = members[0]
    try:
        if kind is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
        if kind is int:
            return int(text)
        if kind is float:
            return float(text)
    except (ValueError, KeyError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise UsageError(f"{where}: {text!r} is not {wanted}") from None
    return text


def _checked(what: str, value: Any, limits: Any) -> Any:
    if value is None:
        return value
    if limits["choices"] and value not in limits["choices"]:
        raise UnknownNameError(f"value in {what}:", str(value), limits["choices"])
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{what}: must be a finite number")
    bounds: tuple[tuple[str, str, Callable[[Any, Any], bool]], ...] = (
        ("ge", "at least", operator.ge),
        ("gt", "above", operator.gt),
        ("le", "at most", operator.le),
    )
    for name, words, holds in bounds:
        if limits[name] is not None and not holds(value, limits[name]):
            raise UsageError(f"{what}: must be {words} {limits[name]}")
    return value


__all__ = [
    "ENTRY_POINTS",
    "Address",
    "FamilyClass",
    "Scope",
    "families",
    "family",
    "open_encoder",
    "open_model",
    "option",
    "option_values",
    "parse_options",
    "scoped_address",
]


class Loaders:
    """Models of one kind by the names of their families; modules are imported when they are needed.

    Args:
        kind: what messages call a name.
        table: for every name the module that has ``load(address, options)``, and ``MODULE:CLASS`` of its options.
    """

    def __init__(self, kind: str, table: Mapping[str, tuple[str, str]]) -> None:
        self._kind, self._table = kind, table

    def names(self) -> list[str]:
        """Return the names, ascending."""
        return sorted(self._table)

    def options(self, family: str) -> type[Any]:
        """Return the dataclass of a family's model options, without loading its libraries.

        Raises:
            UnknownNameError: there is no such family.
        """
        if family not in self._table:
            raise UnknownNameError(self._kind, family, self._table)
        module, _, name = self._table[family][1].partition(":")
        options: type[Any] = getattr(import_module(module), name)
        return options

    def module(self, family: str) -> Any:
        """Import the module of a family that there is."""
        return import_module(self._table[family][0])

    def load(self, address: Address | str) -> Any:
        """Load the model that an address names; options of other scopes than its own are left alone.

        Raises:
            UnknownNameError: no such family or option.
            TamisError: as its loader says.
        """
        parsed = Address.parse(address) if isinstance(address, str) else address
        cls = self.options(parsed.family)
        own = [pair for pair in parsed.options if pair[0] in cls.__dataclass_fields__]
        options = parse_options(cls, own, of=parsed.family)
        return self.module(parsed.family).load(scoped_address(parsed, cls, "model"), options)
