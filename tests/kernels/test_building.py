"""Building: any order of triples, shards against one piece, bad input."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.errors import DataError, UsageError
from tamis.kernels import WINDOW, Postings, Shard, build_postings, building, merge_postings

ARRAYS = ("starts", "directory_starts", "directory", "offsets", "codes")


def assert_same(found: Postings, wanted: Postings) -> None:
    assert (found.n_docs, found.n_codes) == (wanted.n_docs, wanted.n_codes)
    for name in ARRAYS:
        mine, other = getattr(found, name), getattr(wanted, name)
        assert (mine is None) == (other is None), name
        if mine is not None:
            assert mine.dtype == other.dtype, name
            assert mine.tolist() == other.tolist(), name


@settings(deadline=None, max_examples=40)
@given(st.data(), st.sampled_from([np.int32, np.int64, np.uint32]))
def test_document_order_and_term_order_build_the_same(collections_of: Any, data: Any, kind: Any) -> None:
    one = data.draw(collections_of(st.sampled_from([0, 5, 300])))
    if one.postings.n_docs > 1 << 31:
        return
    order = np.lexsort((one.terms, one.docs))
    codes = None if one.codes is None else one.codes[order]
    n = {"n_docs": one.postings.n_docs, "n_terms": one.postings.n_terms, "n_codes": one.postings.n_codes}
    assert_same(build_postings(one.terms[order].astype(kind), one.docs[order].astype(kind), codes, **n), one.postings)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_numpy_builds_the_same(collections_of: Any, data: Any) -> None:
    one = data.draw(collections_of(st.sampled_from([0, 5, 300])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "native", lambda: None)
        n = {"n_docs": one.postings.n_docs, "n_terms": one.postings.n_terms, "n_codes": one.postings.n_codes}
        assert_same(build_postings(one.terms, one.docs, one.codes, **n), one.postings)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.lists(st.floats(0, 1), max_size=3), st.booleans())
def test_shards_merge_to_the_whole(collections_of: Any, data: Any, cuts: list[float], compact: bool) -> None:
    """Shards with vocabularies of their own, cut anywhere; with `compact`, every third document is dropped on the way."""
    one = data.draw(collections_of(st.sampled_from([0, 5, 300])))
    n_docs, n_terms = one.postings.n_docs, one.postings.n_terms
    if compact and n_docs > 1 << 20:
        return
    bounds = [0, *sorted(int(cut * n_docs) for cut in cuts), n_docs]
    kept = np.arange(n_docs) % 3 > 0 if compact else None
    numbers = np.where(kept, np.cumsum(kept) - 1, -1) if kept is not None else None
    shards = []
    for first, last in pairwise(bounds):
        inside = (one.docs >= first) & (one.docs < last)
        own, local = np.unique(one.terms[inside], return_inverse=True)
        codes = None if one.codes is None else one.codes[inside]
        part = build_postings(
            local, one.docs[inside] - first, codes, n_docs=last - first, n_terms=len(own), n_codes=one.postings.n_codes
        )
        shards.append(Shard(part, first if numbers is None else numbers[first:last], own))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "_MERGED_AT_ONCE", 100)  # several chunks
        merged = merge_postings(shards, n_docs=n_docs if kept is None else int(kept.sum()), n_terms=n_terms)
    if kept is None or numbers is None:
        assert_same(merged, one.postings)
    else:
        left = kept[one.docs]
        codes = None if one.codes is None else one.codes[left]
        n = {"n_docs": int(kept.sum()), "n_terms": n_terms, "n_codes": one.postings.n_codes}
        assert_same(merged, build_postings(one.terms[left], numbers[one.docs[left]], codes, **n))
    merged.validate()


def test_merging_into_mapped_files(tmp_path: Path) -> None:
    def allocate(name: str, length: int, kind: Any) -> Any:
        return np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", kind, (length,))

    parts = [
        build_postings(np.array([0, 1]), np.array([0, 3]), np.array([1, 2]), n_docs=4, n_terms=2, n_codes=3)
        for _ in range(2)
    ]
    merged = merge_postings(
        [Shard(parts[0], 0), Shard(parts[1], WINDOW)], n_docs=WINDOW + 4, n_terms=2, allocate=allocate
    )
    assert merged.documents(0, 2).tolist() == [0, WINDOW, 3, WINDOW + 3]
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
    again = Postings(merged.n_docs, merged.n_codes, **mapped)
    again.validate()
    assert again.documents(0, 2).tolist() == merged.documents(0, 2).tolist()


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(
    ("terms", "docs", "codes", "error", "message"),
    [
        ([0, 2], [0, 1], [0, 0], DataError, "posting 1: the term is out of range"),
        ([0, -1], [0, 1], [0, 0], DataError, "posting 1: the term is out of range"),
        ([0, 1], [0, 9], [0, 0], DataError, "posting 1: the document is out of range"),
        ([0, 1], [-1, 0], [0, 0], DataError, "posting 0: the document is out of range"),
        ([0, 0], [3, 3], [0, 0], DataError, "posting 1: a term's documents must ascend"),
        ([0, 1, 0], [3, 4, 2], [0, 0, 0], DataError, "posting 2: a term's documents must ascend"),
        ([0, 1], [0, 0], [0, 2], DataError, "codes from 0 to 2"),
        ([0, 1], [0], [0, 0], UsageError, "one each"),
        ([0.5, 1], [0, 1], [0, 0], UsageError, "integers are wanted"),
    ],
)
def test_bad_triples(
    native: bool, terms: Any, docs: Any, codes: Any, error: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not native:
        monkeypatch.setattr(building, "native", lambda: None)
    with pytest.raises(error, match=message):
        build_postings(np.array(terms), np.array(docs), np.array(codes), n_docs=9, n_terms=2, n_codes=2)


def test_too_much_is_refused() -> None:
    with pytest.raises(UsageError, match="65,536"):
        build_postings(np.array([0]), np.array([0]), np.array([0]), n_docs=1, n_terms=1, n_codes=65_537)
    with pytest.raises(UsageError, match=r"2\^48"):
        build_postings(np.array([0]), np.array([0]), None, n_docs=(1 << 48) + 1, n_terms=1)


def test_shards_that_do_not_fit() -> None:
    part = build_postings(np.array([0, 1]), np.array([0, 1]), None, n_docs=2, n_terms=2)
    coded = build_postings(np.array([0]), np.array([0]), np.array([0]), n_docs=1, n_terms=1, n_codes=1)
    with pytest.raises(UsageError, match="of one kind"):
        merge_postings([Shard(part, 0), Shard(coded, 2)], n_docs=3, n_terms=2)
    with pytest.raises(UsageError, match="term map"):
        merge_postings([Shard(part, 0)], n_docs=2, n_terms=1)
    with pytest.raises(UsageError, match="ascending, below 9"):
        merge_postings([Shard(part, 0, np.array([3, 3]))], n_docs=2, n_terms=9)
    with pytest.raises(UsageError, match="document map"):
        merge_postings([Shard(part, np.array([1, 0]))], n_docs=2, n_terms=2)
    with pytest.raises(DataError, match="must ascend"):
        merge_postings([Shard(part, 0), Shard(part, 0)], n_docs=4, n_terms=2)
