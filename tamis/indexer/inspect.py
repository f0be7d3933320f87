"""What an index is, as plain values for people and programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tamis.indexer.layout import WORK, Manifest, generations


def describe(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """Return settings, statistics, counts, sizes and sources of a generation as JSON values."""
    sizes: dict[str, int] = {}
    for name, entry in manifest.files.items():
        room = name.split("/")[0]
        sizes[room] = sizes.get(room, 0) + entry.bytes
    settings = manifest.settings
    return {
        "path": str(folder),
        "index": manifest.index,
        "generation": manifest.generation,
        "generations_on_disk": generations(folder),
        "created": manifest.created,
        "tamis": manifest.tamis,
        "settings": {
            "analyzer": settings.analyzer,
            "fields": dict(settings.fields),
            "passages": settings.passages,
            "filterable": list(settings.filterable),
        },
        "documents": sum(segment.documents for segment in manifest.segments),
        "rows": manifest.rows,
        "live_rows": manifest.rows - manifest.deleted,
        "deleted_rows": manifest.deleted,
        "next_row": manifest.next_row,
        "empty_documents": sum(segment.empty for segment in manifest.segments),
        "counts": dict(manifest.counts),
        "segments": len(manifest.segments),
        "parts": {name: dict(part) for name, part in manifest.parts.items()},
        "bytes": {**sizes, "total": sum(sizes.values())},
        "pruned": dict(manifest.pruned),
        "sources": [dict(source) for source in manifest.sources],
        "unfinished_jobs": sorted(path.name for path in (folder / WORK).glob("*")) if (folder / WORK).is_dir() else [],
    }
