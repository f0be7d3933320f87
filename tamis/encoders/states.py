"""Token states of a transformer by an exported graph, on a processor: ONNX Runtime, or OpenVINO, which knows bfloat16 too.

    model.onnx       ids and mask of a padded batch → float32 [texts, tokens, width]
    query.weights    what the graph reads
    fused.onnx       the same with attention in one operator of ONNX Runtime's; made when that backend first opens it
    states.json      empty: the export is whole

What is made of the states, their pooling, projection and normalisation, stays with torch. The graph is kept below the
cache's folder (`tamis.encoders.graphs`).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from tamis.encoders.exported import PROBES, export_graph
from tamis.encoders.graphs import fused_graph, kept_export
from tamis.encoders.runners import Runner, open_runner
from tamis.errors import ModelError
from tamis.files import write_json

if TYPE_CHECKING:
    from tamis.encoders.transformer import DenseTransformer

__all__ = ["PROBES", "TokenStates", "check_states", "open_states"]

GRAPH, CARD = "model.onnx", "states.json"
EXPORT_VERSION = 1
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.05}
"""How far numbers of vectors by an exported graph may be from the model's own, relative to the largest of them."""


class TokenStates:
    """The token states of padded batches.

    Args:
        run: of the graph.
        keep: what must live as long as the graph is used.
    """

    def __init__(self, run: Runner, keep: Any) -> None:
        self._run, self._keep = run, keep
        self._lock = threading.Lock()

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Return float32 [texts, tokens, width] of ids and mask, int64 [texts, tokens]; no mask: every token counts."""
        attended = torch.ones_like(ids) if mask is None else mask
        with self._lock:
            states = self._run({"ids": ids.numpy(), "mask": attended.numpy()})
            return torch.from_numpy(states.copy())  # the library's own memory, which the next batch takes


def open_states(encoder: DenseTransformer, backend: str) -> TokenStates:
    """Open the graph of an encoder's transformer, exported now if that was not done before.

    Args:
        encoder: with a `transformer` that reads ids and a mask, on the processor.
        backend: one of `tamis.encoders.runners.PRECISIONS`.

    Raises:
        PrerequisiteError: the backend cannot run here.
        ModelError: the transformer cannot be exported.
    """
    transformer: Any = encoder.transformer
    decides = ["states", dict(encoder.identity.files), EXPORT_VERSION]
    folder, keep = kept_export(decides, CARD, lambda scratch: _export(encoder, transformer, scratch))
    graph = folder / GRAPH
    if backend == "onnx":
        shape = (int(getattr(transformer.config, name, 0) or 0) for name in ("num_attention_heads", "hidden_size"))
        graph = fused_graph(graph, *shape)
    return TokenStates(open_runner(graph, backend, encoder.numerics.dtype), keep)


def _export(encoder: DenseTransformer, transformer: Any, folder: Path) -> None:
    before = getattr(transformer.config, "_attn_implementation", "eager")
    if before != "eager":
        transformer.set_attn_implementation("eager")  # the form that `fused_graph` knows

    def states(ids: torch.Tensor, mask: torch.Tensor) -> Any:
        return transformer(input_ids=ids, attention_mask=mask).last_hidden_state

    try:
        export_graph(states, encoder, folder / GRAPH, encoder.pad, torch.device("cpu"), states=True)
    finally:
        if before != "eager":
            transformer.set_attn_implementation(before)
    write_json(folder / CARD, {})


def check_states(encoder: DenseTransformer, want: NDArray[np.float32], have: NDArray[np.float32]) -> None:
    """Check vectors by an exported graph against the model's own.

    Raises:
        ModelError: they differ by more than `TOLERANCE` allows.
    """
    allowed = TOLERANCE[encoder.numerics.dtype] * float(np.abs(want).max(initial=0))
    if not float(np.abs(have - want).max(initial=0)) <= allowed:
        raise ModelError(
            f"{encoder.identity.address}: the exported model computes something else than the model: take backend=torch"
        )
