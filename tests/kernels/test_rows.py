"""Scoring documents by their rows: the same bits as by postings, and damage is told from data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.errors import CorruptIndexError, UsageError
from tamis.kernels import DocumentRows, Postings, Queries, RowShard, build_postings, kernel_name, score

compiled = pytest.mark.skipif(
    kernel_name() == "numpy", reason="rows are read by the compiled kernel, which is not there"
)


class Collection:
    """Random documents, some of them in several shards, as postings and as rows."""

    def __init__(self, seed: int, n_docs: int, dims: np.ndarray[Any, Any], n_codes: int, shards: int = 3) -> None:
        rng = np.random.default_rng(seed)
        held = [np.flatnonzero(rng.random(len(dims)) < rng.choice([0, 0.02, 0.3, 1])) for _ in range(n_docs)]
        self.starts = np.cumsum([0, *map(len, held)])
        terms = np.concatenate([np.zeros(0, np.int64), *held])
        docs = np.repeat(np.arange(n_docs), np.diff(self.starts))
        codes = rng.integers(0, n_codes, len(terms)) if n_codes else None
        self.dims, self.entries = dims, dims[terms].astype(np.uint16 if dims[-1] < 1 << 16 else np.uint32)
        self.codes = None if codes is None else codes.astype(np.uint8 if n_codes <= 256 else np.uint16)
        sizes = {"n_docs": n_docs, "n_terms": len(dims), "n_codes": n_codes}
        self.postings: Postings = build_postings(terms, docs, codes, **sizes)
        self.ends = np.sort(rng.integers(0, n_docs + 1, shards - 1)).tolist()

    def shards(self) -> list[RowShard]:
        found = []
        for first, last in zip([0, *self.ends], [*self.ends, len(self.starts) - 1], strict=True):
            span = slice(self.starts[first], self.starts[last])
            codes = None if self.codes is None else self.codes[span]
            found.append(RowShard(self.starts[first : last + 1] - self.starts[first], self.entries[span], codes))
        return found

    def rows(self) -> DocumentRows:
        return DocumentRows(self.dims, self.shards())

    def queries(self, seed: int, *, weighted: bool = True, count: int = 3, descending: bool = False) -> Queries:
        rng = np.random.default_rng(seed)
        lists = [np.flatnonzero(rng.random(len(self.dims)) < rng.choice([0.05, 0.5, 1])) for _ in range(count)]
        terms = np.concatenate([own[::-1] if descending else own for own in lists])
        offsets = np.cumsum([0, *map(len, lists)])
        weights = (rng.normal(size=len(terms)) * 10.0 ** rng.integers(-6, 6)).astype(np.float32) if weighted else None
        if self.codes is None:
            return Queries(offsets, terms, weights)
        tables = rng.normal(size=(4, self.postings.n_codes)).astype(np.float32)
        return Queries(offsets, terms, weights, tables, rng.integers(0, 4, len(terms)).astype(np.int32))


def everything(collection: Collection, queries: Queries, share: float = 1.0) -> tuple[Any, Any]:
    docs = np.flatnonzero(np.random.default_rng(1).random(collection.postings.n_docs) < share)
    return np.arange(len(queries) + 1) * len(docs), np.tile(docs, len(queries))


DIMS = {
    "narrow": np.arange(300),
    "sparse": np.arange(0, 1 << 16, 181),
    "wide": np.arange(900) * 700_001 % (1 << 31),
    "alike in 16 bits": np.arange(400) << 16 | np.arange(400) % 3,
}


@pytest.mark.parametrize("kind", DIMS)
@settings(deadline=None, max_examples=25)
@given(st.data())
def test_same_bits_as_by_postings(kind: str, data: Any) -> None:
    codes, seed = data.draw(st.sampled_from([0, 1, 256, 3000])), data.draw(st.integers(0, 10**6))
    dims = np.sort(DIMS[kind]).astype(np.uint32)
    made = Collection(seed, data.draw(st.sampled_from([1, 7, 33, 200])), dims, codes, data.draw(st.integers(1, 4)))
    queries = made.queries(seed, weighted=data.draw(st.booleans()))
    ends, docs = everything(made, queries, data.draw(st.sampled_from([0.1, 1.0])))
    wanted = score(made.postings, queries, ends, docs)
    for threads in (1, 3):
        assert (
            score(made.postings, queries, ends, docs, rows=made.rows(), threads=threads).tobytes() == wanted.tobytes()
        )


@pytest.mark.parametrize(("descending", "once"), [(True, False), (False, True)])
def test_queries_that_rows_do_not_suit_go_to_the_postings(descending: bool, once: bool) -> None:
    made = Collection(5, 50, DIMS["narrow"].astype(np.uint32), 9)
    queries = made.queries(2, descending=descending)
    ends, docs = everything(made, queries)
    rounding: Any = "once" if once else "each"
    wanted = score(made.postings, queries, ends, docs, rounding=rounding)
    assert np.count_nonzero(wanted) > 20
    assert score(made.postings, queries, ends, docs, rounding=rounding, rows=made.rows()).tobytes() == wanted.tobytes()


@compiled
def test_rows_are_read_and_not_the_postings() -> None:
    made = Collection(5, 50, DIMS["narrow"].astype(np.uint32), 9)
    queries = made.queries(2)
    ends, docs = everything(made, queries)
    turned = [RowShard(s.starts, s.dims, 8 - s.codes) for s in made.shards() if s.codes is not None]
    scores = score(made.postings, queries, ends, docs, rows=DocumentRows(made.dims, turned))
    assert scores.tobytes() != score(made.postings, queries, ends, docs).tobytes()


@compiled
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s._replace(starts=s.starts + 5), "leaves the data"),
        (lambda s: s._replace(starts=-s.starts), "leaves the data"),
        (lambda s: s._replace(starts=s.starts[::-1].copy()), "leaves the data"),
        (lambda s: s._replace(codes=s.codes + np.uint8(9)), "leaves the data or the codes"),
        (lambda s: s._replace(codes=s.codes[:-1]), "do not fit each other"),
        (lambda s: s._replace(dims=s.dims.astype(np.uint64)), "do not fit each other"),
        (lambda s: s._replace(codes=None), "not those of the postings"),
        (lambda s: s._replace(starts=s.starts[:-1]), "not those of the postings"),
    ],
)
def test_damaged_rows(change: Any, message: str) -> None:
    made = Collection(5, 50, DIMS["narrow"].astype(np.uint32), 9, shards=1)
    queries = made.queries(2)
    ends, docs = everything(made, queries)
    with pytest.raises(CorruptIndexError, match=message):
        score(made.postings, queries, ends, docs, rows=DocumentRows(made.dims, [change(made.shards()[0])]))
    assert score(made.postings, queries, ends, docs, rows=made.rows()).any()  # what was left by the failure is clean


def test_dimensions_must_ascend() -> None:
    with pytest.raises(UsageError, match="must ascend"):
        DocumentRows(np.array([3, 3], np.uint32), [])


@compiled
def test_only_rows_are_taken_for_rows() -> None:
    made = Collection(5, 50, DIMS["narrow"].astype(np.uint32), 9)
    queries = made.queries(2)
    ends, docs = everything(made, queries)
    assert made.postings.native is not None
    columns: Any = (queries.offsets, queries.terms, queries.weights, queries.rows, queries.tables, queries.groups)
    out, given = np.zeros(len(docs), np.float32), np.asarray(docs)
    with pytest.raises(TypeError, match="type Rows"):
        made.postings.native.score(kernel_name(), *columns, False, 1, ends, given, out, made)  # type: ignore[arg-type]
