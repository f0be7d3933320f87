"""Caches on disk: small SQLite databases in a folder of the user's, which threads and processes share.

What is in them is known by its content and can be lost without harm; `TAMIS_CACHE` says where they are, or that there are none.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tamis.errors import StorageError

VARIABLE = "TAMIS_CACHE"
"""Environment variable: the folder of the caches, or ``off``."""

WAIT_SECONDS = 60.0
"""How long one process waits for another's write."""


def cache_folder() -> Path | None:
    """Return where caches are: ``$TAMIS_CACHE``, else ``tamis`` below ``$XDG_CACHE_HOME`` or ``~/.cache``; None for ``off``."""
    named = os.environ.get(VARIABLE, "")
    if named == "off":
        return None
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")  # one that is not absolute is to be ignored, its specification says
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "tamis"


class Database:
    """One SQLite database in its write-ahead mode. Safe to share between threads, between processes, and across a fork.

    Args:
        path: of the file, which is made when it is first used.
        tables: statements that make what is in it, each harmless where it is made already.
        what: what messages call it.
        way_out: what a message says of doing without it.
    """

    def __init__(self, path: Path, tables: tuple[str, ...], *, what: str, way_out: str) -> None:
        self.path = path
        self._tables, self._what, self._way_out = tables, what, way_out
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0

    @contextlib.contextmanager
    def using(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to one thread at a time.

        Raises:
            StorageError: the database cannot be read or written.
        """
        with self._lock:
            try:
                if self._connection is None or self._process != os.getpid():  # a connection does not survive a fork
                    self._connection, self._process = self._open(), os.getpid()
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                raise StorageError(
                    f"{self._what} {self.path} cannot be used: {error}; delete it if it is damaged, name another "
                    f"folder with ${VARIABLE}, or do without: {self._way_out}"
                ) from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for one transaction, which is kept as a whole or not at all.

        Raises:
            StorageError: as `using`.
        """
        with self.using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise

    def close(self) -> None:
        """Let go of the database; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _patiently(connection, "PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            for statement in self._tables:
                _patiently(connection, statement)
        except BaseException:
            connection.close()
            raise
        return connection


def _patiently(connection: sqlite3.Connection, statement: str) -> None:
    """Run a statement that SQLite refuses at once, and does not wait for, while another process opens the database."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.01)
