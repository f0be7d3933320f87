"""Cutting an index down: a new index that ranks what is left exactly as a fresh build of it would.

The new index begins as a copy of the old one's generation, its rows are deleted, and compaction rewrites every part without them:
Lucene and the postings made from it, vectors, token vectors, sparse weights, scores. Nothing is encoded again. Statistics such as
document frequencies are those of what is left.
"""

from __future__ import annotations

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
from tamis.indexer.encoded.entry import SHARED
from tamis.indexer.layout import Manifest, generations
from tamis.indexer.writer import Writer
from tamis.ranking import Rows

if TYPE_CHECKING:
    from tamis.engine import Index

_ROUNDS = 12


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


def sizes_of(manifest: Manifest) -> dict[str, int]:
    """Return the bytes of a generation by room; ``total`` is the sum.

    Parts go by their names. What a part's shards share, such as a query encoder, is a line of its own, ``NAME (shared)``: no cut
    makes it smaller.
    """
    names = {entry["id"]: name for name, entry in manifest.parts.items() if "id" in entry}
    sizes: dict[str, int] = {}
    for path, file in manifest.files.items():
        room, _, rest = path.partition("/")
        name = room
        if room == "parts":
            part, _, inside = rest.partition("/")
            name = names.get(part, room) + (" (shared)" if inside.startswith(f"{SHARED}/") else "")
        sizes[name] = sizes.get(name, 0) + file.bytes
    return {**dict(sorted(sizes.items())), "total": sum(sizes.values())}


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
    check_output(output, overwrite=overwrite)
    trial = output.with_name(f".{output.name}.trial")
    low, high = 0, len(first(live))  # rows: too few go, enough go
    high = min(high, live - 1)
    count = min(max(1, round(live * (1 - target / size))), high)
    best: tuple[int, int] | None = None
    sizes = {0: size}
    try:
        for _ in range(_ROUNDS):
            if count not in sizes:
                cut = prune_index(source, trial, first(count), overwrite=True, threads=threads, listener=listener)
                sizes[count] = cut.after["total"]
            found = sizes[count]
            if found <= target:
                high, best = count, (count, found)
                if found >= 0.98 * target:
                    break
            else:
                low = count
            if high - low <= 1 and best:
                break
            # a straight line through what is known, kept off the ends
            upper = sizes.get(high)
            share = 0.5 if upper is None else (sizes[low] - target) / max(sizes[low] - upper, 1)
            count = high if upper is None and low >= high - 1 else low + max(1, round((high - low) * min(share, 1.0)))
            count = min(count, high)
            if count in sizes:
                count = (low + high + 1) // 2
            if count in sizes:
                break
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    if best is None:
        raise UsageError(
            f"{source.path} cannot be made as small as {target:,} bytes: with {max(sizes):,} of {live:,} rows dropped it still "
            f"has {sizes[max(sizes)]:,}; drop a part first with  tamis drop-part"
        )
    chosen = {"target_size": target, **(record or {})}
    return prune_index(source, output, first(best[0]), chosen, overwrite=overwrite, threads=threads, listener=listener)


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
