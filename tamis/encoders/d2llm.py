"""``d2llm``: D2LLM, a language model decomposed into vectors and a small module that compares them (Liao et al., ACL 2024).

A text's token states are pooled by attention: one learned seed attends to them with many heads, scaled by the full width, and
goes on through a residual, layer normalisations and a linear layer (Set Transformer's "pooling by multi-head attention"). Two
pooled texts are compared by the interaction emulation module: a linear layer over both, a branch for the task (symmetric as in
paraphrases, asymmetric as in search), and one more layer that gives a logit. No inner product stands for that, so the model
re-scores candidates and retrieves none.

The module's first layer is a sum over both texts, ``W1 [q; d] + b = Wq q + b + Wd d``. What is kept of a text is its term of that
sum, 512 numbers instead of the model's width, and comparing a pair costs the small layers alone.

A checkpoint is a folder with the language model (adapters merged) and its tokenizer, as transformers saves them; beside them
d2llm.safetensors with the weights ``mha_pma.*`` and ``iem.*``, named as in the authors' code, and tamis.json:

    {"family": "d2llm", "heads": 32, "normalise": false, "max_length": 250}
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage
from tamis.encoders.batching import Inputs, Numerics
from tamis.encoders.checkpoints import fill, find_checkpoint, load_transformer, read_json
from tamis.encoders.options import LengthOptions
from tamis.encoders.text import Tokenizer, length_limit
from tamis.encoders.transformer import DenseTransformer, make_identity
from tamis.errors import ModelError, UnknownNameError
from tamis.families import Address

VERSION = 1
WEIGHTS = "d2llm.safetensors"
TASKS = ("symmetric", "asymmetric")


@dataclass(frozen=True)
class Recipe:
    """What tamis.json says.

    Attributes:
        heads: of the pooling's attention.
        normalise: whether a pooled text gets unit length.
        max_length: tokens that are read.
    """

    heads: int = 32
    normalise: bool = False
    max_length: int = 250


class AttentionPooling(nn.Module):
    """One vector of the states of a text, by the attention of a learned seed.

    Args:
        width: of the states.
        heads: that attend; they divide the width.
        norms: whether there are layer normalisations.
    """

    def __init__(self, width: int, heads: int, *, norms: bool = True) -> None:
        super().__init__()
        if width % heads:
            raise ModelError(f"{heads} heads do not divide the width {width}")
        self.heads = heads
        self.S = nn.Parameter(torch.zeros(1, 1, width))
        layers: dict[str, nn.Module] = {name: nn.Linear(width, width) for name in ("fc_q", "fc_k", "fc_v", "fc_o")}
        if norms:
            layers |= {"ln0": nn.LayerNorm(width), "ln1": nn.LayerNorm(width)}
        self.mab = nn.ModuleDict(layers)

    def forward(self, states: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool, in float32: [texts, tokens, width] and a mask that is 1 for tokens → [texts, width]."""
        states, mab = states.float(), self.mab
        texts, tokens, width = states.shape
        split = (self.heads, width // self.heads)
        query = mab["fc_q"](self.S[0, 0]).view(split)
        keys, values = (mab[name](states).view(texts, tokens, *split) for name in ("fc_k", "fc_v"))
        scores = torch.einsum("hc,bthc->bht", query, keys).float() / math.sqrt(width)
        if mask is not None:
            scores = scores.masked_fill(mask[:, None, :] == 0, -torch.inf)
        seen = torch.einsum("bht,bthc->bhc", torch.softmax(scores, 2), values.float()).reshape(texts, width)
        pooled = self.S[0, 0] + seen
        pooled = mab["ln0"](pooled) if "ln0" in mab else pooled
        pooled = pooled + torch.relu(mab["fc_o"](pooled))
        return mab["ln1"](pooled) if "ln1" in mab else pooled


class Interaction(nn.Module):
    """The interaction emulation module.

    Args:
        width: of a pooled text.
        hidden: of the layers between.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.width = width
        self.linear1 = nn.Linear(2 * width, hidden)
        self.proj0, self.proj1 = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.linear2 = nn.Linear(hidden, 1)

    def term(self, pooled: torch.Tensor, side: str) -> torch.Tensor:
        """Return what a side adds to the first layer: [texts, width] → [texts, hidden]; the bias is the query's."""
        weight = self.linear1.weight
        if side == "query":
            return nn.functional.linear(pooled, weight[:, : self.width], self.linear1.bias)
        return nn.functional.linear(pooled, weight[:, self.width :])

    def forward(self, query: torch.Tensor, document: torch.Tensor, task: str = "asymmetric") -> torch.Tensor:
        """Return the logits of pairs of terms: [..., hidden] each → [...]."""
        branch = self.proj0 if task == "symmetric" else self.proj1
        logits: torch.Tensor = self.linear2(torch.relu(branch(torch.relu(query + document))))
        return logits[..., 0]


class D2LLM(DenseTransformer):
    """A `tamis.encoders.base.PairEncoder`.

    Args:
        identity: of the checkpoint.
        numerics: where and how it runs.
        transformer: the language model.
        pooling: makes a vector of its states.
        interaction: compares two.
        tokenizer: the language model's.
        recipe: the rest.
    """

    def __init__(
        self,
        identity: ModelIdentity,
        numerics: Numerics,
        transformer: nn.Module,
        pooling: AttentionPooling,
        interaction: Interaction,
        tokenizer: Tokenizer,
        recipe: Recipe,
    ) -> None:
        super().__init__(identity, numerics, interaction.linear1.out_features, "pair")
        self.transformer, self.mha_pma, self.iem = transformer, pooling, interaction
        self._tokenizer, self._recipe = tokenizer, recipe

    def finish(self, states: torch.Tensor, mask: torch.Tensor | None, side: str) -> torch.Tensor:
        """Return the terms of the interaction's first layer; see `DenseTransformer.finish`."""
        pooled = self.mha_pma(states, mask)
        pooled = nn.functional.normalize(pooled, dim=1) if self._recipe.normalise else pooled
        return self.iem.term(pooled, side).float()

    def score(
        self, query: NDArray[np.float32], documents: NDArray[np.float32], *, task: str = "asymmetric"
    ) -> NDArray[np.float64]:
        """Return the logits of a query with documents; see `PairEncoder`.

        Args:
            query: float32 [dimensions].
            documents: float32 [documents, dimensions].
            task: one of `TASKS`.

        Raises:
            UnknownNameError: there is no such task.
        """
        if task not in TASKS:
            raise UnknownNameError("task", task, TASKS)
        with torch.inference_mode():
            sides = [torch.from_numpy(one).to(self.numerics.device) for one in (query[None], documents)]
            logits: NDArray[np.float64] = self.iem(*sides, task).double().cpu().numpy()
        return logits

    @property
    def pad(self) -> int:
        """Id of the padding token."""
        return self._tokenizer.pad

    def document_inputs(self, passages: Sequence[Passage]) -> Inputs:
        """Return title and text, joined by a space."""
        return self.query_inputs([passage.joined for passage in passages])

    def query_inputs(self, texts: Sequence[str]) -> Inputs:
        """Return the texts as they are: no prompt tells the sides apart."""
        found = self._tokenizer.texts(texts, self._recipe.max_length)
        # a language model's tokenizer may make nothing of an empty text, and attention needs something to attend to
        return replace(found, ids=[ids or [self.pad] for ids in found.ids])


def load(address: Address, options: LengthOptions) -> D2LLM:
    """Load a D2LLM checkpoint.

    Raises:
        MissingResourceError: there is none.
        ModelError: it cannot be used, or lacks weights.
    """
    folder = find_checkpoint(address.id, address.revision)
    numerics, state = Numerics.of(options.device, options.dtype), _read_own(folder)
    transformer = load_transformer(folder)
    config: Any = transformer.config
    recipe = _read_recipe(folder, config, options)
    width = int(config.hidden_size)
    pooling = AttentionPooling(width, recipe.heads, norms="mha_pma.mab.ln0.weight" in state)
    interaction = Interaction(width, len(state["iem.linear1.weight"]))
    fill(pooling, state, folder, "mha_pma.")
    fill(interaction, state, folder, "iem.")
    identity = make_identity(address, {"model": folder}, options, VERSION, recipe=vars(recipe))
    encoder = D2LLM(identity, numerics, transformer, pooling, interaction, Tokenizer(folder), recipe)
    return encoder.to(numerics.device).eval()


def _read_own(folder: Path) -> dict[str, torch.Tensor]:
    """The weights that are not the language model's."""
    from safetensors.torch import load_file

    path = folder / WEIGHTS
    if not path.exists():
        raise ModelError(
            f"{folder} holds no {WEIGHTS}, the weights of pooling and interaction: it is no D2LLM checkpoint"
        )
    try:
        state = load_file(path)
    except Exception as error:  # the library's errors share no base
        raise ModelError(f"{path} cannot be read: {error}") from error
    if "iem.linear1.weight" not in state:
        raise ModelError(f"{path} has no weight iem.linear1.weight, the interaction's first layer")
    return state


def _read_recipe(folder: Path, config: Any, options: LengthOptions) -> Recipe:
    card = read_json(folder / "tamis.json", {})
    default = Recipe()
    return Recipe(
        int(card.get("heads", default.heads)),
        bool(card.get("normalise", default.normalise)),
        length_limit(config, int(card.get("max_length", default.max_length)), options.max_length),
    )
