"""A peer in a process of its own."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("engines.py")


class PeerFailedError(Exception):
    """The peer's process ended: it is not installed, or it crashed."""


class PeerProcess:
    """See `benchmarks.peers.engines` for what is said.

    Args:
        command: the process.
        name: of the engine.

    Raises:
        PeerFailedError: it ended before it was ready.
    """

    def __init__(self, command: Sequence[str], name: str) -> None:
        self.name = name
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True
        )
        ready = self._answer()
        self.ways: list[str] = ready["ways"]
        self.seconds: float | None = ready["seconds"]
        self.bytes: int = ready["bytes"]

    @classmethod
    def of_engine(cls, python: str, name: str, folder: Path) -> PeerProcess:
        """Start an engine of `engines.py`."""
        return cls([python, str(SCRIPT), name, str(folder)], name)

    def rate(self, way: str, k: int, count: int) -> float:
        """Let it answer the first `count` queries; return queries a second."""
        return count / float(self._ask([way, k, count, False]))

    def answers(self, way: str, k: int, count: int) -> list[list[int]]:
        """Return the documents that it finds."""
        found: list[list[int]] = self._ask([way, k, count, True])
        return found

    def _ask(self, request: list[Any]) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._said.seek(0)
        said = self._said.read().strip().splitlines()
        raise PeerFailedError(f"{self.name}: {said[-1] if said else 'it ended without a word'}")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
