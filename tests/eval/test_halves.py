from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tamis.eval.halves import halves


@given(st.integers(0, 200), st.integers(0, 50))
def test_every_topic_is_in_just_one_half(count: int, seed: int) -> None:
    choosing, confirming = halves(count, seed)
    assert sorted([*choosing.tolist(), *confirming.tolist()]) == list(range(count))
    assert len(confirming) - len(choosing) in (0, 1)
    again = halves(count, seed)
    assert [half.tolist() for half in again] == [choosing.tolist(), confirming.tolist()]


def test_another_seed_splits_otherwise() -> None:
    assert halves(100, 0)[0].tolist() != halves(100, 1)[0].tolist()
