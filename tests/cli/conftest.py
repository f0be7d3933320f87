"""A tiny collection, indexed once for all tests of the command line, and two ways to call a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tamis.cli.app import main

DOCUMENTS = [
    {"_id": "sieve", "title": "Drum sieves", "text": "A tamis is a drum sieve used for sieving flour.", "year": 1999},
    {"_id": "rank", "title": "Ranking", "text": "BM25 ranks documents by term frequency and length.", "year": 2009},
    {"_id": "cat", "title": "Cats 😀", "text": "The cat sieved nothing, ranked nothing.", "year": 2020},
    {"_id": "soup", "title": "", "text": "Soup passes through a finer sieve, then a finer one still.", "year": 2021},
]
TOPICS = "q1\tdrum sieve\nq2\tranking documents\nq3\tfiner soup\n"
QRELS = "q1 0 sieve 2\nq1 0 soup 1\nq2 0 rank 1\nq3 0 soup 1\nq3 0 cat 0\n"


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        """Standard output as the one JSON value that it must be."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Built:
    """A folder with a corpus, topics, qrels, an index over the corpus and two runs."""

    folder: Path

    def __getattr__(self, name: str) -> str:
        files = {
            "corpus": "corpus.jsonl",
            "topics": "topics.tsv",
            "qrels": "qrels.txt",
            "index": "index",
            "bm25": "bm25.run",
            "ql": "ql.run",
        }
        try:
            return str(self.folder / files[name])
        except KeyError:
            raise AttributeError(name) from None


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The tiny collection; read-only for tests."""
    made = Built(tmp_path_factory.mktemp("built"))
    Path(made.corpus).write_text("".join(json.dumps(d, ensure_ascii=False) + "\n" for d in DOCUMENTS), "utf-8")
    Path(made.topics).write_text(TOPICS, "utf-8")
    Path(made.qrels).write_text(QRELS, "utf-8")
    assert main(["index", made.corpus, "-o", made.index, "--filterable", "year", "--quiet"]) == 0
    for name in ("bm25", "ql"):
        run = ["search", made.index, "--topics", made.topics, "--pipeline", name, "-k", "10", "-o", getattr(made, name)]
        assert main([*run, "--quiet"]) == 0
    return made


@pytest.fixture
def tamis(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Call the program in this process: `tamis("search", index, "query")`."""

    def call(*args: object) -> Outcome:
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def process() -> Callable[..., Outcome]:
    """Call the program as a process of its own, with `env` added to the environment."""

    def call(*args: object, env: dict[str, str] | None = None, cwd: Path | None = None) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "tamis.cli", *map(str, args)],
            capture_output=True,
            check=False,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        )
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())

    return call


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tables be wide, whatever the terminal or the test runner says."""
    monkeypatch.setenv("COLUMNS", "120")
