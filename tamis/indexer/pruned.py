"""What was pruned out of an index: the ids of its rows, and the documents that are kept out when they come again.

    pruned/<id>.jsonl    ids, one JSON string a line, ascending; immutable once named

A manifest names two such files: ``rows`` holds every pruned row, ``documents`` those documents none of whose rows is left. Only
whole documents are kept out of later adds: a document that comes again may have another text, whose passages nobody has judged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tamis.data.document import Document
from tamis.errors import CorruptIndexError
from tamis.files import atomic_write
from tamis.indexer.documents import DocumentStore
from tamis.indexer.layout import PRUNED, Manifest
from tamis.ranking import Rows

ROWS, DOCUMENTS = "rows", "documents"


def pruned_ids(folder: Path, manifest: Manifest, which: str = DOCUMENTS) -> list[str]:
    """Return the ids on one of a generation's lists, ascending.

    Raises:
        CorruptIndexError: the file is damaged.
    """
    name = manifest.pruned.get(which)
    if name is None:
        return []
    try:
        return [json.loads(line) for line in (folder / name).read_bytes().splitlines()]
    except (OSError, ValueError) as error:
        raise CorruptIndexError(f"{folder / name} is damaged: {error}; run tamis verify") from error


def gone_documents(store: DocumentStore, rows: Rows) -> list[str]:
    """Return the ids of the documents none of whose live rows is left when `rows` go."""
    if not store.has_passages:
        return store.ids(rows)
    count = store.manifest.rows
    live = store.rows_at(np.arange(count) if store.live is None else np.flatnonzero(store.live))
    parents = store.parents(live)
    gone = np.setdiff1d(parents, parents[~np.isin(live, rows)])
    return [passage.rpartition("#")[0] for passage in store.ids(gone)]


def with_pruned(
    folder: Path, manifest: Manifest, rows: Iterable[str], documents: Iterable[str], record: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a manifest's ``pruned`` with more ids on its lists, whose files are written, and a record of how that came."""
    added = {ROWS: rows, DOCUMENTS: documents}
    lists = {name: {*pruned_ids(folder, manifest, name), *ids} for name, ids in added.items()}
    return _written(folder, manifest, lists, record)


def without_pruned(folder: Path, manifest: Manifest, ids: Collection[str] | None, *, passages: bool) -> dict[str, Any]:
    """Return a manifest's ``pruned`` with the documents `ids` off its lists, all of them if None; files as in `with_pruned`.

    Args:
        folder: of the index.
        manifest: its generation.
        ids: of documents.
        passages: whether rows are passages.
    """
    chosen = None if ids is None else frozenset(ids)

    def stays(row_id: str) -> bool:
        return chosen is not None and row_id not in chosen

    documents = {doc_id for doc_id in pruned_ids(folder, manifest, DOCUMENTS) if stays(doc_id)}
    rows = {
        row_id
        for row_id in pruned_ids(folder, manifest, ROWS)
        if stays(row_id.rpartition("#")[0] if passages else row_id)
    }
    return _written(
        folder, manifest, {ROWS: rows, DOCUMENTS: documents}, {"restored": None if ids is None else len(ids)}
    )


def _written(
    folder: Path, manifest: Manifest, lists: Mapping[str, set[str]], record: Mapping[str, Any]
) -> dict[str, Any]:
    history = [*manifest.pruned.get("history", ()), {"generation": manifest.generation + 1, **record}]
    found: dict[str, Any] = {"history": history}
    for name, ids in lists.items():
        text = "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in sorted(ids)).encode()
        file = f"{PRUNED}/{hashlib.sha256(text).hexdigest()[:32]}.jsonl"
        (folder / PRUNED).mkdir(exist_ok=True)
        if not (folder / file).exists():
            with atomic_write(folder / file) as handle:
                handle.write(text)
        found[name] = file
        found[f"{name}_count"] = len(ids)
    return found


def pruned_files(pruned: Mapping[str, Any]) -> list[str]:
    """Return the files that a manifest's ``pruned`` names."""
    return [pruned[name] for name in (ROWS, DOCUMENTS) if name in pruned]


class Blocklist:
    """Leaves pruned documents out of a stream.

    Attributes:
        blocked: how many were left out so far.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._ids = frozenset(pruned_ids(folder, manifest))
        self.blocked = 0

    def __call__(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Yield the documents that are not on the list."""
        for document in documents:
            if document.id in self._ids:
                self.blocked += 1
            else:
                yield document
