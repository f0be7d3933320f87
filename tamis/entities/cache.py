"""Candidates that were worked out once, kept beside the vocabulary: for linkers that run a model for every text.

They are found again by the text, its mention, the linker and the contents of the vocabulary, so nothing in here is ever wrong,
and all of it can be deleted. Where the vocabulary cannot be written nothing is kept.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from tamis.entities.linking import Candidate, Linker, Mention
from tamis.entities.vocabulary import EntityVocabulary

FOLDER = "candidates"
_NO_SPAN = -1
_AT_ONCE = 500
_WAIT_SECONDS = 60.0


class CachedLinker:
    """A `tamis.entities.linking.Linker` that asks another only for what it has not seen.

    Args:
        linker: the other.
        vocabulary: of both.
    """

    def __init__(self, linker: Linker, vocabulary: EntityVocabulary) -> None:
        self._linker, self.fingerprint = linker, linker.fingerprint
        self._path: Path = (
            vocabulary.folder / FOLDER / f"{vocabulary.fingerprint[:16]}-{linker.fingerprint[:16]}.sqlite"
        )

    def link(self, mentions: Sequence[Mention]) -> list[list[Candidate]]:
        """See `Linker`."""
        keys = [_key(mention) for mention in mentions]
        with self._opened() as connection:
            known = {} if connection is None else _known(connection, list(dict.fromkeys(keys)))
            missing = {key: mention for key, mention in zip(keys, mentions, strict=True) if key not in known}
            found = dict(zip(missing, self._linker.link(list(missing.values())), strict=True)) if missing else {}
            if connection is not None and found:
                rows = [(key, _packed(own)) for key, own in found.items()]
                with contextlib.suppress(sqlite3.Error), connection:
                    connection.executemany("INSERT OR IGNORE INTO candidates VALUES (?, ?)", rows)
        every = {**known, **found}
        return [every[key] for key in keys]

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection | None]:
        """Open the file for one call, so that it is shared between threads, processes and forks."""
        connection: sqlite3.Connection | None = None
        try:
            self._path.parent.mkdir(exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=_WAIT_SECONDS)
            connection.execute("CREATE TABLE IF NOT EXISTS candidates (key BLOB PRIMARY KEY, found BLOB) WITHOUT ROWID")
        except (OSError, sqlite3.Error):
            if connection is not None:
                connection.close()
            connection = None
        try:
            yield connection
        finally:
            if connection is not None:
                connection.close()


def _key(mention: Mention) -> bytes:
    span = repr(mention.span).encode()
    return blake2b(span + b"\0" + mention.text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _known(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, list[Candidate]]:
    found = dict[bytes, list[Candidate]]()
    for first in range(0, len(keys), _AT_ONCE):
        part = keys[first : first + _AT_ONCE]
        marks = ",".join("?" * len(part))
        rows = connection.execute(f"SELECT key, found FROM candidates WHERE key IN ({marks})", part)  # noqa: S608
        found.update((key, _unpacked(blob)) for key, blob in rows)
    return found


def _packed(candidates: Sequence[Candidate]) -> bytes:
    rows = [(c.entity, c.score, *(c.span or (_NO_SPAN, _NO_SPAN))) for c in candidates]
    return np.array(rows, "<f8").tobytes()


def _unpacked(blob: bytes) -> list[Candidate]:
    rows = np.frombuffer(blob, "<f8").reshape(-1, 4).tolist()
    return [
        Candidate(int(entity), score, None if first == _NO_SPAN else (int(first), int(end)))
        for entity, score, first, end in rows
    ]
