"""Encodes a part and dies on request: run as a child by test_kill.

    kill_driver.py INDEX STEP

It says "batch" for every batch that it encodes, and "done" at the end. With a STEP it kills itself at that instant of the commit.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from toy import ToyEncoder

from tamis.events import CommitStep, Event
from tamis.indexer.encoded import job
from tamis.indexer.writer import Writer


def main() -> None:
    path, step = Path(sys.argv[1]), sys.argv[2]
    job.CHUNK_ROWS = 16

    def die(event: Event) -> None:
        if isinstance(event, CommitStep) and event.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    with Writer(path, listener=die) as writer:
        writer.add_part(
            "toy", "dense", ToyEncoder(log=Path(os.devnull)), {"store": "float32", "codes": None, "index": "flat"}
        )
    print("done", flush=True)


if __name__ == "__main__":
    main()
