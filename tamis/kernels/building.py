"""Making postings: from triples held in memory, and from shards, with bounded memory.

A collection of any size is built shard by shard (`build_postings` for every few million postings, saved by the caller) and
merged (`merge_postings`), which reads its shards sequentially, holds one chunk of terms at a time and writes into arrays that
the caller may map to files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import DataError, UsageError
from tamis.kernels.backend import native
from tamis.kernels.postings import MAX_DOCS, PADDING, Array, Postings, code_type, directory_lengths

_MERGED_AT_ONCE = 1 << 22

Allocate = Callable[[str, int, Any], Array]
"""Name of an array of `Postings`, its length and type, to an array of zeros; e.g. one mapped to a file."""


def _in_memory(_name: str, length: int, kind: Any) -> Array:
    return np.zeros(length, kind)


def build_postings(
    term_ids: Array,
    docs: Array,
    codes: Array | None,
    *,
    n_docs: int,
    n_terms: int,
    n_codes: int = 0,
    allocate: Allocate = _in_memory,
) -> Postings:
    """Build postings from (term, document, code) triples.

    The triples may come document by document or term by term: within a term, documents must ascend. Memory beyond the
    triples and the result is 16 bytes a term.

    Args:
        term_ids: integers [n] below `n_terms`; int32 and int64 are used as they are.
        docs: integers [n] below `n_docs`; likewise.
        codes: integers [n] below `n_codes`, or None for binary postings.
        n_docs: number of documents, at most 2^48.
        n_terms: size of the vocabulary.
        n_codes: number of distinct codes; up to 256 a code takes one byte, up to 65,536 two.
        allocate: where the arrays live.

    Raises:
        UsageError: the numbers are out of range or the arrays differ in length.
        DataError: a term, document or code is out of range, or the documents of a term do not ascend.
    """
    term_ids, docs = _integers(term_ids), _integers(docs)
    if len(docs) != len(term_ids) or (codes is not None and len(codes) != len(term_ids)):
        raise UsageError(
            f"{len(term_ids)} terms, {len(docs)} documents, {None if codes is None else len(codes)} codes: one each"
        )
    if len(term_ids) and (term_ids.min() < 0 or term_ids.max() >= n_terms):
        wrong = int(np.flatnonzero((term_ids < 0) | (term_ids >= n_terms))[0])
        raise DataError(f"posting {wrong}: the term is out of range (there are {n_terms})")
    if codes is not None:
        if len(codes) and (codes.min() < 0 or codes.max() >= n_codes):
            raise DataError(f"codes from {codes.min()} to {codes.max()}: they must lie in 0 … {n_codes - 1}")
        codes = np.ascontiguousarray(codes, code_type(n_codes))
    counts = np.bincount(term_ids, minlength=n_terms)
    postings = _empty_postings(counts, n_docs, n_codes if codes is not None else 0, allocate)
    _fill(postings, term_ids, docs, codes)
    return postings


class PostingsBuilder:
    """Builds postings whose terms come in order, each term's documents ascending, when all frequencies are known beforehand.

    Nothing but one block is held in memory besides the arrays, which the caller may map to files.

    Args:
        frequencies: int64 [n_terms]; how many documents hold each term.
        n_docs: number of documents, at most 2^48.
        n_codes: number of distinct codes, 0 for binary postings.
        allocate: where the arrays live.
    """

    def __init__(
        self, frequencies: NDArray[np.int64], *, n_docs: int, n_codes: int, allocate: Allocate = _in_memory
    ) -> None:
        self._frequencies = frequencies
        self._postings = _empty_postings(frequencies, n_docs, n_codes, allocate)
        self._term = 0

    def add(self, docs: Array, codes: Array | None) -> None:
        """Add the postings of the next few terms, whole: integers [n], codes of the type that `code_type` gives.

        Raises:
            DataError: a document or code is out of range, documents do not ascend, or a term is cut in two.
        """
        starts, first = self._postings.starts, self._term
        last = int(np.searchsorted(starts, starts[first] + len(docs), "right")) - 1
        if starts[last] - starts[first] != len(docs):
            raise DataError(f"{len(docs)} postings do not end with a term (the next terms begin at {first})")
        terms = np.repeat(np.arange(last - first, dtype=np.int32), self._frequencies[first:last])
        _fill(_slice(self._postings, first, last), terms, _integers(docs), codes)
        self._term = last

    def finish(self) -> Postings:
        """Return the postings.

        Raises:
            DataError: not all terms were given.
        """
        if self._postings.starts[self._term] != self._postings.n_postings:
            raise DataError(f"postings of {self._term} of {self._postings.n_terms} terms were given")
        return self._postings


@dataclass(frozen=True, eq=False)
class Shard:
    """Postings to be merged, and where their documents and terms go.

    Args:
        postings: of this shard alone.
        docs: the new number of its document 0 (the others follow), or int64 [n_docs] with the new number of each, ascending,
            -1 where it is dropped.
        terms: int64 [n_terms] with the new number of each term, ascending; None keeps them.
    """

    postings: Postings
    docs: int | NDArray[np.int64]
    terms: NDArray[np.int64] | None = None


def merge_postings(shards: Sequence[Shard], *, n_docs: int, n_terms: int, allocate: Allocate = _in_memory) -> Postings:
    """Merge shards of consecutive document ranges, renumbering and dropping documents on the way.

    Beyond the result, memory is bounded by the longest postings list or about four million postings, whichever is more, and
    8 bytes a term for each shard. Codes keep their meaning: all shards must share one table of them.

    Args:
        shards: in the order of their new document numbers.
        n_docs: documents of the result.
        n_terms: terms of the result.
        allocate: where the arrays of the result live.

    Raises:
        UsageError: the shards disagree about codes, or a map does not fit its shard.
        DataError: the new documents of a term do not ascend over the shards, or a new number is out of range.
    """
    kinds = {(s.postings.n_codes, None if s.postings.codes is None else s.postings.codes.dtype.str) for s in shards}
    if len(kinds) != 1:
        raise UsageError(
            f"shards with codes of kinds {sorted(map(str, kinds))}: merge shards of one kind, and at least one"
        )
    for shard in shards:
        _check_maps(shard, n_terms)
    counts = np.zeros(n_terms, np.int64)
    for shard in shards:
        for first, last in _chunks(shard.postings.starts):
            terms, _, _ = _renumbered(shard, first, last)
            if len(terms):
                found = np.bincount(terms - terms[0])
                counts[terms[0] : terms[0] + len(found)] += found
    merged = _empty_postings(counts, n_docs, shards[0].postings.n_codes, allocate)
    for first, last in _chunks(merged.starts):
        parts = [_renumbered(shard, *_own_terms(shard, first, last)) for shard in shards]
        terms, docs, codes = (np.concatenate([part[i] for part in parts]) for i in range(3))
        _fill(_slice(merged, first, last), terms - first, docs, codes if merged.codes is not None else None)
    return merged


def _integers(values: Array) -> Array:
    values = np.asarray(values)
    if values.dtype.kind not in "iu" and len(values):
        raise UsageError(f"numbers of type {values.dtype} where integers are wanted")
    return np.ascontiguousarray(values, None if values.dtype in (np.int32, np.int64) else np.int64)


def _empty_postings(counts: NDArray[np.int64], n_docs: int, n_codes: int, allocate: Allocate) -> Postings:
    """Postings with their pointers in place and room for `counts` postings a term."""
    if not 0 <= n_docs <= MAX_DOCS:
        raise UsageError(f"{n_docs} documents: 0 to 2^48 are possible")
    starts = allocate("starts", len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    entries = allocate("directory_starts", len(counts) + 1, np.int64)
    np.cumsum(directory_lengths(counts, -(-n_docs >> 16)), out=entries[1:])
    return Postings(
        n_docs,
        n_codes,
        starts,
        entries,
        allocate("directory", int(entries[-1]) + PADDING, np.uint16),
        allocate("offsets", int(starts[-1]), np.uint16),
        allocate("codes", int(starts[-1]), code_type(n_codes)) if n_codes else None,
    )


def _fill(postings: Postings, terms: Array, docs: Array, codes: Array | None) -> None:
    extension = native()
    if extension is None:
        from tamis.kernels.numpy_backend import fill_postings

        fill_postings(postings, terms, docs, codes)
        return
    arrays = (postings.starts, postings.directory_starts, postings.directory, postings.offsets, postings.codes)
    try:
        extension.fill(terms, docs, codes, postings.n_docs, postings.n_codes, *arrays)
    except ValueError as error:
        raise DataError(str(error)) from error


def _slice(postings: Postings, first: int, last: int) -> Postings:
    """A view of the terms first … last - 1, to be filled (its directory has no padding of its own, so not to be searched)."""
    starts, entries = postings.starts[first : last + 1], postings.directory_starts[first : last + 1]
    run = slice(starts[0], starts[-1])
    return Postings(
        postings.n_docs,
        postings.n_codes,
        starts - starts[0],
        entries - entries[0],
        postings.directory[entries[0] : entries[-1]],
        postings.offsets[run],
        None if postings.codes is None else postings.codes[run],
    )


def _chunks(starts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of terms of about `_MERGED_AT_ONCE` postings, or of one term."""
    first, n_terms = 0, len(starts) - 1
    while first < n_terms:
        last = int(np.searchsorted(starts, starts[first] + _MERGED_AT_ONCE, "right")) - 1
        last = min(max(last, first + 1), n_terms)
        yield first, last
        first = last


