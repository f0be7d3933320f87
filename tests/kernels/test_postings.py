"""The layout: hand-decoded entries, and that no damage passes validation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.errors import CorruptIndexError
from tamis.kernels import WINDOW, Postings, Queries, build_postings, search
from tamis.kernels.backend import kernel_name
from tamis.kernels.numpy_backend import check_postings, decode_documents


def small(n_codes: int = 3) -> Postings:
    """Three windows; term 0 in all, term 1 in the last only, term 2 nowhere, term 3 in the first two."""
    terms = np.array([0, 0, 0, 0, 1, 3, 3, 3])
    docs = np.array([5, 9, WINDOW, 2 * WINDOW + 3, 2 * WINDOW + 9, 0, 1, WINDOW + 2])
    return build_postings(
        terms, docs, np.arange(8) % n_codes if n_codes else None, n_docs=2 * WINDOW + 10, n_terms=4, n_codes=n_codes
    )


def fresh(postings: Postings, **changes: Any) -> Postings:
    return replace(postings, **changes)


def test_layout_by_hand() -> None:
    postings = small()
    assert postings.starts.tolist() == [0, 4, 5, 5, 8]
    assert postings.offsets.tolist() == [5, 9, 0, 3, 9, 0, 1, 2]
    # Lowest bit first: 11 0 1 0 1 (0); 0 0 1 (0); 0 0 0 is not stored for term 2, which has no postings; 11 0 1 0.
    assert [format(word, "b")[::-1] for word in postings.directory[:3]] == ["110101", "001", "1101"]
    assert postings.directory_starts.tolist() == [0, 1, 2, 2, 3]
    assert len(postings.directory) == 3 + 4
    assert postings.codes is not None
    assert postings.codes.dtype == np.uint8


def test_rare_terms_store_window_numbers() -> None:
    n_docs = 1000 * WINDOW
    postings = build_postings(np.array([0, 0]), np.array([7, 998 * WINDOW + 1]), None, n_docs=n_docs, n_terms=1)
    assert postings.directory.tolist() == [0, 998, 0, 0, 0, 0]
    wide = build_postings(np.array([0]), np.array([(3 << 32) + 5]), None, n_docs=1 << 40, n_terms=1)
    assert wide.directory.tolist() == [0, 3, 0, 0, 0, 0]
    assert wide.documents(0, 1).tolist() == [(3 << 32) + 5]
    assert search(wide, Queries.of([([0], None)]), 2).docs.tolist() == [(3 << 32) + 5]


def test_one_window_needs_no_directory() -> None:
    postings = build_postings(np.array([0, 1]), np.array([7, 7]), None, n_docs=WINDOW, n_terms=2)
    assert postings.directory.tolist() == [0, 0, 0, 0]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_documents_come_back(collections_of: Any, data: Any) -> None:
    collection = data.draw(collections_of(st.sampled_from([0, 5])))
    postings = collection.postings
    postings.validate()
    check_postings(postings)
    assert postings.documents(0, postings.n_terms).tolist() == collection.docs.tolist()
    assert decode_documents(postings, 0, postings.n_terms).tolist() == collection.docs.tolist()
    middle = postings.n_terms // 2
    assert postings.documents(middle, postings.n_terms).tolist() == collection.docs[collection.terms >= middle].tolist()


def swapped(array: np.ndarray[Any, Any], place: int, value: int) -> np.ndarray[Any, Any]:
    array = array.copy()
    array[place] = value
    return array


DAMAGE = [
    ("starts", 0, 1),
    ("starts", 1, -3),
    ("starts", 1, 1 << 62),
    ("starts", 2, 3),
    ("starts", 4, 7),
    ("directory_starts", 0, 1),
    ("directory_starts", 1, 1 << 60),
    ("directory_starts", 1, -(1 << 60)),
    ("directory_starts", 3, 3),
    ("directory", 0, 0b111111),  # more ones than postings
    ("directory", 0, 0),  # fewer
    ("directory", 1, 0b1000),  # a window that does not exist
    ("offsets", 1, 5),  # not ascending
    ("offsets", 4, 10),  # the document number is n_docs
    ("codes", 7, 3),  # the code is n_codes
]


def search_all(postings: Postings) -> None:
    """Touch every term."""
    count = postings.n_terms
    search(postings, Queries.of([(range(count), np.ones((count, postings.n_codes)))]), 1)


def test_damage_that_a_search_does_not_touch() -> None:
    """Terms are checked when they are first searched: the others do not cost a cold process anything."""
    whole, broken = small(), fresh(small(), offsets=swapped(small().offsets, 1, 5))
    owner = int(np.searchsorted(whole.starts, 1, "right")) - 1
    for term in range(whole.n_terms):
        query = Queries.of([([term], [[1, 1, 1]])])
        if term == owner:
            with pytest.raises(CorruptIndexError, match="damaged postings"):
                search(broken, query, 10)
        elif kernel_name() != "numpy":  # the NumPy kernel checks all at the first search
            assert search(broken, query, 10).docs.tolist() == search(whole, query, 10).docs.tolist()
    with pytest.raises(CorruptIndexError, match="damaged postings"):
        broken.documents(owner, owner + 1)


@pytest.mark.parametrize(("name", "place", "value"), DAMAGE)
@pytest.mark.parametrize("check", [Postings.validate, check_postings, search_all])
def test_damage_is_refused(name: str, place: int, value: int, check: Any) -> None:
    postings = fresh(small(), **{name: swapped(getattr(small(), name), place, value)})
    with pytest.raises(CorruptIndexError, match="damaged postings"):
        check(postings)


@pytest.mark.parametrize("check", [Postings.validate, check_postings])
@pytest.mark.parametrize(
    "changes",
    [
        {"n_docs": -1},
        {"n_docs": (1 << 48) + 1},
        {"n_docs": 2 * WINDOW + 9},
        {"n_codes": 0},
        {"n_codes": 257},
        {"codes": None},
        {"codes": np.zeros(7, np.uint8)},
        {"offsets": np.zeros(8, np.uint32)},
        {"starts": np.zeros(0, np.int64)},
        {"starts": np.zeros(5, np.int32)},
        {"directory_starts": np.zeros(4, np.int64)},
        {"directory": np.zeros(2, np.uint16)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, Any], check: Any) -> None:
    with pytest.raises(CorruptIndexError, match="damaged postings"):
        check(fresh(small(), **changes))


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_random_damage_is_refused_or_harmless(collections_of: Any, data: Any) -> None:
    """Any one changed number: both checks agree, and what they accept can be searched (under the sanitizers, this is a proof)."""
    collection = data.draw(collections_of(st.sampled_from([0, 5, 300])))
    postings = collection.postings
    names = [
        name
        for name in ("starts", "directory_starts", "directory", "offsets", "codes")
        if getattr(postings, name) is not None
    ]
    name = data.draw(st.sampled_from(names))
    array = getattr(postings, name)
    if not len(array):
        return
    info = np.iinfo(array.dtype)
    value = data.draw(st.one_of(st.sampled_from([0, 1, info.min, info.max]), st.integers(0, min(info.max, 1 << 20))))
    damaged = fresh(postings, **{name: swapped(array, data.draw(st.integers(0, len(array) - 1)), value)})
    verdicts = []
    for check in (Postings.validate, check_postings):
        try:
            check(damaged)
            verdicts.append(True)
        except CorruptIndexError:
            verdicts.append(False)
    assert verdicts[0] == verdicts[1]
    if verdicts[0]:
        search(damaged, collection.queries, 10)
