"""Fusion: several rankings of the same queries become one.

Methods and their sources:

- reciprocal rank fusion: Cormack, Clarke and Büttcher, SIGIR 2009, ``sum 1 / (k + rank)``, rank from 1;
- weighted sum of (normalised) scores: Fox and Shaw's CombSUM, TREC-2, with a weight a list; the normalisations are min-max
  (Lee, SIGIR 1997), z-scores (Montague and Aslam, CIKM 2001) and the range rule of Anserini's dense-sparse hybrid searcher;
- interleaving: CoRT (Wrzalik and Krechel, NAACL 2021), first list first, duplicates dropped.

The rankings must speak of one document space. Queries are aligned by id, in the order in which they are first seen; a ranking
that lacks a query counts as having found nothing for it. Everything is computed in float64 and does not depend on how the
queries are batched. Equal fused scores keep the lower row first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from tamis.errors import DataError, UnknownNameError, UsageError
from tamis.ranking import Ranking, Rows, Scores

NORMS = ("none", "minmax", "zscore", "range")
MISSING = ("zero", "min")

_BLOCK_ENTRIES = 1 << 17  # entries of a block of queries: its matrices stay in the processor's cache
_PAD = np.iinfo(np.int64).max
_Column = NDArray[np.int64]


def reciprocal_rank_fusion(rankings: Sequence[Ranking], k: float = 60) -> Ranking:
    """Fuse by rank alone: a document scores the sum of ``1 / (k + rank)`` over the lists that hold it.

    Args:
        rankings: at least one, over one document space; the rank is the position in the list, from 1.
        k: how much the first ranks are damped, at least 0.

    Raises:
        UsageError: no ranking, or `k` below 0.
        SpaceMismatchError: the rankings speak of different document spaces.
        DataError: a ranking holds a query, or a list a row, twice.
    """
    if not (isinstance(k, (int, float, np.number)) and math.isfinite(k) and k >= 0):
        raise UsageError(f"rrf: k={k!r} must be a number of at least 0")
    query_ids, aligned = _align(rankings)
    values = [1.0 / (float(k) + 1.0 + _positions(ranking).astype(np.float64)) for ranking in aligned]
    return _fuse(query_ids, aligned, values, [np.zeros(len(query_ids))] * len(aligned), np.add)


def weighted_sum(
    rankings: Sequence[Ranking], weights: Sequence[float], norm: str = "none", missing: str = "zero"
) -> Ranking:
    """Fuse by score: a document scores the weighted sum of its (normalised) scores.

    Args:
        rankings: at least one, over one document space.
        weights: one finite number a ranking.
        norm: how each list of each query is normalised before it is weighted:
            ``none``; ``minmax``: ``(s - min) / (max - min)``, 1 where all scores are equal;
            ``zscore``: ``(s - mean) / std`` with the population deviation, at least 1e-9;
            ``range``: ``(s - (min + max) / 2) / (max - min)``, so within ±0.5, and 0 where all scores are equal.
        missing: what a list gives to a document that it does not hold, after normalisation and before the weight:
            ``zero``, or ``min``: the lowest value of that list (0 where the list is empty).

    Raises:
        UsageError: no ranking, or weights that do not fit; `UnknownNameError` for an unknown `norm` or `missing`.
        SpaceMismatchError: the rankings speak of different document spaces.
        DataError: a ranking holds a query, or a list a row, twice.
    """
    if len(weights) != len(rankings):
        raise UsageError(f"weighted sum: {len(weights)} weights for {len(rankings)} rankings: give one a ranking")
    for weight in weights:
        if not math.isfinite(weight):
            raise UsageError(f"weighted sum: the weight {weight} is not a finite number")
    for kind, name, valid in (("normalisation", norm, NORMS), ("value of missing", missing, MISSING)):
        if name not in valid:
            raise UnknownNameError(kind, name, valid)
    query_ids, aligned = _align(rankings)
    values, floors = [], []
    for ranking, weight in zip(aligned, weights, strict=True):
        normal = normalise(ranking, norm)
        with np.errstate(over="ignore"):  # what overflows is refused with its sum
            values.append(weight * normal)
        lowest = np.zeros(len(query_ids))
        if missing == "min":
            filled = np.diff(ranking.offsets) > 0
            lowest[filled] = np.minimum.reduceat(normal, ranking.offsets[:-1][filled]) if filled.any() else 0.0
        floors.append(weight * lowest)
    return _fuse(query_ids, aligned, values, floors, np.add)


def interleave(rankings: Sequence[Ranking]) -> Ranking:
    """Take the lists' first documents in the order of the lists, then their second ones, …; later duplicates are dropped.

    A longer list goes on alone where the others have ended. The scores only state the order: ``1 / rank``.

    Raises:
        UsageError: no ranking.
        SpaceMismatchError: the rankings speak of different document spaces.
        DataError: a ranking holds a query, or a list a row, twice.
    """
    query_ids, aligned = _align(rankings)
    turns = [-(_positions(ranking) * len(aligned) + turn).astype(np.float64) for turn, ranking in enumerate(aligned)]
    never = np.full(len(query_ids), -np.inf)
    return _fuse(query_ids, aligned, turns, [never] * len(aligned), np.maximum, finish=_by_rank)


def normalise(ranking: Ranking, norm: str) -> Scores:
    """Return the scores of `ranking`, in storage order, normalised within each query as `weighted_sum` describes."""
    scores, lengths = ranking.scores, np.diff(ranking.offsets)
    filled = lengths > 0
    if norm == "none" or not filled.any():
        return scores
    starts, counts = ranking.offsets[:-1][filled], lengths[filled]

    def spread(per_list: Scores) -> Scores:
        return np.repeat(per_list, counts)

    if norm == "zscore":
        centred = scores - spread(np.add.reduceat(scores, starts) / counts)
        deviation = np.sqrt(np.add.reduceat(centred * centred, starts) / counts)
        return centred / spread(np.maximum(deviation, 1e-9))
    low, high = np.minimum.reduceat(scores, starts), np.maximum.reduceat(scores, starts)
    width = high - low
    constant, width = width == 0, np.where(width == 0, 1.0, width)
    if norm == "minmax":
        return np.where(spread(constant), 1.0, (scores - spread(low)) / spread(width))
    return np.where(spread(constant), 0.0, (scores - spread((low + high) / 2)) / spread(width))


def _positions(ranking: Ranking) -> _Column:
    """Return each entry's place in its list, from 0."""
    return np.arange(len(ranking.rows)) - np.repeat(ranking.offsets[:-1], np.diff(ranking.offsets))


