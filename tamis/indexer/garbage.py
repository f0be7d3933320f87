"""Removing what no generation and no unfinished job needs; never what a reader holds.

The newest generation always stays. An older one goes with its manifest first, so that a crash in between leaves only
unnamed files for the next collection.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tamis.errors import CorruptIndexError
from tamis.indexer.layout import (
    DELETES,
    FORMAT,
    LUCENE,
    MANIFESTS,
    PARTS,
    PRUNED,
    SEGMENTS,
    WORK,
    Manifest,
    generations,
    manifest_path,
    parse_manifest,
)
from tamis.indexer.lock import remove_unless_pinned


def collect(folder: Path, newest: Manifest) -> list[str]:
    """Remove unneeded files; the caller holds the writer's lock. Returns the removed paths within the index."""
    needed = set(newest.files)
    removed: list[str] = []
    for generation in generations(folder):
        if generation >= newest.generation:
            continue
        path = manifest_path(folder, generation)
        if remove_unless_pinned(path):
            removed.append(f"{MANIFESTS}/{path.name}")
            continue
        try:
            needed |= set(parse_manifest(path.read_bytes(), path).files)
        except CorruptIndexError:
            return removed  # what the held generation needs is not known: touch nothing
    removed += _unfinished_writes(folder)
    segments = {name.split("/")[1] for name in needed if name.startswith(f"{SEGMENTS}/")} | _segments_of_jobs(folder)
    if (folder / SEGMENTS).is_dir():
        for path in (folder / SEGMENTS).iterdir():
            if path.name not in segments:
                shutil.rmtree(path, ignore_errors=True)
                removed.append(f"{SEGMENTS}/{path.name}")
    removed += _unneeded_shards(folder, needed)
    for kind in (DELETES, LUCENE, PRUNED):
        if (folder / kind).is_dir():
            for path in (folder / kind).iterdir():
                name = f"{kind}/{path.name}"
                if name not in needed and path.name != "write.lock":
                    path.unlink()
                    removed.append(name)
    return removed


def _unneeded_shards(folder: Path, needed: set[str]) -> list[str]:
    removed = []
    shards = {tuple(name.split("/")[1:3]) for name in needed if name.startswith(f"{PARTS}/")}
    for part in (folder / PARTS).glob("*"):
        for shard in part.iterdir():
            if (part.name, shard.name) not in shards:
                shutil.rmtree(shard, ignore_errors=True)
                removed.append(f"{PARTS}/{part.name}/{shard.name}")
        if part.name not in {owner for owner, _ in shards}:
            shutil.rmtree(part, ignore_errors=True)
    return removed


def _unfinished_writes(folder: Path) -> list[str]:
    """Remove what a kill left of a manifest or of FORMAT under a temporary name."""
    left = [*(folder / MANIFESTS).glob(".*"), *folder.glob(f".{FORMAT}.*.tmp")]
    for path in left:
        path.unlink()
    return [str(path.relative_to(folder)) for path in left]


def _segments_of_jobs(folder: Path) -> set[str]:
    """Segments that unfinished jobs have receipts for."""
    held: set[str] = set()
    for receipt in (folder / WORK).glob("*/receipts/documents-*.json"):
        try:
            held.add(json.loads(receipt.read_text("utf-8"))["segment"]["id"])
        except (ValueError, KeyError):
            continue
    return held


def clear_jobs(folder: Path, *, keep: str | None = None) -> None:
    """Remove the folders of unfinished jobs, except the one called `keep`."""
    if (folder / WORK).is_dir():
        for job in (folder / WORK).iterdir():
            if job.name != keep:
                shutil.rmtree(job, ignore_errors=True)
