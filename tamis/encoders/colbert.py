"""``colbert``: late interaction (Khattab and Zaharia, SIGIR 2020; ColBERTv2, Santhanam et al., NAACL 2022).

Every kept token of a text has a vector: a BERT's last state through a linear layer without bias, normalised. ``[Q]`` or ``[D]``
(the unused tokens 0 and 1) stands behind [CLS]. A query is filled with [MASK] to 32 tokens, which have vectors of their own; a
document loses the vectors of its punctuation. Relevance is MaxSim: for every query vector the largest inner product with a
document vector, summed.

A checkpoint is a folder as `colbert-ir` publishes them: ``bert.*`` and ``linear.weight``, with artifact.metadata.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage, Tick, TokenVectors, no_tick
from tamis.encoders.batching import Inputs, Numerics, require_finite, run_batches
from tamis.encoders.checkpoints import fill, find_checkpoint, read_config, read_json, read_state
from tamis.encoders.options import ColbertOptions
from tamis.encoders.text import Tokenizer
from tamis.encoders.transformer import make_identity
from tamis.errors import ModelError
from tamis.families import Address

VERSION = 1
QUERY_LENGTH, DOCUMENT_LENGTH = 32, 220


@dataclass(frozen=True)
class Recipe:
    """What artifact.metadata says of a checkpoint.

    Attributes:
        query_length: tokens that a query is filled to.
        document_length: tokens that are read of a document.
        markers: tokens behind [CLS] of a query and of a document.
        attend_to_masks: whether other tokens may attend to the filling.
        skip_punctuation: whether a document's punctuation loses its vectors.
    """

    query_length: int = QUERY_LENGTH
    document_length: int = DOCUMENT_LENGTH
    markers: tuple[str, str] = ("[unused0]", "[unused1]")
    attend_to_masks: bool = False
    skip_punctuation: bool = True


class Colbert(nn.Module):
    """A `tamis.encoders.base.MultiVectorEncoder`."""

    def __init__(
        self,
        identity: ModelIdentity,
        numerics: Numerics,
        transformer: nn.Module,
        linear: nn.Linear,
        tokenizer: Tokenizer,
        recipe: Recipe,
    ) -> None:
        super().__init__()
        self.identity, self.numerics, self.dimensions = identity, numerics, linear.out_features
        self.bert, self.linear = transformer, linear
        self._tokenizer, self._recipe = tokenizer, recipe
        self._ids = {name: tokenizer.id_of(name) for name in ("[CLS]", "[SEP]", "[MASK]", *recipe.markers)}
        skipped = (tokenizer.raw.token_to_id(symbol) for symbol in string.punctuation)
        self._skipped = {number for number in skipped if number is not None} if recipe.skip_punctuation else set()

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor | None = None, types: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the vector of every token, differentiably: float32 [texts, tokens, dimensions], normalised.

        Args:
            ids: int64 [texts, tokens].
            mask: int64, 1 where a token may be attended to; None: everywhere.
            types: not used: all tokens are of type 0.
        """
        states = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        return nn.functional.normalize(self.linear(states).float(), dim=2)

    def document_inputs(self, passages: Sequence[Passage]) -> Inputs:
        """Return [CLS], the document's marker, title and text, [SEP]."""
        return self._inputs(
            [passage.joined for passage in passages], self._recipe.markers[1], self._recipe.document_length
        )

    def query_inputs(self, texts: Sequence[str]) -> Inputs:
        """Return [CLS], the query's marker, text, [SEP], and [MASK] to the query's length."""
        length = self._recipe.query_length
        bare = self._inputs(texts, self._recipe.markers[0], length)
        ids = [list(one) + [self._ids["[MASK]"]] * (length - len(one)) for one in bare.ids]
        attended = [
            [1] * length if self._recipe.attend_to_masks else [1] * len(o) + [0] * (length - len(o)) for o in bare.ids
        ]
        return Inputs(ids, attended=attended, truncated=bare.truncated)

    def _inputs(self, texts: Sequence[str], marker: str, length: int) -> Inputs:
        start, end = [self._ids["[CLS]"], self._ids[marker]], [self._ids["[SEP]"]]
        bare = self._tokenizer.bare([text.strip() for text in texts])
        room = length - len(start) - len(end)
        return Inputs([start + ids[:room] + end for ids in bare], truncated=sum(len(ids) > room for ids in bare))

    def encode_passages(self, passages: Sequence[Passage], *, tick: Tick = no_tick) -> TokenVectors:
        """Encode documents; see `MultiVectorEncoder`."""
        inputs = self.document_inputs(passages)
        kept = [np.array([number not in self._skipped for number in ids], np.bool_) for ids in inputs.ids]
        return self._encode(inputs, kept, tick)

    def encode_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> TokenVectors:
        """Encode queries; see `MultiVectorEncoder`."""
        inputs = self.query_inputs(texts)
        return self._encode(inputs, [np.ones(len(ids), np.bool_) for ids in inputs.ids], tick)

    def _encode(self, inputs: Inputs, kept: Sequence[NDArray[np.bool_]], tick: Tick) -> TokenVectors:
        lengths = np.array([int(one.sum()) for one in kept], np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        vectors = np.empty((int(starts[-1]), self.dimensions), np.float32)

        def take(places: NDArray[np.int64], result: torch.Tensor) -> None:
            values = result.float().cpu().numpy()
            for row, place in enumerate(places.tolist()):
                own = kept[place]
                vectors[starts[place] : starts[place + 1]] = values[row, : len(own)][own]

        run_batches(self, inputs, take, pad=self._tokenizer.pad, numerics=self.numerics, tick=tick)
        require_finite(self.identity.address, vectors)
        return TokenVectors(vectors, lengths, inputs.truncated)


def load(address: Address, options: ColbertOptions) -> Colbert:
    """Load a ColBERT checkpoint.

    Raises:
        MissingResourceError: there is none.
        ModelError: it cannot be used, or lacks weights.
    """
    from transformers import BertConfig, BertModel

    folder = find_checkpoint(address.id, address.revision)
    numerics, recipe = Numerics.of(options.device, options.dtype), read_recipe(folder, options)
    state = {name.removeprefix("model."): value for name, value in read_state(folder).items()}
    if "linear.weight" not in state:
        raise ModelError(f"{folder} has no weight linear.weight, ColBERT's projection: it is no ColBERT checkpoint")
    config = read_config(folder, BertConfig)
    longest = max(recipe.query_length, recipe.document_length)
    if longest > config.max_position_embeddings:
        raise ModelError(
            f"{folder}: inputs of {longest} tokens for {config.max_position_embeddings} positions; give max_length="
        )
    transformer: nn.Module = BertModel(config, add_pooling_layer=False)
    fill(transformer, state, folder, "bert.")
    linear = nn.Linear(state["linear.weight"].shape[1], state["linear.weight"].shape[0], bias=False)
    fill(linear, state, folder, "linear.")
    identity = make_identity(
        address, {"model": folder}, options, VERSION, recipe=vars(recipe) | {"markers": list(recipe.markers)}
    )
    encoder = Colbert(identity, numerics, transformer, linear, Tokenizer(folder), recipe)
    return encoder.to(numerics.device).eval()


def read_recipe(folder: Path, options: ColbertOptions) -> Recipe:
    """Return what a checkpoint's artifact.metadata, the options and the defaults say, in the options' favour."""
    stated = read_json(folder / "artifact.metadata", {})
    default = Recipe()
    return Recipe(
        options.query_length or int(stated.get("query_maxlen", default.query_length)),
        options.max_length or int(stated.get("doc_maxlen", default.document_length)),
        (stated.get("query_token_id", default.markers[0]), stated.get("doc_token_id", default.markers[1])),
        bool(stated.get("attend_to_mask_tokens", default.attend_to_masks)),
        bool(stated.get("mask_punctuation", default.skip_punctuation)),
    )