def _align(rankings: Sequence[Ranking]) -> tuple[tuple[str, ...], list[Ranking]]:
    """Return the union of the query ids and every ranking over exactly these queries."""
    if not rankings:
        raise UsageError("fusion: no ranking given: at least one is needed")
    for ranking in rankings:
        ranking.require_space(rankings[0].space)
        if len(set(ranking.query_ids)) != len(ranking.query_ids):
            seen: set[str] = set()
            twice = next(q for q in ranking.query_ids if q in seen or seen.add(q))  # type: ignore[func-returns-value]
            raise DataError(f"fusion: a ranking holds query {twice!r} twice: query ids must be unique")
    query_ids = tuple(dict.fromkeys(q for ranking in rankings for q in ranking.query_ids))
    return query_ids, [ranking if ranking.query_ids == query_ids else _over(query_ids, ranking) for ranking in rankings]


def _over(query_ids: tuple[str, ...], ranking: Ranking) -> Ranking:
    place = {query_id: position for position, query_id in enumerate(ranking.query_ids)}
    nothing: tuple[Rows, Scores] = (np.zeros(0, np.int64), np.zeros(0))
    lists = [ranking.at(place[q]) if q in place else nothing for q in query_ids]
    partial = [q in place and bool(ranking.partial[place[q]]) for q in query_ids]
    return Ranking.from_lists(ranking.space, query_ids, lists, partial=partial)


@dataclass(frozen=True, slots=True)
class _Merged:
    """The distinct rows of a block of queries, as a matrix with one line a query.

    Attributes:
        rows: shape (queries, width), ascending in each line, padded at the end.
        counts: distinct rows a query.
        slots: for each list, the flat position in `rows` of each of its entries.
        lengths: for each list, its entries a query.
    """

    rows: Rows
    counts: _Column
    slots: list[_Column]
    lengths: list[_Column]


