"""``uhd``: texts as sets of winning dimensions of very wide layers (UHD-BERT; Jang et al., EMNLP 2021).

The states of chosen layers of a transformer go through a linear layer each, a bucket of 2^14 … 2^20 dimensions. Of every token
only the `winners` largest dimensions of a bucket survive; over the tokens of the text each dimension keeps its largest value, and
what is above 0 is in the set. Relevance is how many dimensions two sets share, buckets weighted:

    score(q, d) = sum over buckets b of weight(b) · |set_b(q) ∩ set_b(d)|

so that dimension i of bucket b is dimension b · n + i of one space, documents have weights of 1, and queries the bucket's.

The paper has no public code, and what follows is not settled by what can be read of it. Each is an entry of the recipe or an
option: the layers (by default the last), n = 81,920 and 80 winners a token, one weight for all buckets, heads shared by queries
and documents (``shared``), special tokens pooled as other tokens are (``special_tokens``), and real values while training but
binary ones afterwards (``gradient``: ``real``; or ``straight-through``, whose forward values are binary and whose gradient is
that of the real ones). Two more are fixed: equal values are won by the lower dimension, and a dimension that wins with a value
not above 0 is not in the set.

A checkpoint is a folder:

    tamis.json          family, and the recipe
    model.safetensors   heads: document.0.weight, document.0.bias, …, and query.0.weight … where they are not shared
    transformer/        an ordinary checkpoint, with its tokenizer
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tamis.encoders.base import ModelIdentity, SparseVectors
from tamis.encoders.batching import Numerics
from tamis.encoders.checkpoints import fill, find_checkpoint, load_transformer, read_state
from tamis.encoders.options import SPECIAL_TOKENS, UhdOptions
from tamis.encoders.sparse_card import read_card, write_card, write_weights
from tamis.encoders.sparse_rows import Pruning
from tamis.encoders.sparse_transformer import Entries, SparseTransformer, pooled_tokens, special_ids
from tamis.encoders.text import TextFormat, Tokenizer, length_limit
from tamis.encoders.transformer import make_identity
from tamis.errors import ModelError, UsageError
from tamis.families import Address

VERSION = 1
HEADS, TRANSFORMER = "model.safetensors", "transformer"
GRADIENTS = ("real", "straight-through")
_AT_ONCE, _TOKENS = 1 << 23, 64
"""Values of a bucket computed at once, near what caches hold; but of at least so many tokens, for which weights are read."""


@dataclass(frozen=True)
class Recipe:
    """What a UHD model is besides its weights.

    Attributes:
        layers: of the transformer whose states the buckets read, one a bucket: 1 is the first, -1 the last.
        dimensions: of a bucket.
        winners: dimensions that survive of a token and bucket.
        weights: of the buckets; none: 1 each.
        shared: whether queries and documents have the same heads.
        special_tokens: ``pooled`` or ``masked``.
        gradient: ``real`` or ``straight-through``.
        max_length: tokens that are read of a document.
        query_length: tokens that are read of a query.

    Raises:
        UsageError: the values cannot be meant.
    """

    layers: tuple[int, ...] = (-1,)
    dimensions: int = 81_920
    winners: int = 80
    weights: tuple[float, ...] = ()
    shared: bool = True
    special_tokens: str = "pooled"
    gradient: str = "real"
    max_length: int | None = None
    query_length: int | None = None

    def __post_init__(self) -> None:
        if not self.layers or 0 in self.layers:
            raise UsageError(f"layers={list(self.layers)}: at least one is needed, and the first is 1")
        if not 1 <= self.winners <= self.dimensions:
            raise UsageError(f"winners={self.winners}: between 1 and the {self.dimensions} dimensions of a bucket")
        if self.dimensions * len(self.layers) >= 1 << 31:
            raise UsageError(f"dimensions={self.dimensions}: all buckets together have room for {(1 << 31) - 1}")
        if self.weights and len(self.weights) != len(self.layers):
            raise UsageError(f"{len(self.weights)} weights for {len(self.layers)} buckets: give one each")
        if not all(0 < weight < float("inf") for weight in self.weights):
            raise UsageError(f"weights={list(self.weights)}: above 0 and finite")
        if self.special_tokens not in SPECIAL_TOKENS or self.gradient not in GRADIENTS:
            raise UsageError(
                f"special_tokens={self.special_tokens!r}, gradient={self.gradient!r}: one of {', '.join(SPECIAL_TOKENS)} and "
                f"one of {', '.join(GRADIENTS)}"
            )


def k_winners(values: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `k` largest values a row and their dimensions, in any order; among equals the lower dimension wins.

    Args:
        values: [rows, dimensions].
        k: at least 1.

    Returns:
        [rows, k] values and int64 dimensions.
    """
    ranked, order = values.topk(min(k + 1, values.shape[1]), dim=1)
    largest, dimensions, least = ranked[:, :k], order[:, :k], ranked[:, k - 1 : k]
    crowded = ((ranked[:, k:] == least) & ranked[:, :1].isfinite()).nonzero()[:, 0]
    if len(crowded):  # more equals than places, common in narrow types: topk takes any of them
        rows, bound = values[crowded], least[crowded]
        above, equal = rows > bound, rows == bound
        room = k - above.sum(1, keepdim=True)
        won = above | (equal & (equal.cumsum(1, dtype=torch.int32) <= room))
        chosen = won.nonzero()[:, 1].view(-1, k)
        largest[crowded], dimensions[crowded] = rows.gather(1, chosen), chosen
    return largest, dimensions


