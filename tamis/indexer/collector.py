"""Python's cyclic garbage collector, at our own pace while documents stream in.

JPype follows every collection of Java's with a full one of Python's, and indexing makes Java collect several times a second
while a chunk's documents, tens of thousands of objects, are alive in Python. It was a seventh of the processor time of
indexing. The full collection respects `gc.disable`, so inside `paced_collection` only we collect: the young objects
every few documents, in case the stream that the caller gave makes cycles, and all of them once a chunk.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

YOUNG_EVERY = 2048
"""Documents between two collections of young objects."""


@contextlib.contextmanager
def paced_collection() -> Iterator[None]:
    """Switch the automatic collector off, and back on afterwards if it was on."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def collecting_young(items: Iterable[T]) -> Iterator[T]:
    """Yield `items`; free the cycles among young objects now and then, at a cost that does not grow with the old ones."""
    for count, item in enumerate(items, 1):
        yield item
        if count % YOUNG_EVERY == 0:
            gc.collect(1)


def collect_all() -> None:
    """Free all cycles."""
    gc.collect()
