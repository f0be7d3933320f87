"""What every dense encoder over a transformer shares: options, identity, and the loop over batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tamis.encoders.base import DenseVectors, ModelIdentity, Passage, Similarity, Tick, no_tick
from tamis.encoders.batching import Inputs, Numerics, require_finite, run_batches
from tamis.encoders.checkpoints import checkpoint_files
from tamis.encoders.options import NumericOptions
from tamis.encoders.text import TextFormat
from tamis.families import Address


class DenseTransformer(nn.Module, ABC):
    """A `tamis.encoders.base.DenseEncoder`; a subclass says how a text is written and what becomes of the token states.

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

    def __init__(
        self, identity: ModelIdentity, numerics: Numerics, dimensions: int, similarity: Similarity = "dot"
    ) -> None:
        super().__init__()
        self.identity, self.numerics = identity, numerics
        self.dimensions, self.similarity = dimensions, similarity
        self.tokens = 0

    @abstractmethod
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

    def compute(
        self, ids: torch.Tensor, mask: torch.Tensor | None, types: torch.Tensor | None, side: str
    ) -> torch.Tensor:
        """Return what `forward` does, without gradients; a subclass may know a faster way."""
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
            return self.compute(ids, mask, types, side)

        run_batches(forward, inputs, take, pad=self.pad, numerics=self.numerics, tick=tick)
        self.tokens += inputs.tokens
        require_finite(self.identity.address, vectors)
        return DenseVectors(vectors, inputs.truncated)


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
