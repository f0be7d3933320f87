"""Chunked work that can be killed at any instant and is never paid twice.

A chunk is a pure function of files to files. When its files are safe on disk, the function's answer, a small JSON value, is
written as the chunk's receipt; a later run reads the receipt in place of doing the work. `Executor` says where chunks
run: in this process, or in worker processes (spawned, since a started JVM does not survive a fork). A distributed
executor implements the same one method.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures import Executor as Pool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from tamis.errors import UsageError
from tamis.files import write_json

Task = TypeVar("Task")
Answer = TypeVar("Answer")


class Executor(Protocol):
    """Runs a function over tasks, in any order, with bounded work in flight."""

    def map(self, function: Callable[[Task], Answer], tasks: Iterable[Task]) -> Iterator[tuple[Task, Answer]]:
        """Yield (task, answer) as answers come; the first exception ends the work and is raised."""


class Inline:
    """Runs every task in this process, one after another."""

    def map(self, function: Callable[[Task], Answer], tasks: Iterable[Task]) -> Iterator[tuple[Task, Answer]]:
        """Yield (task, answer) in task order."""
        for task in tasks:
            yield task, function(task)


class Threads:
    """Runs tasks in `workers` threads, at most one waiting for each; for work that leaves the interpreter lock."""

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise UsageError(f"threads={workers}: at least 1 is needed")
        self.workers = workers

    def map(self, function: Callable[[Task], Answer], tasks: Iterable[Task]) -> Iterator[tuple[Task, Answer]]:
        """Yield (task, answer) in order of completion."""
        return _map_over(ThreadPoolExecutor(self.workers), self.workers, function, tasks)


class Processes:
    """Runs tasks in `workers` spawned processes, at most one waiting for each.

    `function` and the tasks must be picklable: pass paths, not open indexes.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise UsageError(f"workers={workers}: at least 1 process is needed")
        self.workers = workers

    def map(self, function: Callable[[Task], Answer], tasks: Iterable[Task]) -> Iterator[tuple[Task, Answer]]:
        """Yield (task, answer) in order of completion."""
        import multiprocessing

        pool = ProcessPoolExecutor(self.workers, mp_context=multiprocessing.get_context("spawn"))
        return _map_over(pool, self.workers, function, tasks)


def _map_over(
    pool: Pool, workers: int, function: Callable[[Task], Answer], tasks: Iterable[Task]
) -> Iterator[tuple[Task, Answer]]:
    running: dict[Future[Answer], Task] = {}
    try:
        for task in tasks:
            running[pool.submit(function, task)] = task
            while len(running) >= 2 * workers:
                yield from _harvest(running)
        while running:
            yield from _harvest(running)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _harvest(running: dict[Future[Answer], Task]) -> Iterator[tuple[Task, Answer]]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        yield running.pop(future), future.result()


class Receipts:
    """The receipts of one job: a folder of ``<chunk>.json``, each written after its chunk's files are safe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, chunk: str) -> Any | None:
        """Return the answer of a finished chunk, or None. A receipt that does not parse counts as absent."""
        try:
            return json.loads((self.folder / f"{chunk}.json").read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def put(self, chunk: str, answer: Any) -> None:
        """Record that a chunk is finished."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / f"{chunk}.json", answer)


@dataclass(frozen=True, slots=True)
class _Recorded(Generic[Task]):
    """A chunk's function that leaves the receipt itself, so that work in flight counts even if nobody waits for it."""

    function: Callable[[Task], Any]
    receipts: Receipts
    name: Callable[[Task], str]

    def __call__(self, task: Task) -> Any:
        answer = self.function(task)
        self.receipts.put(self.name(task), answer)
        return answer


def run_chunks(
    executor: Executor,
    function: Callable[[Task], Any],
    tasks: Iterable[Task],
    receipts: Receipts,
    name: Callable[[Task], str],
) -> Iterator[tuple[Task, Any]]:
    """Run the tasks that have no receipt yet; yield every (task, answer), the remembered ones as they are met.

    For `Processes`, `function` and `name` must be importable functions.
    """

    def missing() -> Iterator[Task]:
        for task in tasks:
            known = receipts.get(name(task))
            if known is None:
                yield task
            else:
                remembered.append((task, known))

    remembered: list[tuple[Task, Any]] = []
    for task, answer in executor.map(_Recorded(function, receipts, name), missing()):
        yield task, answer
        while remembered:
            yield remembered.pop(0)
    yield from remembered
