"""Building dense parts.

vectors.npy   [rows, dimensions] in the part's storage type (bfloat16 as uint16)
blank.npy     the positions of rows without text, whose vectors are zero and which no search returns
KIND-*.npy    short codes of the vectors, with the option ``codes`` (`tamis.indexer.dense.quantise`)
ann.faiss     an approximate index of them, with the option ``index``, and what was measured of it in ann.json
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import Tick
from tamis.encoders.exported import can_export, export_query_encoder
from tamis.errors import CorruptIndexError, ModelError, UsageError
from tamis.files import write_array, write_json
from tamis.indexer.dense.ann import build_ann, make_index
from tamis.indexer.dense.quantise import build_codes
from tamis.indexer.dense.storage import VECTORS, open_vectors, storage_type, to_storage
from tamis.indexer.encoded.entry import EncodedEntry
from tamis.indexer.encoded.kinds import Texts
from tamis.indexer.encoded.queries import write_queries
from tamis.kernels.codes import check_kind

if TYPE_CHECKING:
    from tamis.indexer.dense.part import DensePart
    from tamis.indexer.documents import DocumentStore

BLANK = "blank.npy"
ANN, ANN_CARD = "ann.faiss", "ann.json"
FLAT, AUTO = "flat", "auto"
ANN_ROWS = 1000
"""Shards of fewer rows get no approximate index: scanning them is quicker."""


_COPIED_ROWS = 1 << 16


class DenseKind:
    """A `tamis.indexer.encoded.kinds.PartKind`."""

    def facts(self, encoder: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return dimensions and similarity."""
        storage_type(options["store"])
        if options.get("codes") is not None:
            check_kind(options["codes"])
        if options.get("index", FLAT) not in (FLAT, AUTO):
            make_index(options["index"], encoder.dimensions)
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
            dimensions = int(entry.facts["dimensions"])
            if found.vectors.shape[1] != dimensions:  # an endpoint whose model was exchanged
                raise ModelError(
                    f"{entry.address} gives vectors of {found.vectors.shape[1]} dimensions now, and the part has {dimensions}"
                )
            encoded = np.zeros((len(passages), dimensions), np.float32)
            encoded[~blank] = found.vectors
            truncated = found.truncated
        write_array(folder / VECTORS, to_storage(encoded, entry.options["store"]))
        write_array(folder / BLANK, np.flatnonzero(blank))
        return int(truncated)

    def training_rows(self, entry: EncodedEntry, rows: int) -> int:
        """None: shards share nothing that is learned."""
        return 0

    def prepare(self, entry: EncodedEntry, encoder: Any, chunks: Sequence[Path], shared: Path) -> dict[str, Any]:
        """Export the query encoder, where it can be."""
        return dict(write_queries(encoder, shared, can_export, export_query_encoder))

    def assemble(self, entry: EncodedEntry, chunks: Sequence[Path], shared: Path, shard: Path) -> None:
        """Put the chunks one after another."""
        self._write(entry, [(chunk, None) for chunk in chunks], shard)

    def gather(
        self, entry: EncodedEntry, sources: Sequence[tuple[Path, NDArray[np.int64]]], shared: Path, shard: Path
    ) -> None:
        """Copy rows of older shards."""
        self._write(entry, sources, shard)

    def finish(self, entry: EncodedEntry, folder: Path, live: NDArray[np.bool_] | None) -> EncodedEntry:
        """Sum up what was measured of the shards' approximate indexes."""
        measured = []
        for shard in entry.shards:
            path = folder / shard.segment / ANN_CARD
            if path.exists():
                measured.append((shard.rows, json.loads(path.read_bytes())))
        if not measured:
            return replace(entry, facts={name: fact for name, fact in entry.facts.items() if name != "ann"})
        rows = sum(count for count, _ in measured)
        recall = {
            name: round(sum(count * card["recall"][name] for count, card in measured) / rows, 4)
            for name in ("recall@10", "recall@100")
        }
        factories = sorted({card["factory"] for _, card in measured})
        return entry.with_facts({"ann": {"factories": factories, "rows": rows, **recall}})

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
        vectors = open_vectors(shard / VECTORS, dimensions, store)
        if entry.options.get("codes") is not None:
            build_codes(vectors, entry.options["codes"], shard)
        if entry.options.get("index", FLAT) != FLAT and rows >= ANN_ROWS:
            _write_ann(vectors, entry.options["index"], shard)


def _write_ann(vectors: NDArray[Any], wanted: str, shard: Path) -> None:
    """Build a shard's approximate index; one that is too small for what was asked goes without, and is scanned."""
    threads = os.cpu_count() or 1
    try:
        factory, recall = build_ann(vectors, shard / ANN, factory=None if wanted == AUTO else wanted, threads=threads)
    except UsageError:  # the factory string itself was checked when the part was made
        return
    write_json(shard / ANN_CARD, {"factory": factory, "recall": dict(recall)})


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
