"""Building dense parts.

A shard is ``vectors.npy``, [rows, dimensions] in the part's storage type (bfloat16 as uint16), and ``blank.npy``, the positions
of rows without text, whose vectors are zero and which no search returns.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import Tick
from tamis.encoders.exported import can_export, export_query_encoder
from tamis.errors import CorruptIndexError, ModelError, UsageError
from tamis.files import write_array
from tamis.indexer.dense.storage import VECTORS, open_vectors, storage_type, to_storage
from tamis.indexer.encoded.entry import EncodedEntry
from tamis.indexer.encoded.kinds import Texts

if TYPE_CHECKING:
    from tamis.indexer.dense.part import DensePart
    from tamis.indexer.documents import DocumentStore

BLANK = "blank.npy"
QUERY = "query"
"""Folder of the exported query encoder among what the shards share."""

_COPIED_ROWS = 1 << 16


class DenseKind:
    """A `tamis.indexer.encoded.kinds.PartKind`."""

    def facts(self, encoder: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return dimensions and similarity."""
        storage_type(options["store"])
        if encoder.dimensions < 1:
            raise UsageError(f"{encoder.identity.address} has vectors of {encoder.dimensions} dimensions")
        return {"dimensions": encoder.dimensions, "similarity": encoder.similarity}

    def encode(self, entry: EncodedEntry, encoder: Any, texts: Texts, folder: Path, *, tick: Tick) -> int:
        """Encode a chunk."""
        blank = texts.blank
        if hasattr(encoder, "vectors_of"):  # vectors that somebody else made, by id
            encoded, truncated = encoder.vectors_of(texts.ids), 0
        else:
            passages = texts.passages
            found = encoder.encode_passages(
                [p for p, empty in zip(passages, blank, strict=True) if not empty], tick=tick
            )
            encoded = np.zeros((len(passages), entry.facts["dimensions"]), np.float32)
            encoded[~blank] = found.vectors
            truncated = found.truncated
        write_array(folder / VECTORS, to_storage(encoded, entry.options["store"]))
        write_array(folder / BLANK, np.flatnonzero(blank))
        return int(truncated)

    def training_rows(self, entry: EncodedEntry, rows: int) -> int:
        """None: shards share nothing that is learned."""
        return 0

    def prepare(self, entry: EncodedEntry, encoder: Any, chunks: Sequence[Path], shared: Path) -> dict[str, Any]:
        """Export the query encoder, where it can be, so that a search need not load the model."""
        if not can_export(encoder):
            return {}
        try:
            export_query_encoder(encoder, shared / QUERY)
        except ModelError as error:  # the model itself still serves
            shutil.rmtree(shared / QUERY, ignore_errors=True)
            return {"not_exported": str(error)}
        return {}

    def assemble(self, entry: EncodedEntry, chunks: Sequence[Path], shared: Path, shard: Path) -> None:
        """Put the chunks one after another."""
        self._write(entry, [(chunk, None) for chunk in chunks], shard)

    def gather(
        self, entry: EncodedEntry, sources: Sequence[tuple[Path, NDArray[np.int64]]], shared: Path, shard: Path
    ) -> None:
        """Copy rows of older shards."""
        self._write(entry, sources, shard)

    def finish(self, entry: EncodedEntry, folder: Path, live: NDArray[np.bool_] | None) -> EncodedEntry:
        """Nothing spans the shards of a flat part."""
        return entry

    def open(self, folder: Path, name: str, entry: EncodedEntry, documents: DocumentStore, threads: int) -> DensePart:
        """Open the part."""
        from tamis.indexer.dense.part import DensePart

        return DensePart(folder, name, entry, documents, threads)

    def _write(
        self, entry: EncodedEntry, sources: Sequence[tuple[Path, NDArray[np.int64] | None]], shard: Path
    ) -> None:
        dimensions, store = int(entry.facts["dimensions"]), entry.options["store"]
        opened = [(open_vectors(folder / VECTORS, dimensions, store), read_blank(folder), p) for folder, p in sources]
        rows = sum(len(vectors) if places is None else len(places) for vectors, _, places in opened)
        out = np.lib.format.open_memmap(shard / VECTORS, "w+", storage_type(store), (rows, dimensions))
        blank, at = [np.zeros(0, np.int64)], 0
        for vectors, empty, places in opened:
            chosen = np.arange(len(vectors)) if places is None else places
            for first in range(0, len(chosen), _COPIED_ROWS):
                some = chosen[first : first + _COPIED_ROWS]
                out[at + first : at + first + len(some)] = vectors[some]
            blank.append(np.flatnonzero(np.isin(chosen, empty)) + at)
            at += len(chosen)
        out.flush()
        del out
        write_array(shard / BLANK, np.concatenate(blank))


def read_blank(folder: Path) -> NDArray[np.int64]:
    """Return the positions of a shard's blank rows.

    Raises:
        CorruptIndexError: the file is damaged.
    """
    try:
        positions: NDArray[np.int64] = np.load(folder / BLANK)
    except (OSError, ValueError) as error:
        raise CorruptIndexError(f"{folder / BLANK} is damaged: {error}; run tamis verify") from error
    return positions
