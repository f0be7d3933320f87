"""Which candidates a listwise model sees together.

A model reads `size` candidates at a time. A window slides from the end of the list to its beginning, `stride` candidates at a
time, and carries the best along (Sun et al., "Is ChatGPT Good at Search?", 2023). The last window begins with the first
candidate, whatever the length of the list: implementations that step by fixed places leave the first ones of some lengths unseen.
"""

from __future__ import annotations

from tamis.errors import UsageError


def check_windows(size: int, stride: int) -> None:
    """Check a size and a stride.

    Raises:
        UsageError: windows would not overlap, so that nothing would be carried from one to the next.
    """
    if not 1 <= stride < size:
        raise UsageError(f"window={size} and stride={stride}: the stride must be at least 1 and less than the window")


def plan_windows(count: int, size: int, stride: int) -> list[tuple[int, int]]:
    """Return the windows of a pass over `count` candidates, as (first, end), in the order in which they are read.

    There are 1 + ceil(max(0, count - size) / stride) of them, none over fewer than two candidates; none for a list of one.
    """
    windows = list[tuple[int, int]]()
    end = count
    while end > 1 and not (windows and windows[-1][0] == 0):
        windows.append((max(0, end - size), end))
        end -= stride
    return windows
