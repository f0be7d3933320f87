"""Approximate search through faiss: any index that a factory string describes, over the vectors of a store.

    build_ann(vectors, folder / "ann.faiss", factory="HNSW32")
    ann = Ann([open_ann(folder / "ann.faiss")], [vectors])
    hits = ann.search(queries, k=10, ef=128)

The similarity is the inner product; for cosine the vectors and queries are normalised before. Numbers in a faiss file are row
numbers of its array. Candidates are scored again with the stored vectors, so that scores mean the same as in exact search.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import CorruptIndexError, DataError, MissingResourceError, UsageError
from tamis.files import atomic_write
from tamis.indexer.dense.gpu import on_gpu
from tamis.indexer.dense.recall import Recall, perturbed_queries, recall_of
from tamis.kernels.codes import widen
from tamis.kernels.dense import (
    Candidates,
    Masks,
    check_arguments,
    check_finite,
    count_allowed,
    join,
    rank,
    score_rows,
    search_flat,
)
from tamis.kernels.searching import Hits

SELECTIVITY = 0.15
"""Below this share of allowed rows they are scanned exactly. Measured on 33,292 sentences (benchmarks/dense.py): at 0.1 HNSW
still finds 0.97 of the top 10 but 0.71 of the top 100, and at 0.01 the scan is four times as fast as the graph."""

SEED = 20_240_528
_ROWS = 65_536
_SAMPLES_A_LIST = 64  # faiss asks for at least 39 and uses at most 256
_REMEMBERED = 256  # sets of search parameters
_EF, _PROBED = 128, 16  # default efSearch, and one list in so many


_NOTHING = Candidates(np.zeros(0, np.int64), np.zeros(0, np.float32))


@cache
def _faiss() -> Any:
    """The library, loaded when first needed; untyped, since its stubs leave out what Python adds to it."""
    from importlib import import_module

    return import_module("faiss")


def choose_factory(n: int, dim: int) -> str:
    """The factory string for `n` vectors when none is given: the most exact kind that is affordable at that size.

    HNSW up to a million; then inverted lists of 8-bit components (a quarter of the bytes); from 20 million on inverted lists
    of product codes after a rotation (about dim / 4 bytes a vector).
    """
    if n <= 1_000_000:
        return "HNSW32"
    lists = 1 << round(np.log2(4 * np.sqrt(n)))
    if n <= 20_000_000 or dim % 4:
        return f"IVF{lists},SQ8"
    return f"OPQ{dim // 4},IVF{lists},PQ{dim // 4}"


def make_index(factory: str, dim: int) -> Any:
    """Make the empty faiss index that a factory string describes.

    Raises:
        UsageError: faiss cannot read the string, or it does not fit the dimensions.
    """
    faiss = _faiss()

    try:
        return faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"{factory!r} is no faiss index of {dim} dimensions: {_reason(error)}; examples: HNSW32, IVF1024,Flat, IVF1024,SQ8, "
            f"OPQ32,IVF1024,PQ32 (the number after PQ must divide the dimensions)"
        ) from error


def build_ann(
    vectors: NDArray[Any],
    path: Path | str,
    *,
    factory: str | None = None,
    ef_construction: int = 80,
    seed: int = SEED,
    queries: NDArray[np.float32] | None = None,
    sample: int = 200,
    threads: int = 1,
) -> tuple[str, Recall]:
    """Build a faiss index of a store's vectors and save it; return its factory string and its recall against exact search.

    Vectors are added in batches, so that beside the index itself memory does not grow with the store.

    Args:
        vectors: [n, dim], float32, float16, or bfloat16 held as uint16; typically memory-mapped.
        path: the file to write.
        factory: a faiss factory string; None: `choose_factory`.
        ef_construction: candidates while an HNSW graph is built.
        seed: of the training sample and the queries.
        queries: float32 [queries, dim] to measure with; None: perturbed vectors of the store, which are easier than real
            queries where these differ in kind from documents.
        sample: how many queries are used.
        threads: of faiss.

    Raises:
        UsageError: the factory string is wrong, or asks for more training data than there are vectors.
        DataError: a vector is not finite, or there are none.
        StorageError: the disk is full or refuses the write.
    """
    faiss = _faiss()

    if vectors.ndim != 2 or not len(vectors):
        raise DataError(f"vectors of shape {vectors.shape}: an index needs at least one vector")
    n, dim = vectors.shape
    chosen = factory or choose_factory(n, dim)
    index = make_index(chosen, dim)
    previous = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        graph = _inner(index)
        if hasattr(graph, "hnsw"):
            graph.hnsw.efConstruction = ef_construction
        _train(index, chosen, vectors, seed)
        for first in range(0, n, _ROWS):
            part = vectors[first : first + _ROWS]
            check_finite(part, first)
            index.add(np.ascontiguousarray(widen(part)))
        with atomic_write(path) as handle:
            faiss.write_index(index, faiss.PyCallbackIOWriter(handle.write))
    finally:
        faiss.omp_set_num_threads(previous)
    asked = perturbed_queries(vectors, sample, seed) if queries is None else queries[:sample]
    ann = Ann([index], [vectors])
    return chosen, recall_of(lambda q, k: ann.search(q, k, threads=threads), [vectors], asked, threads=threads)


def _train(index: Any, factory: str, vectors: NDArray[Any], seed: int) -> None:
    """Train on a sample, in row order so that a mapped file is read once through."""
    if index.is_trained:
        return
    inner = _inner(index)
    lists = int(getattr(inner, "nlist", 0))
    if lists > len(vectors):
        raise UsageError(
            f"{factory}: {lists} lists for {len(vectors)} vectors; ask for at most a thirtieth as many lists"
        )
    wanted = min(len(vectors), max(_SAMPLES_A_LIST * lists, _ROWS))
    rows = np.sort(np.random.default_rng(seed).choice(len(vectors), wanted, replace=False))
    sample = np.ascontiguousarray(widen(vectors[rows]))
    check_finite(sample)
    try:
        index.train(sample)
    except RuntimeError as error:
        raise UsageError(
            f"{factory} cannot be trained on {wanted} vectors: {_reason(error)}; choose a smaller index"
        ) from error


def open_ann(path: Path | str) -> Any:
    """Open a saved faiss index, memory-mapped where its kind allows.

    Raises:
        MissingResourceError: the file is not there.
        CorruptIndexError: faiss cannot read it.
    """
    faiss = _faiss()

    if not Path(path).exists():
        raise MissingResourceError(f"{path} is missing: build the faiss index again")
    mapped = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
    try:
        try:
            return faiss.read_index(str(path), mapped | getattr(faiss, "IO_FLAG_MMAP_IFC", 0))
        except RuntimeError:
            return faiss.read_index(str(path))
    except RuntimeError as error:
        raise CorruptIndexError(f"{path} cannot be read: {_reason(error)}; build the faiss index again") from error


class Ann:
    """faiss indexes and the arrays of vectors they were built from, one of each a segment.

    Args:
        indexes: of faiss.
        vectors: [rows, dimensions] each.
        device: the GPU that a copy of each goes to and is searched on, unless only some rows may be found; None: the
            processor.

    Raises:
        CorruptIndexError: an index does not hold as many vectors, or not of as many dimensions, as its array.
        UsageError: the kind of index cannot be searched on a GPU.
        PrerequisiteError: there is no such GPU, or no faiss for it.
    """

    def __init__(self, indexes: Sequence[Any], vectors: Sequence[NDArray[Any]], device: str | None = None) -> None:
        found, wanted = [(index.ntotal, index.d) for index in indexes], [array.shape for array in vectors]
        if found != wanted:
            raise CorruptIndexError(
                f"faiss indexes of {found} (vectors, dimensions) for arrays of {wanted}: build them again"
            )
        self.indexes, self.vectors = indexes, vectors
        self._whole = indexes if device is None else [on_gpu(index, device) for index in indexes]
        self.starts = np.concatenate([[0], np.cumsum([len(array) for array in vectors], dtype=np.int64)])
        self._plain: dict[tuple[int, int | None, int | None, int], Any] = {}

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        ef: int | None = None,
        nprobe: int | None = None,
        oversample: int = 1,
        rescore: bool = True,
        mask: Masks | None = None,
        selectivity: float = SELECTIVITY,
        threads: int = 1,
    ) -> Hits:
        """Return about the k best rows of each query: always k of them if as many are allowed.

        Args:
            queries: float32 [queries, dim].
            k: how many, at least 1.
            ef: candidates that HNSW keeps; None: 128 or twice those asked of it, the larger.
            nprobe: inverted lists that are read; None: a sixteenth of them, at least 8.
            oversample: candidates for each of the k hits; more help where the index stores short codes.
            rescore: score the candidates with the stored vectors; otherwise scores and order are faiss's.
            mask: for each array None, or the rows allowed, as in `tamis.kernels.dense.search_flat`.
            selectivity: an array of which a smaller share is allowed is scanned exactly.
            threads: at most this many run at once; faiss's are set for this process.

        Raises:
            UsageError: an argument is out of range or does not fit.
            DataError: a query is not finite.
        """
        faiss = _faiss()

        queries, masks = check_arguments(self.vectors, queries, k, mask, threads)
        for name, value in (("ef", ef), ("nprobe", nprobe), ("oversample", oversample)):
            if value is not None and value < 1:
                raise UsageError(f"{name}={value}: at least 1 is needed")
        if faiss.omp_get_max_threads() != threads:
            faiss.omp_set_num_threads(threads)
        parts = [[_NOTHING] * len(self.vectors) for _ in queries]
        for i, (index, array, one) in enumerate(zip(self.indexes, self.vectors, masks, strict=True)):
            allowed = count_allowed(array, one)
            wanted = min(k * oversample, allowed)
            if not wanted:
                continue
            short = np.arange(len(queries))
            if one is None or allowed >= selectivity * len(array):
                if one is None:
                    index, parameters = self._whole[i], self._parameters(i, ef, nprobe, wanted)
                else:
                    parameters = _parameters(index, faiss.IDSelectorBitmap(one), ef, nprobe, wanted)
                scores, numbers = index.search(queries, wanted, params=parameters)
                missing = numbers.size and numbers.min() < 0
                short = np.flatnonzero((numbers < 0).any(axis=1)) if missing else _NOTHING.positions
                start = self.starts[i]
                for number in range(len(queries)):
                    parts[number][i] = Candidates(numbers[number] + start if start else numbers[number], scores[number])
            if len(short):
                exact = search_flat([array], queries[short], min(k, allowed), mask=[one], threads=threads)
                for at, number in enumerate(short.tolist()):
                    parts[number][i] = Candidates(exact[at][0] + self.starts[i], exact[at][1])
        lists = []
        for query, mine in zip(queries, parts, strict=True):
            one_list = mine[0] if len(mine) == 1 else join(mine)
            values = score_rows(self.vectors, query, one_list.positions) if rescore else one_list.scores
            lists.append(rank(one_list.positions, values, k))
        return Hits.of(lists)

    def _parameters(self, number: int, ef: int | None, nprobe: int | None, wanted: int) -> Any:
        """Search parameters without a mask, made once: making them takes as long as a fast search."""
        key = (number, ef, nprobe, wanted)
        found = self._plain.get(key)
        if found is None:
            if len(self._plain) >= _REMEMBERED:
                self._plain.clear()
            found = self._plain[key] = _parameters(self.indexes[number], None, ef, nprobe, wanted)
        return found


def _inner(index: Any) -> Any:
    """The graph or lists inside an index's wrappers (rotations, refinement, id maps)."""
    faiss = _faiss()

    index = faiss.downcast_index(index)
    for name in ("base_index", "index"):
        if isinstance(index, (faiss.IndexPreTransform, faiss.IndexRefine, faiss.IndexIDMap)) and hasattr(index, name):
            return _inner(getattr(index, name))
    return index


def _parameters(index: Any, selector: Any, ef: int | None, nprobe: int | None, k: int) -> Any:
    """Search parameters in the shape of the index's wrappers."""
    faiss = _faiss()

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        inner = _parameters(index.index, selector, ef, nprobe, k)
        return faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexRefine):
        factor = index.k_factor
        inner = _parameters(index.base_index, selector, ef, nprobe, int(k * factor))
        return faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=inner)
    if hasattr(index, "hnsw"):
        return faiss.SearchParametersHNSW(sel=selector, efSearch=max(ef or max(_EF, 2 * k), k))
    if hasattr(index, "nprobe"):
        return faiss.SearchParametersIVF(
            sel=selector, nprobe=min(nprobe or max(8, index.nlist // _PROBED), index.nlist)
        )
    return faiss.SearchParameters(sel=selector) if selector is not None else None


def _reason(error: Exception) -> str:
    """What faiss says, without its source location."""
    lines = str(error).strip().splitlines()
    return lines[-1].split("Error: ")[-1].strip() if lines else type(error).__name__
