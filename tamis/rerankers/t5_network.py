"""T5 as far as a reranker needs it: the encoder, and one step of the decoder (Raffel et al., 2020).

The score of an input is read off the first token that the model would write, so the decoder runs once, on its start token. That
step needs no more than this: attention of one token to itself passes its value on, whatever the query and the key; attention of
one token to the encoder's states projects that token into their space instead of all of them into its own; and of the output
matrix only the rows of the words asked for count. Relative positions have one bias, worked out once a batch for all layers.

Weights go by the names of transformers' ``T5ForConditionalGeneration`` and ``MT5ForConditionalGeneration``, and `forward` is
differentiable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tamis.errors import ModelError
from tamis.rerankers.products import Matrix, product

SHRINKAGE, INNER_SHRINKAGE = 128, 8
"""By how much `T5.shrink` divides; powers of two, so that nothing is rounded."""


@dataclass(frozen=True)
class Geometry:
    """What a checkpoint's configuration says of the network.

    Attributes:
        width: of a token's state.
        head_width: of a query, key or value.
        inner: width between the two matrices of a feed-forward layer.
        heads: attention heads.
        layers: of the encoder.
        decoder_layers: of the decoder.
        buckets: of relative positions.
        max_distance: the relative position from which on all are alike.
        vocabulary: tokens.
        epsilon: added to a mean square before its root.
        gated: whether the feed-forward layers are GELUs with a gate (v1.1, mT5), else ReLUs.
        scaled: whether the decoder's state is scaled by width ** -0.5 before the output matrix, as where that is the embedding.
        start: id of the decoder's start token.
    """

    width: int
    head_width: int
    inner: int
    heads: int
    layers: int
    decoder_layers: int
    buckets: int
    max_distance: int
    vocabulary: int
    epsilon: float
    gated: bool
    scaled: bool
    start: int

    @classmethod
    def of(cls, config: Mapping[str, Any], where: object) -> Geometry:
        """Read the ``config.json`` of a checkpoint.

        Args:
            config: its values.
            where: what to call it in messages.

        Raises:
            ModelError: it is not that of a T5 or mT5, or of one with another activation.
        """
        kind = config.get("model_type")
        if kind not in ("t5", "mt5"):
            raise ModelError(f"{where} is a model of type {kind!r}: the families of T5 read t5 and mt5")
        activation = config.get("feed_forward_proj", "relu" if kind == "t5" else "gated-gelu")
        if activation not in ("relu", "gated-gelu"):
            raise ModelError(f"{where}: feed_forward_proj={activation!r}; T5 has relu, its versions since gated-gelu")
        tied = config.get("tie_word_embeddings") is not False
        starts = config.get("decoder_start_token_id"), config.get("pad_token_id")
        try:
            return cls(
                width=config["d_model"],
                head_width=config["d_kv"],
                inner=config["d_ff"],
                heads=config["num_heads"],
                layers=config["num_layers"],
                decoder_layers=config.get("num_decoder_layers") or config["num_layers"],
                buckets=config.get("relative_attention_num_buckets", 32),
                max_distance=config.get("relative_attention_max_distance", 128),
                vocabulary=config["vocab_size"],
                epsilon=config.get("layer_norm_epsilon", 1e-6),
                gated=activation == "gated-gelu",
                scaled=bool(config.get("scale_decoder_outputs", tied)) if kind == "t5" else False,
                start=next((start for start in starts if start is not None), 0),
            )
        except KeyError as error:
            raise ModelError(f"{where}: config.json has no {error}") from error


class Norm(nn.Module):
    """Division by the root mean square, and a weight a dimension."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(geometry.width))
        self.epsilon = geometry.epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` normalised, of the same shape."""
        return functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


class SelfAttention(nn.Module):
    """Attention of the encoder's tokens to each other; the first layer's holds the bias of relative positions."""

    def __init__(self, geometry: Geometry, *, first: bool) -> None:
        super().__init__()
        width = geometry.heads * geometry.head_width
        self.geometry = geometry
        self.q, self.k, self.v = (Matrix(geometry.width, width) for _ in range(3))
        self.o = Matrix(width, geometry.width)
        if first:
            self.relative_attention_bias = nn.Embedding(geometry.buckets, geometry.heads)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Attend.

        Args:
            x: [texts, tokens, width].
            bias: float32 [texts or 1, heads, tokens, tokens], added to logits.
        """
        parts = product(x, self.q, self.k, self.v).view(*x.shape[:2], 3, self.geometry.heads, -1)
        query, key, value = (part.transpose(1, 2) for part in parts.unbind(2))
        found = functional.scaled_dot_product_attention(query, key, value, bias.to(query.dtype), scale=1.0)
        return product(found.transpose(1, 2).flatten(2), self.o)

    def bias(self, tokens: int) -> torch.Tensor:
        """Return what is added to the logit of attention of each place to each: float32 [1, heads, tokens, tokens]."""
        device = self.relative_attention_bias.weight.device
        offsets = torch.arange(1 - tokens, tokens, device=device)
        by_offset: torch.Tensor = self.relative_attention_bias(_buckets(offsets, self.geometry)).T  # [heads, offsets]
        # row i of the table is the window of offsets that begins at -i
        return by_offset.unfold(1, tokens, 1).flip(1)[None].contiguous()


def _buckets(offsets: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Return the bucket of each relative position (key's place less query's).

    Half of them are for keys behind the query. Of each half the first half are one offset each, the others ranges that grow by a
    factor up to the greatest distance, and the last takes all beyond.
    """
    half = geometry.buckets // 2
    exact = half // 2
    distance = offsets.abs()
    growth = torch.log(distance.clamp(min=1).float() / exact) / math.log(geometry.max_distance / exact)
    far = (exact + (growth * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(distance < exact, distance, far) + half * (offsets > 0)


class SelfStep(nn.Module):
    """Attention of the decoder's one token to itself: its value."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        width = geometry.heads * geometry.head_width
        self.v, self.o = Matrix(geometry.width, width), Matrix(width, geometry.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the token [texts, width] attends to."""
        return product(product(x, self.v), self.o)


class CrossStep(nn.Module):
    """Attention of the decoder's one token to the encoder's states."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        width = geometry.heads * geometry.head_width
        self.heads = geometry.heads
        self.q, self.k, self.v = (Matrix(geometry.width, width) for _ in range(3))
        self.o = Matrix(width, geometry.width)

    def forward(self, x: torch.Tensor, states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Attend.

        Args:
            x: [texts, width].
            states: [texts, tokens, width].
            mask: float32 [texts, 1, tokens], added to logits; None: nothing.
        """
        # q · (K s) = (q K) · s, and the mean of values V s is V times the mean of s: no state is projected
        query = product(x, self.q).view(len(x), self.heads, -1)
        key, value = (matrix.weight.view(self.heads, -1, matrix.in_features) for matrix in (self.k, self.v))
        query = torch.einsum("bhi,hiw->bhw", query, key)
        logits = torch.bmm(query, states.transpose(1, 2).to(query.dtype)).float()
        weights = torch.softmax(logits if mask is None else logits + mask, -1)
        mean = torch.bmm(weights.to(states.dtype), states)
        return product(torch.einsum("bhw,hiw->bhi", mean, value).flatten(1), self.o)


class FeedForward(nn.Module):
    """Two matrices with a ReLU, or a gated GELU, between."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        if geometry.gated:
            self.wi_0, self.wi_1 = (Matrix(geometry.width, geometry.inner) for _ in range(2))
        else:
            self.wi = Matrix(geometry.width, geometry.inner)
        self.wo = Matrix(geometry.inner, geometry.width)
        self.gated = geometry.gated

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what becomes of states [..., width]."""
        if not self.gated:
            return product(product(x, self.wi, relu=True), self.wo)
        gate, value = product(x, self.wi_0, self.wi_1).chunk(2, -1)
        return product(functional.gelu(gate, approximate="tanh") * value, self.wo)


class Layer(nn.Module):
    """A part of a block: a norm before it, under the name that checkpoints give the part."""

    def __init__(self, geometry: Geometry, name: str, part: nn.Module) -> None:
        super().__init__()
        self.layer_norm = Norm(geometry)
        self.add_module(name, part)
        self._name = name

    def forward(self, x: torch.Tensor, *given: Any) -> torch.Tensor:
        """Return ``x`` and what the part makes of its norm."""
        found: torch.Tensor = getattr(self, self._name)(self.layer_norm(x), *given)
        return x + found


class _Block(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layers)


class _Stack(nn.Module):
    def __init__(self, geometry: Geometry, blocks: list[_Block]) -> None:
        super().__init__()
        self.block = nn.ModuleList(blocks)
        self.final_layer_norm = Norm(geometry)


class T5(nn.Module):
    """The network.

    Args:
        geometry: its sizes.
        targets: how many rows of the output matrix are kept, those of the words that are asked for.
    """

    def __init__(self, geometry: Geometry, targets: int) -> None:
        super().__init__()
        self.geometry = geometry
        self.shared = nn.Embedding(geometry.vocabulary, geometry.width)
        self.encoder = _Stack(
            geometry,
            [
                _Block(
                    Layer(geometry, "SelfAttention", SelfAttention(geometry, first=i == 0)),
                    Layer(geometry, "DenseReluDense", FeedForward(geometry)),
                )
                for i in range(geometry.layers)
            ],
        )
        self.decoder = _Stack(
            geometry,
            [
                _Block(
                    Layer(geometry, "SelfAttention", SelfStep(geometry)),
                    Layer(geometry, "EncDecAttention", CrossStep(geometry)),
                    Layer(geometry, "DenseReluDense", FeedForward(geometry)),
                )
                for _ in range(geometry.decoder_layers)
            ],
        )
        self.rows = nn.Parameter(torch.empty(targets, geometry.width))

    def begin(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the encoder begins with, and what it adds to the logits of attention; arguments as of `forward`.

        Returns:
            Float32 [texts, tokens, width]; float32 [texts or 1, heads, tokens, tokens].
        """
        bias: torch.Tensor = self.encoder.block[0].layer[0].SelfAttention.bias(ids.shape[1])  # type: ignore[index, union-attr]
        return self.shared(ids), bias if mask is None else bias + hidden(mask)[:, None, None]

    def layer(self, number: int, states: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Return what a layer of the encoder makes of states."""
        attention, forward = self.encoder.block[number].layer  # type: ignore[misc]
        found: torch.Tensor = forward(attention(states, bias))
        return found

    def encode(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return the encoder's states of a padded batch: float32 [texts, tokens, width]; arguments as of `forward`."""
        states, bias = self.begin(ids, mask)
        for number in range(self.geometry.layers):
            states = self.layer(number, states, bias)
        found: torch.Tensor = self.encoder.final_layer_norm(states)
        return found

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor | None = None, types: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the logits of the target words as the first that is written, differentiably.

        Args:
            ids: int64 [texts, tokens].
            mask: int64, 1 where there is a token; None: everywhere.
            types: nothing; T5 has none.

        Returns:
            float32 [texts, targets].
        """
        return self.answer(self.encode(ids, mask), mask)

    def answer(self, states: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return the logits of the target words, of the encoder's states; else as `forward`."""
        unseen = None if mask is None else hidden(mask)[:, None]
        start = torch.full((len(states),), self.geometry.start, device=states.device)
        x = self.shared(start)
        for block in self.decoder.block:
            own, cross, forward = block.layer  # type: ignore[misc]
            x = forward(cross(own(x), states, unseen))
        x = self.decoder.final_layer_norm(x)
        if self.geometry.scaled:
            x = x * self.geometry.width**-0.5
        with torch.autocast(x.device.type, enabled=False):  # a matrix of few rows, whose results are compared
            return functional.linear(x.float(), self.rows)

    def shrink(self) -> None:
        """Divide all that is added up between norms by `SHRINKAGE`, so that float16 can hold it; what comes out is the same.

        The norms divide by it again. Where a feed-forward layer's inner states are large too, they get a part of it.
        """
        with torch.no_grad():
            self.shared.weight /= SHRINKAGE
            for module in self.modules():
                if isinstance(module, (SelfAttention, SelfStep, CrossStep)):
                    module.o.weight /= SHRINKAGE
                elif isinstance(module, FeedForward):
                    inner = module.wi_1 if module.gated else module.wi  # the gate's GELU is not linear, nor is it large
                    inner.weight /= INNER_SHRINKAGE
                    module.wo.weight /= SHRINKAGE / INNER_SHRINKAGE
                elif isinstance(module, Norm):
                    module.epsilon /= SHRINKAGE**2


def hidden(mask: torch.Tensor) -> torch.Tensor:
    """Return what is added to the logits of a batch's places: 0, or where there is no token the least float32."""
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(mask == 0, torch.finfo(torch.float32).min)
