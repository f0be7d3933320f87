"""Quality scores as a part of an index: computed in chunks that survive a kill, kept through adds, deletions and compaction.

quality.npy    float32 [rows]: of each row of the segment; -inf where it is blank
shared/*.npy   the statistic of the collection, for models that compare with it

A chunk of a model that compares with its collection holds notes (`tamis.pruning.base.CollectionModel`) in place of scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import Tick
from tamis.errors import CorruptIndexError, ModelError, UsageError
from tamis.files import write_array
from tamis.indexer.documents import DocumentStore
from tamis.indexer.encoded.entry import EncodedEntry
from tamis.indexer.encoded.kinds import Texts
from tamis.pruning.base import BLANK_SCORE, Arrays, CollectionModel, Floats, PassageModel, RowModel
from tamis.pruning.registry import statistic
from tamis.ranking import Rows

KIND = "quality"
SCORES = "quality.npy"
_NOTE = "note-"
_BLANK = "blank.npy"


class QualityKind:
    """A `tamis.indexer.encoded.kinds.PartKind`."""

    def facts(self, encoder: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return which statistic of the collection the model compares with, if any."""
        if not isinstance(encoder, (PassageModel, RowModel, CollectionModel)):
            raise UsageError(f"{encoder!r} is no quality model")
        return {"statistic": encoder.statistic if isinstance(encoder, CollectionModel) else None}

    def encode(self, entry: EncodedEntry, encoder: Any, texts: Texts, folder: Path, *, tick: Tick) -> int:
        """Score a chunk, or take notes of it."""
        blank = texts.blank
        if isinstance(encoder, CollectionModel):
            for name, array in encoder.note(texts, tick).items():
                write_array(folder / f"{_NOTE}{name}.npy", array)
            write_array(folder / _BLANK, blank)
            return 0
        scores = np.full(len(blank), BLANK_SCORE, np.float32)
        if isinstance(encoder, RowModel):
            scores[~blank] = encoder.score_rows(texts, tick)[~blank]
        else:
            passages = [passage for passage, empty in zip(texts.passages, blank, strict=True) if not empty]
            scores[~blank] = encoder.score_passages(passages, tick=tick)
        if not np.isfinite(scores[~blank]).all():
            raise ModelError(f"{entry.address} gave a quality that is not a finite number for a row that has a text")
        write_array(folder / SCORES, scores)
        return 0

    def training_rows(self, entry: EncodedEntry, rows: int) -> int:
        """All rows, where the collection's statistic is wanted."""
        return rows if entry.facts["statistic"] else 0

    def prepare(self, entry: EncodedEntry, encoder: Any, chunks: Sequence[Path], shared: Path) -> dict[str, Any]:
        """Write the collection's statistic."""
        if entry.facts["statistic"]:
            collected = statistic(entry.facts["statistic"]).collect(map(_notes, chunks), encoder.settings())
            for name, array in collected.items():
                write_array(shared / f"{name}.npy", array)
        return {}

    def assemble(self, entry: EncodedEntry, chunks: Sequence[Path], shared: Path, shard: Path) -> None:
        """Put the scores of the chunks one after another, working them out from notes where there are those."""
        if not entry.facts["statistic"]:
            write_array(shard / SCORES, np.concatenate([_load(chunk / SCORES) for chunk in chunks]))
            return
        collected = {path.stem: _load(path) for path in sorted(shared.glob("*.npy"))}
        parts = []
        for chunk in chunks:
            scores = statistic(entry.facts["statistic"]).score(_notes(chunk), collected)
            scores[_load(chunk / _BLANK)] = BLANK_SCORE
            parts.append(scores)
        write_array(shard / SCORES, np.concatenate(parts))

    def gather(
        self, entry: EncodedEntry, sources: Sequence[tuple[Path, NDArray[np.int64]]], shared: Path, shard: Path
    ) -> None:
        """Copy rows of older shards."""
        write_array(shard / SCORES, np.concatenate([_load(folder / SCORES)[places] for folder, places in sources]))

    def finish(self, entry: EncodedEntry, folder: Path, live: NDArray[np.bool_] | None) -> EncodedEntry:
        """Nothing spans the shards."""
        return entry

    def open(self, folder: Path, name: str, entry: EncodedEntry, documents: DocumentStore, threads: int) -> QualityPart:
        """Open the part."""
        return QualityPart(folder, name, entry, documents)


class QualityPart:
    """The quality of every row of one generation."""

    kind = KIND

    def __init__(self, folder: Path, name: str, entry: EncodedEntry, documents: DocumentStore) -> None:
        self.folder, self.name, self.entry, self.documents = folder, name, entry, documents

    def close(self) -> None:
        """Nothing is held."""

    @cached_property
    def scores(self) -> Floats:
        """Quality of every position, those of deleted rows included: float32."""
        shards = [_load(self.folder / shard.segment / SCORES) for shard in self.entry.shards]
        for shard, scores in zip(self.entry.shards, shards, strict=True):
            if scores.dtype != np.float32 or scores.shape != (shard.rows,):
                raise CorruptIndexError(
                    f"{self.folder / shard.segment / SCORES} is damaged: {scores.dtype}{list(scores.shape)}; run tamis verify"
                )
        return np.concatenate([np.zeros(0, np.float32), *shards])

    def scores_of(self, rows: Rows) -> Floats:
        """Return the quality of rows."""
        return self.scores[self.documents.positions_of(rows)]


def _notes(chunk: Path) -> Arrays:
    return {path.stem.removeprefix(_NOTE): _load(path) for path in sorted(chunk.glob(f"{_NOTE}*.npy"))}


def _load(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path)
    except (OSError, ValueError) as error:
        raise CorruptIndexError(f"{path} is damaged: {error}; run tamis verify") from error
    return array
