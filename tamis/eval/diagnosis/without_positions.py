"""A transformer that cannot tell where a token stands: its embeddings of positions, or biases of distances, are set to 0."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tamis.errors import UsageError

NAMES = ("position_embeddings", "relative_attention_bias")
"""How transformers of the kinds of BERT and of T5 name what tells them of positions."""


def position_weights(network: Any) -> list[Any]:
    """Return the weights that tell a network of positions, none where it has none that can be taken away.

    Rotary positions and sinusoids that a network computes are no weights.
    """
    import torch

    if not isinstance(network, torch.nn.Module):
        return []
    return [
        module.weight
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Embedding) and name.rpartition(".")[2] in NAMES
    ]


@contextlib.contextmanager
def without_positions(network: Any) -> Iterator[None]:
    """Take positions from a network, and give them back at the end.

    Raises:
        UsageError: it has no weights of positions.
    """
    import torch

    weights = position_weights(network)
    if not weights:
        raise UsageError(
            "the model has no weights of positions that could be set to 0 (BERT's and T5's kinds have): leave "
            "no-positions out"
        )
    kept = [weight.detach().clone() for weight in weights]
    try:
        with torch.no_grad():
            for weight in weights:
                weight.zero_()
        yield
    finally:
        with torch.no_grad():
            for weight, old in zip(weights, kept, strict=True):
                weight.copy_(old)
