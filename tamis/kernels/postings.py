"""Postings in windows of 2^16 documents: the layout that the kernel searches.

The postings of a term are its documents in ascending order. A document number is split: its lower 16 bits stand in
`offsets`, and its upper bits, the number of its window, follow from the term's entry in `directory`. A run is the part of a
term's postings that lies in one window. So a posting costs two bytes, one or two bytes of code, and its share of the
directory, which is built to cost little where there is little (a vocabulary is mostly rare terms). A term with `f` postings
in a space of `w` windows stores

* nothing, if w = 1;
* the window of each posting, in one 16-bit word (two if w > 2^16), if that is shorter than
* f + w bits, from the lowest of the first word on: for each window as many ones as it has postings, then a zero.

The last is the upper half of an Elias-Fano code (Elias, "Efficient storage and retrieval by content and address of static
files", 1974; Fano, 1971) whose lower half is 16 bits wide: one bit a posting and one a window. Entries begin at whole words,
and four zero words end the array so that it can be read 64 bits at a time. All numbers are little-endian.

A code is an index into a table of `n_codes` values that the query brings: distinct (term frequency, length byte) pairs for
BM25, whose k1 and b stay free until then; the impact itself for learned sparse vectors; no code at all for binary ones.

Space: up to 2^48 documents, and any number of postings. The arrays are meant to be memory-mapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import CorruptIndexError, UsageError
from tamis.kernels.backend import native

if TYPE_CHECKING:
    from tamis.kernels._native import Index

WINDOW_BITS = 16
WINDOW = 1 << WINDOW_BITS
MAX_DOCS = 1 << 48
PADDING = 4
"""Zero words after the last directory entry."""


@dataclass(frozen=True, eq=False)
class Postings:
    """The postings of a vocabulary of numbered terms over documents 0 … n_docs - 1.

    Nothing is checked on construction: a search checks the terms that it touches, once, and `validate` checks all.

    Args:
        n_docs: number of documents, at most 2^48.
        n_codes: length of a value table; 0 for postings without codes.
        starts: int64 [n_terms + 1]; term t has the postings starts[t] … starts[t + 1] - 1.
        directory_starts: int64 [n_terms + 1]; where each term's directory entry begins, in words.
        directory: uint16; see the module's docstring.
        offsets: uint16 [n_postings]; the lower 16 bits of each document number.
        codes: uint8 or uint16 [n_postings]; or None.
    """

    n_docs: int
    n_codes: int
    starts: NDArray[np.int64]
    directory_starts: NDArray[np.int64]
    directory: NDArray[np.uint16]
    offsets: NDArray[np.uint16]
    codes: NDArray[np.uint8] | NDArray[np.uint16] | None

    @property
    def n_terms(self) -> int:
        """Size of the vocabulary."""
        return len(self.starts) - 1

    @property
    def n_postings(self) -> int:
        """Number of (term, document) pairs."""
        return len(self.offsets)

    @property
    def n_windows(self) -> int:
        """Number of windows of 2^16 documents, the last perhaps shorter."""
        return -(-self.n_docs // WINDOW)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (self.starts, self.directory_starts, self.directory, self.offsets, self.codes)
        return sum(array.nbytes for array in arrays if array is not None)

    @cached_property
    def native(self) -> Index | None:
        """The arrays inside the compiled kernel, which checks them as it uses them; None where there is no compiled kernel.

        Raises:
            CorruptIndexError: the arrays break the layout.
        """
        extension = native()
        if extension is None:
            return None
        arrays = (self.starts, self.directory_starts, self.directory, self.offsets, self.codes)
        try:
            index: Index = extension.Index(self.n_docs, self.n_codes, *arrays)
        except ValueError as error:
            raise damage(error) from error
        return index

    def validate(self) -> None:
        """Check every pointer, document and code, so that no search can read outside the arrays.

        One pass over all postings, once for an object; searches check what they touch themselves.

        Raises:
            CorruptIndexError: the arrays break the layout.
        """
        _ = self._sound

    @cached_property
    def _sound(self) -> bool:
        if self.native is None:
            from tamis.kernels.numpy_backend import check_postings

            check_postings(self)
            return True
        try:
            self.native.check()
        except ValueError as error:
            raise damage(error) from error
        return True

    def frequencies(self, terms: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of documents that hold each term."""
        return self.starts[terms + 1] - self.starts[terms]

    def documents(self, first: int, last: int) -> NDArray[np.int64]:
        """The documents of the terms first … last - 1, one term after the other.

        Raises:
            UsageError: the terms are not within the vocabulary.
            CorruptIndexError: their data break the layout.
        """
        if not 0 <= first <= last <= self.n_terms:
            raise UsageError(f"terms {first} … {last} do not lie in a vocabulary of {self.n_terms}")
        if self.native is None:
            from tamis.kernels.numpy_backend import decode_documents

            self.validate()
            return decode_documents(self, first, last)
        count = int(self.starts[last] - self.starts[first])
        if not 0 <= count <= self.n_postings:
            raise damage("the posting pointers do not ascend")
        out = np.empty(count, np.int64)
        try:
            self.native.documents(first, last, out)
        except ValueError as error:
            raise damage(error) from error
        return out


def damage(problem: object) -> CorruptIndexError:
    """Return the error of postings that break their layout."""
    return CorruptIndexError(f"damaged postings: {problem}; rebuild the index part that holds them")


def uses_numbers(frequencies: NDArray[np.int64], n_windows: int) -> NDArray[np.bool_]:
    """Whether terms of these frequencies store a window number a posting rather than bits."""
    return frequencies <= (n_windows - 1) // (16 * number_words(n_windows) - 1)


def number_words(n_windows: int) -> int:
    """Words of a window number."""
    return 2 if n_windows > WINDOW else 1


def directory_lengths(frequencies: NDArray[np.int64], n_windows: int) -> NDArray[np.int64]:
    """Words of the directory entries of terms of these frequencies."""
    if n_windows <= 1:
        return np.zeros_like(frequencies)
    numbers, bits = frequencies * number_words(n_windows), (frequencies + n_windows + 15) // 16
    return np.where(uses_numbers(frequencies, n_windows), numbers, bits)


def code_type(n_codes: int) -> type[np.uint8] | type[np.uint16]:
    """The narrowest type for codes below `n_codes`.

    Raises:
        UsageError: there are more than 2^16 of them.
    """
    if not 1 <= n_codes <= 1 << 16:
        raise UsageError(f"{n_codes} codes: 1 to 65,536 are possible; quantise the values into fewer")
    return np.uint8 if n_codes <= 1 << 8 else np.uint16


Array = NDArray[Any]
