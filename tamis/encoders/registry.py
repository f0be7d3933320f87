"""Families of encoders: name → options and loader, imported on use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tamis.errors import UnknownNameError
from tamis.families import Address, parse_options, scoped_address

_ENCODERS: dict[str, tuple[str, str]] = {
    "colbert": ("tamis.encoders.colbert", "ColbertOptions"),
    "cort": ("tamis.encoders.cort", "LengthOptions"),
    "d2llm": ("tamis.encoders.d2llm", "LengthOptions"),
    "dense": ("tamis.encoders.dense", "DenseOptions"),
    "dpr": ("tamis.encoders.dpr", "PairOptions"),
    "dse": ("tamis.encoders.dse", "LengthOptions"),
    "dyvo": ("tamis.encoders.dyvo", "DyvoOptions"),
    "impacts": ("tamis.encoders.impacts", "ImpactsOptions"),
    "openai": ("tamis.encoders.openai", "OpenAIOptions"),
    "spar": ("tamis.encoders.spar", "SparOptions"),
    "splade": ("tamis.encoders.splade", "SpladeOptions"),
    "tct-colbert": ("tamis.encoders.tct_colbert", "LengthOptions"),
    "uhd": ("tamis.encoders.uhd", "UhdOptions"),
    "unicoil": ("tamis.encoders.sparse_unicoil", "UnicoilOptions"),
    "vectors": ("tamis.encoders.vectors", "VectorsOptions"),
}


def encoder_families() -> list[str]:
    """Return the names of the families that encode."""
    return sorted(_ENCODERS)


def encoder_options(family: str) -> type[Any]:
    """Return the options dataclass of a family of encoders, without loading its libraries.

    Raises:
        UnknownNameError: there is no such family.
    """
    if family not in _ENCODERS:
        raise UnknownNameError("family of encoders", family, _ENCODERS)
    options: type[Any] = getattr(import_module("tamis.encoders.options"), _ENCODERS[family][1])
    return options


def open_encoder(address: Address | str) -> Any:
    """Load the encoder that an address names; options of other scopes than its own are left alone.

    Raises:
        UnknownNameError: no such family or option.
        MissingResourceError: no such checkpoint.
        ModelError: the checkpoint cannot be used.
    """
    parsed = Address.parse(address) if isinstance(address, str) else address
    cls = encoder_options(parsed.family)
    own = [pair for pair in parsed.options if pair[0] in cls.__dataclass_fields__]
    options = parse_options(cls, own, of=parsed.family)
    return import_module(_ENCODERS[parsed.family][0]).load(scoped_address(parsed, cls, "model"), options)
