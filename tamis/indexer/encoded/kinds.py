"""What a kind of encoded part can do: the one interface that building, committing and compacting know.

Everything is files to files. A chunk is encoded into a folder of its own, the chunks of a segment are assembled into a shard,
and compaction gathers rows of old shards into a new one, so that no text is encoded twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import Passage, Tick
from tamis.errors import IndexVersionError
from tamis.indexer.encoded.entry import EncodedEntry

if TYPE_CHECKING:
    from tamis.indexer.documents import DocumentStore

_KINDS = {
    "dense": "tamis.indexer.dense.kind:DenseKind",
    "multivector": "tamis.indexer.multivector.kind:MultiVectorKind",
    "quality": "tamis.pruning.part:QualityKind",
    "sparse": "tamis.indexer.sparse.kind:SparseKind",
}
# Imported on use, as families are: a room above this one may bring a kind of part, and its models.
_OPENERS = {"quality": "tamis.pruning.registry:open_quality"}


class Texts(Protocol):
    """The rows of a chunk, read when they are asked for."""

    @property
    def ids(self) -> list[str]:
        """External ids."""

    @property
    def passages(self) -> list[Passage]:
        """Titles and texts."""

    @property
    def blank(self) -> NDArray[np.bool_]:
        """True where a row has neither title nor text: it is not encoded, and matches nothing."""


class PartKind(Protocol):
    """See the module."""

    def facts(self, encoder: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a new part's entry states, and check its options.

        Raises:
            UsageError: the options cannot be meant for this encoder.
        """

    def encode(self, entry: EncodedEntry, encoder: Any, texts: Texts, folder: Path, *, tick: Tick) -> int:
        """Encode a chunk into files in `folder`, and return how many texts were truncated."""

    def training_rows(self, entry: EncodedEntry, rows: int) -> int:
        """Return how many encoded rows of `rows` `prepare` wants to see; 0 if none."""

    def prepare(self, entry: EncodedEntry, encoder: Any, chunks: Sequence[Path], shared: Path) -> dict[str, Any]:
        """Write what all shards share (a codec, an exported query encoder) into `shared`, and return facts."""

    def assemble(self, entry: EncodedEntry, chunks: Sequence[Path], shared: Path, shard: Path) -> None:
        """Write the shard of a segment from its chunks."""

    def gather(
        self, entry: EncodedEntry, sources: Sequence[tuple[Path, NDArray[np.int64]]], shared: Path, shard: Path
    ) -> None:
        """Write a shard of rows of older ones: (shard's folder, positions in it), one after another."""

    def finish(self, entry: EncodedEntry, folder: Path, live: NDArray[np.bool_] | None) -> EncodedEntry:
        """Bring what spans all shards (an approximate index) up to them, and return the entry that says so.

        Args:
            entry: with all its shards.
            folder: of the part.
            live: a position each of all shards laid end to end; None where none is deleted.
        """

    def open(self, folder: Path, name: str, entry: EncodedEntry, documents: DocumentStore, threads: int) -> Any:
        """Open the part for searching; nothing is read before it is used."""


def part_kind(name: str) -> PartKind:
    """Import and return a kind.

    Raises:
        IndexVersionError: this Tamis knows no such kind.
    """
    path = _KINDS.get(name)
    if path is None:
        raise IndexVersionError(
            f"the index has a part of kind {name!r}, which this Tamis does not know: upgrade with  pip install -U tamis"
        )
    module, _, attribute = path.partition(":")
    kind: PartKind = getattr(import_module(module), attribute)()
    return kind


def model_opener(kind: str) -> Callable[[str], Any] | None:
    """Return what loads the models of a kind of part by their address; None where `tamis.encoders.registry` does."""
    path = _OPENERS.get(kind)
    if path is None:
        return None
    module, _, function = path.partition(":")
    opener: Callable[[str], Any] = getattr(import_module(module), function)
    return opener
