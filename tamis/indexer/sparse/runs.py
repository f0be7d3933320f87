"""Runs: inverted indexes over consecutive shards.

A run holds the postings of its shards' rows in the kernel's layout (`tamis.kernels.postings`) and, in dims.npy, the dimensions
that occur, ascending: a dimension's place there is its term number.

Which shards a run spans follows the rule of log-structured merging: new shards make a run, and a run is merged with the one
before it while it is at least a quarter of its size, so that there are few runs and every row is inverted few times.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import CorruptIndexError
from tamis.files import sync_folder, sync_tree, write_array, write_json
from tamis.indexer.sparse.storage import CODES, SparseRows, open_rows
from tamis.kernels import Postings, Shard, build_postings, merge_postings
from tamis.kernels.building import Allocate

ARRAYS = ("starts", "directory_starts", "directory", "offsets", "codes")
DIMS, RUN_CARD = "dims.npy", "run.json"
GROWTH = 4
BLOCK_ENTRIES = 1 << 24


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A run in a manifest.

    Attributes:
        folder: name of its folder.
        first: number of its first shard.
        shards: how many it spans.
        docs: rows of them.
        codes: length of a value table; 0 if the part is binary.
    """

    folder: str
    first: int
    shards: int
    docs: int
    codes: int


def plan_runs(old: Sequence[int], sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Return the spans (first shard, end) that runs should have.

    Args:
        old: where the runs that are there already end, ascending; they begin with the first shard.
        sizes: rows of every shard.
    """
    ends = [0, *old]
    if ends[-1] < len(sizes):
        ends.append(len(sizes))
    totals = np.cumsum([0, *sizes]).tolist()
    while len(ends) > 2 and GROWTH * (totals[ends[-1]] - totals[ends[-2]]) >= totals[ends[-2]] - totals[ends[-3]]:
        del ends[-2]
    return list(pairwise(ends))


def build_run(shards: Sequence[Path], final: Path, *, binary: bool) -> None:
    """Invert the rows of shards into a run, in one rename; memory is bounded by some 16 million entries.

    Args:
        shards: their folders, in order.
        final: the run's folder.
        binary: whether there are no codes.
    """
    temporary = final.with_name(f"{final.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    rows = [open_rows(shard, None if binary else CODES) for shard in shards]
    counts = _frequencies(rows)
    dims = np.flatnonzero(counts)
    write_array(temporary / DIMS, dims.astype(np.uint32))
    n_codes = 0 if binary else 1 + max((int(r.values.max(initial=0)) for r in rows if r.values is not None), default=0)
    places = np.zeros(len(counts), np.int64)
    places[dims] = np.arange(len(dims))
    _invert(rows, places, len(dims), n_codes, temporary)
    write_json(temporary / RUN_CARD, {"codes": n_codes})
    sync_tree(temporary)
    temporary.rename(final)
    sync_folder(final.parent)


def _frequencies(rows: Sequence[SparseRows]) -> NDArray[np.int64]:
    counts = np.zeros(0, np.int64)
    for part in rows:
        for _, block in part.blocks():
            found = np.bincount(block.dimensions, minlength=len(counts))
            found[: len(counts)] += counts
            counts = found
    return counts


def _allocator(folder: Path) -> Allocate:
    def allocate(name: str, length: int, kind: Any) -> NDArray[Any]:
        if not length:  # an empty file cannot be mapped
            array = np.zeros(0, kind)
            write_array(folder / f"{name}.npy", array)
            return array
        return np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, (length,))

    return allocate


def _invert(
    rows: Sequence[SparseRows], places: NDArray[np.int64], n_terms: int, n_codes: int, folder: Path
) -> Postings:
    """Invert in blocks and merge these; a block's terms are all of them."""
    n_docs, shards, block, at = sum(map(len, rows)), list[Shard](), list[tuple[int, SparseRows]](), 0
    held = 0

    def close() -> None:
        nonlocal held
        if block:
            first = block[0][0]
            docs = np.concatenate(
                [np.repeat(np.arange(len(b)) + (start - first), np.diff(b.offsets)) for start, b in block]
            )
            terms = np.concatenate([places[b.dimensions] for _, b in block])
            codes = np.concatenate([b.values for _, b in block if b.values is not None]) if n_codes else None
            count = block[-1][0] + len(block[-1][1]) - first
            room = folder / f"block-{len(shards)}"
            room.mkdir()
            allocate = _allocator(room)
            sizes: dict[str, Any] = {"n_docs": count, "n_terms": n_terms, "n_codes": n_codes}
            shards.append(Shard(build_postings(terms, docs, codes, **sizes, allocate=allocate), first))
            block.clear()
            held = 0

    for part in rows:
        for first, some in part.blocks():
            if held and held + len(some.dimensions) > BLOCK_ENTRIES:
                close()
            block.append((at + first, some))
            held += len(some.dimensions)
        at += len(part)
    close()
    if not shards:
        nothing = np.zeros(0, np.int64)
        empty = build_postings(nothing, nothing, nothing if n_codes else None, n_docs=0, n_terms=0, n_codes=n_codes)
        shards.append(Shard(empty, 0))
    merged = merge_postings(shards, n_docs=n_docs, n_terms=n_terms, allocate=_allocator(folder))
    for room in folder.glob("block-*"):
        shutil.rmtree(room)
    return merged


class Run:
    """A run opened for searching; nothing is read before it is used.

    Args:
        folder: of the run.
        entry: what the manifest says of it.
    """

    def __init__(self, folder: Path, entry: RunEntry) -> None:
        self.folder, self.entry = folder, entry

    @cached_property
    def dims(self) -> NDArray[np.int64]:
        """The dimensions that occur, ascending."""
        return _load(self.folder / DIMS).astype(np.int64)

    def terms(self, dims: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the term number of each dimension, -1 where the run has no posting of it."""
        places = np.minimum(np.searchsorted(self.dims, dims), max(len(self.dims) - 1, 0))
        if not len(self.dims):
            return np.full(len(dims), -1, np.int64)
        return np.where(self.dims[places] == dims, places, -1)

    @cached_property
    def postings(self) -> Postings:
        """Its postings."""
        names = ARRAYS if self.entry.codes else ARRAYS[:-1]
        arrays: list[Any] = [_load(self.folder / f"{name}.npy") for name in names]
        return Postings(self.entry.docs, self.entry.codes, *arrays, *([] if self.entry.codes else [None]))


def _load(path: Path) -> NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r" if path.stat().st_size > 4096 else None, allow_pickle=False)
    except Exception as error:  # numpy evaluates the header: damage shows as any kind of error
        raise CorruptIndexError(f"{path} is damaged: {error}; run tamis verify") from error
    return np.asarray(array)
