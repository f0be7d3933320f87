"""``tct-colbert``: TCT-ColBERT, both versions (Lin et al., 2020 and RepL4NLP 2021), as its authors' encoder writes texts.

A query is ``[CLS] [Q]``, the text and [MASK] up to 36 word pieces, a document ``[CLS] [D]``, title and text; neither ends with
[SEP]. "[Q]" is no token of the vocabulary but three word pieces, so that the prefix is four tokens. The vector is the mean of
the states behind the prefix, those of [MASK] included; it is not normalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage
from tamis.encoders.batching import Inputs, Numerics
from tamis.encoders.checkpoints import find_checkpoint, load_transformer
from tamis.encoders.options import EncoderOptions
from tamis.encoders.pooling import pool
from tamis.encoders.states import numerics_of
from tamis.encoders.text import Tokenizer
from tamis.encoders.transformer import DenseTransformer, make_identity, ready
from tamis.families import Address

VERSION = 1
QUERY_LENGTH, DOCUMENT_LENGTH = 36, 512
PREFIX = 4


class TctColbert(DenseTransformer):
    """A `DenseEncoder`; one model for both sides."""

    def __init__(
        self, identity: ModelIdentity, numerics: Numerics, transformer: nn.Module, tokenizer: Tokenizer, max_length: int
    ) -> None:
        config: Any = transformer.config
        super().__init__(identity, numerics, int(config.hidden_size), "dot")
        self.transformer, self._tokenizer, self._max_length = transformer, tokenizer, max_length
        self._mask = tokenizer.id_of("[MASK]")
        start = [tokenizer.id_of("[CLS]")]
        self._prefixes = {letter: start + tokenizer.bare([f"[{letter}]"])[0] for letter in "QD"}

    def finish(self, states: torch.Tensor, mask: torch.Tensor | None, side: str) -> torch.Tensor:
        """Return the mean of the states behind the prefix; see `DenseTransformer.finish`."""
        return pool(states[:, PREFIX:], None if mask is None else mask[:, PREFIX:], "mean")

    @property
    def pad(self) -> int:
        """Id of the padding token."""
        return self._tokenizer.pad

    def document_inputs(self, passages: Sequence[Passage]) -> Inputs:
        """Return documents behind their prefix, cut to the maximum length."""
        bare = [self._prefixes["D"] + ids for ids in self._tokenizer.bare([p.joined for p in passages])]
        cut = sum(len(ids) > self._max_length for ids in bare)
        # a text of no word pieces keeps one state to take the mean of
        return Inputs([(ids + [self._mask] * (len(ids) == PREFIX))[: self._max_length] for ids in bare], truncated=cut)

    def query_inputs(self, texts: Sequence[str]) -> Inputs:
        """Return queries behind their prefix, filled with [MASK] to 36 word pieces."""
        bare = [self._prefixes["Q"] + ids for ids in self._tokenizer.bare(texts)]
        filled = [(ids + [self._mask] * QUERY_LENGTH)[:QUERY_LENGTH] for ids in bare]
        return Inputs(filled, truncated=sum(len(ids) > QUERY_LENGTH for ids in bare))


def load(address: Address, options: EncoderOptions) -> TctColbert:
    """Load a TCT-ColBERT checkpoint, a plain BERT.

    Raises:
        MissingResourceError: there is none.
        ModelError: it cannot be used.
    """
    numerics = numerics_of(address, options)
    folder = find_checkpoint(address.id, address.revision)
    transformer = load_transformer(folder)
    config: Any = transformer.config
    length = options.max_length or min(DOCUMENT_LENGTH, int(config.max_position_embeddings))
    identity = make_identity(address, {"model": folder}, options, VERSION, max_length=length)
    return ready(TctColbert(identity, numerics, transformer, Tokenizer(folder), length), options)
