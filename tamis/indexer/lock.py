"""One writer, many readers: advisory locks that the operating system drops when their process dies.

A writer holds LOCK exclusively. A reader holds its generation's manifest shared, so that garbage collection, which asks for
the manifest exclusively first, leaves the generation alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import weakref
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from tamis.errors import IndexDataError, IndexLockedError
from tamis.files import storage_errors
from tamis.indexer.layout import Manifest, generations, manifest_path, parse_manifest

LOCK = "LOCK"


class WriterLock:
    """The exclusive right to write an index; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        with storage_errors(self._path):
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 4096).decode("utf-8", "replace").strip() or "another process"
            os.close(self._descriptor)
            raise IndexLockedError(
                f"{folder} is being written by {holder}: wait for it, or stop it, and try again"
            ) from None
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with contextlib.suppress(OSError):  # the note is for messages; the lock holds without it, even on a full disk
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, json.dumps(owner).encode())

    def close(self) -> None:
        """Give the right back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)  # drops the lock
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Pin:
    """A reader's hold on one generation, with its manifest; let go by `close`, or when nothing refers to it any more."""

    def __init__(self, descriptor: int, manifest: Manifest) -> None:
        self._release = weakref.finalize(self, os.close, descriptor)
        self.manifest = manifest

    def close(self) -> None:
        """Let the generation go."""
        self._release()


def pin_newest(folder: Path) -> Pin:
    """Hold the newest generation and read its manifest.

    Raises:
        CorruptIndexError: its manifest is damaged.
        IndexDataError: there is no generation at all.
    """
    while True:
        known = generations(folder)
        if not known:
            raise IndexDataError(
                f"{folder} holds no generation: its creation was interrupted; run the same command again"
            )
        path = manifest_path(folder, known[-1])
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue  # collected between the listing and here: a newer one exists
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if os.fstat(descriptor).st_nlink == 0 and generations(folder)[-1:] != known[-1:]:
                os.close(descriptor)
                continue
            with os.fdopen(os.dup(descriptor), "rb") as handle:
                data = handle.read()
            return Pin(descriptor, parse_manifest(data, path))
        except BaseException:
            os.close(descriptor)
            raise


def remove_unless_pinned(path: Path) -> bool:
    """Remove the manifest at `path` unless a reader holds it, and say whether it is gone.

    The manifest is removed while it is held: a reader that opened it meanwhile waits, then sees that it is gone.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
