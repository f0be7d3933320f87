"""Exact inner-product search over dense vectors, by scanning all of them or short codes of them first.

The vectors lie in one array a segment, typically memory-mapped: float32, float16, or bfloat16 held as uint16. A *position*
counts rows through the arrays in order. A score is a float32 defined to the bit (native/dense.h), so one query and a batch, one
thread and several, every kernel and every division into arrays give the same bytes. Hits descend by score; equal scores, lower
position first.

    hits = search_flat([vectors], queries, k=10)
    hits = search_codes([vectors], [codes], queries, k=10)

Batches go through BLAS, whose sums are rounded in another order: all rows that a rigorous bound of that difference leaves in
doubt are scored again in the defined way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tamis.errors import DataError, UsageError
from tamis.kernels import numpy_dense
from tamis.kernels.backend import kernel_name, native
from tamis.kernels.codes import MAX_DIMENSIONS, CodeKind, Codes, QueryCodes, widen
from tamis.kernels.searching import Hits

Masks = Sequence["NDArray[np.uint8] | None"]

BATCH = 6
"""From this many queries on, all go through BLAS; an estimate, which changes time and not results."""

OVERSAMPLE: dict[CodeKind, tuple[int, int]] = {"bf16": (2, 20), "int8": (3, 30), "bit": (40, 400)}
"""Candidates of the first pass for each kind: k times the first number, and at least the second (benchmarks/dense.py)."""

_STORES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1, np.dtype(np.uint16): 2}
_CODES = {"bf16": 2, "int8": 3, "bit": 4}
_TILE, _QUERIES = 16_384, 64
_SMALLEST_SHARE = 1 << 16  # rows that are worth a thread


class _Scan(NamedTuple):
    """What one query scans in one array: the arguments of the kernel from `kind` to `correction`."""

    kind: int
    dim: int
    rows: NDArray[Any]
    factors: NDArray[np.float32] | None
    values: NDArray[Any]
    scale: float
    base: float
    correction: int


class Candidates(NamedTuple):
    """Positions and scores of one query."""

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]


def search_flat(
    vectors: Sequence[NDArray[Any]],
    queries: NDArray[np.float32],
    k: int,
    *,
    mask: Masks | None = None,
    threads: int = 1,
) -> Hits:
    """Return the k rows of highest inner product with each query.

    Args:
        vectors: [n, dim] each; see the module. Normalise both sides for cosine.
        queries: float32 [queries, dim].
        k: how many, at least 1; fewer are returned only where fewer rows are allowed.
        mask: for each array None, or the rows allowed, one bit each (``numpy.packbits(allowed, bitorder="little")``).
        threads: at most this many run at once. The GIL is released.

    Raises:
        UsageError: an argument is out of range or does not fit the others.
        DataError: a query, or the score of an allowed row, is no finite number.
    """
    queries, masks = check_arguments(vectors, queries, k, mask, threads)
    if len(queries) >= BATCH:
        found = _search_batch(vectors, queries, k, masks, threads)
        if found is not None:
            return Hits.of(found)
    with _workers(threads) as pool:
        return Hits.of([_search_one(vectors, query, k, masks, threads, pool) for query in queries])


def search_codes(
    vectors: Sequence[NDArray[Any]],
    codes: Sequence[Codes],
    queries: NDArray[np.float32],
    k: int,
    *,
    oversample: int | None = None,
    mask: Masks | None = None,
    threads: int = 1,
) -> Hits:
    """Find candidates by their codes and return the k best of them by the exact score.

    The order and the scores are exact; a row that is not among the candidates is missed.

    Args:
        vectors: [n, dim] each, as in `search_flat`.
        codes: the codes of each array, all of one kind.
        queries: float32 [queries, dim].
        k: how many, at least 1.
        oversample: candidates for each of the k hits; None: the measured default of the kind. Where no more rows are
            allowed than there would be candidates, all of these are scored, and the result is exact.
        mask: the rows allowed in each array, as in `search_flat`.
        threads: at most this many run at once.

    Raises:
        UsageError: `codes` does not fit `vectors`, `oversample` is below 1, or as for `search_flat`.
        DataError: as for `search_flat`.
    """
    queries, masks = check_arguments(vectors, queries, k, mask, threads)
    _check_codes(vectors, codes, oversample)
    wanted = (
        k * oversample
        if oversample
        else max((max(k * a, b) for a, b in (OVERSAMPLE[c.kind] for c in codes)), default=k)
    )
    allowed = sum(count_allowed(array, m) for array, m in zip(vectors, masks, strict=True))
    if allowed <= wanted:
        return search_flat(vectors, queries, k, mask=mask, threads=threads)
    starts = _starts(vectors)
    found = []
    with _workers(threads) as pool:
        for query in queries:
            scans = [_of_codes(part, part.of_query(query)) for part in codes]
            candidates = _scan_all(scans, starts, masks, wanted, threads, pool).positions
            found.append(rank(candidates, score_rows(vectors, query, candidates), k))
    return Hits.of(found)


def score_rows(
    vectors: Sequence[NDArray[Any]], query: NDArray[np.float32], positions: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The exact scores of given positions for one query, float32 [dim].

    Raises:
        UsageError: a position is out of range, or the query has other dimensions.
        DataError: a score is no finite number.
    """
    if any(query.shape != array.shape[1:] or query.dtype != np.float32 for array in vectors):
        raise UsageError(
            f"a query of {query.dtype} {query.shape} for vectors of {[a.shape[1] for a in vectors]} dimensions"
        )
    positions = np.ascontiguousarray(positions, np.int64)
    starts = _starts(vectors)
    if len(positions) and (positions.min() < 0 or positions.max() >= starts[-1]):
        wrong = int(positions[(positions < 0) | (positions >= starts[-1])][0])
        raise UsageError(f"row {wrong} is not among {starts[-1]} vectors")
    if len(vectors) == 1:  # a single query through a fast index waits for this
        scores = np.frombuffer(_call("dense_scores", *_of_vectors(vectors[0], query), positions), np.float32)
    else:
        scores = _score_apart(vectors, query, positions, starts)
    if not np.isfinite(scores).all():
        raise _not_finite(int(positions[~np.isfinite(scores)][0]))
    return scores


