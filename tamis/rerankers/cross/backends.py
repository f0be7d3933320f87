"""What runs a cross-encoder: torch, or ONNX Runtime or OpenVINO, which start sooner and are faster on a processor.

The graph is exported once and kept below the cache's folder (`tamis.encoders.graphs`); a fresh process that finds it there never
imports torch. Without a cache it lives as long as the model.

    model.onnx       ids, mask (and token types) of a padded batch → scores
    fused.onnx       the same with attention in one operator of ONNX Runtime's; made when that backend first opens it
    tokenizer.json   the checkpoint's
    config.json      the padding token
    model.json       identity, how pairs are written (`tamis.rerankers.pairs.PairFormat`), scores of a few pairs by torch
    BACKEND.DTYPE    empty: that this backend gave those scores, too
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.encoders.batching import Numerics, batches_of, require_finite
from tamis.encoders.checkpoints import checkpoint_files, find_checkpoint, read_json
from tamis.encoders.graphs import fused_graph, kept_export
from tamis.encoders.runners import open_runner, require_options
from tamis.encoders.text import Tokenizer
from tamis.errors import ModelError
from tamis.families import Address
from tamis.files import storage_errors, write_json
from tamis.rerankers.base import PairScorer, PairScores
from tamis.rerankers.options import CrossOptions
from tamis.rerankers.pairs import VERSION, PairFormat

if TYPE_CHECKING:
    from tamis.rerankers.cross.model import CrossEncoder

GRAPH, TOKENIZER, CARD = "model.onnx", "tokenizer.json", "model.json"
EXPORT_VERSION = 2
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}
"""How far an exported model's scores may be from the model's own, relative to the largest, or to 1."""

_PROBES = (
    ("what is a drum sieve", "a drum sieve"),
    ("a", ""),
    ("how do cooks pass a purée", "of potatoes through a finer and finer sieve, and why? " * 3),
)


def load(address: Address, options: CrossOptions) -> PairScorer:
    """Load a cross-encoder in the backend that the options name.

    Raises:
        UsageError: the backend cannot run in that precision, or on that device.
        PrerequisiteError: its package is missing, or the processor lacks the precision.
        MissingResourceError: there is no such checkpoint.
        ModelError: it cannot be used, or not be exported.
    """
    if options.backend == "torch":
        from tamis.rerankers.cross.model import load as load_torch

        return load_torch(address, options)
    require_options(address, options.backend, options.dtype, options.device)
    checkpoint = find_checkpoint(address.id, address.revision)
    own = [list(pair) for pair in address.options if pair[0] not in ("backend", "dtype", "device")]
    folder, keep = kept_export(
        [checkpoint_files(checkpoint), own, VERSION, EXPORT_VERSION],
        CARD,
        lambda scratch: _export(address, options, scratch),
    )
    return _checked(ExportedCrossEncoder(folder, address, options.backend, options.dtype, keep))


def _checked(model: ExportedCrossEncoder) -> ExportedCrossEncoder:
    """Return a model whose scores are those of torch, as far as its precision goes; asked once a backend and precision."""
    seen = model.folder / f"{model.backend}.{model.numerics.dtype}"
    if seen.exists():
        return model
    want = np.array(model.probed, np.float32)
    have = model.score_pairs(*_probes()).scores
    model.tokens = 0
    if float(np.abs(have - want).max()) > TOLERANCE[model.numerics.dtype] * max(float(np.abs(want).max()), 1.0):
        raise ModelError(
            f"{model.identity.address}: the exported model scores otherwise than the model: take backend=torch"
        )
    with storage_errors(seen):
        seen.touch()
    return model


def _probes() -> tuple[list[str], list[Passage]]:
    return [query for query, _ in _PROBES], [Passage("", text) for _, text in _PROBES]


def _export(address: Address, options: CrossOptions, folder: Path) -> None:
    from tamis.rerankers.cross.model import load as load_torch

    model = load_torch(address, replace(options, dtype="float32", device="cpu"))
    probed = model.score_pairs(*_probes()).scores.tolist()
    _export_graph(model, folder / GRAPH)
    shutil.copyfile(model.tokenizer.source(folder), folder / TOKENIZER)
    config: Any = model.classifier.config
    shape = [int(getattr(config, name, 0) or 0) for name in ("num_attention_heads", "hidden_size")]
    card = {"identity": model.identity.to_json(), "format": model.format.to_json(), "shape": shape, "probed": probed}
    write_json(folder / CARD, card)
    write_json(folder / "config.json", {"pad_token_id": model.tokenizer.pad})


def _export_graph(model: CrossEncoder, path: Path) -> None:
    """Write the graph of a model, whose last layer is replaced in the course of it."""
    import warnings

    import torch

    class Scores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor | None = None) -> torch.Tensor:
            return model.score(self.model(ids, mask, types))

    class Summed(torch.nn.Module):
        """The layer that gives the logits, without a matrix product.

        A backend that multiplies in bfloat16 would round them, and so tie candidates; sums are done in float32.
        """

        def __init__(self, layer: torch.nn.Linear) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            # a row at a time: OpenVINO 2026.4 gives wrong sums where states are spread over an axis of rows
            logits = torch.cat([(states * row).sum(-1, keepdim=True) for row in self.layer.weight], -1)
            return logits if self.layer.bias is None else logits + self.layer.bias

    for name, layer in list(model.classifier.named_modules()):
        if isinstance(layer, torch.nn.Linear) and layer.out_features == model.labels:
            model.classifier.set_submodule(name, Summed(layer))

    parts: list[Any] = [part for part in model.classifier.modules() if hasattr(part, "set_attn_implementation")]
    whole = parts[0] if parts else None
    if whole is not None and getattr(whole.config, "_attn_implementation", "eager") != "eager":
        whole.set_attn_implementation("eager")  # the form that `fused_graph` knows
    ids = torch.full((2, 8), model.tokenizer.pad, dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    names = ["ids", "mask", "types"] if model.format.typed else ["ids", "mask"]
    given = (ids, mask, torch.zeros_like(ids)) if model.format.typed else (ids, mask)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                Scores().eval(),
                given,
                str(path),
                input_names=names,
                output_names=["scores"],
                dynamic_axes={**{name: {0: "pairs", 1: "tokens"} for name in names}, "scores": {0: "pairs"}},
                dynamo=False,  # the newer exporter needs onnxscript, which nothing else here does
            )
    except Exception as error:  # any operator may be one that ONNX lacks
        raise ModelError(f"{model.identity.address} cannot be exported to ONNX: {error}") from error


class ExportedCrossEncoder:
    """A `tamis.rerankers.base.PairScorer` over an exported graph.

    Args:
        folder: of the graph.
        address: what the model is called.
        backend: what runs it, one of `tamis.encoders.runners.PRECISIONS`.
        dtype: one of that backend's precisions.
        keep: what must live as long as the graph's folder is needed.

    Attributes:
        tokens: how many tokens the model has read so far, padding not counted.
        probed: what torch gave for a few pairs when the graph was exported.

    Raises:
        PrerequisiteError: the backend cannot run here.
        ModelError: the folder is damaged.
    """

    def __init__(self, folder: Path, address: Address, backend: str, dtype: str, keep: Any = None) -> None:
        card = read_json(folder / CARD)
        if card is None:
            raise ModelError(f"{folder} holds no exported model")
        known = card["identity"]
        settings = {**known["settings"], "backend": backend, "dtype": dtype}
        self.identity = ModelIdentity(str(address), known["files"], settings)
        self.format = PairFormat(Tokenizer(folder), **card["format"])
        self.folder, self.backend, self.probed = folder, backend, card["probed"]
        self.numerics = Numerics(dtype=dtype)
        self.tokens = 0
        self._keep = keep
        graph = folder / GRAPH
        if backend == "onnx":
            graph = fused_graph(graph, *card["shape"])
        self._run = open_runner(graph, backend, dtype)
        self._lock = threading.Lock()

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own, in whose tokens windows are counted."""
        return self.format.tokenizer

    def score_pairs(self, queries: Sequence[str], passages: Sequence[Passage], *, tick: Tick = no_tick) -> PairScores:
        """Score query i with passage i; see `tamis.rerankers.base.PairScorer`."""
        inputs = self.format.inputs(queries, [passage.joined for passage in passages])
        scores = np.empty(len(inputs), np.float32)
        lengths = np.array([len(ids) for ids in inputs.ids], np.int64)
        for places in batches_of(lengths, self.numerics.budget):
            width = int(lengths[places].max())
            fed = {
                "ids": _table(inputs.ids, places, width, self.tokenizer.pad),
                "mask": (np.arange(width) < lengths[places][:, None]).astype(np.int64),
            }
            if inputs.types is not None:
                fed["types"] = _table(inputs.types, places, width, 0)
            with self._lock:
                scores[places] = self._run(fed)
            tick(len(places))
        self.tokens += int(lengths.sum())
        require_finite(self.identity.address, scores)
        return PairScores(scores, inputs.truncated)


def _table(rows: Sequence[Sequence[int]], places: NDArray[np.int64], width: int, filler: int) -> NDArray[np.int64]:
    filled = np.full((len(places), width), filler, np.int64)
    for at, place in enumerate(places.tolist()):
        filled[at, : len(rows[place])] = rows[place]
    return filled
