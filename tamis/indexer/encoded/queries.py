"""The query encoder that a part keeps, so that a search need not load the model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tamis.errors import ModelError

QUERY = "query"
"""Its folder among what the shards share."""


def write_queries(
    encoder: Any, shared: Path, can_export: Callable[[Any], bool], export: Callable[[Any, Path], None]
) -> dict[str, str]:
    """Export a query encoder, where that can be done; the model itself serves else.

    Args:
        encoder: of the part.
        shared: the folder of what the part's shards share.
        can_export: whether there is anything to export.
        export: writes it into a folder.

    Returns:
        Facts for the manifest: ``not_exported``, why not, where it failed.
    """
    if not can_export(encoder):
        return {}
    try:
        export(encoder, shared / QUERY)
    except ModelError as error:
        shutil.rmtree(shared / QUERY, ignore_errors=True)
        return {"not_exported": str(error)}
    return {}
