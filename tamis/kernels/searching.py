"""Exact top-k over postings: the door to both kernels."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tamis.errors import UsageError
from tamis.kernels.backend import kernel_name, native
from tamis.kernels.postings import Postings, damage
from tamis.kernels.queries import Queries
from tamis.kernels.rows import DocumentRows

Rounding = Literal["each", "once", "units"]
_ROUNDINGS: dict[Rounding, int] = {"each": 0, "once": 1, "units": 2}


@dataclass(frozen=True, eq=False)
class Hits:
    """The best documents of each query of a batch, read-only.

    Args:
        offsets: int64 [n + 1]; query i has the hits offsets[i] … offsets[i + 1] - 1.
        docs: int64; by descending score, equal scores by ascending number.
        scores: float32.
        partial: bool [n]; the deadline passed before the query had seen all documents.
    """

    offsets: NDArray[np.int64]
    docs: NDArray[np.int64]
    scores: NDArray[np.float32]
    partial: NDArray[np.bool_]

    @classmethod
    def of(cls, lists: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]]) -> Hits:
        """Join one (docs, scores) pair a query, each in rank order."""
        if len(lists) == 1:  # one query waits for every call that is made
            docs, scores = lists[0]
            return cls(np.array([0, len(docs)]), docs, scores, np.zeros(1, np.bool_))
        offsets = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(docs) for docs, _ in lists], out=offsets[1:])
        docs = np.concatenate([np.zeros(0, np.int64), *(docs for docs, _ in lists)])
        scores = np.concatenate([np.zeros(0, np.float32), *(scores for _, scores in lists)])
        return cls(offsets, docs, scores, np.zeros(len(lists), np.bool_))

    def __len__(self) -> int:
        return len(self.partial)

    def __getitem__(self, i: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Documents and scores of query i, counted from 0."""
        if not 0 <= i < len(self):
            raise IndexError(i)
        part = slice(self.offsets[i], self.offsets[i + 1])
        return self.docs[part], self.scores[part]


def search(
    postings: Postings,
    queries: Queries,
    k: int,
    *,
    mask: NDArray[np.uint8] | None = None,
    threads: int = 1,
    deadline: float | None = None,
    rounding: Rounding = "each",
) -> Hits:
    """Return the k best documents of each query: exactly those of an exhaustive evaluation of such sums, ties included.

    A document is returned only if it holds a term of the query; its score may be zero or less. The bytes of the result are the
    same for every number of threads and every kernel.

    Args:
        postings: what to search. Terms are checked when a search first touches them.
        queries: the batch. Its tables need one value a code of the postings, or no tables if these have no codes.
        k: how many, at least 1; there is no upper limit.
        mask: the documents that may be returned, one bit each, as ``numpy.packbits(allowed, bitorder="little")`` makes it.
        threads: at most this many run at once, over queries or, if these are fewer, over windows. The GIL is released.
        deadline: a time of `time.monotonic`, looked at between windows; past it each query returns the best so far of the
            documents that it saw, marked as partial. None: no limit.
        rounding: how a document's contributions are summed: ``each`` addition in float32, in the order of the query; or in
            float64, rounded to float32 ``once``, as Lucene does (once a group, and then the groups, where the queries have
            groups). ``units`` proposes candidates in two thirds of the time: contributions are whole numbers, of which the
            largest sum that there can be has about 255, and at least 1, and so are the scores. (Queries of more than 64 terms,
            or with contributions below zero, are summed as ``each``.)

    Raises:
        UsageError: an argument is out of range or does not fit the postings.
        CorruptIndexError: the postings break their layout.
    """
    if rounding not in _ROUNDINGS:
        raise UsageError(f"rounding {rounding!r}: {', '.join(_ROUNDINGS)} are known")
    if queries.groups is not None and rounding != "once":
        raise UsageError('groups of terms are summed apart only with rounding="once"')
    _check_types(postings, queries, mask)
    if kernel_name() == "numpy":
        from tamis.kernels.numpy_backend import search_batch

        _check(postings, queries, k, mask, threads)
        postings.validate()
        return Hits(*search_batch(postings, queries, k, mask, deadline, rounding=rounding))
    index, extension = postings.native, native()
    if index is None or extension is None:
        raise AssertionError("a compiled kernel is in use but not present")
    left = -1 if deadline is None else min(max(0, int((deadline - time.monotonic()) * 1e9)), 1 << 62)
    q = queries
    columns = (q.offsets, q.terms, q.weights, q.rows, q.tables, q.groups, mask)
    try:
        found = index.search(kernel_name(), *columns, _ROUNDINGS[rounding], min(k, 1 << 62), threads, left)
    except extension.DamagedError as error:
        raise damage(error) from error
    except (ValueError, OverflowError):  # the kernel checks all that it relies on, and says little
        _check(postings, queries, k, mask, threads)
        raise
    offsets, docs, scores, partial = found
    return Hits(
        np.frombuffer(offsets, np.int64),
        np.frombuffer(docs, np.int64),
        np.frombuffer(scores, np.float32),
        np.frombuffer(partial, np.bool_),
    )


