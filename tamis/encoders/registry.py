"""Families of encoders: name → options and loader, imported on use."""

from __future__ import annotations

from typing import Any

from tamis.families import Address, Loaders

_LOADERS = Loaders(
    "family of encoders",
    {
        "colbert": ("tamis.encoders.colbert", "tamis.encoders.options:ColbertOptions"),
        "cort": ("tamis.encoders.cort", "tamis.encoders.options:EncoderOptions"),
        "d2llm": ("tamis.encoders.d2llm", "tamis.encoders.options:LengthOptions"),
        "dense": ("tamis.encoders.dense", "tamis.encoders.options:DenseOptions"),
        "dpr": ("tamis.encoders.dpr", "tamis.encoders.options:PairOptions"),
        "dse": ("tamis.encoders.dse", "tamis.encoders.options:LengthOptions"),
        "dyvo": ("tamis.encoders.dyvo", "tamis.encoders.options:DyvoOptions"),
        "impacts": ("tamis.encoders.impacts", "tamis.encoders.options:ImpactsOptions"),
        "openai": ("tamis.encoders.openai", "tamis.encoders.options:OpenAIOptions"),
        "spar": ("tamis.encoders.spar", "tamis.encoders.options:SparOptions"),
        "splade": ("tamis.encoders.splade", "tamis.encoders.options:SpladeOptions"),
        "tct-colbert": ("tamis.encoders.tct_colbert", "tamis.encoders.options:EncoderOptions"),
        "uhd": ("tamis.encoders.uhd", "tamis.encoders.options:UhdOptions"),
        "unicoil": ("tamis.encoders.sparse_unicoil", "tamis.encoders.options:UnicoilOptions"),
        "vectors": ("tamis.encoders.vectors", "tamis.encoders.options:VectorsOptions"),
    },
)


def encoder_families() -> list[str]:
    """Return the names of the families that encode."""
    return _LOADERS.names()


def encoder_options(family: str) -> type[Any]:
    """Return the options dataclass of a family of encoders, without loading its libraries.

    Raises:
        UnknownNameError: there is no such family.
    """
    return _LOADERS.options(family)


def open_encoder(address: Address | str) -> Any:
    """Load the encoder that an address names; options of other scopes than its own are left alone.

    Raises:
        UnknownNameError: no such family or option.
        MissingResourceError: no such checkpoint.
        ModelError: the checkpoint cannot be used.
    """
    return _LOADERS.load(address)