def _check_maps(shard: Shard, n_terms: int) -> None:
    if isinstance(shard.docs, np.ndarray):
        kept = shard.docs[shard.docs >= 0]
        if len(shard.docs) != shard.postings.n_docs or (kept[1:] <= kept[:-1]).any():
            raise UsageError(
                f"a document map of {len(shard.docs)} for {shard.postings.n_docs} documents: one each, ascending"
            )
    terms = shard.terms
    if terms is None:
        if shard.postings.n_terms > n_terms:
            raise UsageError(f"a shard of {shard.postings.n_terms} terms for a result of {n_terms}: give it a term map")
    elif (
        len(terms) != shard.postings.n_terms
        or (terms[1:] <= terms[:-1]).any()
        or terms.min(initial=0) < 0
        or terms.max(initial=-1) >= n_terms
    ):
        raise UsageError(
            f"a term map of {len(terms)} for {shard.postings.n_terms} terms: one each, ascending, below {n_terms}"
        )


def _own_terms(shard: Shard, first: int, last: int) -> tuple[int, int]:
    """The shard's own terms that become first … last - 1."""
    if shard.terms is None:
        return min(first, shard.postings.n_terms), min(last, shard.postings.n_terms)
    low, high = np.searchsorted(shard.terms, [first, last])
    return int(low), int(high)


def _renumbered(shard: Shard, first: int, last: int) -> tuple[Array, Array, Array]:
    """Triples of the shard's own terms first … last - 1, in the numbers of the result."""
    postings = shard.postings
    frequencies = np.diff(postings.starts[first : last + 1])
    own = np.arange(first, last) if shard.terms is None else shard.terms[first:last]
    terms, docs = np.repeat(own, frequencies), postings.documents(first, last)
    codes = (
        postings.codes[postings.starts[first] : postings.starts[last]]
        if postings.codes is not None
        else np.empty(0, np.uint8)
    )
    if not isinstance(shard.docs, np.ndarray):
        return terms, docs + shard.docs, codes
    docs = shard.docs[docs]
    kept = docs >= 0
    return terms[kept], docs[kept], codes[kept] if postings.codes is not None else codes