def _score_apart(
    vectors: Sequence[NDArray[Any]],
    query: NDArray[np.float32],
    positions: NDArray[np.int64],
    starts: NDArray[np.int64],
) -> NDArray[np.float32]:
    scores = np.empty(len(positions), np.float32)
    owners = np.searchsorted(starts, positions, "right") - 1
    for i, array in enumerate(vectors):
        mine = np.flatnonzero(owners == i)
        if not len(mine):
            continue
        scores[mine] = np.frombuffer(
            _call("dense_scores", *_of_vectors(array, query), positions[mine] - starts[i]), np.float32
        )
    return scores


# ---- one query ----------------------------------------------------------------------------------------------------------


def _of_vectors(array: NDArray[Any], query: NDArray[np.float32]) -> _Scan:
    return _Scan(_STORES[array.dtype], array.shape[1], array, None, query, 1.0, 0.0, 0)


def _of_codes(codes: Codes, query: QueryCodes) -> _Scan:
    return _Scan(_CODES[codes.kind], codes.dim, codes.rows, codes.factors, *query)


def _call(name: str, *arguments: Any) -> Any:
    """Call the compiled function, or NumPy's of the same name."""
    kernel = kernel_name()
    extension = None if kernel == "numpy" else native()
    if extension is None:
        return getattr(numpy_dense, name)(*arguments)
    return getattr(extension, name)(kernel, *arguments)


