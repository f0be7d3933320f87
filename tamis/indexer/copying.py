"""A second index out of a generation of a first: the same files, an identity of its own.

Files of a generation never change, so the copy shares them by hard links where the file system has those: it takes no space until
one of the two indexes is rewritten.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

from tamis.files import atomic_write, link_or_copy, storage_errors, sync_folder, sync_tree
from tamis.indexer.layout import FORMAT, MANIFESTS, WORK, Manifest, format_text, publish_manifest


def copy_generation(source: Path, manifest: Manifest, output: Path) -> Manifest:
    """Make an index in `output` that holds what one generation of `source` does, and return its manifest.

    The caller keeps the generation from being collected meanwhile (an open index does).

    Args:
        source: folder of the first index.
        manifest: the generation.
        output: must not exist.

    Raises:
        StorageError: the disk refuses a write.
    """
    with storage_errors(output):
        output.mkdir(parents=True)
        for name in manifest.files:
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(source / name, output / name)
        (output / WORK).mkdir(exist_ok=True)
        (output / MANIFESTS).mkdir(exist_ok=True)
        with atomic_write(output / FORMAT, text=True) as handle:
            handle.write(format_text())
        sync_tree(output)
        copy = replace(manifest, index=uuid.uuid4().hex)
        publish_manifest(output, copy)
        sync_folder(output.absolute().parent)
    return copy
