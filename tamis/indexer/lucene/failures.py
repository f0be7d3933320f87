"""What goes wrong inside Java, said in our own errors: the one place that knows Java's exceptions.

Java's exceptions are no `OSError`, so a full disk inside Lucene would otherwise leave as a bare Java traceback.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tamis.errors import CorruptIndexError, IndexLockedError, PrerequisiteError, StorageError, TamisError
from tamis.indexer.lucene.jvm import HEAP_VARIABLE, java, start

_FULL = ("No space left on device", "Disk quota exceeded", "not enough space on the disk")
_REFUSED = ("Read-only file system", "Permission denied", "Operation not permitted")
_MISSING = ("java.nio.file.NoSuchFileException", "java.io.FileNotFoundException", "java.io.EOFException")


@contextlib.contextmanager
def java_errors(folder: Path) -> Iterator[None]:
    """Turn Java's input/output and index exceptions over `folder` into typed errors; others pass as they are.

    Raises:
        StorageError: the disk is full or refuses the write.
        CorruptIndexError: Lucene finds its files damaged or missing.
        IndexLockedError: another Lucene writer holds the folder.
        PrerequisiteError: the heap is too small.
    """
    try:
        yield
    except TamisError:
        raise
    except Exception as error:
        typed = _typed(error, folder) if isinstance(error, start().JException) else None
        if typed is None:
            raise
        raise typed from error


def _typed(error: Any, folder: Path) -> TamisError | None:
    """The first of an exception's causes that has a name among ours."""
    while error is not None:
        message = str(error.getMessage() or error)
        if isinstance(error, java("java.lang.OutOfMemoryError")):
            return PrerequisiteError(
                f"Java ran out of memory ({message}): set {HEAP_VARIABLE} higher, for example to 2g"
            )
        if isinstance(error, java("org.apache.lucene.store.LockObtainFailedException")):
            return IndexLockedError(f"{folder} is being written by another Lucene writer: {message}")
        if isinstance(error, java("java.io.IOException")):
            return _from_io(error, message, folder)
        error = error.getCause()
    return None


def _from_io(error: Any, message: str, folder: Path) -> TamisError:
    if any(words in message for words in _FULL):
        return StorageError(f"no space left while writing {folder}: free some and run the same command again")
    if isinstance(error, java("java.nio.file.AccessDeniedException")) or any(words in message for words in _REFUSED):
        return StorageError(f"cannot write {folder}: {message}; check its permissions or choose another folder")
    name = str(error.getClass().getName())
    if name.startswith("org.apache.lucene.index.") or name in _MISSING:
        return CorruptIndexError(f"{folder}: Lucene cannot read it: {message}; run tamis verify")
    return StorageError(f"{folder}: Lucene could not read or write: {message}")
