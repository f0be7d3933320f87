"""Does one operation on an index and dies on request: run as a child by test_crash.

    crash_driver.py INDEX OPERATION ARGUMENT CHUNK STEP

ARGUMENT is a JSON file: the documents, or the ids to delete. With a STEP the process kills itself at that instant of the
commit. It says "ready", waits for a line, works, says "done", and waits to be killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import tamis
from tamis.events import CommitStep, Event
from tamis.indexer import compaction, jobs
from tamis.indexer.lucene.jvm import start

FINGERPRINT = {"corpus": "crash"}


def perform(path: Path, operation: str, argument: Any, listener: Any) -> None:
    """Do the operation as a user would, and as a user would repeat it after a crash."""
    if operation == "create":
        try:
            index = tamis.open(path, threads=2, listener=listener)
        except tamis.TamisError:
            index = tamis.Index.create(path, filterable=("year",), threads=2, listener=listener)
    else:
        index = tamis.open(path, threads=2, listener=listener)
    with index:
        if operation in ("create", "add"):
            index.add(argument, fingerprint=FINGERPRINT)
        elif operation == "delete":
            index.delete(argument)
        else:
            index.compact()


def main() -> None:
    path, operation, argument, chunk, step = sys.argv[1:]
    jobs.CHUNK_DOCUMENTS = int(chunk)
    compaction.SEGMENT_ROWS = 90

    def die(event: Event) -> None:
        if isinstance(event, CommitStep) and event.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    value = json.loads(Path(argument).read_text("utf-8"))
    start()
    print("ready", flush=True)
    sys.stdin.readline()
    perform(Path(path), operation, value, die)
    print("done", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
