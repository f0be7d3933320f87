"""``dse``: distilled sentence embeddings, a BERT of two towers that learned from a cross-encoder (Barkan et al., AAAI 2020).

A text's vector is the mean of its token states without [CLS]'s, of the last four layers, laid end to end. Two vectors u and v are
compared by a small network over ``[u; v; u*v; |u-v|]``. No inner product stands for that, so the model re-scores candidates and
retrieves none.

A checkpoint is a folder with the authors' state dictionary (``dse_model.bert.bert.*``, ``siamese_head.fc_layers.*``) as
model.safetensors or model.pt, BERT's config.json and its tokenizer. tamis.json may state how the poolings that the authors tried
differ from the published one: ``{"family": "dse", "layers": 4, "cls": false}``. A network over the inner product, their other
head, is known by its shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage
from tamis.encoders.batching import Inputs, Numerics
from tamis.encoders.checkpoints import fill, find_checkpoint, read_config, read_json, read_state
from tamis.encoders.options import LengthOptions
from tamis.encoders.text import Tokenizer, length_limit
from tamis.encoders.transformer import DenseTransformer, make_identity
from tamis.errors import ModelError, UsageError
from tamis.families import Address

VERSION = 1
LENGTH, LAYERS = 128, 4


class PairHead(nn.Module):
    """The network that compares two vectors.

    Args:
        width: of the vectors.
        sizes: widths of its layers, from what comes in; ``4 * width`` or 1 (over the inner product) is first.
    """

    def __init__(self, width: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.width, self.outputs = width, sizes[-1]
        self.fc_layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, query: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        """Return the outputs for a query with documents: [width] and [documents, width] → [documents, outputs]."""
        layers: list[Any] = list(self.fc_layers)
        first = layers[0]
        if first.in_features == 1:
            found: torch.Tensor = first((documents @ query)[:, None])
        else:  # the layer over the four parts, one part after another: u's is the same for all, u*v's is a change of v's weights
            u, v, product, distance = first.weight.split(self.width, 1)
            found = (
                documents @ (v + product * query).T + (documents - query).abs() @ distance.T + (u @ query + first.bias)
            )
        for layer in layers[1:]:
            found = layer(torch.relu(found))
        return found


class DSE(DenseTransformer):
    """A `tamis.encoders.base.PairEncoder`; one model for both sides.

    Args:
        identity: of the checkpoint.
        numerics: where and how it runs.
        transformer: the BERT.
        layer: what follows the pooling; the identity in the published model.
        head: compares two vectors.
        tokenizer: BERT's.
        max_length: tokens that are read.
        layers: how many of the last layers count.
        skip: states at the beginning that do not: 1 for [CLS], or 0.

    Attributes:
        outputs: how many numbers the head gives a pair: one, or a logit a class.
    """

    def __init__(
        self,
        identity: ModelIdentity,
        numerics: Numerics,
        transformer: nn.Module,
        layer: nn.Module,
        head: PairHead,
        tokenizer: Tokenizer,
        max_length: int,
        layers: int,
        skip: int,
    ) -> None:
        super().__init__(identity, numerics, head.width, "pair")
        self.transformer, self.classifier, self.siamese_head = transformer, layer, head
        self.outputs = head.outputs
        self._tokenizer, self._max_length, self._layers, self._skip = tokenizer, max_length, layers, skip

    def token_states(
        self, ids: torch.Tensor, mask: torch.Tensor | None, types: torch.Tensor | None, side: str
    ) -> torch.Tensor:
        """Return the states of the last layers side by side."""
        states = self.transformer(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        return torch.cat(states[-self._layers :], 2)

    def finish(self, states: torch.Tensor, mask: torch.Tensor | None, side: str) -> torch.Tensor:
        """Return the vectors of texts; see `DenseTransformer.finish`."""
        joined = states.float()[:, self._skip :]
        weights = torch.ones(joined.shape[:2], device=joined.device) if mask is None else mask[:, self._skip :].float()
        mean = (joined * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)
        vectors: torch.Tensor = self.classifier(mean).float()
        return vectors

    def score(
        self, query: NDArray[np.float32], documents: NDArray[np.float32], *, positive: int | None = None
    ) -> NDArray[np.float64]:
        """Return the relevance of documents to a query; see `PairEncoder`.

        Args:
            query: float32 [dimensions].
            documents: float32 [documents, dimensions].
            positive: which output of several means "relevant"; the score is its log-odds then. A single one is the score itself.

        Raises:
            UsageError: the head has several outputs, and `positive` is none of them.
        """
        if self.outputs > 1 and (positive is None or positive >= self.outputs):
            raise UsageError(
                f"{self.identity.address} gives {self.outputs} outputs a pair: name the one that means relevant, as in  "
                f"?positive=1 , from 0 to {self.outputs - 1}"
            )
        with torch.inference_mode():
            device = self.numerics.device
            found = self.siamese_head(
                torch.from_numpy(query).to(device), torch.from_numpy(documents).to(device)
            ).double()
            if self.outputs > 1:
                others = torch.arange(self.outputs, device=device) != positive
                found = found[:, ~others] - torch.logsumexp(found[:, others], 1, keepdim=True)
            scores: NDArray[np.float64] = found[:, 0].cpu().numpy()
        return scores

    @property
    def pad(self) -> int:
        """Id of the padding token."""
        return self._tokenizer.pad

    def document_inputs(self, passages: Sequence[Passage]) -> Inputs:
        """Return title and text, joined by a space."""
        return self.query_inputs([passage.joined for passage in passages])

    def query_inputs(self, texts: Sequence[str]) -> Inputs:
        """Return the texts as they are."""
        return self._tokenizer.texts(texts, self._max_length)


def load(address: Address, options: LengthOptions) -> DSE:
    """Load a DSE checkpoint.

    Raises:
        MissingResourceError: there is none.
        ModelError: it cannot be used, or lacks weights.
    """
    from transformers import BertConfig, BertModel

    folder = find_checkpoint(address.id, address.revision)
    numerics, state = Numerics.of(options.device, options.dtype), read_state(folder)
    card = read_json(folder / "tamis.json", {})
    layers, skip = int(card.get("layers", LAYERS)), int(not card.get("cls", False))
    config = read_config(folder, BertConfig)
    if layers > config.num_hidden_layers:
        raise ModelError(f"{folder}: the last {layers} layers are wanted of a model of {config.num_hidden_layers}")
    transformer: nn.Module = BertModel(config, add_pooling_layer=False)
    fill(transformer, state, folder, "dse_model.bert.bert.")
    width, layer = layers * int(config.hidden_size), _layer(state, folder)
    width = layer.out_features if isinstance(layer, nn.Linear) else width
    head = PairHead(width, _sizes(state, folder, width))
    fill(head, state, folder, "siamese_head.")
    length = length_limit(config, LENGTH, options.max_length)
    identity = make_identity(
        address, {"model": folder}, options, VERSION, max_length=length, layers=layers, skip=skip, width=width
    )
    encoder = DSE(identity, numerics, transformer, layer, head, Tokenizer(folder), length, layers, skip)
    return encoder.to(numerics.device).eval()


def _layer(state: Mapping[str, torch.Tensor], folder: Path) -> nn.Module:
    """The linear layer that some of the authors' models have behind the pooling."""
    prefix = "dse_model.bert.classifier."
    if f"{prefix}weight" not in state:
        return nn.Identity()
    outputs, inputs = state[f"{prefix}weight"].shape
    layer = nn.Linear(inputs, outputs)
    fill(layer, state, folder, prefix)
    return layer


def _sizes(state: Mapping[str, torch.Tensor], folder: Path, width: int) -> list[int]:
    """The widths of the head's layers, read from its weights."""
    shapes: list[torch.Size] = []
    while (weight := state.get(f"siamese_head.fc_layers.{len(shapes)}.weight")) is not None:
        shapes.append(weight.shape)
    if not shapes:
        raise ModelError(f"{folder} has no weight siamese_head.fc_layers.0.weight, the head's: it is no DSE checkpoint")
    sizes = [int(shapes[0][1]), *(int(shape[0]) for shape in shapes)]
    if sizes[0] not in (1, 4 * width):
        raise ModelError(
            f"{folder}: the head reads {sizes[0]} numbers, and two vectors of {width} make {4 * width}, or 1 by their inner "
            "product; does tamis.json state the number of layers?"
        )
    return sizes
