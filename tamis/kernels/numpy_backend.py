"""The kernel in pure NumPy: what runs where nothing could be compiled, and the oracle of the tests.

Term at a time over an accumulator a document (Buckley and Lewit, "Optimization of inverted vector searches", 1985), with
the same float32 operations in the same order as the compiled kernel. It shares none of its shortcuts.
"""

from __future__ import annotations

import time
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tamis.errors import CorruptIndexError, DataError
from tamis.kernels.postings import (
    PADDING,
    WINDOW,
    WINDOW_BITS,
    Array,
    Postings,
    directory_lengths,
    number_words,
    uses_numbers,
)
from tamis.kernels.queries import Queries

_CHECKED_AT_ONCE = 1 << 22
COUNT_LIMIT, UNIT_TERMS = 255, 64
"""Of sums in units: the largest, and the most terms of a query that is summed so."""


def search_batch(
    postings: Postings,
    queries: Queries,
    k: int,
    mask: NDArray[np.uint8] | None,
    deadline: float | None,
    *,
    rounding: Literal["each", "once", "units"] = "each",
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """Arguments and results as of `tamis.kernels.search`, unchecked. The deadline is looked at between queries."""
    docs, scores, partial = [np.empty(0, np.int64)], [np.empty(0, np.float32)], np.zeros(len(queries), np.bool_)
    for i in range(len(queries)):
        if deadline is not None and time.monotonic() >= deadline:
            partial[i] = np.any(postings.frequencies(queries.terms[queries.offsets[i] : queries.offsets[i + 1]]))
            found, values = docs[0], scores[0]
        else:
            found, values = _search_one(postings, queries, i, k, mask, rounding)
        docs.append(found)
        scores.append(values)
    offsets = np.cumsum([len(part) for part in docs], dtype=np.int64)
    return offsets, np.concatenate(docs), np.concatenate(scores), partial


def score_batch(
    postings: Postings,
    queries: Queries,
    doc_offsets: NDArray[np.int64],
    docs: NDArray[np.int64],
    *,
    once: bool = False,
) -> NDArray[np.float32]:
    """Arguments and results as of `tamis.kernels.score`, unchecked."""
    scores = np.zeros(len(docs), np.float32)
    for i in range(len(queries)):
        span = slice(doc_offsets[i], doc_offsets[i + 1])
        found, values = _search_one(postings, queries, i, postings.n_docs, None, "once" if once else "each")
        order = np.argsort(found)
        if len(found):
            places = np.minimum(np.searchsorted(found, docs[span], sorter=order), len(found) - 1)
            scores[span] = np.where(found[order[places]] == docs[span], values[order[places]], np.float32(0))
    return scores


def _search_one(
    postings: Postings,
    queries: Queries,
    i: int,
    k: int,
    mask: NDArray[np.uint8] | None,
    rounding: Literal["each", "once", "units"],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    places = range(queries.offsets[i], queries.offsets[i + 1])
    lists = {
        int(term): decode_documents(postings, int(term), int(term) + 1)
        for term in {int(queries.terms[p]) for p in places}
    }
    matching = np.unique(np.concatenate([np.empty(0, np.int64), *lists.values()]))
    once = rounding == "once"
    units = _unit_values(postings, queries, places) if rounding == "units" else None
    kind: type[np.floating[Any]] = np.float64 if once else np.float32
    sums: Array = np.zeros(len(matching), kind)
    seen, whole = np.zeros(len(matching), np.bool_), np.zeros(len(matching))
    for place in places:
        if queries.groups is not None and place > places[0] and queries.groups[place] != queries.groups[place - 1]:
            whole += sums.astype(np.float32)
            sums[:] = 0
        term = int(queries.terms[place])
        slots = np.searchsorted(matching, lists[term])
        values = _contributions(postings, queries, place, term) if units is None else units[place - places[0]]
        sums[slots] = np.where(seen[slots], sums[slots] + values, values)
        seen[slots] = True
    if once:
        sums = (whole + sums.astype(np.float32)).astype(np.float32)
    if mask is not None:
        allowed = (mask[matching >> 3] >> (matching & 7).astype(np.uint8) & 1).astype(np.bool_)
        matching, sums = matching[allowed], sums[allowed]
    best = np.lexsort((matching, -sums))[:k]
    return matching[best], sums[best]


def _unit_values(postings: Postings, queries: Queries, places: range) -> list[NDArray[np.float32]] | None:
    """What each term's postings count with ``rounding="units"``; None where the query does not suit."""
    if len(places) > UNIT_TERMS or (queries.tables is None and queries.weights is None):
        return None  # without weights and tables the sums are whole numbers as they are
    tables, largest = [], []
    for place in places:
        run = slice(*postings.starts[queries.terms[place] : queries.terms[place] + 2])
        length = 1 if postings.codes is None else int(postings.codes[run].max(initial=0)) + 1
        weight = queries.weights[place] if queries.weights is not None else np.float32(1)
        row = np.ones(1, np.float32)
        if queries.tables is not None:
            row = queries.tables[place if queries.rows is None else queries.rows[place]][:length]
        tables.append(weight * row + np.float32(0))
        largest.append(max(float(tables[-1].max()), 0.0))
        if tables[-1].min() < 0:
            return None
    total = sum(largest)
    scale = (COUNT_LIMIT - len(places)) / total if total > 0 else 0.0
    found = []
    for place, table in zip(places, tables, strict=True):
        units = np.maximum(np.floor(table.astype(np.float64) * scale + 0.5), 1).astype(np.float32)
        run = slice(*postings.starts[queries.terms[place] : queries.terms[place] + 2])
        found.append(np.full(run.stop - run.start, units[0]) if postings.codes is None else units[postings.codes[run]])
    return found


def _contributions(postings: Postings, queries: Queries, place: int, term: int) -> NDArray[np.float32]:
    run = slice(postings.starts[term], postings.starts[term + 1])
    weight = queries.weights[place] if queries.weights is not None else np.float32(1)
    if postings.codes is None or queries.tables is None:
        return np.full(run.stop - run.start, weight + np.float32(0), np.float32)
    table = queries.tables[place if queries.rows is None else queries.rows[place]]
    contributions: NDArray[np.float32] = (weight * table + np.float32(0))[postings.codes[run]]
    return contributions


def decode_documents(postings: Postings, first: int, last: int) -> NDArray[np.int64]:
    """The documents of the terms first … last - 1, one term after the other."""
    starts, entries = postings.starts[first : last + 1], postings.directory_starts[first : last + 1]
    offsets = postings.offsets[starts[0] : starts[-1]].astype(np.int64)
    if postings.n_windows <= 1 or not len(offsets):
        return offsets
    frequencies, words = np.diff(starts), postings.directory[entries[0] : entries[-1]]
    numbered = uses_numbers(frequencies, postings.n_windows)
    windows = np.empty(len(offsets), np.int64)
    of_posting = np.repeat(numbered, frequencies)
    of_word = np.repeat(numbered, np.diff(entries))
    numbers = words[of_word].astype(np.int64)
    windows[of_posting] = numbers if number_words(postings.n_windows) == 1 else numbers[0::2] | numbers[1::2] << 16
    # The i-th one of an entry stands after i ones and as many zeros as windows have ended.
    ones = np.flatnonzero(np.unpackbits(np.ascontiguousarray(words[~of_word]).view(np.uint8), bitorder="little"))
    counted = np.where(numbered, 0, frequencies)
    entry_bits = 16 * np.concatenate([[0], np.cumsum(np.where(numbered, 0, np.diff(entries)))[:-1]])
    before = np.concatenate([[0], np.cumsum(counted)[:-1]])
    windows[~of_posting] = ones - np.repeat(entry_bits, counted) - (np.arange(len(ones)) - np.repeat(before, counted))
    return windows << WINDOW_BITS | offsets


def fill_postings(postings: Postings, terms: Array, docs: Array, codes: Array | None) -> None:
    """Scatter triples into postings whose pointers are filled and whose directory is zero.

    Raises:
        DataError: a term or document is out of range, or the documents of a term do not ascend.
    """
    terms, docs = terms.astype(np.int64, copy=False), docs.astype(np.int64, copy=False)
    for name, values, limit in (("term", terms, postings.n_terms), ("document", docs, postings.n_docs)):
        wrong = np.flatnonzero((values < 0) | (values >= limit))
        if len(wrong):
            raise DataError(f"posting {wrong[0]}: the {name} is out of range")
    order = np.argsort(terms, kind="stable")
    of_term, ordered = terms[order], docs[order]
    wrong = np.flatnonzero((of_term[1:] == of_term[:-1]) & (ordered[1:] <= ordered[:-1]))
    if len(wrong):
        raise DataError(f"posting {order[wrong[0] + 1]}: a term's documents must ascend, each once")
    postings.offsets[:] = ordered & (WINDOW - 1)
    if codes is not None and postings.codes is not None:
        postings.codes[:] = codes[order]
    if postings.n_windows <= 1:
        return
    windows, rank = ordered >> WINDOW_BITS, np.arange(len(ordered)) - postings.starts[of_term]
    numbered = uses_numbers(np.diff(postings.starts), postings.n_windows)[of_term]
    width = number_words(postings.n_windows)
    words = postings.directory_starts[of_term]
    for half in range(width):
        postings.directory[words[numbered] + width * rank[numbered] + half] = windows[numbered] >> (16 * half) & 0xFFFF
    bits = 16 * words[~numbered] + rank[~numbered] + windows[~numbered]
    np.bitwise_or.at(postings.directory, bits >> 4, (1 << (bits & 15)).astype(np.uint16))


def check_postings(postings: Postings) -> None:
    """Check what the compiled kernel checks; as `Postings.validate`."""
    kinds = {"starts": "i8", "directory_starts": "i8", "directory": "u2", "offsets": "u2"}
    for name, kind in kinds.items():
        array = getattr(postings, name)
        _require(array.ndim == 1 and array.dtype == np.dtype(kind), f"{name} is not an array of {kind}")
    codes, starts, entries = postings.codes, postings.starts, postings.directory_starts
    _require(0 <= postings.n_docs <= 1 << 48, f"number of documents {postings.n_docs} is not in 0 … 2^48")
    _require(len(starts) == len(entries) >= 1, "the two pointer arrays must have one entry a term and one more")
    if codes is None:
        _require(postings.n_codes == 0, f"{postings.n_codes} codes do not fit 0 bits")
    else:
        _require(
            codes.dtype in (np.uint8, np.uint16) and codes.shape == postings.offsets.shape,
            "codes must be one a posting",
        )
        _require(
            1 <= postings.n_codes <= np.iinfo(codes.dtype).max + 1,
            f"{postings.n_codes} codes do not fit the codes' type",
        )
    _require(starts[0] == 0 and starts[-1] == len(postings.offsets), "the posting pointers do not span the postings")
    _require(
        entries[0] == 0 and entries[-1] == len(postings.directory) - PADDING,
        "the directory pointers do not span the directory",
    )
    _require(not (starts[1:] < starts[:-1]).any(), "the posting pointers do not ascend")
    frequencies = np.diff(starts)
    _require(not (frequencies > postings.n_docs).any(), "a term has more postings than there are documents")
    lengths = directory_lengths(frequencies, postings.n_windows)
    _require(
        bool((entries == np.concatenate([[0], np.cumsum(lengths)])).all()), "a directory entry has the wrong length"
    )
    first = 0
    while first < postings.n_terms:
        target = starts[first] + _CHECKED_AT_ONCE
        last = max(first + 1, min(int(np.searchsorted(starts, target, "right")) - 1, postings.n_terms))
        _check_terms(postings, first, last)
        first = last


def _check_terms(postings: Postings, first: int, last: int) -> None:
    starts, entries = postings.starts[first : last + 1], postings.directory_starts[first : last + 1]
    frequencies = np.diff(starts)
    if postings.n_windows > 1:
        bits = np.bitwise_count(postings.directory[entries[0] : entries[-1]]).astype(np.int64)
        ones = np.diff(np.concatenate([[0], np.cumsum(bits)])[entries - entries[0]])
        wrong = ~uses_numbers(frequencies, postings.n_windows) & (ones != frequencies)
        _require(not wrong.any(), "the window counts do not sum to the number of postings")
    docs = decode_documents(postings, first, last)
    _require(
        not ((docs < 0) | (docs >= postings.n_docs)).any(), "a document number is not below the number of documents"
    )
    inside = np.ones(len(docs), np.bool_)
    inside[(starts[:-1] - starts[0])[frequencies > 0]] = False
    _require(not ((docs[1:] <= docs[:-1]) & inside[1:]).any(), "document numbers do not ascend")
    if postings.codes is not None:
        top = int(postings.codes[starts[0] : starts[-1]].max(initial=0))
        _require(top < postings.n_codes, "a code is not below the number of codes")


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise CorruptIndexError(f"damaged postings: {problem}; rebuild the index part that holds them")
