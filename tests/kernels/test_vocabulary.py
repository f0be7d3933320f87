"""Finding terms, against a dictionary."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.errors import CorruptIndexError
from tamis.kernels import Vocabulary, backend


def vocabulary(terms: list[bytes]) -> Vocabulary:
    lengths = itertools.accumulate(map(len, terms), initial=0)
    return Vocabulary(np.frombuffer(b"".join(terms), np.uint8), np.fromiter(lengths, np.int64))


@pytest.fixture(params=["native", "python"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr("tamis.kernels.vocabulary.native", lambda: None)
    elif backend.native() is None:
        pytest.skip("there is no compiled kernel")


alphabet = st.binary(max_size=4) | st.text("ab\u00e9", max_size=3).map(str.encode)


@pytest.mark.usefixtures("way")
def test_find() -> None:
    @given(terms=st.sets(alphabet, max_size=40), asked=st.lists(alphabet, max_size=20))
    def check(terms: set[bytes], asked: list[bytes]) -> None:
        ordered = sorted(terms)
        made = vocabulary(ordered)
        places = {term: i for i, term in enumerate(ordered)}
        wanted = [*asked, *ordered]
        assert made.find(wanted).tolist() == [places.get(term, -1) for term in wanted]
        assert [made[i] for i in range(len(made))] == ordered

    check()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("starts", [[0, 9, 4], [-5, 2, 4], [0, 3, 2], [0, 2, 1 << 40]])
def test_damaged_pointers_are_refused(starts: list[int]) -> None:
    damaged = Vocabulary(np.frombuffer(b"abcd", np.uint8), np.array(starts, np.int64))
    with pytest.raises(CorruptIndexError, match="damaged vocabulary"):
        damaged.find([b"ab", b"b", b"zz", b"a"])


def test_numbers_out_of_range() -> None:
    with pytest.raises(IndexError):
        vocabulary([b"a"])[1]
    with pytest.raises(IndexError):
        vocabulary([b"a"])[-1]
