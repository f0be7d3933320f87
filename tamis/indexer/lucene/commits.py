"""The index's Lucene folder: taking chunks in, deleting, committing, and opening the commit of a generation.

Every Lucene commit carries the generation in its user data, and the manifest names the commit's ``segments_N`` file. All
commits are kept (`NoDeletionPolicy`; this jar has no policy that keeps the last few) until garbage collection removes the
unreferenced ones, so a crash between the Lucene commit and the manifest leaves the older commit to open and to
continue from.

While any row is deleted, Lucene may not merge: a merge would drop deleted documents, and with them document frequencies
that scores depend on. Merges are of neighbours only, so document order is row order for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tamis.errors import CorruptIndexError
from tamis.indexer.lucene.build import index_settings, open_directory
from tamis.indexer.lucene.jvm import java, start

GENERATION = "generation"


def list_commits(directory: Any) -> list[Any]:
    """Return the Lucene commits of a directory, oldest first."""
    return list(java("org.apache.lucene.index.DirectoryReader").listCommits(directory))


def find_commit(directory: Any, segments_file: str) -> Any:
    """Return the commit called `segments_file`.

    Raises:
        CorruptIndexError: the directory does not hold it.
    """
    for commit in list_commits(directory):
        if str(commit.getSegmentsFileName()) == segments_file:
            return commit
    raise CorruptIndexError(f"{directory}: Lucene commit {segments_file} is missing; the manifest names it")


def _merge_neighbours() -> Any:
    return java("org.apache.lucene.index.LogDocMergePolicy")()


def _keep_everything() -> Any:
    """A policy that never merges, and keeps even a segment whose documents are all deleted."""
    never = _merge_neighbours()
    never.setMergeFactor(1 << 30)
    handles = java("java.lang.invoke.MethodHandles")
    everything = handles.constant(java("java.lang.Object").class_, java("org.apache.lucene.search.MatchAllDocsQuery")())
    supplier = java("java.lang.invoke.MethodHandleProxies").asInterfaceInstance(
        java("java.util.function.Supplier").class_, everything
    )
    return java("org.apache.lucene.index.SoftDeletesRetentionMergePolicy")("no_soft_deletes", supplier, never)


class LuceneWriter:
    """A writer that starts from the commit of a generation, whatever unpublished commits lie after it."""

    def __init__(self, folder: Path, analyzer: str, base: str | None, *, may_merge: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._directory = open_directory(folder)
        config = index_settings(analyzer)
        config.setIndexDeletionPolicy(java("org.apache.lucene.index.NoDeletionPolicy").INSTANCE)
        config.setMergePolicy(_merge_neighbours() if may_merge else _keep_everything())
        modes = java("org.apache.lucene.index.IndexWriterConfig$OpenMode")
        if base is None:
            config.setOpenMode(modes.CREATE)
        else:
            config.setOpenMode(modes.APPEND)
            config.setIndexCommit(find_commit(self._directory, base))
        self._writer = java("org.apache.lucene.index.IndexWriter")(self._directory, config)
        # Rolling back to an older commit asks for a new segments file even when nothing else changes.
        self._writer.setLiveCommitData(java("java.util.HashMap")().entrySet())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.rollback()  # closes; what was committed stays committed
        self._directory.close()

    def delete(self, ids: Sequence[str]) -> None:
        """Delete the documents with these ids, before any chunk is taken in."""
        jpype = start()
        term = java("org.apache.lucene.index.Term")
        for first in range(0, len(ids), 1000):
            terms = [term("id", doc_id) for doc_id in ids[first : first + 1000]]
            self._writer.deleteDocuments(jpype.JArray(term)(terms))
        self._writer.flush()

    def take(self, chunks: Iterable[Path]) -> None:
        """Append the Lucene indexes of finished chunks, in order, as one merged segment."""
        readers = []
        codec_readers = []
        try:
            for chunk in chunks:
                directory = open_directory(chunk)
                reader = java("org.apache.lucene.index.DirectoryReader").open(directory)
                readers.append((reader, directory))
                codec_readers += [leaf.reader() for leaf in reader.leaves() if leaf.reader().numDocs()]
            if codec_readers:
                array = start().JArray(java("org.apache.lucene.index.CodecReader"))
                self._writer.addIndexes(array(codec_readers))
        finally:
            for reader, directory in readers:
                reader.close()
                directory.close()

    def merge_all(self) -> None:
        """Rewrite everything into one segment without the deleted documents."""
        self._writer.getConfig().setMergePolicy(_merge_neighbours())
        self._writer.forceMerge(1)

    def commit(self, generation: int) -> str:
        """Commit for `generation`; return the name of the commit's segments file."""
        data = java("java.util.HashMap")()
        data.put(GENERATION, str(generation))
        self._writer.setLiveCommitData(data.entrySet())
        self._writer.commit()
        return str(list_commits(self._directory)[-1].getSegmentsFileName())


def commit_files(folder: Path, segments_file: str) -> list[str]:
    """Return the names of all files that a commit consists of."""
    directory = open_directory(folder)
    try:
        return sorted(str(name) for name in find_commit(directory, segments_file).getFileNames())
    finally:
        directory.close()


def field_statistics(folder: Path, segments_file: str, fields: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return, for every field, the counts that scores depend on: docs, tokens, postings (deleted documents included)."""
    directory = open_directory(folder)
    try:
        reader = java("org.apache.lucene.index.DirectoryReader").open(find_commit(directory, segments_file))
        try:
            return {
                field: {
                    "docs": int(reader.getDocCount(field)),
                    "tokens": int(reader.getSumTotalTermFreq(field)),
                    "postings": int(reader.getSumDocFreq(field)),
                }
                for field in fields
            }
        finally:
            reader.close()
    finally:
        directory.close()
