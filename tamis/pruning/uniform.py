"""``random``: a number that knows nothing of the passage, which every other model has to beat.

It is made from the row's id and the seed alone, so it is the same whatever else the index holds, on all machines.
"""

from __future__ import annotations

import numpy as np

from tamis.encoders.base import ModelIdentity, Tick, no_tick
from tamis.families import Address
from tamis.indexer.encoded.kinds import Texts
from tamis.indexer.segment import hash_ids
from tamis.pruning.base import Floats
from tamis.pruning.options import RandomOptions

_BITS = 24  # float32 holds that many, evenly


class Uniform:
    """A `tamis.pruning.base.RowModel`."""

    def __init__(self, identity: ModelIdentity, seed: int) -> None:
        self.identity, self.seed = identity, seed

    def score_rows(self, texts: Texts, tick: Tick = no_tick) -> Floats:
        """Return numbers from 0 up to 1, evenly spread."""
        hashes = hash_ids([f"{self.seed}:{row_id}" for row_id in texts.ids])
        tick(len(hashes))
        return ((hashes >> np.uint64(64 - _BITS)).astype(np.float64) / (1 << _BITS)).astype(np.float32)


def load(address: Address, options: RandomOptions) -> Uniform:
    """Return the model."""
    return Uniform(ModelIdentity(str(address), {}, {"family": address.family, "seed": options.seed}), options.seed)
