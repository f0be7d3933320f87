"""A query encoder in ONNX, for searches that should not wait for torch.

    query.onnx       ids and mask of a padded batch → vectors
    tokenizer.json   the checkpoint's
    query.json       identity, dimensions, similarity, and how a query is written (`tamis.encoders.text.TextFormat`)

Opening it imports onnxruntime and tokenizers only. Its vectors are the model's to 1e-4; its fingerprint is the model's own.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tamis.encoders.base import DenseVectors, ModelIdentity, Similarity, Tick, no_tick
from tamis.encoders.batching import batches_of, require_finite
from tamis.encoders.checkpoints import read_json
from tamis.encoders.text import TextFormat, Tokenizer
from tamis.errors import ModelError
from tamis.files import atomic_write, write_json

if TYPE_CHECKING:
    from tamis.encoders.transformer import DenseTransformer

GRAPH, TOKENIZER, CARD = "query.onnx", "tokenizer.json", "query.json"
TOLERANCE = 1e-4
_TOKENS = 4096
_PROBES = (
    "what is a drum sieve",
    "a",
    "how do cooks pass a purée of potatoes through a finer and finer sieve, and why?",
)


def can_export(encoder: Any) -> bool:
    """Whether `export_query_encoder` knows how to write an encoder's queries."""
    return getattr(encoder, "query_format", None) is not None


def export_query_encoder(encoder: DenseTransformer, folder: Path) -> None:
    """Write the query side of an encoder to a folder, and check that it computes what the encoder does.

    Raises:
        ModelError: the model cannot be exported, or computes something else then.
    """
    import shutil

    how = encoder.query_format
    assert how is not None  # noqa: S101 - the caller asked `can_export`
    folder.mkdir(parents=True, exist_ok=True)
    _export_graph(encoder, folder / GRAPH)
    with atomic_write(folder / TOKENIZER) as handle, how.tokenizer.source(folder).open("rb") as source:
        shutil.copyfileobj(source, handle)
    card = {
        "identity": encoder.identity.to_json(),
        "dimensions": encoder.dimensions,
        "similarity": encoder.similarity,
        "pad": how.tokenizer.pad,
        "format": how.to_json(),
    }
    write_json(folder / CARD, card)
    want = encoder.encode_queries(_PROBES).vectors
    have = ExportedEncoder(folder).encode_queries(_PROBES).vectors
    scale = float(np.abs(want).max())
    if float(np.abs(have - want).max()) > TOLERANCE * max(scale, 1.0) and encoder.numerics.dtype == "float32":
        raise ModelError(f"{encoder.identity.address}: the exported query encoder differs from the model")


def _export_graph(encoder: DenseTransformer, path: Path) -> None:
    import warnings

    import torch

    class Query(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            vectors: torch.Tensor = self.encoder(ids, mask, side="query")
            return vectors

    device = next(encoder.parameters()).device
    ids = torch.full((2, 8), encoder.pad, dtype=torch.int64, device=device)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    dynamic = {"ids": {0: "texts", 1: "tokens"}, "mask": {0: "texts", 1: "tokens"}, "vectors": {0: "texts"}}
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                Query().eval(),
                (ids, mask),
                str(path),
                input_names=["ids", "mask"],
                output_names=["vectors"],
                dynamic_axes=dynamic,
                dynamo=False,  # the newer exporter needs onnxscript, which nothing else here does
            )
    except Exception as error:  # any operator may be one that ONNX lacks
        raise ModelError(f"{encoder.identity.address} cannot be exported to ONNX: {error}") from error


class ExportedEncoder:
    """Encodes queries as the model in `folder` would.

    Raises:
        ModelError: the folder is damaged.
    """

    def __init__(self, folder: Path) -> None:
        card = read_json(folder / CARD)
        if card is None:
            raise ModelError(f"{folder} holds no exported query encoder")
        known = card["identity"]
        self.identity = ModelIdentity(known["address"], known["files"], known["settings"])
        self.dimensions = int(card["dimensions"])
        self.similarity: Similarity = card["similarity"]
        self._folder, self._format = folder, TextFormat(Tokenizer(folder), **card["format"])
        self._pad = int(card["pad"])
        self._session: Any = None
        self._lock = threading.Lock()

    def encode_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> DenseVectors:
        """Encode queries; see `tamis.encoders.base.DenseEncoder`."""
        inputs = self._format.inputs(texts)
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        lengths = np.array([len(ids) for ids in inputs.ids], np.int64)
        for places in batches_of(lengths, _TOKENS):
            width = int(lengths[places].max())
            ids = np.full((len(places), width), self._pad, np.int64)
            for row, place in enumerate(places.tolist()):
                ids[row, : lengths[place]] = inputs.ids[place]
            mask = (np.arange(width) < lengths[places][:, None]).astype(np.int64)
            vectors[places] = self._run(ids, mask)
            tick(len(places))
        require_finite(self.identity.address, vectors)
        return DenseVectors(vectors, inputs.truncated)

    def _run(self, ids: Any, mask: Any) -> Any:
        with self._lock:
            if self._session is None:
                self._session = _open_session(self._folder / GRAPH)
        return self._session.run(None, {"ids": ids, "mask": mask})[0]


def _open_session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's errors share no base
        raise ModelError(f"{path} is damaged: {error}; run tamis verify") from error
