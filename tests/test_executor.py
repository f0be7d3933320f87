"""Chunked work: everywhere the same answers, bounded work in flight, and nothing paid twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tamis.errors import UsageError
from tamis.executor import Executor, Inline, Processes, Receipts, Threads, run_chunks


def square(n: int) -> int:
    return n * n


@pytest.mark.parametrize("executor", [Inline(), Threads(1), Threads(3), Processes(2)])
def test_every_executor_gives_the_same_answers(executor: Executor) -> None:
    assert sorted(executor.map(pow, [])) == []
    assert sorted(executor.map(abs, range(-20, 0))) == sorted((n, -n) for n in range(-20, 0))


def test_inline_keeps_the_order() -> None:
    assert list(Inline().map(square, [3, 1, 2])) == [(3, 9), (1, 1), (2, 4)]


@pytest.mark.parametrize("kind", [Threads, Processes])
def test_at_least_one_worker(kind: Any) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        kind(0)


def test_work_in_flight_is_bounded() -> None:
    drawn, done, most = 0, 0, 0
    lock = threading.Lock()

    def tasks() -> Iterator[int]:
        nonlocal drawn, most
        for n in range(40):
            with lock:
                drawn += 1
                most = max(most, drawn - done)
            yield n

    def work(n: int) -> int:
        nonlocal done
        time.sleep(0.002)
        with lock:
            done += 1
        return n

    assert len(list(Threads(2).map(work, tasks()))) == 40
    assert most <= 5  # two running, two waiting, one just drawn


def test_the_first_fault_ends_the_work() -> None:
    started: list[int] = []

    def work(n: int) -> int:
        started.append(n)
        if n == 3:
            raise RuntimeError("chunk 3")
        return n

    with pytest.raises(RuntimeError, match="chunk 3"):
        list(Threads(2).map(work, range(1000)))
    assert len(started) < 20


@pytest.mark.parametrize("executor", [Inline(), Threads(2)])
def test_what_has_a_receipt_is_not_done_again(tmp_path: Path, executor: Executor) -> None:
    calls: list[int] = []

    def work(n: int) -> dict[str, int]:
        calls.append(n)
        if n == 5 and len(calls) < 10:
            raise KeyboardInterrupt
        return {"square": n * n}

    receipts = Receipts(tmp_path / "receipts")

    def run() -> dict[int, Any]:
        return dict(run_chunks(executor, work, range(8), receipts, str))

    with pytest.raises(KeyboardInterrupt):
        run()
    finished = {int(p.stem) for p in receipts.folder.glob("*.json")}
    assert finished <= set(range(8)) - {5}
    calls[:] = [-1] * 10
    assert run() == {n: {"square": n * n} for n in range(8)}
    assert set(calls[10:]) == set(range(8)) - finished
    calls[:] = []
    assert run() == {n: {"square": n * n} for n in range(8)}
    assert calls == []


def test_a_damaged_receipt_counts_as_none(tmp_path: Path) -> None:
    receipts = Receipts(tmp_path)
    assert receipts.get("a") is None
    receipts.put("a", {"n": 1})
    assert receipts.get("a") == {"n": 1}
    (tmp_path / "a.json").write_text('{"n":')
    assert receipts.get("a") is None
