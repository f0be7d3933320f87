"""Families of models that score pairs, or lists of candidates: name → options and loader, imported on use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tamis.errors import UnknownNameError
from tamis.families import Address, parse_options, scoped_address

_RERANKERS: dict[str, tuple[str, str]] = {
    "cedr": ("tamis.rerankers.cedr", "tamis.rerankers.options:CedrOptions"),
    "cross": ("tamis.rerankers.backends", "tamis.rerankers.options:CrossOptions"),
    "fit5": ("tamis.rerankers.fit5", "tamis.rerankers.options:FiT5Options"),
    "listwise": ("tamis.rerankers.listwise.scorer", "tamis.rerankers.options:ListwiseOptions"),
    "duot5": ("tamis.rerankers.duot5", "tamis.rerankers.options:T5Options"),
    "tk": ("tamis.rerankers.tk", "tamis.rerankers.options:TKOptions"),
    "tkl": ("tamis.rerankers.tk", "tamis.rerankers.options:TKOptions"),
    "monot5": ("tamis.rerankers.monot5", "tamis.rerankers.options:T5Options"),
}


def reranker_families() -> list[str]:
    """Return the names of the families."""
    return sorted(_RERANKERS)


def reranker_options(family: str) -> type[Any]:
    """Return the dataclass of a family's model options, without loading its libraries.

    Raises:
        UnknownNameError: there is no such family.
    """
    if family not in _RERANKERS:
        raise UnknownNameError("family of rerankers", family, _RERANKERS)
    module, _, name = _RERANKERS[family][1].partition(":")
    options: type[Any] = getattr(import_module(module), name)
    return options


def open_reranker(address: Address | str) -> Any:
    """Load the model that an address names; options of other scopes than its own are left alone.

    Returns:
        A `tamis.rerankers.base.PairScorer`, or a `tamis.rerankers.lists.ListScorer` where the family is of those.

    Raises:
        UnknownNameError: no such family or option.
        MissingResourceError: no such checkpoint.
        ModelError: the checkpoint cannot be used.
    """
    parsed = Address.parse(address) if isinstance(address, str) else address
    cls = reranker_options(parsed.family)
    own = [pair for pair in parsed.options if pair[0] in cls.__dataclass_fields__]
    options = parse_options(cls, own, of=parsed.family)
    return import_module(_RERANKERS[parsed.family][0]).load(scoped_address(parsed, cls, "model"), options)
