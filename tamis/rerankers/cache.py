"""Scores of pairs on disk: what a model once said of a query and a passage is not computed again.

A pair is known by what it is: the model's fingerprint (which holds its options and numeric mode) and the texts. Where it was
found does not matter, so a cache serves any index and any pipeline, and an interrupted run goes on where it stopped. The
oldest pairs go first when it is full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from tamis.database import VARIABLE, Database, cache_folder
from tamis.encoders.base import Passage

FILE = "pairs-1.sqlite3"
"""Its name holds the version of the layout."""

LIMIT = 10_000_000
"""Pairs that are kept: 700 MB."""

_AT_ONCE = 500
_TABLE = "CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, score REAL NOT NULL)"


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
        way_out = f"{VARIABLE}=off, or cache=false on the model's address"
        self._database = Database(path, (_TABLE,), what="the cache of scores", way_out=way_out)

    def get(self, keys: Sequence[bytes]) -> Mapping[bytes, float]:
        """Return the scores of those keys that are known.

        Raises:
            StorageError: the database cannot be read.
        """
        found: dict[bytes, float] = {}
        with self._database.using() as connection:
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
        with self._database.writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO pairs (key, score) VALUES (?, ?)", scores.items())
            # rows are numbered upwards and go from the bottom, so that the numbers have no gaps
            connection.execute("DELETE FROM pairs WHERE rowid <= (SELECT max(rowid) FROM pairs) - ?", (self.limit,))

    def __len__(self) -> int:
        with self._database.using() as connection:
            return int(connection.execute("SELECT count(*) FROM pairs").fetchone()[0])

    def close(self) -> None:
        """Let go of the database; the next use opens it again."""
        self._database.close()
