"""What a quality model is: a passage in, a number out that says how likely any query at all wants it.

Higher is better for every model: a cost such as perplexity comes with its sign turned. A model of the first kind below reads a
passage and nothing else; one of the second also wants to know which passage it is; one of the third compares a passage with
the whole collection, and works in two passes: what it notes of every passage is added up to a statistic of the collection, which
is kept with the index, so that a passage that is added later is compared with the same collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.indexer.encoded.kinds import Texts

Floats = NDArray[np.float32]
Arrays = Mapping[str, NDArray[Any]]

BLANK_SCORE = float("-inf")
"""Quality of a row without title and text: it matches nothing, and goes first."""


@runtime_checkable
class PassageModel(Protocol):
    """A model that reads a passage alone. Results do not depend on which passages are scored together, to 1e-5 in float32."""

    identity: ModelIdentity

    def score_passages(self, passages: Sequence[Passage], tick: Tick = no_tick) -> Floats:
        """Return the quality of each passage: float32 [passages], finite; higher is better.

        Raises:
            ModelError: the model gave numbers that are not finite.
        """


@runtime_checkable
class RowModel(Protocol):
    """A model that scores rows of an index rather than texts."""

    identity: ModelIdentity

    def score_rows(self, texts: Texts, tick: Tick = no_tick) -> Floats:
        """Return the quality of each row: float32 [rows], finite; what is said of blank rows does not count."""


@runtime_checkable
class CollectionModel(Protocol):
    """A model that compares a passage with its collection."""

    identity: ModelIdentity
    statistic: str
    """Name of its `Statistic` in `tamis.pruning.registry`."""

    def note(self, texts: Texts, tick: Tick = no_tick) -> Arrays:
        """Return what is kept of some rows, by the names of the arrays."""

    def settings(self) -> Arrays:
        """Return what the statistic needs besides the notes."""


class Statistic(Protocol):
    """The second pass of a `CollectionModel`, which needs no model."""

    def collect(self, notes: Iterable[Arrays], settings: Arrays) -> Arrays:
        """Return the statistic of a collection from the notes of all its rows."""

    def score(self, notes: Arrays, collected: Arrays) -> Floats:
        """Return the quality of the rows that notes were taken of."""
