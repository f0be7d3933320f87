"""What a torch module computes, as a graph in ONNX with its weights beside it, in a file that can be mapped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.errors import ModelError

if TYPE_CHECKING:
    import torch

WEIGHTS = "query.weights"
"""What a graph reads, next to it: mapped, not parsed, which takes most of the time off a cold search."""
_SMALL = 1024
"""Bytes of a weight below which it stays in the graph."""
PROBES = (
    "what is a drum sieve",
    "a",
    "how do cooks pass a purée of potatoes through a finer and finer sieve, and why?",
)


def export_graph(
    compute: Callable[..., Any],
    owner: Any,
    path: Path,
    pad: int,
    device: Any,
    *,
    states: bool = False,
    typed: bool = False,
) -> None:
    """Write what `compute` makes of a padded batch as a graph, and its weights beside it.

    Args:
        compute: (ids, mask), and token types if `typed`, → a tensor of [texts, …].
        owner: the module whose weights it uses.
        path: of the graph; `WEIGHTS` is written next to it.
        pad: the padding token's id.
        device: where the weights are.
        states: whether the tensor is of [texts, tokens, …].
        typed: whether the graph reads token types too.

    Raises:
        ModelError: an operator has no counterpart in ONNX.
    """
    import warnings

    import torch

    class Query(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.owner = owner

        def forward(self, *given: torch.Tensor) -> torch.Tensor:
            vectors: torch.Tensor = compute(*given)
            return vectors

    ids = torch.full((2, 8), pad, dtype=torch.int64, device=device)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    whole = path.with_suffix(".whole")
    table = {0: "texts", 1: "tokens"}
    given = {"ids": ids, "mask": mask, **({"types": torch.zeros_like(ids)} if typed else {})}
    dynamic = {**dict.fromkeys(given, table), "vectors": table if states else {0: "texts"}}
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                Query().eval(),
                tuple(given.values()),
                str(whole),
                input_names=list(given),
                output_names=["vectors"],
                dynamic_axes=dynamic,
                dynamo=False,  # the newer exporter needs onnxscript, which nothing else here does
            )
    except Exception as error:  # any operator may be one that ONNX lacks
        raise ModelError(f"{owner.identity.address} cannot be exported to ONNX: {error}") from error
    _part_weights(whole, path)
    whole.unlink()


def _part_weights(whole: Path, path: Path) -> None:
    """Write a graph anew, simplified as it may be on any processor, and its weights in a file that can be mapped."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    for name, value in (("file_name", WEIGHTS), ("min_size_in_bytes", str(_SMALL))):
        options.add_session_config_entry(f"session.optimized_model_external_initializers_{name}", value)
    try:
        onnxruntime.InferenceSession(str(whole), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's errors share no base
        raise ModelError(f"{whole} cannot be opened: {error}") from error
