"""What runs a cross-encoder: torch, or ONNX Runtime, which starts sooner and is faster on a processor.

The graph is exported once and kept below the cache's folder (`tamis.rerankers.cache.cache_folder`), under a name that holds
all that decides it; a fresh process that finds it there never imports torch. Without a cache it lives as long as the model.

    model.onnx       ids, mask (and token types) of a padded batch → scores
    tokenizer.json   the checkpoint's
    config.json      the padding token
    model.json       identity, and how pairs are written (`tamis.rerankers.pairs.PairFormat`)
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamis.database import cache_folder
from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.encoders.batching import Numerics, batches_of, require_finite
from tamis.encoders.checkpoints import checkpoint_files, find_checkpoint, read_json
from tamis.encoders.text import Tokenizer
from tamis.errors import ModelError, UsageError
from tamis.families import Address
from tamis.files import sha256_json, storage_errors, write_json
from tamis.rerankers.base import PairScorer, PairScores
from tamis.rerankers.options import CrossOptions
from tamis.rerankers.pairs import VERSION, PairFormat

if TYPE_CHECKING:
    from tamis.rerankers.cross import CrossEncoder

GRAPH, TOKENIZER, CARD = "model.onnx", "tokenizer.json", "model.json"
EXPORT_VERSION = 1
TOLERANCE = 1e-4
KEPT = 8
"""Exported models that the cache holds; the one not opened for longest goes."""

_PROBES = (
    ("what is a drum sieve", "a drum sieve"),
    ("a", ""),
    ("how do cooks pass a purée", "of potatoes through a finer and finer sieve, and why? " * 3),
)


def load(address: Address, options: CrossOptions) -> PairScorer:
    """Load a cross-encoder in the backend that the options name.

    Raises:
        UsageError: the backend cannot run in that precision.
        MissingResourceError: there is no such checkpoint.
        ModelError: it cannot be used, or not be exported.
    """
    if options.backend == "torch":
        from tamis.rerankers.cross import load as load_torch

        return load_torch(address, options)
    if options.dtype != "float32" or options.device not in ("auto", "cpu"):
        raise UsageError(
            f"{address}: backend=onnx runs float32 on a processor; take backend=torch for dtype={options.dtype}, "
            f"device={options.device}"
        )
    checkpoint = find_checkpoint(address.id, address.revision)
    decided = [checkpoint_files(checkpoint), [list(pair) for pair in address.options], VERSION, EXPORT_VERSION]
    home = cache_folder()
    if home is None:
        scratch = tempfile.TemporaryDirectory(prefix="tamis-")
        _export(address, options, Path(scratch.name))
        return ExportedCrossEncoder(Path(scratch.name), address, scratch)
    folder = home / "onnx" / sha256_json(decided)[:32]
    if not (folder / CARD).exists():
        with storage_errors(folder):
            _publish(address, options, folder)
    folder.touch()
    return ExportedCrossEncoder(folder, address)


def _publish(address: Address, options: CrossOptions, folder: Path) -> None:
    """Export to a folder of its own, and give it its name when it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    scratch.mkdir()
    try:
        _export(address, options, scratch)
        if not folder.exists():
            scratch.rename(folder)
    except OSError:
        if not (folder / CARD).exists():  # else another process was sooner
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    others = [path for path in folder.parent.iterdir() if not path.name.startswith(".") and path != folder]
    for path in sorted(others, key=lambda path: path.stat().st_mtime)[: max(0, len(others) + 1 - KEPT)]:
        shutil.rmtree(path, ignore_errors=True)


def _export(address: Address, options: CrossOptions, folder: Path) -> None:
    from tamis.rerankers.cross import load as load_torch

    model = load_torch(address, options)
    _export_graph(model, folder / GRAPH)
    source = model.tokenizer.source(folder)
    shutil.copyfile(source, folder / TOKENIZER)
    card = {"identity": model.identity.to_json(), "format": model.format.to_json()}
    write_json(folder / CARD, card)
    write_json(folder / "config.json", {"pad_token_id": model.tokenizer.pad})
    queries, passages = [query for query, _ in _PROBES], [Passage("", text) for _, text in _PROBES]
    want = model.score_pairs(queries, passages).scores
    have = ExportedCrossEncoder(folder, address).score_pairs(queries, passages).scores
    if float(np.abs(have - want).max()) > TOLERANCE * max(float(np.abs(want).max()), 1.0):
        raise ModelError(f"{address}: the exported model scores otherwise than the model: take backend=torch")


def _export_graph(model: CrossEncoder, path: Path) -> None:
    import warnings

    import torch

    class Scores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor | None = None) -> torch.Tensor:
            return model.score(self.model(ids, mask, types))

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
        keep: what must live as long as the graph's folder is needed.

    Attributes:
        tokens: how many tokens the model has read so far, padding not counted.
    """

    def __init__(self, folder: Path, address: Address, keep: Any = None) -> None:
        card = read_json(folder / CARD)
        if card is None:
            raise ModelError(f"{folder} holds no exported model")
        known = card["identity"]
        self.identity = ModelIdentity(str(address), known["files"], known["settings"])
        self.format = PairFormat(Tokenizer(folder), **card["format"])
        self.numerics = Numerics()
        self.tokens = 0
        self._keep = keep
        self._session = _session(folder / GRAPH)
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
                (scores[places],) = self._session.run(None, fed)
            tick(len(places))
        self.tokens += int(lengths.sum())
        require_finite(self.identity.address, scores)
        return PairScores(scores, inputs.truncated)


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's errors share no base
        raise ModelError(f"{path} is damaged: {error}; delete {path.parent}, and it is exported anew") from error


def _table(rows: Sequence[Sequence[int]], places: NDArray[np.int64], width: int, filler: int) -> NDArray[np.int64]:
    filled = np.full((len(places), width), filler, np.int64)
    for at, place in enumerate(places.tolist()):
        filled[at, : len(rows[place])] = rows[place]
    return filled
