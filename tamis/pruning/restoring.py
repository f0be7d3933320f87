"""Taking pruned documents back: off the list that keeps them out, and if an index still holds them, into the index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamis.data.document import Document
from tamis.engine import Index
from tamis.errors import MissingResourceError, UsageError
from tamis.indexer.pruned import pruned_ids
from tamis.indexer.writer import Writer

_AT_ONCE = 1024


@dataclass(frozen=True)
class Restored:
    """What a restoration did.

    Attributes:
        restored: documents taken off the list.
        added: documents that were put back.
        unknown: ids that were not on the list.
    """

    restored: int
    added: int
    unknown: tuple[str, ...]


def restore_documents(index: Index, ids: Sequence[str] | None = None, source: Path | None = None) -> Restored:
    """Let pruned documents back in.

    Args:
        index: an open index, which moves to the new generation.
        ids: of documents; all that are kept out if None.
        source: an index that holds them, whose documents are added; if None, they come with a later add.

    Raises:
        UsageError: the index or the source is of passages, whose documents cannot be put together again, and a source is
            named.
        MissingResourceError: the source lacks one of them; nothing is changed then.
    """
    held = pruned_ids(index.path, index.manifest)
    known = set(held)
    wanted = held if ids is None else [doc_id for doc_id in dict.fromkeys(ids) if doc_id in known]
    unknown = () if ids is None else tuple(doc_id for doc_id in dict.fromkeys(ids) if doc_id not in known)
    if not wanted and ids is not None:
        return Restored(0, 0, unknown)
    if source is None:
        _unblock(index, wanted if ids is not None else None)
        return Restored(len(wanted), 0, unknown)
    with Index.open(source) as whole:
        documents: Any = whole.documents
        for one in (index, whole):
            if one.manifest.settings.passages is not None:
                raise UsageError(
                    f"{one.path} holds passages, from which documents cannot be put together again: leave --from out, and add "
                    "them from the corpus afterwards"
                )
        rows = documents.rows(wanted)
        if (rows < 0).any():
            lacking = [doc_id for doc_id, row in zip(wanted, rows.tolist(), strict=True) if row < 0]
            raise MissingResourceError(f"{source} lacks {len(lacking)} of the documents, such as {lacking[0]!r}")
        rows.sort()
        _unblock(index, wanted if ids is not None else None)
        added = index.add(_documents(documents, rows)).documents if len(rows) else 0
    return Restored(len(wanted), added, unknown)


def _unblock(index: Index, ids: Sequence[str] | None) -> None:
    with Writer(index.path) as writer:
        writer.unblock(ids)
        index.refresh()
        writer.collect()


def _documents(documents: Any, rows: Any) -> Iterator[Document]:
    for first in range(0, len(rows), _AT_ONCE):
        some = rows[first : first + _AT_ONCE]
        columns = (documents.ids(some), documents.bodies(some), documents.titles(some), documents.metadata(some))
        for doc_id, text, title, metadata in zip(*columns, strict=True):
            yield Document(doc_id, text, title, metadata)
