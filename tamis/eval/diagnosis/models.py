"""A model by its address, loaded once and put over any documents: what a diagnosis changes are the texts, or the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from tamis.errors import UsageError
from tamis.eval.diagnosis.texts import Texts, TextSource
from tamis.families import Address, family, open_encoder, open_model, parse_options
from tamis.rerankers.lists import ListReranker
from tamis.rerankers.stage import PairReranker
from tamis.retrievers.models import CandidateScorer, QueryEncoder
from tamis.stages import DocumentView, Rescorer

Kind = Literal["pairs", "lists", "encoder", "other"]


@dataclass(frozen=True)
class TextModel:
    """A model that scores texts.

    Attributes:
        name: its address.
        kind: whether it scores a query and a document, a query's candidates together, or encodes the two apart.
        over: returns a stage over documents, around the same loaded model; scores are neither taken from a cache nor kept.
        network: returns what computes: a module, or what stands for one.
    """

    name: str
    kind: Kind
    over: Callable[[DocumentView], Rescorer]
    network: Callable[[], Any]


def open_text_model(address: Address | str) -> TextModel:
    """Return the model of an address; it is loaded when it is first used.

    Raises:
        UnknownNameError: there is no such family, or option of one.
        UsageError: the model scores no texts (it reads a part of an index, or groups rows).
    """
    parsed = Address.parse(address) if isinstance(address, str) else address
    first: Any = open_model(TextSource(Texts([])), parsed)
    name = str(parsed)
    if isinstance(first, PairReranker):
        options = replace(first.options, cache=False)
        return TextModel(
            name,
            "pairs",
            lambda documents: PairReranker(documents, lambda: first.scorer, options, name=name),
            lambda: first.scorer,
        )
    if isinstance(first, ListReranker):
        return TextModel(
            name,
            "lists",
            lambda documents: ListReranker(documents, lambda: first.scorer, first.options, name=name),
            lambda: first.scorer,
        )
    if isinstance(first, CandidateScorer):
        kind, encoder = type(first), cache(lambda: _encoder(parsed))
        return TextModel(
            name,
            "encoder",
            lambda documents: kind(documents, QueryEncoder(encoder, None), first.cannot_retrieve),
            encoder,
        )
    if isinstance(first, Rescorer):
        return TextModel(name, "other", lambda documents: open_model(TextSource(documents), parsed), lambda: None)
    raise UsageError(f"{name} scores no texts: name a reranker, or a model that encodes documents")


def _encoder(address: Address) -> Any:
    """The encoder of a family, with what its search options ask of queries where there are such."""
    cls: Any = family(address.family)
    if hasattr(cls, "query_encoder"):
        return cls.query_encoder(address, parse_options(cls.Options, address.options, of=address.family))
    return open_encoder(address)
