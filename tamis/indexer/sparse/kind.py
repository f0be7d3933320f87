"""Building sparse parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import SparseVectors, Tick
from tamis.encoders.exported_sparse import can_export_sparse, export_sparse_queries
from tamis.encoders.sparse_rows import Pruning
from tamis.errors import ModelError, UsageError
from tamis.files import sha256_json, write_json
from tamis.indexer.encoded.entry import EncodedEntry
from tamis.indexer.encoded.kinds import Texts
from tamis.indexer.encoded.queries import write_queries
from tamis.indexer.sparse.levels import Levels
from tamis.indexer.sparse.loss import measure_loss
from tamis.indexer.sparse.runs import RUN_CARD, RunEntry, build_run, plan_runs
from tamis.indexer.sparse.storage import CODES, WEIGHTS, SparseRows, join_rows, open_rows, write_rows

if TYPE_CHECKING:
    from tamis.indexer.documents import DocumentStore
    from tamis.indexer.sparse.part import SparsePart

NAMES = "names.json"
CARD = "sparse.json"
WHOLE = "whole"
"""Folder in a chunk: its rows before they were pruned, where they were."""
SAMPLE_ROWS = 10_000


class SparseKind:
    """A `tamis.indexer.encoded.kinds.PartKind`."""

    def facts(self, encoder: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the number of dimensions, and what else the encoder wants to be known."""
        if encoder.dimensions < 1:
            raise UsageError(f"{encoder.identity.address} has vectors of {encoder.dimensions} dimensions")
        return {"dimensions": encoder.dimensions, **(encoder.facts() if hasattr(encoder, "facts") else {})}

    def encode(self, entry: EncodedEntry, encoder: Any, texts: Texts, folder: Path, *, tick: Tick) -> int:
        """Encode a chunk."""
        if hasattr(encoder, "vectors_of"):  # vectors that somebody else made, by id
            found = encoder.vectors_of(texts.ids)
        else:
            blank, passages = texts.blank, texts.passages
            some = [p for p, no in zip(passages, blank, strict=True) if not no]
            found = getattr(encoder, "grade_passages", encoder.encode_passages)(some, tick=tick)
            lengths = np.zeros(len(passages), np.int64)
            lengths[~blank] = np.diff(found.offsets)
            offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
            found = found._replace(offsets=offsets)
        kept = pruned(entry, encoder, found)
        write_rows(folder, to_rows(kept), WEIGHTS)
        if len(kept.indices) < len(found.indices):  # to measure what is lost
            (folder / WHOLE).mkdir()
            write_rows(folder / WHOLE, to_rows(as_kept(encoder, found)), WEIGHTS)
        return int(found.truncated)

    def training_rows(self, entry: EncodedEntry, rows: int) -> int:
        """Enough to see how large weights are."""
        return min(rows, SAMPLE_ROWS)

    def prepare(self, entry: EncodedEntry, encoder: Any, chunks: Sequence[Path], shared: Path) -> dict[str, Any]:
        """Choose the code, measure what it loses, and keep the names of the dimensions."""
        named = write_names(encoder, shared)
        queries = write_queries(encoder, shared, can_export_sparse, export_sparse_queries)
        kept = join_rows([open_rows(chunk, WEIGHTS) for chunk in chunks])
        sample = kept.values if kept.values is not None else np.zeros(0, np.float32)
        bits = entry.options["bits"]
        levels = Levels.choose(sample, 1 if bits is None and entry.facts.get("sets") else bits)
        whole = join_rows([open_rows(c / WHOLE if (c / WHOLE).is_dir() else c, WEIGHTS) for c in chunks])
        loss = measure_loss(whole, replace(kept, values=levels.decode(levels.encode(sample))))
        loss["coding_error"] = round(levels.error(sample), 6)
        return {"levels": levels.to_json(), "loss": loss, "named": named, **queries}

    def assemble(self, entry: EncodedEntry, chunks: Sequence[Path], shared: Path, shard: Path) -> None:
        """Put the chunks one after another, in codes."""
        levels = Levels.from_json(entry.facts["levels"])
        rows = join_rows([open_rows(chunk, WEIGHTS) for chunk in chunks])
        weights = rows.values if rows.values is not None else np.zeros(0, np.float32)
        clipped = 0 if levels.whole else int((weights > levels.scale * ((1 << levels.bits) - 0.5)).sum())
        write_shard(entry, replace(rows, values=levels.encode(weights)), shard, clipped=clipped)

    def gather(
        self, entry: EncodedEntry, sources: Sequence[tuple[Path, NDArray[np.int64]]], shared: Path, shard: Path
    ) -> None:
        """Copy rows of older shards."""
        levels = Levels.from_json(entry.facts["levels"])
        values = None if levels.binary else CODES
        rows = join_rows([open_rows(folder, values).take(places) for folder, places in sources])
        write_shard(entry, rows, shard, clipped=0)

    def finish(self, entry: EncodedEntry, folder: Path, live: NDArray[np.bool_] | None) -> EncodedEntry:
        """Bring the runs up to the shards."""
        levels = Levels.from_json(entry.facts["levels"])
        segments = [shard.segment for shard in entry.shards]
        sizes = [shard.rows for shard in entry.shards]
        runs, ends = [], _standing(entry, segments)
        for first, end in plan_runs(ends, sizes):
            name = _run_name(segments[first:end])
            if not (folder / name).is_dir():
                shards = [folder / segment for segment in segments[first:end]]
                build_run(shards, folder / name, binary=levels.binary)
            codes = int(json.loads((folder / name / RUN_CARD).read_bytes())["codes"])
            runs.append(asdict(RunEntry(name, first, end - first, sum(sizes[first:end]), codes)))
        kept = tuple(name for name in entry.folders if not name.startswith("run-"))
        entry = replace(entry, folders=(*kept, *(str(run["folder"]) for run in runs)))
        statistics = _statistics(folder, segments, sizes)
        known = [shard.truncated for shard in entry.shards if shard.truncated is not None]
        if len(known) == len(entry.shards):  # rows that compaction moved are not counted anew
            statistics["truncated"] = sum(known)
        return entry.with_facts({"runs": runs, "statistics": statistics})

    def open(self, folder: Path, name: str, entry: EncodedEntry, documents: DocumentStore, threads: int) -> SparsePart:
        """Open the part."""
        from tamis.indexer.sparse.part import SparsePart

        return SparsePart(folder, name, entry, documents, threads)


