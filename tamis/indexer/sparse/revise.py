"""Bringing a sparse part up to dimensions that its model gained, such as entities that were added to it.

Vectors of before keep their meaning, and only documents for which a new dimension is proposed can change. These are encoded anew;
a shard that holds one of them is written anew with all other rows as they were, in the same codes, and every other file of the
part is shared with the part as it was (a hard link, or a copy where the file system has none).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import Passage
from tamis.errors import FingerprintError, UsageError
from tamis.events import Advanced, Finished, Listener, Started
from tamis.files import link_or_copy, sync_folder, sync_tree, write_json
from tamis.indexer.encoded.entry import SHARED, EncodedEntry, ShardRecord
from tamis.indexer.encoded.job import CHUNK_ROWS, SHARD_FILE
from tamis.indexer.layout import SEGMENTS, Manifest, SegmentEntry
from tamis.indexer.segment import Segment
from tamis.indexer.sparse.kind import CARD, SparseKind, pruned, to_rows, write_names, write_shard
from tamis.indexer.sparse.levels import Levels
from tamis.indexer.sparse.storage import CODES, join_rows, open_rows


def revise(
    index: Path, manifest: Manifest, name: str, old: EncodedEntry, encoder: Any, *, listener: Listener
) -> tuple[EncodedEntry, int]:
    """Return the entry of the part brought up to its model, its files on the device, and how many rows were encoded.

    Args:
        index: the index's folder.
        manifest: of the generation that holds the part.
        name: of the part.
        old: its entry, which is returned where nothing came.
        encoder: a sparse encoder with ``facts()``, whose ``entities`` is how many dimensions may come and have come, and
            ``mentions(passages, since)``, which of the passages have one that came after the first `since`.
        listener: hears of the progress.

    Raises:
        UsageError: the encoder gains no dimensions.
        FingerprintError: it is another model than the one that encoded the part.
    """
    if old.kind != "sparse" or "entities" not in old.facts or not hasattr(encoder, "mentions"):
        raise UsageError(f"part {name!r} ({old.address}): its model gains no entities, so there is nothing to update")
    if encoder.identity.fingerprint != old.fingerprint:
        raise FingerprintError(
            f"part {name!r} was encoded by {old.address} with fingerprint {old.fingerprint[:16]}, but the model that is there "
            f"now has {encoder.identity.fingerprint[:16]}: build the part anew with  tamis drop-part  and  tamis add-part"
        )
    since, facts = int(old.facts["entities"]), encoder.facts()
    if since == facts["entities"]:
        return old, 0
    new = EncodedEntry.new(manifest.index, name, old.kind, encoder.identity, old.options, manifest.generation)
    new = replace(new, facts={**old.facts, **facts, "dimensions": encoder.dimensions}, shards=old.shards)
    source, target = old.folder(index), new.folder(index)
    shutil.rmtree(target, ignore_errors=True)  # of a call that was killed
    target.mkdir(parents=True)
    stage = f"update {name}"
    listener(Started(stage, sum(segment.rows for segment in manifest.segments), "rows"))
    changed, shards, encoded = set[str](), list[ShardRecord](), 0
    for segment, record in zip(manifest.segments, old.shards, strict=True):
        places, passages = _mentioning(index, segment, encoder, since, stage, listener)
        if len(places):
            record = _rewrite(new, source, target, record, encoder, places, passages)
            changed.add(segment.id)
            encoded += len(places)
        else:
            _share(source / segment.id, target / segment.id)
        shards.append(record)
    new = replace(new, shards=tuple(shards), folders=(SHARED,))
    _share_rest(new, old, source, target, encoder, changed)
    sync_folder(target)
    new = SparseKind().finish(new, target, None)
    listener(Finished(stage))
    return new, encoded


def _mentioning(
    index: Path, entry: SegmentEntry, encoder: Any, since: int, stage: str, listener: Listener
) -> tuple[NDArray[np.int64], list[Passage]]:
    """Return the positions in a segment of the documents that have a new dimension, and their texts."""
    segment, found, texts = Segment(index / SEGMENTS / entry.id), [np.zeros(0, np.int64)], list[Passage]()
    for first in range(0, entry.rows, CHUNK_ROWS):
        positions = np.arange(first, min(first + CHUNK_ROWS, entry.rows))
        passages = list(map(Passage, segment.strings("title", positions), segment.strings("text", positions)))
        new = np.flatnonzero(encoder.mentions(passages, since))
        found.append(positions[new])
        texts += [passages[i] for i in new.tolist()]
        listener(Advanced(stage, len(positions)))
    return np.concatenate(found), texts


def _rewrite(
    entry: EncodedEntry,
    source: Path,
    target: Path,
    record: ShardRecord,
    encoder: Any,
    places: NDArray[np.int64],
    passages: Sequence[Passage],
) -> ShardRecord:
    """Write a shard with some of its rows encoded anew, all others as they were."""
    levels = Levels.from_json(entry.facts["levels"])
    kept = pruned(entry, encoder, getattr(encoder, "grade_passages", encoder.encode_passages)(passages))
    codes = None if levels.binary else levels.encode(kept.values)
    before = open_rows(source / record.segment, None if levels.binary else CODES)
    fresh = replace(to_rows(kept), values=codes)
    order = np.arange(len(before))
    order[places] = len(before) + np.arange(len(places))
    clipped = 0 if levels.whole else int((kept.values > levels.scale * ((1 << levels.bits) - 0.5)).sum())
    clipped += int(json.loads((source / record.segment / CARD).read_bytes())["clipped"])  # at most: some rows are gone
    shard = target / record.segment
    shard.mkdir()
    write_shard(entry, join_rows([before, fresh]).take(order), shard, clipped=clipped)
    write_json(shard / SHARD_FILE, {"rows": record.rows, "truncated": record.truncated})
    sync_tree(shard)
    return record


def _share_rest(
    new: EncodedEntry, old: EncodedEntry, source: Path, target: Path, encoder: Any, changed: set[str]
) -> None:
    """Take over the runs over unchanged shards, and what all shards share, with the names of new dimensions."""
    for run in old.facts["runs"]:
        first = int(run["first"])
        if changed.isdisjoint(shard.segment for shard in old.shards[first : first + int(run["shards"])]):
            _share(source / run["folder"], target / run["folder"])
    shutil.copytree(source / SHARED, target / SHARED)
    write_names(encoder, target / SHARED)
    facts = {name: new.facts[name] for name in json.loads((source / SHARED / SHARD_FILE).read_bytes())["facts"]}
    write_json(target / SHARED / SHARD_FILE, {"facts": facts})
    sync_tree(target / SHARED)


def _share(source: Path, target: Path) -> None:
    """Make a folder of the same files."""
    shutil.copytree(source, target, copy_function=link_or_copy)
    sync_folder(target)
