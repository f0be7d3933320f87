"""A shard of an impact part on disk: the arrays of `tamis.kernels.Postings`, and the vocabulary, as memory-mapped ``.npy`` files.

    starts.npy directory_starts.npy directory.npy offsets.npy codes.npy    the postings (see tamis.kernels.postings)
    terms.npy         uint8: the terms' keys in ascending order of their bytes, one after another
    term_starts.npy   int64 [terms + 1]: where each begins
    pairs.npy         int64 [codes]: what a code stands for, term frequency times 256 plus Lucene's length byte
    whole.npy         unsigned [2, terms]: documents and occurrences of each term before postings were pruned, if some were

A key is one byte, the number of the field, and the term in UTF-8. Document numbers count from 0 within the shard. A shard is
immutable once its folder has its final name.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import CorruptIndexError
from tamis.kernels.postings import Postings
from tamis.kernels.vocabulary import Vocabulary

ARRAYS = ("starts", "directory_starts", "directory", "offsets", "codes")
TERMS, TERM_STARTS, PAIRS = "terms", "term_starts", "pairs"
FILES = tuple(f"{name}.npy" for name in (*ARRAYS, TERMS, TERM_STARTS, PAIRS))
"""Names of a shard's files."""

WHOLE = "whole.npy"


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """A shard in a manifest.

    Attributes:
        id: name of its folder; of a shard made from Lucene, the id of the Lucene segment.
        docs: length of its document space, deleted documents included.
        terms: size of its vocabulary.
        postings: how many it holds.
        codes: length of a value table.
    """

    id: str
    docs: int
    terms: int
    postings: int
    codes: int

    def to_json(self) -> dict[str, Any]:
        """Return the manifest's form."""
        return asdict(self)


def shard_files(folder: Path) -> tuple[str, ...]:
    """Return the names of the files that a shard has."""
    return (*FILES, WHOLE) if (folder / WHOLE).exists() else FILES


def key_of(field: int, term: str) -> bytes:
    """Return the vocabulary's key of a term of the field with that number."""
    return bytes((field,)) + term.encode("utf-8", "replace")


class ImpactShard:
    """A shard opened for searching; nothing is read before it is used.

    Args:
        folder: of the shard.
        entry: what the manifest says of it.
    """

    def __init__(self, folder: Path, entry: ShardEntry) -> None:
        self.folder, self.entry = folder, entry

    def _array(self, name: str, kind: type[Any]) -> NDArray[Any]:
        path = self.folder / f"{name}.npy"
        try:
            array = np.load(path, mmap_mode="r")
        except Exception as error:  # numpy evaluates the header: damage shows as any kind of error
            raise CorruptIndexError(f"{path} is damaged: {error}; run tamis verify") from error
        if array.dtype != kind or array.ndim != 1:
            raise CorruptIndexError(f"{path} is damaged: {array.dtype}{list(array.shape)}; run tamis verify")
        return np.asarray(array)  # np.memmap is slow to slice

    @cached_property
    def postings(self) -> Postings:
        """The postings."""
        width = np.uint8 if self.entry.codes <= 256 else np.uint16
        kinds = (np.int64, np.int64, np.uint16, np.uint16, width)
        arrays: list[Any] = [self._array(name, kind) for name, kind in zip(ARRAYS, kinds, strict=True)]
        if len(arrays[0]) != self.entry.terms + 1 or len(arrays[3]) != self.entry.postings:
            raise CorruptIndexError(f"{self.folder} does not hold what the manifest says; run tamis verify")
        return Postings(self.entry.docs, max(self.entry.codes, 1), *arrays)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The keys of its terms."""
        return Vocabulary(self._array(TERMS, np.uint8), self._array(TERM_STARTS, np.int64))

    @cached_property
    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Term frequency and length byte of each code."""
        pairs = self._array(PAIRS, np.int64)
        return pairs >> 8, (pairs & 0xFF).astype(np.uint8)

    @cached_property
    def whole(self) -> NDArray[Any] | None:
        """Documents and occurrences of each term in the index as it was before postings were pruned; None where none were."""
        path = self.folder / WHOLE
        if not path.exists():
            return None
        try:
            found: NDArray[Any] = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise CorruptIndexError(f"{path} is damaged: {error}; run tamis verify") from error
        if found.dtype.kind != "u" or found.shape != (2, self.entry.terms):
            raise CorruptIndexError(f"{path} is damaged: {found.dtype}{list(found.shape)}; run tamis verify")
        return found

    def frequency(self, term: int) -> int:
        """Return how many documents hold the term of a number.

        Raises:
            CorruptIndexError: the pointers say something impossible.
        """
        if self.whole is not None:
            return int(self.whole[0, term])
        starts = self.postings.starts
        found = int(starts[term + 1]) - int(starts[term])
        if not 0 <= found <= self.entry.docs:
            raise CorruptIndexError(f"{self.folder}: term {term} has {found} documents; run tamis verify")
        return found

    def term_frequency(self, term: int) -> int:
        """Return how often the term of a number occurs in all documents together."""
        if self.whole is not None:
            return int(self.whole[1, term])
        starts, codes = self.postings.starts, self.postings.codes
        assert codes is not None  # noqa: S101 - shards of this kind have codes
        counts = np.bincount(codes[starts[term] : starts[term + 1]], minlength=1)
        return int(counts @ self.pairs[0][: len(counts)])

    def code(self, term: int, doc: int) -> int | None:
        """Return the code of a posting, None where the document does not hold the term or the shard lacks it (-1)."""
        if term < 0:
            return None
        postings = self.postings
        assert postings.codes is not None  # noqa: S101 - shards of this kind have codes
        docs = postings.documents(term, term + 1)
        place = int(np.searchsorted(docs, doc))
        if place == len(docs) or docs[place] != doc:
            return None
        return int(postings.codes[int(postings.starts[term]) + place])
