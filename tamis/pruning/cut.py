"""Cutting an index down: a new index that ranks what is left exactly as a fresh build of it would.

The new index begins as a copy of the old one's generation, its rows are deleted, and compaction rewrites every part without them:
Lucene and the postings made from it, vectors, token vectors, sparse weights, scores. Nothing is encoded again. Statistics such as
document frequencies are those of what is left.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.errors import OutputExistsError, UsageError
from tamis.events import Listener, ignore
from tamis.files import replace_folder, storage_errors, sync_folder
from tamis.indexer.copying import copy_generation
from tamis.indexer.layout import Manifest, generations
from tamis.indexer.sizes import sizes_of
from tamis.indexer.writer import Writer
from tamis.ranking import Rows

if TYPE_CHECKING:
    from tamis.engine import Index

_ROUNDS, _NEAR = 12, 0.98


@dataclass(frozen=True)
class Cut:
    """What a cut did.

    Attributes:
        rows: rows that were dropped.
        kept: rows that are left.
        before: bytes of the old index, by room (``lucene``, ``segments``) and part.
        after: bytes of the new one.
        seconds: that it took.
        manifest: of the new index.
    """

    rows: int
    kept: int
    before: Mapping[str, int]
    after: Mapping[str, int]
    seconds: float
    manifest: Manifest


def prune_index(
    source: Index,
    output: Path,
    drop: Rows,
    record: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
    threads: int = 2,
    listener: Listener = ignore,
) -> Cut:
    """Make a smaller index in `output` of an open one, without some of its rows.

    A kill leaves nothing in `output`; the same call begins anew.

    Args:
        source: the index; it stays as it is.
        output: folder of the new index.
        drop: live rows that go, distinct, not all of them; none is possible.
        record: how they were chosen, as JSON values; kept in the new index.
        overwrite: replace an index that is in `output`.
        threads: of the writer.
        listener: hears of the progress.

    Raises:
        OutputExistsError: the folder is taken.
        UsageError: no row would be left, or the source is a bare Lucene index.
    """
    manifest = source.manifest
    check_output(output, overwrite=overwrite, source=source.path)
    live = manifest.rows - manifest.deleted
    if len(drop) >= live:
        raise UsageError(f"{len(drop):,} of {live:,} rows would go: nothing would be left")
    began = time.perf_counter()
    room = output.with_name(f".{output.name}.pruning")
    shutil.rmtree(room, ignore_errors=True)
    origin = {"index": manifest.index, "generation": manifest.generation, "live_rows": live}
    try:
        copy_generation(source.path, manifest, room)
        with Writer(room, threads=threads, listener=listener) as writer:
            if len(drop) or manifest.deleted:
                writer.prune(drop, {"origin": origin, **(record or {})})
            writer.collect()
            made = writer.manifest
        publish_index(room, output, overwrite=overwrite)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return Cut(len(drop), made.rows, sizes_of(manifest), sizes_of(made), time.perf_counter() - began, made)


def prune_to_size(
    source: Index,
    output: Path,
    target: int,
    first: Callable[[int], Rows],
    record: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
    threads: int = 2,
    listener: Listener = ignore,
) -> Cut:
    """Make a smaller index of at most `target` bytes, dropping as little as that takes, to within 2 % of the size.

    Args:
        source: as in `prune_index`.
        output: as in `prune_index`.
        target: bytes of all files of the new index's generation.
        first: gives so many of the rows that go first (`tamis.pruning.selection.Candidates.first`).
        record: as in `prune_index`.
        overwrite: as in `prune_index`.
        threads: as in `prune_index`.
        listener: as in `prune_index`.

    Raises:
        UsageError: the index is that small already, or cannot be made so.
    """
    size, live = sizes_of(source.manifest)["total"], len(source)
    if size <= target:
        raise UsageError(f"{source.path} has {size:,} bytes, which is no more than the {target:,} asked for")
    check_output(output, overwrite=overwrite, source=source.path)
    trial = output.with_name(f".{output.name}.trial")
    sizes = {0: size}

    def fits(count: int) -> bool:
        if count not in sizes:
            cut = prune_index(source, trial, first(count), overwrite=True, threads=threads, listener=listener)
            sizes[count] = cut.after["total"]
        return sizes[count] <= target

    low, high = 0, min(len(first(live)), live - 1)  # too few go; enough go, if anything is enough
    try:
        for _ in range(_ROUNDS):
            if high - low <= 1 or (high in sizes and target * _NEAR <= sizes[high] <= target):
                break
            # along a straight line, to the far end as far as it is known
            slope = (sizes[low] - sizes[high]) / (high - low) if high in sizes else size / live
            guess = low + math.ceil((sizes[low] - target) / max(slope, 1e-9))
            count = min(max(guess, low + 1), high - 1)
            low, high = (low, count) if fits(count) else (count, high)
        if not fits(high):
            raise UsageError(
                f"{source.path} cannot be made as small as {target:,} bytes: with {high:,} of {live:,} rows dropped it still has "
                f"{sizes[high]:,}; drop a part first with  tamis drop-part"
            )
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    chosen = {"target_size": target, **(record or {})}
    return prune_index(source, output, first(high), chosen, overwrite=overwrite, threads=threads, listener=listener)


def check_output(output: Path, *, overwrite: bool, source: Path | None = None) -> None:
    """Check that an index may be made in a folder, which is not that of the index it is made of.

    Raises:
        OutputExistsError: it may not.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not output.is_dir() or not generations(output):
        raise OutputExistsError(f"{output} is there and is no index, so it is not replaced: choose another folder")
    if not overwrite:
        raise OutputExistsError(f"{output} is an index already: choose another folder, or pass --force to replace it")
    if source is not None and output.resolve() == source.resolve():
        raise OutputExistsError(f"{output} is the index that is pruned: choose another folder for the smaller one")


def publish_index(room: Path, output: Path, *, overwrite: bool) -> None:
    """Put a finished index under its final name."""
    with storage_errors(output):
        if output.exists() and overwrite and any(output.iterdir()):
            replace_folder(room, output)
            return
        if output.exists():
            output.rmdir()
        room.rename(output)
        sync_folder(output.absolute().parent)