def _blocks(aligned: Sequence[Ranking]) -> Iterator[slice]:
    queries = len(aligned[0])
    widest = sum(int(np.diff(ranking.offsets).max(initial=0)) for ranking in aligned)
    size = max(1, _BLOCK_ENTRIES // max(1, widest))
    for start in range(0, queries, size):
        yield slice(start, min(start + size, queries))


def _merge(aligned: Sequence[Ranking], block: slice) -> _Merged:
    """Find the distinct rows of each query of a block, and where each list's entries went."""
    queries = block.stop - block.start
    lengths = [np.diff(ranking.offsets[block.start : block.stop + 1]) for ranking in aligned]
    widths = [int(length.max(initial=0)) for length in lengths]
    width = sum(widths)
    table = np.full((queries, width), _PAD)
    cells, left = [], 0
    for ranking, length, room in zip(aligned, lengths, widths, strict=True):
        entries = slice(ranking.offsets[block.start], ranking.offsets[block.stop])
        line = np.repeat(np.arange(queries), length)
        offset = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
        cell = line * width + left + offset
        table.ravel()[cell] = ranking.rows[entries]
        cells.append(cell)
        left += room
    order = np.argsort(table, axis=1)
    ascending = np.take_along_axis(table, order, axis=1)
    distinct = np.zeros((queries, width), np.int64)
    np.cumsum(ascending[:, 1:] != ascending[:, :-1], axis=1, out=distinct[:, 1:])
    base = np.arange(queries)[:, None] * width
    slot = np.empty(queries * width, np.int64)
    slot[(order + base).ravel()] = (distinct + base).ravel()
    rows = np.full((queries, width), _PAD)
    rows.ravel()[slot] = table.ravel()
    counts = (rows != _PAD).sum(axis=1)
    return _Merged(rows, counts, [slot[cell] for cell in cells], lengths)


def _stable_order(keys: Scores) -> _Column:
    """Sort each line ascending, equal keys by position: a stable argsort, made of two sorts that numpy vectorises."""
    order = np.argsort(keys, axis=1)
    ordered = np.take_along_axis(keys, order, axis=1)
    rises = ordered[:, 1:] != ordered[:, :-1]
    if rises.all():
        return order
    width = keys.shape[1]
    order[:, 1:] += np.cumsum(rises, axis=1) * width
    order.sort(axis=1)
    order %= width
    return order


def _by_rank(scores: Scores, counts: _Column) -> Scores:
    """Return ``1 / rank`` for lists of `counts` entries, which stand one after another."""
    places = np.arange(len(scores)) - np.repeat(np.cumsum(counts) - counts, counts)
    return 1.0 / (1.0 + places.astype(np.float64))


def _fuse(
    query_ids: tuple[str, ...],
    aligned: Sequence[Ranking],
    values: Sequence[Scores],
    floors: Sequence[Scores],
    combine: Callable[..., Scores],
    *,
    finish: Callable[[Scores, _Column], Scores] | None = None,
) -> Ranking:
    """Combine per-document values list by list, and sort by the tie rule.

    Args:
        query_ids: the queries of every ranking in `aligned`.
        aligned: the lists.
        values: for each list, what each entry is worth.
        floors: for each list, what it gives, a query, to documents that it does not hold.
        combine: how two lists' worths join, `np.add` or `np.maximum`; applied in list order, so that sums are reproducible.
        finish: makes the final scores out of the sorted ones and the lists' lengths.
    """
    rows: list[Rows] = []
    scores: list[Scores] = []
    counts: list[_Column] = []
    for block in _blocks(aligned):
        merged = _merge(aligned, block)
        columns = (
            _column(query_ids, ranking, block, merged, number, values[number], floors[number])
            for number, ranking in enumerate(aligned)
        )
        with np.errstate(over="ignore", invalid="ignore"):
            table = reduce(combine, columns).reshape(merged.rows.shape)
        if np.isnan(table).any():
            raise DataError("fusion: weighted scores are too large to be added: use smaller weights, or a norm")
        order = _stable_order(np.where(merged.rows == _PAD, np.inf, -table))  # lines ascend by row: the tie rule
        kept = np.arange(merged.rows.shape[1]) < merged.counts[:, None]
        rows.append(np.take_along_axis(merged.rows, order, axis=1)[kept])
        scores.append(np.take_along_axis(table, order, axis=1)[kept])
        counts.append(merged.counts)
    lengths = np.concatenate([np.zeros(0, np.int64), *counts])
    joined = np.concatenate([np.zeros(0), *scores])
    return Ranking(
        aligned[0].space,
        query_ids,
        np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        np.concatenate([np.zeros(0, np.int64), *rows]),
        finish(joined, lengths) if finish else joined,
        np.logical_or.reduce([ranking.partial for ranking in aligned]),
    )


def _column(
    query_ids: tuple[str, ...],
    ranking: Ranking,
    block: slice,
    merged: _Merged,
    number: int,
    values: Scores,
    floors: Scores,
) -> Scores:
    """Return what list `number` gives to every distinct row of a block, flat, and refuse a list that holds a row twice."""
    shape, slots = merged.rows.shape, merged.slots[number]
    column = np.repeat(floors[block], shape[1])
    column[slots] = values[ranking.offsets[block.start] : ranking.offsets[block.stop]]
    held = np.zeros(column.size, np.bool_)
    held[slots] = True
    wrong = np.flatnonzero(held.reshape(shape).sum(axis=1) != merged.lengths[number])
    if len(wrong):
        position = block.start + int(wrong[0])
        rows, times = np.unique(ranking.at(position)[0], return_counts=True)
        twice = ranking.space.ids(rows[times > 1][:1])[0]
        raise DataError(
            f"fusion: query {query_ids[position]!r} lists document {twice!r} more than once: a list may hold a document once"
        )
    return column
