"""Windows: every candidate is seen at every length, and with enough passes an honest ranker's order comes out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tamis.errors import UsageError
from tamis.rerankers.listwise.windows import check_windows, plan_windows

SHAPES = [(20, 10), (20, 5), (10, 9), (4, 1), (2, 1), (100, 10)]


@pytest.mark.parametrize(("size", "stride"), SHAPES)
def test_every_candidate_is_seen_at_every_length(size: int, stride: int) -> None:
    for count in range(301):
        windows = plan_windows(count, size, stride)
        assert len(windows) == (0 if count < 2 else 1 + math.ceil(max(0, count - size) / stride))
        assert {i for first, end in windows for i in range(first, end)} == (set(range(count)) if count > 1 else set())
        assert all(2 <= end - first <= size for first, end in windows)
        assert len(set(windows)) == len(windows)
        if windows:
            assert (windows[0][1], windows[-1][0]) == (count, 0)
            assert all(later[1] > earlier[0] for earlier, later in itertools.pairwise(windows))


@pytest.mark.parametrize(("size", "stride"), SHAPES)
@pytest.mark.parametrize("count", [2, 3, 15, 25, 95, 100, 173])
def test_an_honest_ranker_brings_its_order_about(count: int, size: int, stride: int) -> None:
    best = np.random.default_rng(count).permutation(count).tolist()
    order = list(range(count))
    carried = size - stride
    for done in range(0, count, carried):  # a pass settles as many places as a window hands to the next
        for first, end in plan_windows(count, size, stride):
            order[first:end] = sorted(order[first:end], key=best.__getitem__)
        settled = min(done + carried, count)
        assert [best[i] for i in order[:settled]] == list(range(settled))
    assert [best[i] for i in order] == list(range(count))


@pytest.mark.parametrize(
    ("count", "windows"),
    [
        (100, 9),
        (95, 9),
        (25, [(5, 25), (0, 15)]),
        (15, [(0, 15)]),
        (10, [(0, 10)]),
        (1, []),
        (0, []),
    ],
)
def test_the_published_schedule(count: int, windows: int | list[tuple[int, int]]) -> None:
    found = plan_windows(count, 20, 10)
    assert (len(found) if isinstance(windows, int) else found) == windows


@pytest.mark.parametrize(("size", "stride"), [(20, 20), (20, 0), (5, 9)])
def test_windows_must_overlap(size: int, stride: int) -> None:
    with pytest.raises(UsageError, match=f"window={size} and stride={stride}"):
        check_windows(size, stride)
