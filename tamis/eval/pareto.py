"""The frontier of cost and quality: the systems that no other beats in one without losing in the other."""

from __future__ import annotations

from collections.abc import Mapping

from tamis.errors import DataError


def frontier(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the names of the points that no other dominates, cheapest first.

    A point dominates another if it costs no more and is no worse, and better in one of the two. Of equal points all stay.

    Args:
        points: (cost, quality) by name; less cost and more quality are better.

    Raises:
        DataError: a figure is not a number.
    """
    for name, (cost, quality) in points.items():
        if cost != cost or quality != quality:
            raise DataError(f"{name}: cost {cost} and quality {quality} cannot be compared")
    best: list[str] = []
    reached = float("-inf")
    last: tuple[float, float] | None = None
    for name in sorted(points, key=lambda name: (points[name][0], -points[name][1])):
        if points[name][1] > reached or points[name] == last:
            best.append(name)
            reached, last = points[name][1], points[name]
    return best