class Pooled(NamedTuple):
    """Dimensions that some token of a text won with a value above 0.

    Attributes:
        owners: int64 [entries], the text of each, ascending.
        dimensions: int64 [entries], ascending within a text.
        tokens: int64 [entries], which token has the largest value; the first of equals.
        values: float32 [entries], that value.
    """

    owners: torch.Tensor
    dimensions: torch.Tensor
    tokens: torch.Tensor
    values: torch.Tensor


def pool_winners(values: torch.Tensor, dimensions: torch.Tensor, owners: torch.Tensor, width: int) -> Pooled:
    """Pool the winners of tokens over the tokens of each text, by their maximum.

    Args:
        values: float32 [tokens, k].
        dimensions: int64 [tokens, k].
        owners: int64 [tokens], the text of each.
        width: dimensions of the bucket.
    """
    tokens, places = (values > 0).nonzero(as_tuple=True)
    own = values[tokens, places]
    keys, inverse = torch.unique(owners[tokens] * width + dimensions[tokens, places], return_inverse=True)
    best = torch.zeros(len(keys), device=values.device).scatter_reduce(0, inverse, own, "amax")
    first = torch.full((len(keys),), len(values), device=values.device)
    first = first.scatter_reduce(0, inverse, torch.where(own == best[inverse], tokens, len(values)), "amin")
    return Pooled(keys // width, keys % width, first, best)


class Uhd(SparseTransformer):
    """A `tamis.encoders.base.SparseEncoder` of binary vectors.

    Args:
        identity: of the model.
        numerics: where and how it runs.
        transformer: gives the states.
        heads: ``document`` and, where they are not shared, ``query``: a linear layer a bucket.
        tokenizer: of the transformer.
        recipe: of the model.
        pruning: of documents and of queries, by the real values.
        query_winners: of queries, where others than the recipe's.
        binary: whether encoding gives sets, or keeps the real values.

    Attributes:
        bucket_weights: float32 [buckets].
    """

    def __init__(
        self,
        identity: ModelIdentity,
        numerics: Numerics,
        transformer: nn.Module,
        heads: nn.ModuleDict,
        tokenizer: Tokenizer,
        recipe: Recipe,
        pruning: tuple[Pruning, Pruning] = (Pruning(), Pruning()),
        *,
        query_winners: int | None = None,
        binary: bool = True,
    ) -> None:
        config: Any = transformer.config
        formats = (
            TextFormat(tokenizer, length_limit(config, None, recipe.max_length)),
            TextFormat(tokenizer, length_limit(config, None, recipe.query_length)),
        )
        super().__init__(identity, numerics, recipe.dimensions * len(recipe.layers), formats, pruning)
        self._layers = [_layer(number, int(config.num_hidden_layers)) for number in recipe.layers]
        self._winners = {"document": recipe.winners, "query": query_winners or recipe.winners}
        if self._winners["query"] > recipe.dimensions:
            raise UsageError(f"query_winners={query_winners}: a bucket has {recipe.dimensions} dimensions")
        self.transformer, self.heads, self.recipe, self._binary = transformer, heads, recipe, binary
        self.bucket_weights: NDArray[np.float32] = np.array(recipe.weights or [1.0] * len(recipe.layers), np.float32)
        skipped = special_ids(tokenizer) if recipe.special_tokens == "masked" else []
        self.register_buffer("skipped", torch.tensor(skipped, dtype=torch.int64), persistent=False)

    def forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None = None,
        types: torch.Tensor | None = None,
        *,
        side: str = "document",
    ) -> torch.Tensor:
        """Return the pooled winners of a padded batch, a query's times their bucket's weight; only winners get gradients.

        The values are what the recipe's ``gradient`` says: real, or binary with the real values' gradient. Arguments and
        shapes as of `SparseTransformer.forward`.
        """
        owners, dimensions, weights = self._active(ids, mask, types, side)
        found = torch.zeros(len(ids), self.dimensions, device=ids.device)
        return found.index_put((owners, dimensions), weights)

    @property
    def exports_queries(self) -> bool:  # type: ignore[override]
        """Whether queries have the recipe's winners: a graph has no others."""
        return self._winners["query"] == self.recipe.winners

    def query_graph(self, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """See `SparseTransformer`: a value for every token and dimension, which queries are short enough for."""
        states = self.transformer(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        skipped: Any = self.skipped
        kept = pooled_tokens(ids, mask, skipped)
        heads: Any = self.heads["document" if self.recipe.shared else "query"]
        found = []
        for bucket, (layer, head) in enumerate(zip(self._layers, heads, strict=True)):
            values = head(states[layer]).float()
            largest, order = values.topk(self.recipe.winners, dim=-1)  # in ONNX the lower of equals comes first
            won = torch.zeros_like(values).scatter(2, order, largest.relu())
            won = won if kept is None else won * kept.unsqueeze(-1)
            found.append(won.amax(1) * float(self.bucket_weights[bucket]))
        return torch.cat(found, 1)

    @property
    def query_sets(self) -> tuple[int, list[float]] | None:
        """See `SparseTransformer`."""
        return (self.recipe.dimensions, self.bucket_weights.tolist()) if self._binary else None

    def entries(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None,
        types: torch.Tensor | None,
        *,
        side: str,
        places: NDArray[np.int64],
    ) -> Entries:
        """Return the pooled winners; see `SparseTransformer.entries`."""
        return self._active(ids, mask, types, side, straight_through=False)

    def _active(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None,
        types: torch.Tensor | None,
        side: str,
        *,
        straight_through: bool | None = None,
    ) -> Entries:
        given = {} if types is None else {"token_type_ids": types}
        states = self.transformer(input_ids=ids, attention_mask=mask, output_hidden_states=True, **given).hidden_states
        skipped: Any = self.skipped
        kept = pooled_tokens(ids, mask, skipped)
        kept = torch.ones_like(ids, dtype=torch.bool) if kept is None else kept
        owners = kept.nonzero()[:, 0]
        heads: Any = self.heads["document" if self.recipe.shared else side]
        if straight_through is None:
            straight_through = self.recipe.gradient == "straight-through"
        found = []
        for bucket, (layer, head) in enumerate(zip(self._layers, heads, strict=True)):
            tokens = states[layer][kept]
            pooled = self._pooled(tokens, head, owners, self._winners[side])
            values = pooled.values
            if torch.is_grad_enabled():  # winners were found without gradients: their values once more, with them
                rows, columns = tokens[pooled.tokens].float(), head.weight[pooled.dimensions].float()
                values = (rows * columns).sum(1) + head.bias[pooled.dimensions].float()
            if straight_through:
                values = 1 + (values - values.detach())
            weight = float(self.bucket_weights[bucket]) if side == "query" else 1.0
            found.append((pooled.owners, pooled.dimensions + bucket * self.recipe.dimensions, values * weight))
        return Entries(*(torch.cat(column) for column in zip(*found, strict=True)))

    def _pooled(self, tokens: torch.Tensor, head: nn.Linear, owners: torch.Tensor, k: int) -> Pooled:
        """Return the pooled winners of one bucket, some tokens at a time: never a value for every token and dimension."""
        width, step = self.recipe.dimensions, max(_TOKENS, _AT_ONCE // self.recipe.dimensions)
        with torch.no_grad():
            parts = [k_winners(head(tokens[i : i + step]).float(), k) for i in range(0, len(tokens), step)]
            if not parts:
                nothing = owners[:0]
                return Pooled(nothing, nothing, nothing, nothing.float())
            values, dimensions = (torch.cat(column) for column in zip(*parts, strict=True))
            if not torch.isfinite(values).all():
                raise ModelError(
                    f"{self.identity.address} computed a number that is not finite: its weights are damaged"
                )
            return pool_winners(values, dimensions, owners, width)

    def weighted(self, rows: SparseVectors, side: str) -> SparseVectors:
        """Return the set that pruning left: of documents 1 each, of queries the weight of the bucket."""
        if not self._binary:
            return rows
        if side == "document":
            return rows._replace(values=np.ones(len(rows.indices), np.float32))
        return rows._replace(values=self.bucket_weights[rows.indices // self.recipe.dimensions])

    @property
    def budget(self) -> int:
        """Tokens of a batch."""
        return self.numerics.budget

    def names(self) -> None:
        """Dimensions have no names; see `facts`."""

    def facts(self) -> dict[str, Any]:
        """Return what the manifest of an index is to say: the buckets, and whether a document is a set."""
        return {"bucket_layers": self._layers, "bucket_dimensions": self.recipe.dimensions, "sets": self._binary}

    def save(self, folder: Path) -> None:
        """Write a checkpoint that `load` reads; see the module."""
        place = folder / TRANSFORMER
        place.mkdir(parents=True, exist_ok=True)
        config: Any = self.transformer.config
        config.save_pretrained(place)
        write_weights(self.transformer, place / "model.safetensors")
        self.formats[0].tokenizer.raw.save(str(place / "tokenizer.json"))
        write_weights(self.heads, folder / HEADS)
        write_card(folder, "uhd", self.recipe)


def create(folder: Path, recipe: Recipe, *, seed: int = 0, device: str = "auto") -> Uhd:
    """Return an untrained UHD model over a transformer.

    Args:
        folder: of the transformer's checkpoint.
        recipe: of the model.
        seed: of the heads.
        device: where it is.

    Raises:
        ModelError: the transformer cannot be used.
    """
    numerics = Numerics.of(device, "float32")
    transformer = load_transformer(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = _heads(transformer, recipe)
    identity = ModelIdentity(f"uhd:{folder}")
    return Uhd(identity, numerics, transformer, heads, Tokenizer(folder), recipe).to(numerics.device).eval()


def load(address: Address, options: UhdOptions) -> Uhd:
    """Load a UHD checkpoint.

    Raises:
        MissingResourceError: there is none.
        ModelError: it cannot be used, or lacks weights.
    """
    folder = find_checkpoint(address.id, address.revision)
    recipe = read_card(folder, "uhd", Recipe)
    given = {name: getattr(options, name) for name in ("winners", "max_length", "query_length", "special_tokens")}
    recipe = replace(recipe, **{name: value for name, value in given.items() if value is not None})
    numerics = Numerics.of(options.device, options.dtype)
    transformer = load_transformer(folder / TRANSFORMER)
    heads = _heads(transformer, recipe)
    fill(heads, read_state(folder), folder)
    identity = make_identity(address, {"model": folder}, options, VERSION, recipe=asdict(recipe), binary=options.binary)
    encoder = Uhd(
        identity,
        numerics,
        transformer,
        heads,
        Tokenizer(folder / TRANSFORMER),
        recipe,
        Pruning.of(options),
        query_winners=options.query_winners,
        binary=options.binary,
    )
    return encoder.to(numerics.device).eval()


def _heads(transformer: nn.Module, recipe: Recipe) -> nn.ModuleDict:
    config: Any = transformer.config
    sides = ("document",) if recipe.shared else ("document", "query")
    return nn.ModuleDict(
        {
            side: nn.ModuleList(nn.Linear(int(config.hidden_size), recipe.dimensions) for _ in recipe.layers)
            for side in sides
        }
    )


def _layer(number: int, layers: int) -> int:
    """Return the place of a layer among the hidden states, of which the embeddings are the first."""
    if not 1 <= abs(number) <= layers:
        raise UsageError(f"layer {number}: the transformer has {layers}")
    return number if number > 0 else layers + 1 + number
