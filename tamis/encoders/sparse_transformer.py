"""What every learned sparse encoder over a transformer shares: the loop over batches, special tokens, and pooling of logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage, SparseVectors, Tick, no_tick
from tamis.encoders.batching import Inputs, Numerics, batches_of, pad_batch
from tamis.encoders.onnx_graph import PROBES
from tamis.encoders.sparse_rows import Pruning, sparse_rows, stacked
from tamis.encoders.states import EXPORT_VERSION, PASSAGES, ExportedGraph, exported_as, open_graph
from tamis.encoders.text import TextFormat, Tokenizer
from tamis.errors import ModelError

LOGITS = 1 << 28
"""Numbers of a batch before pooling, tokens times dimensions: 1 GiB of float32."""


class Entries(NamedTuple):
    """What is not 0 in the vectors of a batch.

    Attributes:
        owners: int64 [entries], the text of each.
        dimensions: int64 [entries], distinct within a text.
        weights: float32 [entries], not below 0.
    """

    owners: torch.Tensor
    dimensions: torch.Tensor
    weights: torch.Tensor


class SparseTransformer(nn.Module, ABC):
    """A `tamis.encoders.base.SparseEncoder`; a subclass says how a text is written and what becomes of its tokens.

    Args:
        identity: of the model.
        numerics: where and how it runs.
        dimensions: of the space.
        formats: how documents and queries are written.
        pruning: of documents and of queries.

    Attributes:
        limits: what the checkpoint itself says that a document and a query keep, whatever the options are.
        exports_queries: whether `query_graph` can be written as a graph (`tamis.encoders.exported_sparse`).
        tokens: how many the model has read so far, padding not counted.
    """

    exports_queries = False

    def __init__(
        self,
        identity: ModelIdentity,
        numerics: Numerics,
        dimensions: int,
        formats: tuple[TextFormat, TextFormat],
        pruning: tuple[Pruning, Pruning] = (Pruning(), Pruning()),
    ) -> None:
        super().__init__()
        self.identity, self.numerics, self.dimensions = identity, numerics, dimensions
        self.formats, self.pruning = formats, pruning
        self.limits = (Pruning(), Pruning())
        self.tokens = 0
        self._graphs: dict[str, ExportedGraph] = {}

    @property
    def pad(self) -> int:
        """Id of the padding token of documents."""
        return self.formats[0].tokenizer.pad

    @abstractmethod
    def forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None = None,
        types: torch.Tensor | None = None,
        *,
        side: str = "document",
    ) -> torch.Tensor:
        """Return the vectors of a padded batch, differentiably and not pruned.

        Args:
            ids: int64 [texts, tokens].
            mask: int64, 1 where there is a token; None: everywhere.
            types: int64 token types; None: all 0.
            side: ``query`` or ``document``.

        Returns:
            float32 [texts, dimensions], not below 0.
        """

    def entries(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None,
        types: torch.Tensor | None,
        *,
        side: str,
        places: NDArray[np.int64],
    ) -> Entries:
        """Return what `forward` does, without zeros; arguments as there.

        Args:
            ids: see `forward`.
            mask: see `forward`.
            types: see `forward`.
            side: see `forward`.
            places: of the batch's texts among those that are encoded.
        """
        graph = self._graphs.get(side)
        weights = self(ids, mask, types, side=side) if graph is None else graph(ids, mask, types)
        owners, dimensions = (weights != 0).nonzero(as_tuple=True)  # what is not a number is kept, and found out
        return Entries(owners, dimensions, weights[owners, dimensions])

    def export(self, backend: str, sides: Mapping[str, nn.Module]) -> None:
        """Let exported graphs give what `forward` does in encoding, in the precision of `numerics`.

        Args:
            backend: one of `tamis.encoders.runners.PRECISIONS`.
            sides: of which sides, and which transformer runs there; one that serves both is exported once.

        Raises:
            PrerequisiteError: the backend cannot run here.
            ModelError: it cannot be exported, or a graph computes something else.
        """
        settings = {name: value for name, value in self.identity.settings.items() if name != "dtype"}

        def open_all() -> None:
            known: dict[int, ExportedGraph] = {}
            for side, model in sides.items():
                if id(model) not in known:
                    decides = ["vectors", dict(self.identity.files), settings, side, EXPORT_VERSION]
                    known[id(model)] = open_graph(self, model, partial(self, side=side), backend, decides)
                self._graphs[side] = known[id(model)]

        exported_as(self, open_all, _probe)

    def query_graph(self, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Return the weights of queries as `grade_queries` has them, float32 [texts, dimensions], by operators that ONNX has."""
        weights: torch.Tensor = self(ids, mask, side="query")
        return weights

    @property
    def query_sets(self) -> tuple[int, list[float]] | None:
        """Dimensions of a bucket, and what each bucket's weigh in queries, where queries are sets; here None."""
        return None

    @property
    def query_table(self) -> NDArray[np.float32] | None:
        """float32 [dimensions], what a token of a query weighs, where no model reads queries; here None."""
        return None

    def weighted(self, rows: SparseVectors, side: str) -> SparseVectors:
        """Return what becomes of the weights that pruning left; here nothing."""
        return rows

    def entries_of(self, side: str, texts: Sequence[str]) -> Callable[..., Entries]:
        """Return what finds the entries of these texts, by `entries`' arguments; a subclass may know more of them."""
        return self.entries

    def document_inputs(self, passages: Sequence[Passage]) -> Inputs:
        """Return title and text joined by a space, as the model reads them."""
        return self.formats[0].inputs([passage.joined for passage in passages])

    def query_inputs(self, texts: Sequence[str]) -> Inputs:
        """Return queries as the model reads them."""
        return self.formats[1].inputs(texts)

    def names(self) -> Sequence[str] | None:
        """The word pieces."""
        return token_names(self.formats[0].tokenizer, self.dimensions)

    def encode_passages(self, passages: Sequence[Passage], *, tick: Tick = no_tick) -> SparseVectors:
        """Encode documents; see `SparseEncoder`."""
        prune = self.pruning[0]
        return self._documents(passages, lambda rows: self.weighted(prune(rows), "document"), tick)

    def grade_passages(self, passages: Sequence[Passage], *, tick: Tick = no_tick) -> SparseVectors:
        """Encode documents without pruning but the checkpoint's own, and without what `weighted` makes of the weights.

        Who prunes documents prunes these, and calls `weighted` then: a set has no weights left to choose by.
        """
        return self._documents(passages, self.limits[0], tick)

    def encode_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> SparseVectors:
        """Encode queries; see `SparseEncoder`."""
        prune = self.pruning[1]
        return self._queries(texts, lambda rows: self.weighted(prune(rows), "query"), tick)

    def grade_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> SparseVectors:
        """Encode queries without pruning, and without what `weighted` makes of the weights."""
        return self._queries(texts, lambda rows: rows, tick)

    @property
    def budget(self) -> int:
        """Tokens of a batch."""
        return max(1, min(self.numerics.budget, LOGITS // self.dimensions))

    def _documents(
        self, passages: Sequence[Passage], finish: Callable[[SparseVectors], SparseVectors], tick: Tick
    ) -> SparseVectors:
        found = self.entries_of("document", [passage.joined for passage in passages])
        return self._encode(self.document_inputs(passages), "document", tick, found, finish)

    def _queries(
        self, texts: Sequence[str], finish: Callable[[SparseVectors], SparseVectors], tick: Tick
    ) -> SparseVectors:
        return self._encode(self.query_inputs(texts), "query", tick, self.entries_of("query", texts), finish)

    def _encode(
        self,
        inputs: Inputs,
        side: str,
        tick: Tick,
        entries: Callable[..., Entries],
        finish: Callable[[SparseVectors], SparseVectors],
    ) -> SparseVectors:
        lengths = np.array([len(ids) for ids in inputs.ids], np.int64)
        pad = self.formats[side == "query"].tokenizer.pad
        parts = list[tuple[NDArray[np.int64], SparseVectors]]()
        with torch.inference_mode(), self.numerics.running():
            for places in batches_of(lengths, self.budget):
                batch = pad_batch(inputs, places, lengths, pad, self.numerics.device)
                owners, dimensions, weights = entries(*batch, side=side, places=places)
                values = weights.float().cpu().numpy()
                if not np.isfinite(values).all():
                    raise ModelError(
                        f"{self.identity.address} computed a number that is not finite: its weights are damaged, or dtype is "
                        "too narrow for it"
                    )
                rows = sparse_rows(len(places), owners.cpu().numpy(), dimensions.cpu().numpy(), values)
                parts.append((places, finish(rows)))
                tick(len(places))
        self.tokens += inputs.tokens
        return stacked(len(inputs), parts, inputs.truncated)


def _probe(encoder: SparseTransformer) -> NDArray[np.float32]:
    """The weights of a few texts, as queries and as documents, float32 [texts, dimensions]."""
    found = []
    for rows in (encoder.grade_queries(PROBES), encoder.grade_passages(PASSAGES)):
        table = np.zeros((len(rows.offsets) - 1, encoder.dimensions), np.float32)
        table[np.repeat(np.arange(len(table)), np.diff(rows.offsets)), rows.indices] = rows.values
        found.append(table)
    return np.concatenate(found)


def pooled_tokens(ids: torch.Tensor, mask: torch.Tensor | None, skipped: torch.Tensor | None) -> torch.Tensor | None:
    """Return which tokens are pooled, bool [texts, tokens]; None: all.

    Args:
        ids: int64 [texts, tokens].
        mask: int64, 1 where there is a token; None: everywhere.
        skipped: ids of tokens that are not pooled; None: none.
    """
    if skipped is None or not len(skipped):
        return None if mask is None else mask.bool()
    kept = (ids.unsqueeze(-1) != skipped).all(-1)  # not isin, which ONNX lacks
    return kept if mask is None else kept & mask.bool()


def saturate(values: torch.Tensor, times: int = 1) -> torch.Tensor:
    """Return log(1 + relu(x)), its logarithm log(1 + x) taken `times` times, in float32."""
    values = values.float().relu()
    for _ in range(times):
        values = values.log1p()
    return values


def pool_logits(logits: torch.Tensor, kept: torch.Tensor | None, how: str, times: int = 1) -> torch.Tensor:
    """Saturate logits and pool them over tokens.

    Since `saturate` never falls, the largest saturated logit is the largest logit, saturated: only that one is computed.

    Args:
        logits: [texts, tokens, dimensions]; overwritten where no gradient is needed.
        kept: bool [texts, tokens], which tokens are pooled; None: all.
        how: ``max`` or ``sum``.
        times: see `saturate`.

    Returns:
        float32 [texts, dimensions]; 0 for a text without tokens.
    """
    if kept is not None:
        away = ~kept.unsqueeze(-1)
        logits = logits.masked_fill(away, -torch.inf) if logits.requires_grad else logits.masked_fill_(away, -torch.inf)
    return saturate(logits.amax(1), times) if how == "max" else saturate(logits, times).sum(1)


def special_ids(tokenizer: Tokenizer) -> list[int]:
    """Return the ids of the tokens that a tokenizer puts around a text."""
    return sorted(set(tokenizer.texts([""], 8).ids[0]))


def token_names(tokenizer: Tokenizer, dimensions: int) -> list[str]:
    """Return the word piece of each dimension; ids that the vocabulary leaves out are named ``[id 123]``."""
    known: dict[str, Any] = tokenizer.raw.get_vocab(True)
    names = [f"[id {number}]" for number in range(dimensions)]
    for token, number in known.items():
        if number < dimensions:
            names[number] = token
    return names
