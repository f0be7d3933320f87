"""The progress of long work on standard error: bars on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import IO, Any, Protocol

from tamis.events import Advanced, CommitStep, Event, Finished, Started

BAR_SECONDS = 0.5
"""Work that is done sooner shows no bar."""

LOG_SECONDS = 30.0

_LABELS: dict[str, str | None] = {
    "read": "reading",
    "documents": None,  # the same documents as "read", a chunk at a time
    "lucene": "indexing",
    "verify": "verifying",
    "compact": "compacting",
    "commit": "committing",
}
"""What a stage is called on the screen; None leaves it out."""


class Progress(Protocol):
    """Shows events."""

    def take(self, event: Event) -> None:
        """Show one event."""

    def say(self, text: str) -> None:
        """Write a line without disturbing the display."""

    def close(self) -> None:
        """Take the display away."""


def make_progress(stream: IO[str]) -> Progress:
    """Return what suits `stream`: bars on a terminal, else log lines."""
    return Bars(stream) if stream.isatty() else LogLines(stream)


class Bars:
    """One bar a stage, with rate and time left; they vanish when the work is done."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._timer = threading.Timer(BAR_SECONDS, self._appear)
        self._timer.daemon = True
        self._timer.start()

    def _appear(self) -> None:
        with self._lock:
            if not self._closed:
                self._progress.start()

    def take(self, event: Event) -> None:
        """Show one event."""
        with self._lock:
            if isinstance(event, Started):
                label = _LABELS.get(event.stage, event.stage)
                if label is not None:
                    self._tasks[event.stage] = self._progress.add_task(
                        label, total=event.total, unit=event.unit, rate=""
                    )
            elif isinstance(event, CommitStep) and "commit" in self._tasks:
                self._progress.advance(self._tasks["commit"])
            elif isinstance(event, Advanced) and event.stage in self._tasks:
                identity = self._tasks[event.stage]
                self._progress.advance(identity, event.count)
                task = self._progress.tasks[self._progress.task_ids.index(identity)]
                if task.speed:
                    self._progress.update(identity, rate=f"{task.speed:,.0f}/s")
            elif isinstance(event, Finished) and event.stage in self._tasks:
                self._progress.remove_task(self._tasks.pop(event.stage))

    def say(self, text: str) -> None:
        """Write a line above the bars."""
        from rich.text import Text

        self._console.print(Text.from_ansi(text), soft_wrap=True)

    def close(self) -> None:
        """Remove the bars."""
        self._timer.cancel()
        with self._lock:
            self._closed = True
            self._progress.stop()


@dataclass(slots=True)
class _Stage:
    label: str
    total: int | None
    unit: str
    begun: float
    done: int = 0


class LogLines:
    """A line every `LOG_SECONDS` for each stage that is moving; nothing at all for short work."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._stages: dict[str, _Stage] = {}
        self._lock = threading.Lock()
        self._next = time.monotonic() + LOG_SECONDS

    def take(self, event: Event) -> None:
        """Count the event, and write the lines that are due."""
        with self._lock:
            if isinstance(event, Started):
                label = _LABELS.get(event.stage, event.stage)
                if label is not None:
                    self._stages[event.stage] = _Stage(label, event.total, event.unit, time.monotonic())
            elif isinstance(event, Advanced) and event.stage in self._stages:
                self._stages[event.stage].done += event.count
            elif isinstance(event, Finished):
                self._stages.pop(event.stage, None)
            now = time.monotonic()
            if now >= self._next:
                self._next = now + LOG_SECONDS
                for stage in self._stages.values():
                    self.say(describe(stage.label, stage.done, stage.total, stage.unit, now - stage.begun))

    def say(self, text: str) -> None:
        """Write a line."""
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing is on display."""


def describe(label: str, done: int, total: int | None, unit: str, seconds: float) -> str:
    """Return one line of progress: how much is done, how fast, how long it will take."""
    rate = done / seconds if seconds > 0 else 0.0
    text = f"{label}: {done:,}" + (f" of {total:,}" if total else "") + f" {unit}, {rate:,.0f}/s"
    if total and rate and done < total:
        text += f", {(total - done) / rate:,.0f} s left"
    return text
