"""Scoring an index: its rows get a quality, kept as a part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tamis.errors import MissingResourceError
from tamis.events import Listener, ignore
from tamis.families import Address
from tamis.indexer.encoded.entry import encoded_entries
from tamis.indexer.layout import Manifest
from tamis.pruning.part import KIND, QualityPart
from tamis.pruning.registry import open_quality, quality_options
from tamis.pruning.vectors import Vectors

if TYPE_CHECKING:
    from tamis.engine import Index


@dataclass(frozen=True)
class Spread:
    """How the scores of an index's live rows are spread.

    Attributes:
        rows: live rows.
        blank: how many of them have no text.
        quantiles: scores at 0, 10, 25, 50, 75, 90 and 100 % of the rows that have one; empty where none has.
        distinct: how many different scores there are.
    """

    rows: int
    blank: int
    quantiles: tuple[float, ...]
    distinct: int


QUANTILES = (0, 10, 25, 50, 75, 90, 100)


def default_name(address: str) -> str:
    """Return the name that a model's part gets if none is given: ``quality:`` and the address without options."""
    return f"{KIND}:{replace(Address.parse(address), options=())}"


def find_quality(manifest: Manifest, wanted: str) -> str | None:
    """Return the name of the quality part that is named so, or was made by the model of that address; None if there is none."""
    entries = {name: entry for name, entry in encoded_entries(manifest.parts).items() if entry.kind == KIND}
    if wanted in entries:
        return wanted
    try:
        spelling = str(Address.parse(wanted))
    except ValueError:
        return None
    return next((name for name, entry in entries.items() if entry.address == spelling), None)


def score_index(index: Index, address: str, name: str | None = None, *, listener: Listener = ignore) -> str:
    """Score all rows of an index with a quality model, keep the result as a part, and commit; the index moves with it.

    An interrupted call, made again, scores what is missing. Rows that are added later are scored as they come.

    Args:
        index: an open index.
        address: the model, e.g. ``itn``, ``qualt5:pyterrier-quality/qt5-tiny``, ``magnitude:dense:minilm``.
        name: of the part, see `default_name`.
        listener: hears of the progress.

    Returns:
        The part's name.

    Raises:
        UnknownNameError: no such model or option.
        OutputExistsError: there is another part of that name.
    """
    from tamis.indexer.writer import Writer

    if name is None and (known := find_quality(index.manifest, address)):
        return known
    chosen = name or default_name(address)
    quality_options(Address.parse(address).family)
    model = open_quality(address)
    if isinstance(model, Vectors):
        _attach(index, model)
    with Writer(index.path, listener=listener) as writer:
        before = writer.manifest.generation
        writer.add_part(chosen, KIND, model, {})
        if writer.manifest.generation != before:
            index.refresh()
            writer.collect()
    return chosen


def _attach(index: Index, model: Vectors) -> None:
    for name, entry in encoded_entries(index.manifest.parts).items():
        if entry.kind == "dense" and model.attach(index.part(name)):
            return


def quality_part(index: Index, wanted: str) -> QualityPart:
    """Return the open quality part that is named so, or was made by the model of that address.

    Raises:
        MissingResourceError: the index has none such.
    """
    name = find_quality(index.manifest, wanted)
    if name is None:
        raise MissingResourceError(
            f"{index.path} has no quality part {wanted!r}: make it with  tamis quality {index.path} {wanted}"
        )
    part: QualityPart = index.part(name)
    return part


def spread(part: QualityPart) -> Spread:
    """Return how a part's scores are spread over the live rows."""
    live = part.documents.live
    scores: Any = part.scores if live is None else part.scores[live]
    held = scores[np.isfinite(scores)]
    quantiles = tuple(float(value) for value in np.percentile(held, QUANTILES)) if len(held) else ()
    return Spread(len(scores), len(scores) - len(held), quantiles, len(np.unique(held)))


def quality_size(index: Index, name: str) -> int:
    """Return how many bytes a part takes."""
    entry = encoded_entries(index.manifest.parts)[name]
    return sum(file.bytes for path, file in index.manifest.files.items() if f"/{entry.id}/" in path)
