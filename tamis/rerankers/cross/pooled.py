"""Cross-encoders whose head stands behind the transformer, module by module: pooling, linear layers, norms.

sentence-transformers' ``CrossEncoder`` saves them so where the transformer does feature extraction; the last ``Dense`` gives the
``scores``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tamis.encoders.checkpoints import fill, load_transformer, read_json, read_state
from tamis.encoders.dense import stated_poolings
from tamis.encoders.pooling import POOLINGS, pool
from tamis.encoders.projection import Unit, load_projection
from tamis.errors import ModelError
from tamis.rerankers.cross.causal import Logits
from tamis.rerankers.cross.saved import Part, Saved

_ENCODERS = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
"""Of these only the encoder is in use."""


class PooledLogits(nn.Module):
    """A transformer as a classifier, for batches that are padded on the right.

    Args:
        transformer: of transformers, without a head.
        poolings: of token states, whose results are joined.
        head: from there to logits.
    """

    def __init__(self, transformer: Any, poolings: Sequence[str], head: nn.Module) -> None:
        super().__init__()
        self.transformer, self.poolings, self.head = transformer, tuple(poolings), head
        self.config = transformer.config

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, token_type_ids: Any = None
    ) -> Logits:
        """Return the logits of a padded batch: [pairs, labels]."""
        given = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        states = self.transformer(input_ids=input_ids, attention_mask=attention_mask, **given).last_hidden_state
        return Logits(self.head(torch.cat([pool(states, attention_mask, how) for how in self.poolings], 1)))

    def get_input_embeddings(self) -> Any:
        """Return the matrix of token vectors."""
        return self.transformer.get_input_embeddings()


class _Norm(nn.Module):
    """A ``LayerNorm`` module."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        if "dimension" not in part.config:
            raise ModelError(f"{part.folder / 'config.json'} does not state its dimension")
        self.norm = nn.LayerNorm(int(part.config["dimension"]))
        fill(self, read_state(part.folder), part.folder)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return the normalised states."""
        found: torch.Tensor = self.norm(states)
        return found


def load_pooled(saved: Saved, prompt: str) -> tuple[PooledLogits, int]:
    """Load a transformer and the head behind it.

    Args:
        saved: what the files say.
        prompt: what goes before a query.

    Returns:
        The classifier, and how many labels it tells apart.

    Raises:
        ModelError: it cannot be read, lacks weights, or its modules do not lead to scores.
    """
    first, *parts = saved.parts
    parts = [part for part in parts if part.kind != "Dropout"]
    if first.kind != "Pooling" or any(part.kind == "Pooling" for part in parts) or not _scores(parts):
        names = ", ".join(part.kind for part in saved.parts)
        raise ModelError(
            f"{saved.folder} has no head that gives scores: its modules are {names}, and a Pooling with a Dense to 'scores' at "
            "the end is needed; a bi-encoder is no cross-encoder"
        )
    if prompt and not first.config.get("include_prompt", True):
        raise ModelError(
            f"{saved.folder}: pooling that leaves out the prompt is not known here, and this one has a prompt"
        )
    poolings = stated_poolings(first.config)
    for name in poolings:
        if name not in POOLINGS:
            raise ModelError(f"{first.folder}: pooling {name!r} is not known; known: {', '.join(POOLINGS)}")
    layers: list[nn.Module] = []
    for part in parts:
        if part.kind == "Dense":
            layers.append(load_projection(part.folder, part.config))
        else:
            layers.append(_Norm(part) if part.kind == "LayerNorm" else Unit())
    kind = str(read_json(saved.home / "config.json", {}).get("model_type", ""))
    transformer = load_transformer(saved.home, auto=_ENCODERS.get(kind, "AutoModel"))
    return PooledLogits(transformer, poolings, nn.Sequential(*layers)), int(parts[-1].config["out_features"])


def _scores(parts: Sequence[Part]) -> bool:
    """Whether modules behind the pooling lead from its vector to scores."""
    vector = "sentence_embedding"
    for i, part in enumerate(parts):
        if part.config.get("module_input_name", vector) != vector:
            return False
        last = i == len(parts) - 1
        if last != (part.kind == "Dense" and part.config.get("module_output_name") == "scores"):
            return False
    return bool(parts)
