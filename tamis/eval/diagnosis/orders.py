"""Orders in which a list of candidates may be given to a model."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from tamis.errors import UnknownNameError, UsageError

Order = NDArray[np.int64]
"""Places of the list as given, in the new order."""

WAYS = ("shuffle", "rotate")
LEAST = 2

GIVEN, REVERSED = "as given", "reversed"
FIRST, MIDDLE, LAST = "relevant first", "relevant in the middle", "relevant last"


def check_orders(way: str, count: int) -> None:
    """Check how many orders are made, and how.

    Raises:
        UnknownNameError: the way is none of `WAYS`.
        UsageError: fewer than two orders.
    """
    if way not in WAYS:
        raise UnknownNameError("way to make orders", way, WAYS)
    if count < LEAST:
        raise UsageError(f"orders={count}: at least {LEAST} are needed, to be compared")


def input_orders(query: str, size: int, way: str, count: int, seed: int) -> Mapping[str, Order]:
    """Return the orders that a query's list is given in: as it is, reversed, and `count` shuffled or rotated ones.

    Rotations begin at evenly spaced places; shuffles depend on the seed and the query's id.
    """
    here = np.arange(size)
    orders = {GIVEN: here, REVERSED: here[::-1]}
    name = blake2b(query.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    for i in range(count):
        if way == "rotate":
            orders[f"rotated {i + 1}"] = np.roll(here, -((i + 1) * size // (count + 1)))
        else:
            generator = np.random.default_rng([seed, i, int.from_bytes(name)])
            orders[f"shuffled {i + 1}"] = generator.permutation(size)
    return orders


def relevance_orders(relevant: NDArray[np.bool_]) -> Mapping[str, Order]:
    """Return the orders with the relevant candidates first, around the middle, and last; the rest keeps its order."""
    good, rest = np.flatnonzero(relevant), np.flatnonzero(~relevant)
    half = len(rest) // 2
    return {
        FIRST: np.concatenate([good, rest]),
        MIDDLE: np.concatenate([rest[:half], good, rest[half:]]),
        LAST: np.concatenate([rest, good]),
    }
