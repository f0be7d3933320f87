"""Families of quality models: name → loader and options, imported on use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tamis.families import Address, Loaders, parse_options
from tamis.pruning.base import Statistic
from tamis.pruning.options import VectorOptions

_QUALITY: dict[str, tuple[str, str, str]] = {
    "cdd": (
        "tamis.pruning.cdd",
        "tamis.pruning.options:CddOptions",
        "distance of the words from the collection's (negative)",
    ),
    "centroid": (
        "tamis.pruning.vectors",
        "tamis.pruning.options:VectorOptions",
        "cosine with the mean vector: centroid:dense:minilm",
    ),
    "classifier": (
        "tamis.pruning.classifier",
        "tamis.encoders.options:LengthOptions",
        "a checkpoint with a quality head: classifier:ID",
    ),
    "itn": ("tamis.pruning.itn", "tamis.pruning.options:NoOptions", "share of distinct words"),
    "length": ("tamis.pruning.length", "tamis.pruning.options:NoOptions", "number of words"),
    "magnitude": (
        "tamis.pruning.vectors",
        "tamis.pruning.options:VectorOptions",
        "length of the vector: magnitude:dense:minilm",
    ),
    "perplexity": (
        "tamis.pruning.perplexity",
        "tamis.encoders.options:LengthOptions",
        "a causal language model's: perplexity:ID (negative)",
    ),
    "qualt5": ("tamis.pruning.qualt5", "tamis.encoders.options:LengthOptions", "QualT5, trained for this: qualt5:ID"),
    "random": ("tamis.pruning.uniform", "tamis.pruning.options:RandomOptions", "knows nothing; random?seed=1"),
    "stopwords": ("tamis.pruning.stopwords", "tamis.pruning.options:NoOptions", "share of stop words"),
}
_LOADERS = Loaders("quality model", {name: (module, options) for name, (module, options, _) in _QUALITY.items()})
_STATISTICS = {"cdd": "tamis.pruning.cdd:CddStatistic", "centroid": "tamis.pruning.vectors:CentroidStatistic"}


def quality_families() -> dict[str, str]:
    """Return the names of the families, each with what it is."""
    return {name: summary for name, (_, _, summary) in _QUALITY.items()}


def quality_options(family: str) -> type[Any]:
    """Return the dataclass of a family's options, without loading its libraries.

    Raises:
        UnknownNameError: there is no such family.
    """
    return _LOADERS.options(family)


def open_quality(address: Address | str) -> Any:
    """Load the quality model that an address names: one of the kinds in `tamis.pruning.base`.

    Raises:
        UnknownNameError: no such family or option.
        MissingResourceError: no such checkpoint.
        ModelError: the checkpoint cannot be used.
    """
    parsed = Address.parse(address) if isinstance(address, str) else address
    cls = quality_options(parsed.family)
    if cls is VectorOptions:  # the options in the address are the encoder's
        return _LOADERS.module(parsed.family).load(parsed, cls())
    parse_options(cls, parsed.options, of=parsed.family)  # there are no others than the model's
    return _LOADERS.load(parsed)


def statistic(name: str) -> Statistic:
    """Return a collection model's statistic by its name."""
    module, _, attribute = _STATISTICS[name].partition(":")
    found: Statistic = getattr(import_module(module), attribute)()
    return found
