"""Graphs of torch modules: any number of texts and tokens, token types where they are wanted, and what cannot be written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from tamis.encoders.onnx_graph import WEIGHTS, export_graph
from tamis.errors import ModelError


class Owner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.kinds = nn.Embedding(50, 64), nn.Embedding(2, 64)
        self.identity = SimpleNamespace(address="owner:x")

    def states(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor | None = None) -> torch.Tensor:
        found = self.words(ids) * mask.unsqueeze(-1)
        return found if types is None else found + self.kinds(types)


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("states", [False, True])
def test_any_shape_of_batch(tmp_path: Path, typed: bool, states: bool) -> None:
    owner = Owner()

    def compute(*given: torch.Tensor) -> Any:
        return owner.states(*given) if states else owner.states(*given).sum(1)

    export_graph(compute, owner, tmp_path / "g.onnx", 0, torch.device("cpu"), states=states, typed=typed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.onnx", WEIGHTS]
    assert (tmp_path / WEIGHTS).stat().st_size >= 50 * 64 * 4
    session = onnxruntime.InferenceSession(str(tmp_path / "g.onnx"))
    rng = np.random.default_rng(1)
    for shape in ((1, 1), (2, 8), (5, 3)):
        given = {"ids": rng.integers(0, 50, shape), "mask": rng.integers(0, 2, shape)}
        if typed:
            given["types"] = rng.integers(0, 2, shape)
        want = compute(*(torch.from_numpy(one) for one in given.values())).detach().numpy()
        np.testing.assert_allclose(session.run(None, given)[0], want, atol=1e-6)


def test_an_operator_without_counterpart_is_named(tmp_path: Path) -> None:
    owner = Owner()
    with pytest.raises(ModelError, match=r"owner:x cannot be exported to ONNX"):
        export_graph(
            lambda ids, mask: torch.special.i0(owner.words(ids)), owner, tmp_path / "g.onnx", 0, torch.device("cpu")
        )
