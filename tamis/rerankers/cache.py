"""Scores of pairs on disk: what a model once said of a query and a passage is not computed again.

A pair is known by what it is: the model's fingerprint (which holds its options and numeric mode) and the texts. Where it was
found does not matter, so a cache serves any index and any pipeline, and an interrupted run goes on where it stopped. One SQLite
database in its write-ahead mode, which processes may share; the oldest pairs go first when it is full.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from tamis.encoders.base import Passage
from tamis.errors import StorageError

VARIABLE = "TAMIS_CACHE"
"""Environment variable: the folder of the cache, or ``off``."""

FILE = "pairs-1.sqlite3"
"""Its name holds the version of the layout."""

LIMIT = 10_000_000
"""Pairs that are kept: 700 MB."""

WAIT_SECONDS = 60.0
"""How long one process waits for another's write."""

_AT_ONCE = 500


def cache_folder() -> Path | None:
    """Return where caches are: ``$TAMIS_CACHE``, else ``tamis`` below ``$XDG_CACHE_HOME`` or ``~/.cache``; None for ``off``."""
    named = os.environ.get(VARIABLE, "")
    if named == "off":
        return None
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")  # one that is not absolute is to be ignored, its specification says
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "tamis"


def default_cache() -> PairCache | None:
    """Return the cache that the environment means; None where it says ``off``."""
    folder = cache_folder()
    return None if folder is None else PairCache(folder / FILE)


def pair_keys(fingerprint: str, queries: Sequence[str], passages: Sequence[Passage]) -> list[bytes]:
    """Return the key of query i with passage i for a model: 16 bytes."""
    begun: dict[str, blake2b] = {}
    keys = []
    for query, passage in zip(queries, passages, strict=True):
        if query not in begun:
            begun[query] = blake2b(_framed(fingerprint) + _framed(query), digest_size=16)
        digest = begun[query].copy()
        digest.update(_framed(passage.title) + _framed(passage.text))
        keys.append(digest.digest())
    return keys


def _framed(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(8, "little") + raw


class PairCache:
    """Scores by key. Safe to share between threads, between processes, and across a fork.

    Args:
        path: of the database, which is made when it is first used.
        limit: pairs that are kept at most.
    """

    def __init__(self, path: Path, *, limit: int = LIMIT) -> None:
        self.path, self.limit = path, limit
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0

    def get(self, keys: Sequence[bytes]) -> Mapping[bytes, float]:
        """Return the scores of those keys that are known.

        Raises:
            StorageError: the database cannot be read.
        """
        found: dict[bytes, float] = {}
        with self._using() as connection:
            for first in range(0, len(keys), _AT_ONCE):
                part = keys[first : first + _AT_ONCE]
                marks = ",".join("?" * len(part))
                found.update(connection.execute(f"SELECT key, score FROM pairs WHERE key IN ({marks})", part))  # noqa: S608
        return found

    def put(self, scores: Mapping[bytes, float]) -> None:
        """Keep scores; what is known already stays. Once this returns they outlive the process.

        Raises:
            StorageError: the database cannot be written.
        """
        with self._using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.executemany("INSERT OR IGNORE INTO pairs (key, score) VALUES (?, ?)", scores.items())
                # rows are numbered upwards and go from the bottom, so that the numbers have no gaps
                connection.execute("DELETE FROM pairs WHERE rowid <= (SELECT max(rowid) FROM pairs) - ?", (self.limit,))
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise

    def __len__(self) -> int:
        with self._using() as connection:
            return int(connection.execute("SELECT count(*) FROM pairs").fetchone()[0])

    def close(self) -> None:
        """Let go of the database; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._connection is None or self._process != os.getpid():  # a connection does not survive a fork
                    self._connection, self._process = self._open(), os.getpid()
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                raise StorageError(
                    f"the cache of scores {self.path} cannot be used: {error}; delete it if it is damaged, name another "
                    f"folder with ${VARIABLE}, or do without: {VARIABLE}=off, or cache=false on the model's address"
                ) from error

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _patiently(connection, "PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            _patiently(connection, "CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, score REAL NOT NULL)")
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
