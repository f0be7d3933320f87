"""A sparse query encoder without torch: its graph in ONNX, or the table of an encoder that needs no model for queries.

    query.onnx       ids and mask of a padded batch → weights of all dimensions; or
    weights.npy      float32 [dimensions], what a token weighs wherever it stands
    tokenizer.json   the checkpoint's
    query.json       identity, dimensions, how a query is written, how many weights it keeps, and whether it is a set then

Opening the first imports onnxruntime and tokenizers, opening the second tokenizers only. Weights are the model's to 1e-4; the
fingerprint is the model's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import SparseVectors, Tick, no_tick
from tamis.encoders.exported import GRAPH, ExportedQueries, check_export, write_query_card
from tamis.encoders.onnx_graph import PROBES, export_graph
from tamis.encoders.sparse_rows import Pruning, sparse_rows, stacked
from tamis.encoders.sparse_static import bare_inputs, table_rows
from tamis.errors import ModelError
from tamis.files import write_array

if TYPE_CHECKING:
    from tamis.encoders.sparse_transformer import SparseTransformer

TABLE = "weights.npy"
_TOKENS, _NUMBERS = 64, 1 << 25


def can_export_sparse(encoder: Any) -> bool:
    """Whether `export_sparse_queries` knows how to write an encoder's queries."""
    return bool(getattr(encoder, "exports_queries", False))


def export_sparse_queries(encoder: SparseTransformer, folder: Path) -> None:
    """Write the query side of an encoder to a folder, and check that it computes what the encoder does.

    Raises:
        ModelError: the model cannot be exported, or computes something else then.
    """
    how, table = encoder.formats[1], encoder.query_table
    folder.mkdir(parents=True, exist_ok=True)
    if table is not None:
        write_array(folder / TABLE, table)
    else:
        device = next(encoder.parameters()).device
        export_graph(encoder.query_graph, encoder, folder / GRAPH, how.tokenizer.pad, device)
    card = {
        "dimensions": encoder.dimensions,
        "pad": how.tokenizer.pad,
        "static": table is not None,
        "top": encoder.limits[1].top,
        "sets": encoder.query_sets,
    }
    write_query_card(encoder.identity, how, folder, card)
    want, have = (one.grade_queries(PROBES) for one in (encoder, ExportedSparseEncoder(folder)))
    check_export(encoder, _dense(want, encoder.dimensions), _dense(have, encoder.dimensions))


def _dense(vectors: SparseVectors, dimensions: int) -> NDArray[np.float32]:
    found = np.zeros((len(vectors.offsets) - 1, dimensions), np.float32)
    found[np.repeat(np.arange(len(found)), np.diff(vectors.offsets)), vectors.indices] = vectors.values
    return found


class ExportedSparseEncoder(ExportedQueries):
    """Encodes queries as the sparse model in `folder` would.

    Args:
        folder: where it is.
        pruning: which of a query's weights count; how many it leaves open is as the checkpoint says.

    Raises:
        ModelError: the folder is damaged.
    """

    def __init__(self, folder: Path, pruning: Pruning | None = None) -> None:
        super().__init__(folder)
        pruning = pruning or Pruning()
        self._pruning = Pruning(pruning.top or self.card["top"], pruning.least)
        self.budget = max(_TOKENS, _NUMBERS // self.dimensions)  # there is a number for every token and dimension
        self._table: NDArray[np.float32] | None = None
        if self.card["static"]:
            try:
                self._table = np.load(folder / TABLE, allow_pickle=False)
            except (OSError, ValueError) as error:
                raise ModelError(f"{folder / TABLE} is damaged: {error}; run tamis verify") from error

    def encode_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> SparseVectors:
        """Encode queries; see `tamis.encoders.base.SparseEncoder`."""
        found = self._pruning(self.grade_queries(texts, tick=tick))
        sets = self.card.get("sets")
        if sets is None:
            return found
        return found._replace(values=np.array(sets[1], np.float32)[found.indices // sets[0]])

    def grade_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> SparseVectors:
        """Encode queries without pruning, and before they become sets."""
        if self._table is not None:
            found = table_rows(self._table, bare_inputs(self.format, texts))
            tick(len(texts))
            return found
        inputs, parts = self.format.inputs(texts), list[tuple[NDArray[np.int64], SparseVectors]]()
        for places, weights in self.run(inputs, tick):
            if not np.isfinite(weights).all():
                raise ModelError(
                    f"{self.identity.address} computed a number that is not finite: its weights are damaged"
                )
            owners, dimensions = weights.nonzero()
            parts.append((places, sparse_rows(len(places), owners, dimensions, weights[owners, dimensions])))
        return stacked(len(texts), parts, inputs.truncated)
