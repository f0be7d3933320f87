"""What was asked and answered, on disk: a run can be made again without the model, and an interrupted one goes on.

A file of JSON lines, one a call: a key, which is a digest of the request, the request, and what came back. A line that was cut
off when a program ended counts as not there, and goes when the next is written. Several programs may write one file: each holds a
lock while it does.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

from tamis.errors import DataError, MissingResourceError, StorageError
from tamis.rerankers.listwise.calls import LateError

_BLOCK = 1 << 16


def call_key(request: Mapping[str, Any]) -> str:
    """Return the key of a request: a digest of its canonical JSON."""
    text = json.dumps(request, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


class Transcript:
    """The calls of a file; safe to share between threads.

    Args:
        path: of the file; one that is only replayed must be there.
        replay: whether nothing but what it holds may be answered.

    Raises:
        MissingResourceError: there is nothing to replay.
        DataError: the file is no transcript.
    """

    def __init__(self, path: Path, *, replay: bool) -> None:
        self.path, self.replay = path, replay
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] = {}
        if path.exists():
            self._read()
        elif replay:
            raise MissingResourceError(f"replay={path}: there is no such file; record one with  record={path}")

    def _read(self) -> None:
        raw = self.path.read_bytes()
        for number, line in enumerate(raw.split(b"\n")[:-1], 1):
            try:
                call = json.loads(line)
                self._known[call["key"]] = call
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{self.path}:{number}: no call of a transcript: {error!r}") from error

    def get(self, request: Mapping[str, Any], *, hurried: bool = False) -> dict[str, Any] | None:
        """Return a call that was made before, or None.

        Args:
            request: what was asked.
            hurried: whether there is a deadline, so that it may have been too late for the call when others were recorded.

        Raises:
            MissingResourceError: it was not, and may not be made now.
            LateError: the same, with a deadline.
        """
        key = call_key(request)
        with self._lock:
            found = self._known.get(key)
        if found is None and self.replay:
            missing = MissingResourceError(
                f"{self.path} holds no call {key}: topics, candidates or options are not those it was recorded with"
            )
            if hurried:
                raise LateError from missing
            raise missing
        return found

    def put(self, request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Keep a call; once this returns it outlives the process.

        Raises:
            StorageError: the file cannot be written.
        """
        call = {"key": call_key(request), "request": request, **answer}
        line = json.dumps(call, ensure_ascii=True).encode() + b"\n"
        with self._lock:
            self._known[call["key"]] = call
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a+b") as handle:
                    fcntl.flock(handle, fcntl.LOCK_EX)  # until it is closed
                    handle.truncate(_whole(handle))
                    handle.write(line)
                    handle.flush()
                    os.fsync(handle.fileno())
            except OSError as error:
                raise StorageError(f"record={self.path}: cannot be written: {error}") from error


def _whole(handle: IO[bytes]) -> int:
    """Return where the last whole line of a file ends."""
    end = handle.seek(0, os.SEEK_END)
    while end:
        first = max(0, end - _BLOCK)
        handle.seek(first)
        if found := handle.read(end - first).rfind(b"\n") + 1:
            return first + found
        end = first
    return 0