def pruned(entry: EncodedEntry, encoder: Any, graded: SparseVectors) -> SparseVectors:
    """Return what a part keeps of encoded rows.

    Args:
        entry: of the part; its options say how much is kept.
        encoder: the model.
        graded: its rows, with the weights that pruning goes by.

    Raises:
        ModelError: they are not what `SparseVectors` promises.
    """
    check_vectors(entry.address, graded)
    return as_kept(encoder, Pruning(entry.options["top"], entry.options["min_weight"])(graded))


def as_kept(encoder: Any, graded: SparseVectors) -> SparseVectors:
    """Return rows with the weights that an encoder wants kept of them, such as 1 where they are sets."""
    if not hasattr(encoder, "weighted"):
        return graded
    found: SparseVectors = encoder.weighted(graded, "document")
    return found


def to_rows(vectors: SparseVectors) -> SparseRows:
    """Return encoded rows as they are stored."""
    return SparseRows(vectors.offsets, vectors.indices.astype(np.uint32), vectors.values)


def check_vectors(address: str, found: SparseVectors) -> None:
    """Check that encoded rows are what `SparseVectors` promises.

    Raises:
        ModelError: a weight is not finite or not above 0, or dimensions do not ascend.
    """
    if not np.isfinite(found.values).all() or (found.values <= 0).any():
        raise ModelError(f"{address} gave a weight that is not a finite number above 0")
    inside = np.ones(len(found.indices), np.bool_)
    inside[found.offsets[:-1][np.diff(found.offsets) > 0]] = False
    if (found.indices[1:] <= found.indices[:-1])[inside[1:]].any() or (found.indices < 0).any():
        raise ModelError(f"{address} gave dimensions that do not ascend from 0")


def write_names(encoder: Any, shared: Path) -> bool:
    """Write what an encoder calls its dimensions, if it does; say so."""
    names = encoder.names()
    if names is None:
        return False
    (shared / NAMES).write_text(json.dumps(list(names), ensure_ascii=False), "utf-8")
    return True


def write_shard(entry: EncodedEntry, rows: SparseRows, shard: Path, *, clipped: int) -> None:
    """Write the rows of a segment, their values in codes, and what is to be known of them.

    Args:
        entry: of the part.
        rows: of the segment.
        shard: the folder.
        clipped: how many weights were above the largest level.
    """
    levels = Levels.from_json(entry.facts["levels"])
    if levels.binary:
        write_rows(shard, replace(rows, values=None), None)
    else:
        codes = rows.values if rows.values is not None else np.zeros(0, np.uint8)
        wide = int(codes.max(initial=0)) > np.iinfo(np.uint8).max
        write_rows(shard, replace(rows, values=codes.astype(np.uint16 if wide else np.uint8)), CODES)
    empty = int((np.diff(rows.offsets) == 0).sum())
    card = {"entries": len(rows.dimensions), "empty": empty, "clipped": clipped}
    if "words" in entry.facts:
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(rows.dimensions >= entry.facts["words"])])[rows.offsets]
        counts = np.diff(ends)
        card |= {"entities": int(counts.sum()), "with_entities": int((counts > 0).sum())}
    write_json(shard / CARD, card)


def _run_name(segments: Sequence[str]) -> str:
    return f"run-{sha256_json(list(segments))[:32]}"


def _standing(entry: EncodedEntry, segments: Sequence[str]) -> list[int]:
    """Where runs of the entry end that still stand: those whose shards are the first of `segments`, unchanged."""
    spans = {str(run["folder"]): (int(run["first"]), int(run["shards"])) for run in entry.facts.get("runs", ())}
    ends = list[int]()
    for folder, (first, count) in sorted(spans.items(), key=lambda item: item[1]):
        if folder != _run_name(segments[first : first + count]) or first != (ends[-1] if ends else 0):
            break
        ends.append(first + count)
    return ends


def _statistics(folder: Path, segments: Sequence[str], sizes: Sequence[int]) -> dict[str, Any]:
    cards = [json.loads((folder / segment / CARD).read_bytes()) for segment in segments]
    names = cards[0].keys() if cards else ("entries", "empty", "clipped")
    totals = {name: sum(card[name] for card in cards) for name in names}
    rows = sum(sizes)
    found = {"mean_dimensions": round(totals["entries"] / rows, 2) if rows else 0.0, **totals}
    if "entities" in totals and rows:
        found["mean_entities"] = round(totals["entities"] / rows, 2)
        found["entity_share"] = round(totals["with_entities"] / rows, 4)
    return found