def merge_hits(found: Sequence[Hits], n_queries: int, starts: Sequence[int], k: int) -> Hits:
    """Return the best `k` of every query over shards that lie end to end.

    Args:
        found: the hits of every shard, each for the same queries.
        n_queries: how many.
        starts: where each shard's documents begin.
        k: at least 1.
    """
    if len(found) == 1:
        return found[0]
    if not found:
        nothing = np.zeros(0, np.int64)
        return Hits(
            np.zeros(n_queries + 1, np.int64), nothing, nothing.astype(np.float32), np.zeros(n_queries, np.bool_)
        )
    lengths = np.concatenate([np.diff(hits.offsets) for hits in found])
    owners = np.repeat(np.tile(np.arange(n_queries), len(found)), lengths)
    docs = np.concatenate([hits.docs + start for hits, start in zip(found, starts, strict=False)])
    scores = np.concatenate([hits.scores for hits in found])
    order = np.lexsort((docs, -scores, owners))
    counts = np.bincount(owners, minlength=n_queries)
    ranks = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    order = order[ranks < k]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.minimum(counts, k))])
    partial = np.logical_or.reduce([hits.partial for hits in found])
    return Hits(offsets, docs[order], scores[order], partial)


def score(
    postings: Postings,
    queries: Queries,
    doc_offsets: NDArray[np.int64],
    docs: NDArray[np.int64],
    *,
    threads: int = 1,
    rounding: Literal["each", "once"] = "each",
    rows: DocumentRows | None = None,
) -> NDArray[np.float32]:
    """Return the scores of given documents, float32 [docs]: those that a search would give, 0 where no term is held.

    With `rows` a document is read where it lies, and not looked for in every list of postings: some eight times as fast for
    queries whose terms ascend and that are rounded at each addition. Other queries are scored by postings all the same.

    Args:
        postings: see `search`.
        queries: the batch.
        doc_offsets: int64 [queries + 1]; query i asks for docs[doc_offsets[i]:doc_offsets[i + 1]].
        docs: int64; ascending within a query, each once.
        threads: at most this many run at once, over queries.
        rounding: see `search`.
        rows: the same documents as the postings, row by row.

    Raises:
        UsageError: an argument is out of range or does not fit the postings.
        CorruptIndexError: the postings or rows break their layout, or do not fit each other.
    """
    once = rounding == "once"
    _check_types(postings, queries, None)
    doc_offsets, docs = np.ascontiguousarray(doc_offsets, np.int64), np.ascontiguousarray(docs, np.int64)
    if kernel_name() == "numpy":
        from tamis.kernels.numpy_backend import score_batch

        _check(postings, queries, 1, None, threads)
        _check_documents(postings, queries, doc_offsets, docs)
        postings.validate()
        return score_batch(postings, queries, doc_offsets, docs, once=once)
    index, extension = postings.native, native()
    if index is None or extension is None:
        raise AssertionError("a compiled kernel is in use but not present")
    q, scores, stored = queries, np.zeros(len(docs), np.float32), None if rows is None else rows.native
    columns = (q.offsets, q.terms, q.weights, q.rows, q.tables, q.groups)
    try:
        index.score(kernel_name(), *columns, once, threads, doc_offsets, docs, scores, stored)
    except extension.DamagedError as error:
        raise damage(error) from error
    except (ValueError, OverflowError):
        _check(postings, queries, 1, None, threads)
        _check_documents(postings, queries, doc_offsets, docs)
        raise
    return scores


def _check_types(postings: Postings, queries: Queries, mask: NDArray[np.uint8] | None) -> None:
    """What the kernel cannot see in the bytes."""
    tables = queries.tables
    if tables is not None and len(tables) and tables.shape[1] != postings.n_codes and postings.codes is not None:
        raise UsageError(f"value tables of {tables.shape[1]} values for postings of {postings.n_codes} codes")
    if mask is not None and (mask.dtype != np.uint8 or mask.ndim != 1 or not mask.flags.c_contiguous):
        raise UsageError(_wrong_mask(postings, mask))


def _check(postings: Postings, queries: Queries, k: int, mask: NDArray[np.uint8] | None, threads: int) -> None:
    """Say what is wrong with the arguments, if anything is."""
    if k < 1:
        raise UsageError(f"k = {k}: at least 1 document a query can be asked for")
    if threads < 1:
        raise UsageError(f"threads = {threads}: at least 1 is needed")
    terms = queries.terms
    if len(terms) and (terms.min() < 0 or terms.max() >= postings.n_terms):
        wrong = int(terms[(terms < 0) | (terms >= postings.n_terms)][0])
        raise UsageError(
            f"term {wrong} is not in a vocabulary of {postings.n_terms}: drop unknown terms from the queries"
        )
    if len(terms) and (queries.tables is None) != (postings.codes is None):
        raise UsageError(
            "postings with codes need queries with value tables, and postings without codes queries without"
        )
    if mask is not None and mask.shape != ((postings.n_docs + 7) // 8,):
        raise UsageError(_wrong_mask(postings, mask))


def _wrong_mask(postings: Postings, mask: NDArray[Any]) -> str:
    return (
        f"a mask of {mask.dtype} {mask.shape} for {postings.n_docs} documents: "
        f"{(postings.n_docs + 7) // 8} contiguous bytes of one bit a document are wanted"
    )


def _check_documents(
    postings: Postings, queries: Queries, doc_offsets: NDArray[np.int64], docs: NDArray[np.int64]
) -> None:
    ends = len(doc_offsets) == len(queries) + 1 and doc_offsets[0] == 0 and doc_offsets[-1] == len(docs)
    if not ends or (np.diff(doc_offsets) < 0).any():
        raise UsageError(
            f"document offsets must ascend from 0 to {len(docs)}, one more than the {len(queries)} queries"
        )
    if len(docs) and (docs.min() < 0 or docs.max() >= postings.n_docs):
        raise UsageError(f"documents outside 0 … {postings.n_docs - 1} cannot be scored")
    inside = np.ones(len(docs), np.bool_)
    inside[doc_offsets[:-1][np.diff(doc_offsets) > 0]] = False
    if (docs[1:] <= docs[:-1])[inside[1:]].any():
        raise UsageError("the documents of a query must ascend, each once")
