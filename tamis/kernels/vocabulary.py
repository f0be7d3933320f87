"""A vocabulary of byte strings in ascending order, which may be memory-mapped: the terms that postings are numbered by."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamis.errors import CorruptIndexError
from tamis.kernels.backend import native


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Terms by number, and numbers by term.

    Args:
        text: uint8; the terms' bytes, one term after another, the terms distinct and in ascending order.
        starts: int64 [n + 1]; term i is text[starts[i]:starts[i + 1]].
    """

    text: NDArray[np.uint8]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> bytes:
        """Return a term.

        Raises:
            CorruptIndexError: the pointers leave the text.
        """
        if not 0 <= number < len(self):
            raise IndexError(number)
        first, last = int(self.starts[number]), int(self.starts[number + 1])
        if not 0 <= first <= last <= len(self.text):
            raise CorruptIndexError(
                f"damaged vocabulary: term {number} spans the bytes {first} … {last}; run tamis verify"
            )
        return self.text[first:last].tobytes()

    def find(self, terms: Sequence[bytes]) -> NDArray[np.int64]:
        """Return the number of each term, -1 where it is not in the vocabulary.

        Raises:
            CorruptIndexError: the pointers leave the text.
        """
        extension = native()
        if extension is None:
            places = [bisect_left(self, term) for term in terms]
            found = [i if i < len(self) and self[i] == term else -1 for i, term in zip(places, terms, strict=True)]
            return np.array(found, np.int64)
        try:
            return np.frombuffer(extension.find_terms(self.text, self.starts, list(terms)), np.int64)
        except ValueError as error:
            raise CorruptIndexError(f"damaged vocabulary: {error}; run tamis verify") from error
