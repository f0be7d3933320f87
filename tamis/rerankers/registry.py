"""Families of models that score pairs, or lists of candidates: name → options and loader, imported on use."""

from __future__ import annotations

from typing import Any

from tamis.families import Address, Loaders

_LOADERS = Loaders(
    "family of rerankers",
    {
        "cedr": ("tamis.rerankers.cedr", "tamis.rerankers.options:CedrOptions"),
        "cross": ("tamis.rerankers.cross.backends", "tamis.rerankers.options:CrossOptions"),
        "duot5": ("tamis.rerankers.duot5", "tamis.rerankers.options:T5Options"),
        "fit5": ("tamis.rerankers.fit5", "tamis.rerankers.options:FiT5Options"),
        "listwise": ("tamis.rerankers.listwise.scorer", "tamis.rerankers.options:ListwiseOptions"),
        "monot5": ("tamis.rerankers.monot5", "tamis.rerankers.options:T5Options"),
        "tk": ("tamis.rerankers.tk", "tamis.rerankers.options:TKOptions"),
        "tkl": ("tamis.rerankers.tk", "tamis.rerankers.options:TKOptions"),
    },
)


def reranker_families() -> list[str]:
    """Return the names of the families."""
    return _LOADERS.names()


def reranker_options(family: str) -> type[Any]:
    """Return the dataclass of a family's model options, without loading its libraries.

    Raises:
        UnknownNameError: there is no such family.
    """
    return _LOADERS.options(family)


def open_reranker(address: Address | str) -> Any:
    """Load the model that an address names; options of other scopes than its own are left alone.

    Returns:
        A `tamis.rerankers.base.PairScorer`, or a `tamis.rerankers.lists.ListScorer` where the family is of those.

    Raises:
        UnknownNameError: no such family or option.
        MissingResourceError: no such checkpoint.
        ModelError: the checkpoint cannot be used.
    """
    return _LOADERS.load(address)
