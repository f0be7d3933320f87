"""What every dense encoder over a transformer shares: identity, token states and what runs them, and the loop over batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tamis.encoders.base import DenseVectors, ModelIdentity, Passage, Similarity, Tick, no_tick
from tamis.encoders.batching import Inputs, Numerics, require_finite, run_batches
from tamis.encoders.checkpoints import checkpoint_files
from tamis.encoders.options import BackendOptions, NumericOptions
from tamis.encoders.states import ExportedGraph, exported_as, open_states, probe_vectors
from tamis.encoders.text import TextFormat
from tamis.families import Address

Exportable = TypeVar("Exportable", bound=Any)


class DenseTransformer(nn.Module, ABC):
    """A `tamis.encoders.base.DenseEncoder`; a subclass says how a text is written and what becomes of the token states.

    Its transformer is the attribute `transformer`, unless it says otherwise.

    Args:
        identity: of the model.
        numerics: where and how it runs.
        dimensions: of the vectors.
        similarity: what compares them.

    Attributes:
        tokens: how many the model has read so far, padding not counted.
    """

    query_format: TextFormat | None = None
    """How queries are written, where that can be done without the model (`tamis.encoders.exported`)."""

    typed: ClassVar[bool] = False
    """Whether the inputs have token types."""

    def __init__(
        self, identity: ModelIdentity, numerics: Numerics, dimensions: int, similarity: Similarity = "dot"
    ) -> None:
        super().__init__()
        self.identity, self.numerics = identity, numerics
        self.dimensions, self.similarity = dimensions, similarity
        self.tokens = 0
        self._graphs: dict[str, ExportedGraph] = {}

    def transformer_of(self, side: str) -> nn.Module:
        """Return the transformer that reads a side's texts."""
        return cast("nn.Module", self.transformer)

    @abstractmethod
    def finish(self, states: torch.Tensor, mask: torch.Tensor | None, side: str) -> torch.Tensor:
        """Return the vectors that token states become, differentiably.

        Args:
            states: [texts, tokens, width].
            mask: int64 [texts, tokens], 1 where there is a token; None: everywhere.
            side: ``query`` or ``document``.

        Returns:
            float32 [texts, dimensions].
        """

    def token_states(
        self, ids: torch.Tensor, mask: torch.Tensor | None, types: torch.Tensor | None, side: str
    ) -> torch.Tensor:
        """Return what `finish` takes of the transformer; arguments as of `forward`."""
        given = {} if types is None else {"token_type_ids": types}
        states: torch.Tensor = self.transformer_of(side)(input_ids=ids, attention_mask=mask, **given).last_hidden_state
        return states

    def forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None = None,
        types: torch.Tensor | None = None,
        *,
        side: str = "document",
    ) -> torch.Tensor:
        """Return the vectors of a padded batch, differentiably.

        Args:
            ids: int64 [texts, tokens].
            mask: int64, 1 where there is a token; None: everywhere.
            types: int64 token types; None: all 0.
            side: ``query`` or ``document``.

        Returns:
            float32 [texts, dimensions].
        """
        return self.finish(self.token_states(ids, mask, types, side), mask, side)

    def export(self, backend: str) -> None:
        """Let exported graphs give the token states from now on, in the precision of `numerics`; not those of `forward`.

        Raises:
            PrerequisiteError: the backend cannot run here.
            ModelError: a transformer cannot be exported, or a graph computes something else.
        """
        one = self.transformer_of("query") is self.transformer_of("document")

        def open_both() -> None:
            found: dict[str, ExportedGraph] = {}
            for side in ("document", "query"):
                role = "" if one else side
                if one and found:
                    found[side] = found["document"]
                else:
                    found[side] = open_states(self, self.transformer_of(side), backend, role=role, typed=self.typed)
            self._graphs = found

        exported_as(self, open_both, probe_vectors)

    def _compute(
        self, ids: torch.Tensor, mask: torch.Tensor | None, types: torch.Tensor | None, side: str
    ) -> torch.Tensor:
        """What `forward` does, without gradients and by an exported graph, where there is one."""
        if side in self._graphs:
            return self.finish(self._graphs[side](ids, mask, types), mask, side)
        found: torch.Tensor = self(ids, mask, types, side=side)
        return found

    @abstractmethod
    def document_inputs(self, passages: Sequence[Passage]) -> Inputs:
        """Return documents as the model reads them."""

    @abstractmethod
    def query_inputs(self, texts: Sequence[str]) -> Inputs:
        """Return queries as the model reads them."""

    @property
    @abstractmethod
    def pad(self) -> int:
        """Id of the padding token."""

    def encode_passages(self, passages: Sequence[Passage], *, tick: Tick = no_tick) -> DenseVectors:
        """Encode documents; see `DenseEncoder`."""
        return self._encode(self.document_inputs(passages), "document", tick)

    def encode_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> DenseVectors:
        """Encode queries; see `DenseEncoder`."""
        return self._encode(self.query_inputs(texts), "query", tick)

    def _encode(self, inputs: Inputs, side: str, tick: Tick) -> DenseVectors:
        vectors = np.empty((len(inputs), self.dimensions), np.float32)

        def take(places: NDArray[np.int64], result: torch.Tensor) -> None:
            vectors[places] = result.float().cpu().numpy()

        def forward(ids: Any, mask: Any, types: Any) -> torch.Tensor:
            return self._compute(ids, mask, types, side)

        run_batches(forward, inputs, take, pad=self.pad, numerics=self.numerics, tick=tick)
        self.tokens += inputs.tokens
        require_finite(self.identity.address, vectors)
        return DenseVectors(vectors, inputs.truncated)


def ready(encoder: Exportable, options: BackendOptions) -> Exportable:
    """Put an encoder where it runs, and let its backend run it; see `tamis.encoders.states.numerics_of` for the errors."""
    encoder.to(encoder.numerics.device).eval()
    if options.backend != "torch":
        encoder.export(options.backend)
    return encoder


def make_identity(
    address: Address, folders: Mapping[str, Path], options: NumericOptions, version: int, **settings: Any
) -> ModelIdentity:
    """Return the identity of a model read from checkpoints.

    Args:
        address: with model-scope options only.
        folders: of the checkpoints, by their role; their files are hashed.
        options: its numeric mode counts, its device does not.
        version: of the code that encodes; raised when what it computes changes.
        settings: what else changes an encoding.
    """
    one = len(folders) == 1
    files = {
        name if one else f"{role}/{name}": digest
        for role, folder in folders.items()
        for name, digest in checkpoint_files(folder).items()
    }
    return ModelIdentity(
        str(address), files, {"family": address.family, "version": version, "dtype": options.dtype, **settings}
    )
