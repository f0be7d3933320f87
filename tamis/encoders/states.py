"""Encoders by exported graphs, on a processor: ONNX Runtime, or OpenVINO, which knows bfloat16 too.

    model.onnx       ids and mask of a padded batch, of some models token types too → float32 [texts, tokens, width] or [texts, …]
    query.weights    what the graph reads
    fused.onnx       the same with attention in one operator of ONNX Runtime's; made when that backend first opens it
    states.json      empty: the export is whole

Of dense encoders the token states are exported; what is made of them, pooling, projection and normalisation, stays with torch.
Of masked language models the pooled predictions are. The graph is kept below the cache's folder (`tamis.encoders.graphs`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage
from tamis.encoders.batching import Numerics
from tamis.encoders.graphs import fused_graph, kept_export
from tamis.encoders.onnx_graph import PROBES, export_graph
from tamis.encoders.options import BackendOptions
from tamis.encoders.runners import Runner, open_runner, require_options
from tamis.errors import ModelError
from tamis.families import Address
from tamis.files import write_json

GRAPH, CARD = "model.onnx", "states.json"
EXPORT_VERSION = 1
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.05}
"""How far numbers of vectors by an exported graph may be from the model's own, relative to the largest of them."""


class Encoder(Protocol):
    """What an encoder must tell for its transformers to be exported."""

    identity: ModelIdentity
    numerics: Numerics
    tokens: int

    @property
    def pad(self) -> int:
        """Id of the padding token."""


class ExportedGraph:
    """What a graph makes of padded batches.

    Args:
        run: of the graph.
        keep: what must live as long as the graph is used.
        typed: whether the graph reads token types.
    """

    def __init__(self, run: Runner, keep: Any, *, typed: bool) -> None:
        self._run, self._keep, self._typed = run, keep, typed
        self._lock = threading.Lock()

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor | None, types: torch.Tensor | None) -> torch.Tensor:
        """Return float32 [texts, …] of ids, mask and types, int64 [texts, tokens].

        Args:
            ids: of the tokens.
            mask: 1 where a token may be attended to; None: everywhere.
            types: of the tokens; None: all 0.
        """
        given = {"ids": ids, "mask": torch.ones_like(ids) if mask is None else mask}
        if self._typed:
            given["types"] = torch.zeros_like(ids) if types is None else types
        with self._lock:
            states = self._run({name: tensor.numpy() for name, tensor in given.items()})
            return torch.from_numpy(states.copy())  # the library's own memory, which the next batch takes


def numerics_of(address: Address, options: BackendOptions) -> Numerics:
    """Return where and how a model runs: what a backend other than torch runs, runs on the processor.

    Raises:
        UsageError: the backend cannot run in that precision, or on that device.
        PrerequisiteError: its package is missing, or the processor lacks the precision.
    """
    if options.backend == "torch":
        return Numerics.of(options.device, options.dtype)
    require_options(address, options.backend, options.dtype, options.device)
    return Numerics.of("cpu", options.dtype)


def open_states(
    encoder: Encoder, transformer: nn.Module, backend: str, *, role: str = "", typed: bool = False
) -> ExportedGraph:
    """Open the graph that gives the token states of an encoder's transformer; see `open_graph`.

    Args:
        encoder: on the processor.
        transformer: reads ids and a mask, and token types if `typed`.
        backend: one of `tamis.encoders.runners.PRECISIONS`.
        role: which of the encoder's transformers it is, where it has several.
        typed: whether token types differ.
    """
    decides = ["states", dict(encoder.identity.files), EXPORT_VERSION, *([role, typed] if role or typed else [])]

    def states(ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor | None = None) -> Any:
        given = {} if types is None else {"token_type_ids": types}
        return transformer(input_ids=ids, attention_mask=mask, **given).last_hidden_state

    return open_graph(encoder, transformer, states, backend, decides, states=True, typed=typed)


def open_graph(
    encoder: Encoder,
    transformer: Any,
    compute: Callable[..., Any],
    backend: str,
    decides: Any,
    *,
    states: bool = False,
    typed: bool = False,
) -> ExportedGraph:
    """Open the graph of a part of an encoder, exported now if that was not done before.

    Args:
        encoder: on the processor.
        transformer: what runs in it.
        compute: see `tamis.encoders.onnx_graph.export_graph`.
        backend: one of `tamis.encoders.runners.PRECISIONS`.
        decides: all that the graph depends on, as JSON.
        states: whether it gives [texts, tokens, width].
        typed: whether it reads token types.

    Raises:
        PrerequisiteError: the backend cannot run here.
        ModelError: the transformer cannot be exported.
    """

    def write(folder: Path) -> None:
        _export(encoder, transformer, compute, folder, states=states, typed=typed)

    folder, keep = kept_export(decides, CARD, write)
    graph, config = folder / GRAPH, getattr(transformer, "config", None)
    if backend == "onnx":
        shape = (int(getattr(config, name, 0) or 0) for name in ("num_attention_heads", "hidden_size"))
        graph = fused_graph(graph, *shape)
    return ExportedGraph(open_runner(graph, backend, encoder.numerics.dtype), keep, typed=typed)


def _export(
    encoder: Encoder, transformer: Any, compute: Callable[..., Any], folder: Path, *, states: bool, typed: bool
) -> None:
    before = getattr(transformer.config, "_attn_implementation", "eager")
    if before != "eager":
        transformer.set_attn_implementation("eager")  # the form that `fused_graph` knows
    try:
        export_graph(compute, encoder, folder / GRAPH, encoder.pad, torch.device("cpu"), states=states, typed=typed)
    finally:
        if before != "eager":
            transformer.set_attn_implementation(before)
    write_json(folder / CARD, {})


PASSAGES = [Passage(PROBES[1], text) for text in PROBES]


def probe_vectors(encoder: Any) -> NDArray[np.float32]:
    """Return the dense vectors of a few texts, as queries and as documents."""
    sides = encoder.encode_queries(PROBES), encoder.encode_passages(PASSAGES)
    return np.concatenate([side.vectors for side in sides])


def exported_as(encoder: Encoder, export: Callable[[], None], probe: Callable[[Any], NDArray[np.float32]]) -> None:
    """Call `export`, after which the encoder uses exported graphs, and check what it computes against what it did before.

    Args:
        encoder: on the processor.
        export: changes it.
        probe: has it compute something.

    Raises:
        ModelError: the numbers differ by more than `TOLERANCE` allows.
    """
    want = probe(encoder)
    export()
    have = probe(encoder)
    encoder.tokens = 0
    allowed = TOLERANCE[encoder.numerics.dtype] * float(np.abs(want).max(initial=0))
    if not float(np.abs(have - want).max(initial=0)) <= allowed:
        raise ModelError(
            f"{encoder.identity.address}: the exported model computes something else than the model: take backend=torch"
        )
