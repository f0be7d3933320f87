"""Families of quality models: name → loader and options, imported on use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tamis.errors import UnknownNameError
from tamis.families import Address, parse_options, scoped_address
from tamis.pruning.base import Statistic

_QUALITY: dict[str, tuple[str, str, str]] = {
    "cdd": ("tamis.pruning.cdd", "CddOptions", "distance of the words from the collection's (negative)"),
    "centroid": ("tamis.pruning.vectors", "VectorOptions", "cosine with the mean vector: centroid:dense:minilm"),
    "classifier": ("tamis.pruning.classifier", "ReadingOptions", "a checkpoint with a quality head: classifier:ID"),
    "itn": ("tamis.pruning.itn", "NoOptions", "share of distinct words"),
    "length": ("tamis.pruning.length", "NoOptions", "number of words"),
    "magnitude": ("tamis.pruning.vectors", "VectorOptions", "length of the vector: magnitude:dense:minilm"),
    "perplexity": ("tamis.pruning.perplexity", "ReadingOptions", "a causal language model's: perplexity:ID (negative)"),
    "qualt5": ("tamis.pruning.qualt5", "ReadingOptions", "QualT5, trained for this: qualt5:ID"),
    "random": ("tamis.pruning.uniform", "RandomOptions", "knows nothing; random?seed=1"),
    "stopwords": ("tamis.pruning.stopwords", "NoOptions", "share of stop words"),
}
_STATISTICS = {"cdd": "tamis.pruning.cdd:CddStatistic", "centroid": "tamis.pruning.vectors:CentroidStatistic"}


def quality_families() -> dict[str, str]:
    """Return the names of the families, each with what it is."""
    return {name: summary for name, (_, _, summary) in _QUALITY.items()}


def quality_options(family: str) -> type[Any]:
    """Return the dataclass of a family's options, without loading its libraries.

    Raises:
        UnknownNameError: there is no such family.
    """
    if family not in _QUALITY:
        raise UnknownNameError("quality model", family, _QUALITY)
    options: type[Any] = getattr(import_module("tamis.pruning.options"), _QUALITY[family][1])
    return options


def open_quality(address: Address | str) -> Any:
    """Load the quality model that an address names: one of the kinds in `tamis.pruning.base`.

    Raises:
        UnknownNameError: no such family or option.
        MissingResourceError: no such checkpoint.
        ModelError: the checkpoint cannot be used.
    """
    parsed = Address.parse(address) if isinstance(address, str) else address
    cls = quality_options(parsed.family)
    load = import_module(_QUALITY[parsed.family][0]).load
    if not cls.__dataclass_fields__ and cls.__name__ == "VectorOptions":  # the options are the encoder's
        return load(parsed, cls())
    options = parse_options(cls, parsed.options, of=parsed.family)
    return load(scoped_address(parsed, cls, "model"), options)


def statistic(name: str) -> Statistic:
    """Return a collection model's statistic by its name."""
    module, _, attribute = _STATISTICS[name].partition(":")
    found: Statistic = getattr(import_module(module), attribute)()
    return found
