"""Rows of a sparse matrix against the dense one, in any batches; what is kept of a row against sorting it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tamis.encoders.base import SparseVectors
from tamis.encoders.options import PruningOptions
from tamis.encoders.sparse_rows import Pruning, sparse_rows, stacked

matrices = arrays(
    np.float32,
    st.tuples(st.integers(0, 7), st.integers(1, 6)),
    elements=st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0, 3.0]),
)


def dense(vectors: SparseVectors, width: int) -> np.ndarray:
    found = np.zeros((len(vectors.offsets) - 1, width), np.float32)
    for i in range(len(found)):
        own = slice(vectors.offsets[i], vectors.offsets[i + 1])
        assert (np.diff(vectors.indices[own]) > 0).all()
        found[i, vectors.indices[own]] = vectors.values[own]
    return found


@settings(deadline=None)
@given(matrix=matrices, data=st.data())
def test_batches_in_any_order_make_the_matrix(matrix: np.ndarray, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(len(matrix)))), np.int64)
    size = data.draw(st.integers(1, 4))
    parts = []
    for first in range(0, len(order), size):
        places = order[first : first + size]
        owners, dimensions = np.indices(matrix[places].shape).reshape(2, -1)
        shuffled = np.array(data.draw(st.permutations(range(len(owners)))), np.int64)
        rows = sparse_rows(
            len(places), owners[shuffled], dimensions[shuffled], matrix[places].reshape(-1)[shuffled], truncated=9
        )
        assert rows.truncated == 9
        parts.append((places, rows))
    found = stacked(len(matrix), parts, truncated=2)
    np.testing.assert_array_equal(dense(found, matrix.shape[1]), matrix)
    assert (found.values > 0).all()
    assert found.truncated == 2
    assert (found.offsets.dtype, found.indices.dtype, found.values.dtype) == (np.int64, np.int32, np.float32)


@settings(deadline=None)
@given(matrix=matrices, top=st.none() | st.integers(1, 4), least=st.sampled_from([0.0, 0.25, 0.3, 2.0]))
def test_pruning_keeps_the_largest_of_what_is_large_enough(matrix: np.ndarray, top: int | None, least: float) -> None:
    owners, dimensions = np.indices(matrix.shape).reshape(2, -1)
    rows = sparse_rows(len(matrix), owners, dimensions, matrix.reshape(-1), truncated=1)
    found = Pruning(top, least)(rows)
    wanted = np.zeros_like(matrix)
    for row, goal in zip(matrix, wanted, strict=True):
        best = sorted(
            (i for i in range(len(row)) if row[i] > 0 and row[i] >= least), key=lambda i, row=row: (-row[i], i)
        )
        goal[best[:top]] = row[best[:top]]
    np.testing.assert_array_equal(dense(found, matrix.shape[1]), wanted)
    assert found.truncated == 1


def test_options_speak_before_the_checkpoint() -> None:
    options = PruningOptions(query_top=3, min_weight=0.5)
    assert Pruning.of(options, (7, 8)) == (Pruning(7, 0.5), Pruning(3, 0.0))
    assert Pruning.of(options) == (Pruning(None, 0.5), Pruning(3, 0.0))