def _search_one(
    vectors: Sequence[NDArray[Any]],
    query: NDArray[np.float32],
    k: int,
    masks: Masks,
    threads: int,
    pool: ThreadPoolExecutor | None,
) -> Candidates:
    return _scan_all([_of_vectors(array, query) for array in vectors], _starts(vectors), masks, k, threads, pool)


def _scan_all(
    scans: Sequence[_Scan],
    starts: NDArray[np.int64],
    masks: Masks,
    k: int,
    threads: int,
    pool: ThreadPoolExecutor | None,
) -> Candidates:
    """The k best rows of all arrays for one query."""
    share = (
        max(_SMALLEST_SHARE, -(-int(starts[-1]) // threads + 63) // 64 * 64) if threads > 1 else int(starts[-1]) or 1
    )
    tasks: list[tuple[int, int, int]] = []
    for i, scan in enumerate(scans):
        n = len(scan.rows)
        tasks += [(i, first, min(first + share, n)) for first in range(0, n, share)]

    def work(task: tuple[int, int, int]) -> Candidates:
        i, first, last = task
        rows, scores, bad = _call("dense_scan", *scans[i], masks[i], first, last, min(k, last - first))
        if bad >= 0:
            raise _not_finite(int(starts[i]) + bad)
        return Candidates(np.frombuffer(rows, np.int64) + starts[i], np.frombuffer(scores, np.float32))

    run: Callable[..., Any] = map if pool is None else pool.map
    parts: list[Candidates] = list(run(work, tasks))
    if len(parts) == 1:
        return parts[0]
    return rank(*join(parts), k)


def join(lists: Sequence[Candidates]) -> Candidates:
    """Put lists behind each other."""
    return Candidates(
        np.concatenate([np.zeros(0, np.int64), *(one.positions for one in lists)]),
        np.concatenate([np.zeros(0, np.float32), *(one.scores for one in lists)]),
    )


def _workers(threads: int) -> AbstractContextManager[ThreadPoolExecutor | None]:
    return ThreadPoolExecutor(threads) if threads > 1 else nullcontext()


def rank(positions: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Candidates:
    """Return the first k by the tie rule."""
    if k < len(scores):
        kth = -np.partition(-scores, k - 1)[k - 1]
        kept = scores >= kth
        positions, scores = positions[kept], scores[kept]
    order = np.lexsort((positions, -scores))[:k]
    return Candidates(positions[order], scores[order])


# ---- batches ------------------------------------------------------------------------------------------------------------


def _search_batch(
    vectors: Sequence[NDArray[Any]], queries: NDArray[np.float32], k: int, masks: Masks, threads: int
) -> list[Candidates] | None:
    """All queries through BLAS; None where its rounding cannot be bounded (values that overflow, or are not finite)."""
    found: list[Candidates] = []
    with _blas(threads):
        for first in range(0, len(queries), _QUERIES):
            block = _Block(queries[first : first + _QUERIES], k)
            for start, array, mask in zip(_starts(vectors), vectors, masks, strict=False):
                for numbers, rows in _tiles(array, mask):
                    if not block.add(start + numbers, rows):
                        return None
            found += block.finish(vectors)
    return found


def _tiles(array: NDArray[Any], mask: NDArray[np.uint8] | None) -> Any:
    """Yield (numbers, float32 rows) of the allowed rows, copied together where there is a mask."""
    if mask is None:
        for first in range(0, len(array), _TILE):
            part = array[first : first + _TILE]
            yield np.arange(first, first + len(part)), widen(part)
        return
    allowed = np.flatnonzero(np.unpackbits(mask, count=len(array), bitorder="little"))
    for first in range(0, len(allowed), _TILE):
        numbers = allowed[first : first + _TILE]
        yield numbers, widen(array[numbers])


class _Block:
    """Candidates of some queries, gathered tile by tile.

    The score by BLAS and the defined one differ by at most 2 g |q| |v|, with g = d u / (1 - d u) and u = 2^-24: each errs by g
    times the sum of the products' sizes, at most |q| |v| (Higham, Accuracy and Stability, 2002, section 3.1). A row may therefore
    be among the k best only if BLAS scores it above the k-th best that BLAS saw, less twice that.
    """

    def __init__(self, queries: NDArray[np.float32], k: int) -> None:
        self.queries, self.k = queries, k
        self.lengths = np.sqrt(np.einsum("ij,ij->i", queries, queries, dtype=np.float64))
        unit = queries.shape[1] * 2.0**-24
        self.error = 4 * unit / (1 - unit) * self.lengths
        self.longest = 0.0
        self.kth = np.full(len(queries), -np.inf)
        self.lists: list[list[Candidates]] = [[] for _ in queries]
        self.sizes = np.zeros(len(queries), np.int64)

    @property
    def lowest(self) -> NDArray[np.float64]:
        """The score by BLAS below which a row is out."""
        lowest: NDArray[np.float64] = self.kth - self.error * self.longest - 1e-37
        return lowest

    def add(self, positions: NDArray[np.int64], rows: NDArray[np.float32]) -> bool:
        """Look at a tile: false if its scores cannot be trusted."""
        if not len(rows):
            return True
        with np.errstate(over="ignore", invalid="ignore"):
            length = float(np.sqrt(np.einsum("ij,ij->i", rows, rows).max()))
            if not length * self.lengths.max() < 1e37:  # NaN too
                return False
            self.longest = max(self.longest, length)
            scores = self.queries @ rows.T
        if (
            np.isneginf(self.kth[0]) and len(rows) >= self.k
        ):  # a first bound from some rows, so that not all are candidates
            some = scores[:, : max(self.k, 1024)]
            self.kth = -np.partition(-some, self.k - 1, axis=1)[:, self.k - 1].astype(np.float64)
        above = scores >= np.nextafter(self.lowest.astype(np.float32), np.float32(-np.inf))[:, None]
        owners, places = np.divmod(np.flatnonzero(above), len(rows))
        bounds = np.searchsorted(owners, np.arange(len(self.queries) + 1))
        for i in np.flatnonzero(np.diff(bounds)).tolist():
            mine = places[bounds[i] : bounds[i + 1]]
            self.lists[i].append(Candidates(positions[mine], scores[i, mine]))
            self.sizes[i] += len(mine)
            if self.sizes[i] >= 2 * self.k:
                self._cut(i)
        return True

    def _cut(self, i: int) -> None:
        """Drop what cannot be among the k best any more."""
        positions, scores = join(self.lists[i])
        if len(scores) >= self.k:
            self.kth[i] = -np.partition(-scores, self.k - 1)[self.k - 1]
        kept = scores >= self.lowest[i]
        self.lists[i] = [Candidates(positions[kept], scores[kept])]
        self.sizes[i] = int(kept.sum())

    def finish(self, vectors: Sequence[NDArray[Any]]) -> list[Candidates]:
        """Score the candidates exactly."""
        found = []
        for i, query in enumerate(self.queries):
            if self.lists[i]:
                self._cut(i)
            positions = self.lists[i][0].positions if self.lists[i] else np.zeros(0, np.int64)
            found.append(rank(positions, score_rows(vectors, query, positions), self.k))
        return found


@cache
def _controller() -> Any:
    try:
        from threadpoolctl import ThreadpoolController
    except ModuleNotFoundError:  # it comes with scikit-learn, which not every installation holds
        return None
    return ThreadpoolController()


def _blas(threads: int) -> AbstractContextManager[Any]:
    """Keep BLAS to `threads` threads, where threadpoolctl is installed."""
    controller = _controller()
    return nullcontext() if controller is None else controller.limit(limits=threads, user_api="blas")


# ---- arguments and results ----------------------------------------------------------------------------------------------


def _starts(vectors: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    return np.array([*accumulate((len(array) for array in vectors), initial=0)], np.int64)


def count_allowed(array: NDArray[Any], mask: NDArray[np.uint8] | None) -> int:
    """How many rows are allowed; bits past the last row do not count."""
    if mask is None:
        return len(array)
    whole, rest = divmod(len(array), 8)
    return int(np.bitwise_count(mask[:whole]).sum()) + (int(mask[whole] & (1 << rest) - 1).bit_count() if rest else 0)


def _not_finite(position: int) -> DataError:
    return DataError(
        f"the score of vector {position} is no finite number: the vectors hold NaN, infinite or huge values; encode again"
    )


def check_finite(rows: NDArray[Any], first: int = 0) -> None:
    """Check that vectors are finite numbers.

    Args:
        rows: [n, dim], of a type that a store may have.
        first: the position of the first row, for the message.

    Raises:
        DataError: one is not.
    """
    good = np.isfinite(widen(rows)).all(axis=1)
    if not good.all():
        raise DataError(f"vector {first + int(np.argmin(good))} holds NaN or infinite values: encode it again")


def check_arguments(
    vectors: Sequence[NDArray[Any]], queries: NDArray[np.float32], k: int, mask: Masks | None, threads: int
) -> tuple[NDArray[np.float32], Masks]:
    """Check what a search is given, as `search_flat` says; return contiguous queries and one mask or None an array."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise UsageError(f"k={k!r}: the number of results must be a whole number of at least 1")
    if threads < 1:
        raise UsageError(f"threads={threads}: at least 1 is needed")
    if queries.ndim != 2 or queries.dtype != np.float32:
        raise UsageError(
            f"queries of {queries.dtype} {queries.shape}: float32 of shape (queries, dimensions) is wanted"
        )
    dim = queries.shape[1]
    if not 1 <= dim <= MAX_DIMENSIONS:
        raise UsageError(f"queries of {dim} dimensions: 1 to {MAX_DIMENSIONS:,} are searched")
    if not np.isfinite(queries).all():
        wrong = int(np.argmin(np.isfinite(queries).all(axis=1)))
        raise DataError(f"query vector {wrong} holds NaN or infinite values: encode it again")
    for i, array in enumerate(vectors):
        widen(array[:0])  # refuses other types, and another byte order
        if (
            array.ndim != 2
            or array.shape[1] != dim
            or not (array.flags.c_contiguous and array.flags.aligned)
            or len(array) > 2**32 - 1
        ):
            raise UsageError(
                f"vectors {i} of shape {array.shape}: up to 2^32 - 1 contiguous, aligned rows of "
                f"the queries' {dim} dimensions are wanted"
            )
    masks = mask if mask is not None else [None] * len(vectors)
    if len(masks) != len(vectors):
        raise UsageError(
            f"{len(masks)} masks for {len(vectors)} arrays of vectors: one each is wanted (None allows all)"
        )
    for array, one in zip(vectors, masks, strict=True):
        size = (len(array) + 7) // 8
        if one is not None and (one.dtype != np.uint8 or one.shape != (size,) or not one.flags.c_contiguous):
            raise UsageError(
                f"a mask of {one.dtype} {one.shape} for {len(array)} vectors: {size} contiguous bytes of one bit a row are wanted"
            )
    return np.ascontiguousarray(queries), masks


def _check_codes(vectors: Sequence[NDArray[Any]], codes: Sequence[Codes], oversample: int | None) -> None:
    if oversample is not None and oversample < 1:
        raise UsageError(f"oversample={oversample}: at least 1 candidate a hit is needed")
    shapes, wanted = [(len(c), c.dim) for c in codes], [array.shape for array in vectors]
    if shapes != wanted:
        raise UsageError(f"codes of {shapes} (rows, dimensions) do not fit vectors of {wanted}: build them again")
    if len({c.kind for c in codes}) > 1:
        raise UsageError("codes of several kinds: their scores cannot be compared; build all with one kind")
