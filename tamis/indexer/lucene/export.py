"""Postings out of Lucene, into shards of an impact part.

Every Lucene segment becomes one shard, once: a segment never changes, and its id names the shard, so that a commit exports
what it added and nothing else. The text is not read again, and k1 and b stay free: a posting's code is the pair of its term
frequency and Lucene's length byte.

Java fills buffers that are Python's, block by block; memory is bounded by a block, or by the longest postings list.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import TamisError
from tamis.files import sync_folder, sync_tree, write_array
from tamis.indexer.impact.shard import ARRAYS, PAIRS, TERM_STARTS, TERMS, ShardEntry
from tamis.indexer.lucene.build import open_directory
from tamis.indexer.lucene.commits import find_commit
from tamis.indexer.lucene.jvm import java, start
from tamis.kernels.building import PostingsBuilder

BLOCK_POSTINGS = 1 << 21
BLOCK_TERMS = 1 << 18
BLOCK_TERM_BYTES = 4 << 20
MAX_FIELDS = 256


class TooManyPairsError(TamisError):
    """A segment has more distinct pairs of term frequency and length than 16 bits can number."""


def export_commit(lucene: Path, segments_file: str, fields: Sequence[str], part: Path) -> list[ShardEntry]:
    """Export every segment of a Lucene commit that `part` holds no shard of, and return all shards in document order.

    Args:
        lucene: the Lucene folder.
        segments_file: the commit.
        fields: the text fields, at most 256.
        part: folder of the shards.

    Raises:
        TooManyPairsError: the kernel cannot hold a segment; what was exported before it stays.
    """
    directory = open_directory(lucene)
    try:
        reader = java("org.apache.lucene.index.DirectoryReader").open(find_commit(directory, segments_file))
        try:
            part.mkdir(parents=True, exist_ok=True)
            return [_export_leaf(leaf.reader(), fields, part) for leaf in reader.leaves()]
        finally:
            reader.close()
    finally:
        directory.close()


def _export_leaf(leaf: Any, fields: Sequence[str], part: Path) -> ShardEntry:
    """Write the shard of one segment, unless it is there."""
    name = bytes(b & 0xFF for b in leaf.getSegmentInfo().info.getId()).hex()
    final = part / name
    if not final.exists():
        temporary = part / f"{name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        _write_shard(leaf, fields, temporary)
        sync_tree(temporary)
        temporary.rename(final)
        sync_folder(part)
    return describe_shard(final, int(leaf.maxDoc()))


def describe_shard(folder: Path, docs: int) -> ShardEntry:
    """Return the manifest's entry of a shard of `docs` documents, from the headers of its files."""
    lengths = [len(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in (TERM_STARTS, "offsets", PAIRS)]
    return ShardEntry(folder.name, docs, lengths[0] - 1, lengths[1], lengths[2])


def _write_shard(leaf: Any, fields: Sequence[str], folder: Path) -> None:
    if len(fields) > MAX_FIELDS:
        raise TooManyPairsError(f"{len(fields)} fields: at most {MAX_FIELDS} are possible")
    pairs = java("tamis.Postings$Pairs")()
    readers = [java("tamis.Postings")(leaf, field, pairs) for field in sorted(fields)]
    frequencies = _write_terms(readers, folder)

    def allocate(name: str, length: int, kind: Any) -> NDArray[Any]:
        return np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, (length,))

    builder = PostingsBuilder(frequencies, n_docs=int(leaf.maxDoc()), n_codes=1 << 16, allocate=allocate)
    try:
        for reader in readers:
            reader.rewind()
            for docs, codes in _blocks(reader, int(frequencies.max(initial=0))):
                builder.add(docs, codes)
    except java("java.lang.ArithmeticException") as error:
        raise TooManyPairsError(str(error.getMessage())) from None
    found = np.array(pairs.toArray(), np.int64)
    builder.finish()
    _narrow_codes(folder, len(found))
    write_array(folder / f"{PAIRS}.npy", found)


def _write_terms(readers: Sequence[Any], folder: Path) -> NDArray[np.int64]:
    """Write the vocabulary; return the document frequency of every term."""
    text, ends, counts = (_buffer(size) for size in (BLOCK_TERM_BYTES, 4 * BLOCK_TERMS, 4 * BLOCK_TERMS))
    keys: list[NDArray[np.uint8]] = []
    starts = [np.zeros(1, np.int64)]
    frequencies = [np.zeros(0, np.int64)]
    for number, reader in enumerate(readers):
        while written := int(reader.nextTerms(text.java, ends.java, counts.java)):
            places = ends.array.view(np.int32)[:written].astype(np.int64)
            block = text.array[: places[-1]]
            # every key begins with the field's number
            keys.append(np.insert(block, np.concatenate([np.zeros(1, np.int64), places[:-1]]), np.uint8(number)))
            starts.append(starts[-1][-1] + places + np.arange(1, written + 1))
            frequencies.append(counts.array.view(np.int32)[:written].astype(np.int64))
    write_array(folder / f"{TERMS}.npy", np.concatenate([np.zeros(0, np.uint8), *keys]))
    write_array(folder / f"{TERM_STARTS}.npy", np.concatenate(starts))
    return np.concatenate(frequencies)


def _blocks(reader: Any, longest: int) -> Iterator[tuple[NDArray[np.int32], NDArray[np.uint16]]]:
    """Yield documents and codes of whole terms, block by block."""
    size = max(BLOCK_POSTINGS, longest)
    docs, codes = _buffer(4 * size), _buffer(2 * size)
    while length := int(reader.nextPostings(docs.java, codes.java)):
        yield docs.array.view(np.int32)[:length], codes.array.view(np.uint16)[:length]


def _narrow_codes(folder: Path, codes: int) -> None:
    """Keep one byte a code where that is enough."""
    if codes > 256:
        return
    path = folder / f"{ARRAYS[-1]}.npy"
    wide = np.load(path, mmap_mode="r")
    narrow = folder / f"{ARRAYS[-1]}.tmp.npy"
    array = np.lib.format.open_memmap(narrow, "w+", np.uint8, wide.shape)
    for first in range(0, len(wide), BLOCK_POSTINGS):
        array[first : first + BLOCK_POSTINGS] = wide[first : first + BLOCK_POSTINGS]
    array.flush()
    narrow.replace(path)


class _buffer:  # noqa: N801 - a plain pair
    """Memory that Python and Java share."""

    def __init__(self, size: int) -> None:
        self.array: NDArray[np.uint8] = np.empty(size, np.uint8)
        self.java = start().nio.convertToDirectBuffer(self.array)
