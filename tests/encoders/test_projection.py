"""``Dense`` modules, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tamis.encoders.projection import Unit, load_projection
from tamis.errors import ModelError

STATES = torch.tensor([[3.0, -4.0]])
CONFIG = {"in_features": 2, "out_features": 2, "activation_function": "torch.nn.modules.activation.ReLU"}


def save(folder: Path, **weights: list[object]) -> Path:
    named = {name.replace("_", "."): torch.tensor(value, dtype=torch.float32) for name, value in weights.items()}
    save_file(named, folder / "model.safetensors")
    return folder


def test_a_layer_and_its_activation(tmp_path: Path) -> None:
    folder = save(tmp_path, linear_weight=[[1, 0], [0, 2]], linear_bias=[1, 1])
    assert load_projection(folder, CONFIG)(STATES).tolist() == [[4, 0]]
    assert load_projection(folder, {**CONFIG, "use_residual": True})(STATES).tolist() == [[7, -4]]
    assert load_projection(folder, {**CONFIG, "activation_function": "x.Identity"})(STATES).tolist() == [[4, -7]]


def test_a_way_around_between_widths(tmp_path: Path) -> None:
    folder = save(tmp_path, linear_weight=[[1, 1]], residual_weight=[[1, 2]])
    config = {**CONFIG, "out_features": 1, "bias": False, "use_residual": True}
    assert load_projection(folder, config)(STATES).tolist() == [[-5]]


def test_what_is_missing_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path, linear_weight=[[1, 0], [0, 2]])
    with pytest.raises(ModelError, match=r"linear\.bias"):
        load_projection(folder, CONFIG)
    with pytest.raises(ModelError, match="in_features"):
        load_projection(folder, {"out_features": 2})
    with pytest.raises(ModelError, match=r"Swish.*known: Identity"):
        load_projection(folder, {**CONFIG, "activation_function": "torch.nn.Swish"})
    with pytest.raises(ModelError, match=r"\[1, 2\]|\[2, 2\]"):
        load_projection(folder, {**CONFIG, "out_features": 1, "bias": False})


def test_unit_length() -> None:
    found = Unit()(STATES.to(torch.bfloat16))
    assert found.dtype == torch.float32
    assert found.tolist() == [[pytest.approx(0.6), pytest.approx(-0.8)]]
