"""``colbert``: late interaction (Khattab and Zaharia, SIGIR 2020; ColBERTv2, Santhanam et al., NAACL 2022).

Every kept token of a text has a vector: a transformer's last state through a linear layer, normalised. A marker behind [CLS]
(``[unused0]`` or ``[unused1]``, ``[Q]`` or ``[D]``, or a prompt) tells queries from documents. A query is filled with [MASK] to
32 tokens, which have vectors of their own; a document loses the vectors of its punctuation. Relevance is MaxSim: for every query
vector the largest inner product with a document vector, summed. What of this a checkpoint does is its own to say
(`tamis.encoders.colbert_formats`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage, Tick, TokenVectors, no_tick
from tamis.encoders.batching import Inputs, Numerics, require_finite, run_batches
from tamis.encoders.checkpoints import find_checkpoint, read_json
from tamis.encoders.colbert_formats import Checkpoint, read_checkpoint
from tamis.encoders.options import ColbertOptions
from tamis.encoders.states import ExportedGraph, exported_as, numerics_of, open_states, probe_vectors
from tamis.encoders.text import Tokenizer
from tamis.encoders.transformer import make_identity, ready
from tamis.errors import ModelError
from tamis.families import Address

VERSION = 1


class Colbert(nn.Module):
    """A `tamis.encoders.base.MultiVectorEncoder`.

    Args:
        identity: of the checkpoint.
        numerics: where and how it runs.
        checkpoint: what was read of it.

    Attributes:
        tokens: how many the model has read so far, padding not counted.
    """

    def __init__(self, identity: ModelIdentity, numerics: Numerics, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.identity, self.numerics, self.dimensions = identity, numerics, checkpoint.dimensions
        self.transformer, self.head = checkpoint.transformer, checkpoint.head
        self._recipe = recipe = checkpoint.recipe
        self.tokens = 0
        self._graph: ExportedGraph | None = None
        self._tokenizer = Tokenizer(checkpoint.home)
        _keep_whole(self._tokenizer, recipe.markers)
        if recipe.lower:
            _lower(self._tokenizer)
        self._filler = _filler_id(self._tokenizer, checkpoint.home, recipe.filler) if recipe.filled else None
        found = (self._tokenizer.raw.token_to_id(word) for word in recipe.skipped)
        self._skipped = {number for number in found if number is not None}

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor | None = None, types: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the vector of every token, differentiably: float32 [texts, tokens, dimensions].

        Args:
            ids: int64 [texts, tokens].
            mask: int64, 1 where a token may be attended to; None: everywhere.
            types: not used: all tokens are of type 0.
        """
        return self._finish(self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state)

    def _finish(self, states: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.head(states).float()
        return vectors

    def export(self, backend: str) -> None:
        """Let an exported graph give the token states from now on; see `tamis.encoders.transformer.DenseTransformer.export`."""

        def open_graph() -> None:
            self._graph = open_states(self, self.transformer, backend)

        exported_as(self, open_graph, probe_vectors)

    def _compute(self, ids: torch.Tensor, mask: torch.Tensor | None, types: torch.Tensor | None) -> torch.Tensor:
        if self._graph is not None:
            return self._finish(self._graph(ids, mask, types))
        vectors: torch.Tensor = self(ids, mask, types)
        return vectors

    @property
    def pad(self) -> int:
        """Id of the padding token."""
        return self._tokenizer.pad

    def document_inputs(self, passages: Sequence[Passage]) -> Inputs:
        """Return title and text behind the document's marker, with the tokenizer's special tokens."""
        prompt = self._recipe.prompts[1]
        return self._tokenizer.texts([prompt + p.joined.strip() for p in passages], self._recipe.document_length)

    def query_inputs(self, texts: Sequence[str]) -> Inputs:
        """Return texts behind the query's marker, filled to the length of queries."""
        prompt, filled = self._recipe.prompts[0], self._recipe.filled
        bare = self._tokenizer.texts([prompt + text.strip() for text in texts], self._recipe.query_length)
        if self._filler is None:
            return bare
        ids = [[*one, *[self._filler] * (filled - len(one))] for one in bare.ids]
        seen = int(self._recipe.attend_to_filling)
        attended = [[1] * len(one) + [seen] * (filled - len(one)) for one in bare.ids]
        return Inputs(ids, attended=attended, truncated=bare.truncated)

    def encode_passages(self, passages: Sequence[Passage], *, tick: Tick = no_tick) -> TokenVectors:
        """Encode documents; see `MultiVectorEncoder`."""
        return self._encode(self.document_inputs(passages), "document", tick)

    def encode_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> TokenVectors:
        """Encode queries; see `MultiVectorEncoder`."""
        return self._encode(self.query_inputs(texts), "query", tick)

    def _kept(self, ids: Sequence[int], side: str) -> NDArray[np.bool_]:
        """Which tokens of a text keep their vectors."""
        numbers = np.array(ids, np.int64)
        kept = np.ones(len(numbers), np.bool_)
        if side in self._recipe.skipped_in:
            kept &= ~np.isin(numbers, list(self._skipped))
        if side == "document" and self._recipe.kept is not None:
            kept &= np.isin(numbers, self._recipe.kept)
        return kept

    def _encode(self, inputs: Inputs, side: str, tick: Tick) -> TokenVectors:
        kept = [self._kept(ids, side) for ids in inputs.ids]
        lengths = np.array([int(one.sum()) for one in kept], np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        vectors = np.empty((int(starts[-1]), self.dimensions), np.float32)

        def take(places: NDArray[np.int64], result: torch.Tensor) -> None:
            values = result.float().cpu().numpy()
            for row, place in enumerate(places.tolist()):
                own = kept[place]
                vectors[starts[place] : starts[place + 1]] = values[row, : len(own)][own]

        run_batches(self._compute, inputs, take, pad=self.pad, numerics=self.numerics, tick=tick)
        self.tokens += inputs.tokens
        require_finite(self.identity.address, vectors)
        return TokenVectors(vectors, lengths, inputs.truncated)


def load(address: Address, options: ColbertOptions) -> Colbert:
    """Load a late-interaction checkpoint of either format.

    Raises:
        MissingResourceError: there is none.
        ModelError: it cannot be used, or lacks weights.
    """
    numerics = numerics_of(address, options)
    folder = find_checkpoint(address.id, address.revision)
    checkpoint = read_checkpoint(folder, options)
    identity = make_identity(address, {"model": folder}, options, VERSION, recipe=asdict(checkpoint.recipe))
    return ready(Colbert(identity, numerics, checkpoint), options)


def _keep_whole(tokenizer: Tokenizer, markers: Sequence[str]) -> None:
    """Make markers special tokens, so that the tokenizer does not split those that its vocabulary has.

    Whole, or its first word, as the vocabulary has it: PyLate adds "[Q] " to it. One that it lacks stays text.
    """
    from tokenizers import AddedToken

    raw = tokenizer.raw
    for marker in (marker for marker in markers if marker.strip()):
        for spelling in (marker, marker.split(None, 1)[0]):
            if raw.token_to_id(spelling) is not None:
                if raw.encode(spelling, add_special_tokens=False).tokens != [spelling]:
                    raw.add_special_tokens([AddedToken(spelling, normalized=False, special=True)])
                break


def _lower(tokenizer: Tokenizer) -> None:
    from tokenizers import normalizers

    own = tokenizer.raw.normalizer
    lower = normalizers.Lowercase()
    tokenizer.raw.normalizer = lower if own is None else normalizers.Sequence([lower, own])


def _special(home: Path, name: str) -> str | None:
    """A special token by its role, as the checkpoint's files name it."""
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        token: Any = read_json(home / file, {}).get(name)
        if token is not None:
            return str(token["content"] if isinstance(token, dict) else token)
    return None


def _filler_id(tokenizer: Tokenizer, home: Path, filler: str | None) -> int:
    token = filler or _special(home, "mask_token") or _special(home, "eos_token")
    if token is None:
        raise ModelError(
            f"{home}: queries are filled, and the tokenizer has neither a mask nor an end token to fill with"
        )
    return tokenizer.id_of(token)
