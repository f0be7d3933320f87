"""Matrix products of a network that is mostly run and sometimes trained.

Where nothing is learnt, on a processor, matrices are laid out once for oneDNN's products, to which torch's compiler turns linear
layers too: in float32 they are faster than torch's own by a fifth to a third on AMD's. Elsewhere, and wherever gradients may be
wanted, they are ordinary linear layers.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import nn

_BATCH = 1024
"""Rows of a product that the layout of a matrix suits; others work too."""


class Matrix(nn.Linear):
    """A linear map without a bias, multiplied by `product`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.packed: tuple[object, torch.Tensor, list[torch.Tensor]] | None = None


def product(x: torch.Tensor, *matrices: Matrix, relu: bool = False) -> torch.Tensor:
    """Return ``x`` times matrices, their results side by side, negative numbers made 0 if wanted.

    Args:
        x: [..., inputs].
        matrices: of the same inputs each.
        relu: whether negative numbers become 0.

    Returns:
        [..., outputs of all].
    """
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
    if not (torch.is_inference_mode_enabled() and _packs(x.device.type, dtype)):
        parts = [matrix(x) for matrix in matrices]
        y = parts[0] if len(parts) == 1 else torch.cat(parts, -1)
        return torch.relu(y) if relu else y
    weights = [matrix.weight.detach() for matrix in matrices]
    key = dtype, *((weight.data_ptr(), weight._version) for weight in weights)  # noqa: SLF001 - grows when it is changed
    held = matrices[0].packed
    if held is None or held[0] != key:
        joined = weights[0] if len(weights) == 1 else torch.cat(weights)
        held = key, torch.ops.mkldnn._reorder_linear_weight(joined.to(dtype), _BATCH), weights  # noqa: SLF001
        matrices[0].packed = held  # with the weights, whose memory no others may take while it is known by its place
    multiply = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - there is no public name
    found: torch.Tensor = multiply(x.to(dtype), held[1], None, "relu" if relu else "none", [], "")
    return found


@cache
def _packs(kind: str, dtype: torch.dtype) -> bool:
    """Whether matrices can be laid out on a kind of device."""
    if kind != "cpu" or not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return False
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    reduced: bool = dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001
    return dtype == torch.float32 or reduced
