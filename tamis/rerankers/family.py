"""How a reranker is named in a pipeline: what the families share, and the families themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tamis.errors import UsageError
from tamis.families import Address, scoped_address
from tamis.rerankers.lists import ListOptions, ListReranker
from tamis.rerankers.options import (
    CedrOptions,
    CrossOptions,
    DuoOptions,
    FiT5Options,
    ListwiseOptions,
    RerankOptions,
    T5Options,
    TKOptions,
)
from tamis.rerankers.stage import PairReranker
from tamis.stages import PartSource


class _Family:
    """What the families of rerankers share; one is its options and its name in the registry of rerankers."""

    summary: ClassVar[str]
    part_kind: ClassVar[str | None] = None
    default_part: ClassVar[str | None] = None
    Options: ClassVar[type[Any]]
    checkpoints: ClassVar[tuple[str, ...]] = ()
    Stage: ClassVar[type[PairReranker | ListReranker]]

    @classmethod
    def open(cls, source: PartSource, address: Address, options: Any) -> PairReranker | ListReranker:
        """Open the model over the documents; it is loaded when the first candidates come."""
        from tamis.rerankers.registry import open_reranker

        model = scoped_address(address, cls.Options, "model")
        return cls.Stage(
            source.documents,
            lambda: open_reranker(address),  # with where it runs, which does not make it another model
            options,
            name=str(address),
            cannot_retrieve=UsageError(
                f"{model} re-scores candidates and retrieves none: put a retriever before it, as in  bm25 % 100 >> {model}"
            ),
        )


class PairFamily(_Family):
    """A family of models that score a query and a passage."""

    Stage = PairReranker


class ListFamily(_Family):
    """A family of models that score the candidates of a query together."""

    Stage = ListReranker


@dataclass(frozen=True)
class _CrossOptions(RerankOptions, CrossOptions):
    """Options of ``cross``."""


class Cross(PairFamily):
    """The ``cross`` family: monoBERT and its kind."""

    summary = "cross-encoder: any that sentence-transformers reads, such as monoBERT, or a language model that answers yes or no"
    Options = _CrossOptions
    checkpoints = (
        "cross-encoder/ms-marco-MiniLM-L6-v2",
        "cross-encoder/ms-marco-electra-base",
        "castorini/monobert-large-msmarco",
        "cross-encoder/ettin-reranker-32m-v1",
        "zeroentropy/zerank-2",
    )


@dataclass(frozen=True)
class _MonoT5Options(RerankOptions, T5Options):
    """Options of ``monot5``."""


class MonoT5(PairFamily):
    """The ``monot5`` family."""

    summary = "monoT5: T5, or mT5, asked whether a document is relevant to a query"
    Options = _MonoT5Options
    checkpoints = (
        "castorini/monot5-base-msmarco-10k",
        "castorini/monot5-3b-msmarco-10k",
        "unicamp-dl/mt5-base-mmarco-v2",
    )


@dataclass(frozen=True)
class _DuoT5Options(ListOptions, DuoOptions, T5Options):
    """Options of ``duot5``."""


class DuoT5(ListFamily):
    """The ``duot5`` family."""

    summary = "duoT5: T5 asked which of two documents is the more relevant, for all pairs of a query's first candidates"
    Options = _DuoT5Options
    checkpoints = ("castorini/duot5-base-msmarco-10k", "castorini/duot5-3b-msmarco-10k")


@dataclass(frozen=True)
class _FiT5Options(ListOptions, FiT5Options):
    """Options of ``fit5``."""


class FiT5(ListFamily):
    """The ``fit5`` family."""

    summary = "FiT5: T5 that reads each candidate with its score so far, and all of a query's candidates together"
    Options = _FiT5Options
    checkpoints = ("OpenMatch/FiT5-msmarco",)


@dataclass(frozen=True)
class _ListwiseOptions(ListOptions, ListwiseOptions):
    """Options of ``listwise``."""


class Listwise(ListFamily):
    """The ``listwise`` family."""

    summary = "a language model, behind an endpoint or on this machine, that is asked to put passages in order"
    Options = _ListwiseOptions
    checkpoints = ("castorini/rank_zephyr_7b_v1_full", "castorini/rank_vicuna_7b_v1")


@dataclass(frozen=True)
class _CedrOptions(RerankOptions, CedrOptions):
    """Options of ``cedr``."""


class Cedr(PairFamily):
    """The ``cedr`` family."""

    summary = "CEDR: BERT with KNRM, PACRR or DRMM over the similarities of its states in all layers, or without"
    Options = _CedrOptions


@dataclass(frozen=True)
class _TKOptions(RerankOptions, TKOptions):
    """Options of ``tk`` and ``tkl``."""


class TK(PairFamily):
    """The ``tk`` family."""

    summary = "TK: word vectors in a little context, and kernels over their similarities; for passages"
    Options = _TKOptions


class TKL(PairFamily):
    """The ``tkl`` family."""

    summary = "TKL: the same for long documents, by local attention and their best regions"
    Options = _TKOptions
