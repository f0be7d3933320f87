"""Layers that follow a transformer in a sentence-transformers checkpoint: ``Dense`` and ``Normalize``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tamis.encoders.checkpoints import fill, read_state
from tamis.errors import ModelError

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "Identity": nn.Identity,
    "Tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "GELU": nn.GELU,
}


class Projection(nn.Module):
    """A ``Dense`` module: a linear layer, its activation, and a way around both where the checkpoint has one.

    Args:
        inputs: width of what comes in.
        outputs: width of what goes out.
        bias: whether the linear layer has one.
        activation: what follows it.
        residual: whether the input is added to the result, through a layer of its own where the widths differ.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool, activation: nn.Module, residual: bool = False) -> None:
        super().__init__()
        self.linear, self.activation, self._around = nn.Linear(inputs, outputs, bias=bias), activation, residual
        if residual and inputs != outputs:
            self.residual = nn.Linear(inputs, outputs, bias=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return the projected states: [..., inputs] → [..., outputs]."""
        found: torch.Tensor = self.activation(self.linear(states))
        if not self._around:
            return found
        return found + (self.residual(states) if hasattr(self, "residual") else states)


class Unit(nn.Module):
    """A ``Normalize`` module: vectors of unit length, in float32."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return the normalised states."""
        return nn.functional.normalize(states.float(), dim=-1)


def load_projection(folder: Path, config: Mapping[str, Any]) -> Projection:
    """Load a ``Dense`` module.

    Args:
        folder: of the module.
        config: its config.json.

    Raises:
        ModelError: weights or widths are missing, or the activation is not known.
    """
    if not {"in_features", "out_features"} <= config.keys():
        raise ModelError(f"{folder / 'config.json'} does not state in_features and out_features")
    name = str(config.get("activation_function", "torch.nn.modules.linear.Identity")).rpartition(".")[2]
    if name not in ACTIVATIONS:
        raise ModelError(f"{folder}: the activation {name!r} is not known; known: {', '.join(ACTIVATIONS)}")
    layer = Projection(
        int(config["in_features"]),
        int(config["out_features"]),
        bias=bool(config.get("bias", True)),
        activation=ACTIVATIONS[name](),
        residual=bool(config.get("use_residual", False)),
    )
    fill(layer, read_state(folder), folder)
    return layer
