from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.errors import DataError
from tamis.eval.pareto import frontier

POINTS = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.tuples(st.integers(0, 5), st.integers(0, 5)))


@given(POINTS)
def test_a_point_is_on_it_unless_another_beats_it(points: dict[str, tuple[int, int]]) -> None:
    def beats(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return a != b and a[0] <= b[0] and a[1] >= b[1]

    best = {name for name, one in points.items() if not any(beats(other, one) for other in points.values())}
    found = frontier(points)
    assert set(found) == best
    assert len(found) == len(best)
    assert [points[name][0] for name in found] == sorted(points[name][0] for name in best)


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(DataError, match="b: cost nan"):
        frontier({"a": (1, 1), "b": (math.nan, 1)})
