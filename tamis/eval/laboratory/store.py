"""What experiments remember on disk: lists by step and query, how fast steps went, what systems cost.

One database of the caches (`tamis.database`), for all experiments of a user, or one in a folder of results where there is no
cache. The oldest lists go first when it is full.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.database import VARIABLE, Database, cache_folder
from tamis.files import sha256_file
from tamis.pipeline.remembered import Lists, StepKey
from tamis.ranking import Queries, Ranking, Rows, Scores

FILE = "rankings-1.sqlite3"
"""Its name holds the version of the layout."""

LIMIT = 2_000_000_000
"""Bytes that are kept."""

_AT_ONCE = 500
_TABLES = (
    "CREATE TABLE IF NOT EXISTS lists (key BLOB PRIMARY KEY, depth INTEGER NOT NULL, rows BLOB NOT NULL, scores BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS paces (step TEXT PRIMARY KEY, queries INTEGER NOT NULL, seconds REAL NOT NULL)",
    "CREATE TABLE IF NOT EXISTS costs (key TEXT PRIMARY KEY, cost TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, modified INTEGER, sha256 TEXT NOT NULL)",
)


def default_store(results: Path) -> Store:
    """Return the store that the environment means; where it says ``off``, one in the folder of results."""
    folder = cache_folder()
    return Store((results / "work" if folder is None else folder) / FILE)


class Store:
    """A `tamis.pipeline.remembered.Memory` on disk. Safe to share between threads and processes.

    Args:
        path: of the database, which is made when it is first used.
        limit: bytes of lists that are kept at most.
    """

    def __init__(self, path: Path, *, limit: int = LIMIT) -> None:
        self.path, self.limit = path, limit
        self._database = Database(path, _TABLES, what="the store of rankings", way_out=f"{VARIABLE}=off")

    # -- lists -----------------------------------------------------------------------------------------------------

    def known(self, key: StepKey, queries: Queries) -> NDArray[np.bool_]:
        """Return for which queries a list is there that is deep enough."""
        names = _names(key, queries)
        depths = dict(self._select("key, depth", names))
        return np.fromiter((depths.get(name, -1) >= (key.depth or 0) for name in names), np.bool_, len(names))

    def recall(self, key: StepKey, queries: Queries) -> Lists:
        """Return for each query its list, or None; see `Memory`."""
        names = _names(key, queries)
        found = {name: rest for name, *rest in self._select("key, depth, rows, scores", names)}
        return [_list(found[name], key.depth) if name in found else None for name in names]

    def keep(self, key: StepKey, queries: Queries, ranking: Ranking, seconds: float) -> None:
        """Remember lists; see `Memory`. Once this returns they outlive the process."""
        entries = [
            (name, key.depth or 0, rows.astype("<i8").tobytes(), scores.astype("<f8").tobytes())
            for name, (_, rows, scores), partial in zip(
                _names(key, queries), ranking.lists(), ranking.partial.tolist(), strict=True
            )
            if not partial
        ]
        with self._database.writing() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO lists (key, depth, rows, scores) VALUES (?, ?, ?, ?)", entries
            )
            connection.execute(
                "INSERT INTO paces (step, queries, seconds) VALUES (?, ?, ?) ON CONFLICT (step) DO UPDATE SET "
                "queries = queries + excluded.queries, seconds = seconds + excluded.seconds",
                (key.digest, len(queries), seconds),
            )
            pages, free, size = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
            if (pages - free) * size > self.limit:  # a tenth at a time, so that this is rare
                connection.execute(
                    "DELETE FROM lists WHERE rowid IN (SELECT rowid FROM lists ORDER BY rowid LIMIT "
                    "(SELECT 1 + count(*) / 10 FROM lists))"
                )

    def _select(self, columns: str, names: Sequence[bytes]) -> list[Any]:
        found: list[Any] = []
        with self._database.using() as connection:
            for first in range(0, len(names), _AT_ONCE):
                part = names[first : first + _AT_ONCE]
                marks = ",".join("?" * len(part))
                found += connection.execute(f"SELECT {columns} FROM lists WHERE key IN ({marks})", part).fetchall()  # noqa: S608
        return found

    def __len__(self) -> int:
        with self._database.using() as connection:
            return int(connection.execute("SELECT count(*) FROM lists").fetchone()[0])

    # -- paces, costs, files -----------------------------------------------------------------------------------------

    def pace(self, key: StepKey) -> float | None:
        """Return the seconds a query that a step took so far; None where it never ran."""
        with self._database.using() as connection:
            found = connection.execute("SELECT seconds / queries FROM paces WHERE step = ?", (key.digest,)).fetchone()
        return None if found is None else float(found[0])

    def cost(self, key: str) -> Any:
        """Return what was measured under a key; None where nothing was."""
        with self._database.using() as connection:
            found = connection.execute("SELECT cost FROM costs WHERE key = ?", (key,)).fetchone()
        return None if found is None else json.loads(found[0])

    def keep_cost(self, key: str, cost: object) -> None:
        """Remember what was measured, as JSON values."""
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO costs (key, cost) VALUES (?, ?)", (key, json.dumps(cost)))

    def hash_of(self, path: Path) -> str:
        """Return a file's SHA-256; one of unchanged size and time of change is not read again."""
        status = path.stat()
        seen = (str(path.resolve()), status.st_size, status.st_mtime_ns)
        with self._database.using() as connection:
            query = "SELECT sha256 FROM files WHERE path = ? AND size = ? AND modified = ?"
            found = connection.execute(query, seen).fetchone()
        if found is not None:
            return str(found[0])
        digest = sha256_file(path)
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (*seen, digest))
        return digest

    def close(self) -> None:
        """Let go of the database; the next use opens it again."""
        self._database.close()


def _names(key: StepKey, queries: Queries) -> list[bytes]:
    """A list is known by its step and by the query's id (which a linker may look up) and text."""
    start = blake2b(key.digest.encode(), digest_size=16)
    names = []
    for query_id, text in zip(queries.ids, queries.texts, strict=True):
        digest = start.copy()
        for part in (query_id, text):
            raw = part.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little") + raw)
        names.append(digest.digest())
    return names


def _list(found: Sequence[Any], wanted: int | None) -> tuple[Rows, Scores] | None:
    depth, rows, scores = found
    if wanted is not None and depth < wanted:
        return None
    return np.frombuffer(rows, "<i8")[:wanted], np.frombuffer(scores, "<f8")[:wanted]
