"""A query encoder in ONNX, for searches that should not wait for torch.

    query.onnx       ids and mask of a padded batch → vectors
    query.weights    what the graph reads, where it is large: mapped, not parsed, which takes most of the time off a cold search
    tokenizer.json   the checkpoint's
    query.json       identity, dimensions, similarity, and how a query is written (`tamis.encoders.text.TextFormat`)

Opening it imports onnxruntime and tokenizers only. Its vectors are the model's to 1e-4; its fingerprint is the model's own.
Queries of sparse models are `tamis.encoders.exported_sparse`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import DenseVectors, ModelIdentity, Similarity, Tick, no_tick
from tamis.encoders.batching import Inputs, batches_of, require_finite
from tamis.encoders.checkpoints import read_json
from tamis.encoders.onnx_graph import PROBES, export_graph
from tamis.encoders.text import TextFormat, Tokenizer
from tamis.errors import ModelError
from tamis.files import atomic_write, write_json

if TYPE_CHECKING:
    from tamis.encoders.transformer import DenseTransformer

GRAPH, TOKENIZER, CARD = "query.onnx", "tokenizer.json", "query.json"
TOLERANCE = 1e-4


def can_export(encoder: Any) -> bool:
    """Whether `export_query_encoder` knows how to write an encoder's queries."""
    return getattr(encoder, "query_format", None) is not None


def export_query_encoder(encoder: DenseTransformer, folder: Path) -> None:
    """Write the query side of an encoder to a folder, and check that it computes what the encoder does.

    Raises:
        ModelError: the model cannot be exported, or computes something else then.
    """
    how = encoder.query_format
    assert how is not None  # noqa: S101 - the caller asked `can_export`
    folder.mkdir(parents=True, exist_ok=True)
    device = next(encoder.parameters()).device
    export_graph(lambda ids, mask: encoder(ids, mask, side="query"), encoder, folder / GRAPH, encoder.pad, device)
    card = {"dimensions": encoder.dimensions, "similarity": encoder.similarity, "pad": how.tokenizer.pad}
    write_query_card(encoder.identity, how, folder, card)
    want = encoder.encode_queries(PROBES).vectors
    have = ExportedEncoder(folder).encode_queries(PROBES).vectors
    check_export(encoder, want, have)


def write_query_card(identity: ModelIdentity, how: TextFormat, folder: Path, card: Mapping[str, Any]) -> None:
    """Write the tokenizer and the card of an exported encoder: `card` with identity and format."""
    import shutil

    with atomic_write(folder / TOKENIZER) as handle, how.tokenizer.source(folder).open("rb") as source:
        shutil.copyfileobj(source, handle)
    write_json(folder / CARD, {"identity": identity.to_json(), **card, "format": how.to_json()})


def check_export(encoder: Any, want: NDArray[np.float32], have: NDArray[np.float32]) -> None:
    """Check what an exported encoder computed against the model's own.

    Raises:
        ModelError: they differ by more than `TOLERANCE` times the largest number, or times 1, though both are in float32.
    """
    allowed = TOLERANCE * max(float(np.abs(want).max(initial=0)), 1.0)
    if float(np.abs(have - want).max(initial=0)) > allowed and encoder.numerics.dtype == "float32":
        raise ModelError(f"{encoder.identity.address}: the exported query encoder differs from the model")


class ExportedQueries:
    """What every exported encoder shares: its card, its tokenizer, and its graph, opened when the first query comes.

    Args:
        folder: where it is.

    Attributes:
        budget: tokens of a batch.
        tokens: how many the model has read so far, padding not counted.

    Raises:
        ModelError: the folder is damaged.
    """

    budget = 4096
    tokens = 0

    def __init__(self, folder: Path) -> None:
        card = read_json(folder / CARD)
        if card is None:
            raise ModelError(f"{folder} holds no exported query encoder")
        known = card["identity"]
        self.identity = ModelIdentity(known["address"], known["files"], known["settings"])
        self.dimensions = int(card["dimensions"])
        self.folder, self.format, self.card = folder, TextFormat(Tokenizer(folder), **card["format"]), card
        self._session: Any = None
        self._lock = threading.Lock()

    def run(self, inputs: Inputs, tick: Tick) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield the places of texts, and what the graph makes of them, batch by batch."""
        lengths, pad = np.array([len(ids) for ids in inputs.ids], np.int64), int(self.card["pad"])
        for places in batches_of(lengths, self.budget):
            width = int(lengths[places].max())
            ids = np.full((len(places), width), pad, np.int64)
            for row, place in enumerate(places.tolist()):
                ids[row, : lengths[place]] = inputs.ids[place]
            mask = (np.arange(width) < lengths[places][:, None]).astype(np.int64)
            yield places, self._compute(ids, mask)
            tick(len(places))
        self.tokens += inputs.tokens

    def _compute(self, ids: Any, mask: Any) -> Any:
        with self._lock:
            if self._session is None:
                self._session = _open_session(self.folder / GRAPH)
        try:
            return self._session.run(None, {"ids": ids, "mask": mask})[0]
        except Exception as error:  # the library's errors share no base
            raise ModelError(f"{self.folder / GRAPH} cannot be run: {error}") from error


class ExportedEncoder(ExportedQueries):
    """Encodes queries as the dense model in `folder` would."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.similarity: Similarity = self.card["similarity"]

    def encode_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> DenseVectors:
        """Encode queries; see `tamis.encoders.base.DenseEncoder`."""
        inputs = self.format.inputs(texts)
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for places, found in self.run(inputs, tick):
            vectors[places] = found
        require_finite(self.identity.address, vectors)
        return DenseVectors(vectors, inputs.truncated)


def _open_session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's errors share no base
        raise ModelError(f"{path} is damaged: {error}; run tamis verify") from error
