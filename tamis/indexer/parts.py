"""Opening the parts that a manifest names, each by its kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tamis.errors import MissingResourceError
from tamis.indexer.documents import DocumentStore
from tamis.indexer.layout import LUCENE, PARTS, WORK, Manifest


def open_part(folder: Path, name: str, manifest: Manifest, documents: DocumentStore, threads: int) -> Any:
    """Open the part called `name` of a generation.

    Raises:
        MissingResourceError: the generation holds no such part.
        IndexVersionError: it is of a kind that this Tamis does not know.
    """
    entry = manifest.parts.get(name)
    if entry is None:
        raise MissingResourceError(f"{folder} has no part {name!r}: {_hint(folder, manifest)}")
    fields = dict(manifest.settings.fields)
    if entry["kind"] == "lucene":
        from tamis.indexer.lucene.part import LucenePart

        return LucenePart(folder / LUCENE, entry["segments_file"], entry["analyzer"], fields, documents, threads)
    if entry["kind"] == "impact":
        from tamis.indexer.impact.part import FieldStatistics, ImpactPart

        counts = manifest.parts["lucene"]["fields"]
        statistics = {field: FieldStatistics(known["docs"], known["tokens"]) for field, known in counts.items()}
        analyzer = manifest.settings.analyzer
        return ImpactPart(folder / PARTS / entry["id"], entry, statistics, analyzer, fields, documents, threads)
    from tamis.indexer.encoded.entry import EncodedEntry
    from tamis.indexer.encoded.kinds import part_kind

    kind = part_kind(entry["kind"])
    encoded = EncodedEntry.from_json(entry)
    return kind.open(encoded.folder(folder), name, encoded, documents, threads)


def _hint(folder: Path, manifest: Manifest) -> str:
    if manifest.parts:
        return f"it holds {', '.join(sorted(manifest.parts))}"
    if any((folder / WORK).glob("*/receipts")):
        return "its indexing was interrupted: run the same tamis index command again"
    return "it is empty: add documents first"
