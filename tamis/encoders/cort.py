"""``cort``: CoRT, trained to find what BM25 misses ("Complementary Rankings from Transformers", NAACL 2021).

An ALBERT whose [CLS] state goes through a linear layer and tanh; queries have token type 1, passages 0. Vectors are normalised,
so that the inner product orders as the angle does. Its ranking is merged with BM25's in turns: ``interleave(cort:…, bm25)``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage
from tamis.encoders.batching import Inputs, Numerics
from tamis.encoders.checkpoints import fill, find_checkpoint, read_config, read_state
from tamis.encoders.options import EncoderOptions
from tamis.encoders.states import numerics_of
from tamis.encoders.text import Tokenizer
from tamis.encoders.transformer import DenseTransformer, make_identity, ready
from tamis.errors import ModelError
from tamis.families import Address

VERSION = 1
LENGTH = 512

_REMOVED = re.compile(r"[^a-zA-Z0-9.,!?;/:]+")


def clean(text: str) -> str:
    """Return a text as CoRT was trained on it: every run of other characters than letters, digits and .,!?;/: is one space."""
    return _REMOVED.sub(" ", text).strip()


class Cort(DenseTransformer):
    """A `DenseEncoder`; one model for both sides, told apart by the token type."""

    typed: ClassVar[bool] = True

    def __init__(
        self,
        identity: ModelIdentity,
        numerics: Numerics,
        transformer: nn.Module,
        projection: nn.Linear,
        tokenizer: Tokenizer,
        max_length: int,
    ) -> None:
        super().__init__(identity, numerics, projection.out_features, "cosine")
        self.transformer, self.f1 = transformer, projection
        self._tokenizer, self._max_length = tokenizer, max_length

    def finish(self, states: torch.Tensor, mask: torch.Tensor | None, side: str) -> torch.Tensor:
        """Return normalised projections of the [CLS] state; see `DenseTransformer.finish`."""
        return nn.functional.normalize(torch.tanh(self.f1(states[:, 0])).float(), dim=1)

    @property
    def pad(self) -> int:
        """Id of the padding token."""
        return self._tokenizer.pad

    def document_inputs(self, passages: Sequence[Passage]) -> Inputs:
        """Return cleaned passages, of token type 0."""
        return self._tokenizer.texts([clean(p.joined) for p in passages], self._max_length)

    def query_inputs(self, texts: Sequence[str]) -> Inputs:
        """Return cleaned queries, of token type 1."""
        return self._tokenizer.texts([clean(text) for text in texts], self._max_length, type_id=1)


def load(address: Address, options: EncoderOptions) -> Cort:
    """Load a folder with CoRT's weights (``transformer.*`` and ``f1.*``), an ALBERT's config.json and its tokenizer.

    Raises:
        MissingResourceError: there is none.
        ModelError: it cannot be used.
    """
    from transformers import AlbertConfig, AlbertModel

    numerics = numerics_of(address, options)
    folder = find_checkpoint(address.id, address.revision)
    state = read_state(folder)
    if "f1.weight" not in state:
        raise ModelError(f"{folder} has no weight f1.weight: it is no CoRT checkpoint")
    pooled = any(name.startswith("transformer.pooler") for name in state)
    transformer: nn.Module = AlbertModel(read_config(folder, AlbertConfig), add_pooling_layer=pooled)
    fill(transformer, state, folder, "transformer.")
    projection = nn.Linear(state["f1.weight"].shape[1], state["f1.weight"].shape[0])
    fill(projection, state, folder, "f1.")
    length = options.max_length or LENGTH
    identity = make_identity(address, {"model": folder}, options, VERSION, max_length=length)
    return ready(Cort(identity, numerics, transformer, projection, Tokenizer(folder), length), options)
