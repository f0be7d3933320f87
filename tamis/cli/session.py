"""What every command shares while it runs: where its words go, and the envelope that sums it up.

Data go to standard output; progress, reports, warnings and errors to standard error. With ``--json`` standard output carries
one envelope and nothing else, also when the command fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from typing import IO, Any

from tamis.errors import EXIT_OK, EXIT_PARTIAL, StorageError
from tamis.events import Event, Finished, Started, Warned

SCHEMA_VERSION = 1

_RED, _YELLOW, _RESET = "\x1b[1;31m", "\x1b[33m", "\x1b[0m"


class ReaderGone(Exception):  # noqa: N818 - a signal to stop, not an error
    """Whoever read our standard output has closed it."""


class Session:
    """One run of one command.

    Args:
        command: its name.
        as_json: end with an envelope in place of data for people.
        quiet: leave out the closing report.
        progress: show the progress of long work.

    Attributes:
        inputs: what the command was given.
        resolved: what that turned out to mean: canonical pipeline, settings, identities.
        artifacts: what was left on disk: kind → path.
        metrics: counts, seconds and effectiveness.
        results: what the command found, where it answers a question: hits, a description, checks.
        resumable: whether the same command, run again after an interrupt, goes on where it stopped.
        stage_seconds: wall-clock seconds of every finished stage of work.
    """

    def __init__(self, command: str, *, as_json: bool = False, quiet: bool = False, progress: bool = True) -> None:
        self.command = command
        self.inputs: dict[str, Any] = {}
        self.resolved: dict[str, Any] = {}
        self.artifacts: dict[str, str] = {}
        self.metrics: dict[str, Any] = {}
        self.results: Any = None
        self.warnings: list[dict[str, str]] = []
        self.errors: list[dict[str, str]] = []
        self.exit_code = EXIT_OK
        self.resumable = False
        self.stage_seconds: dict[str, float] = {}
        self.as_json = as_json
        self.quiet, self._progress_wanted = quiet, progress
        self._progress: Any = None
        self._begun: dict[str, float] = {}
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the command began."""
        return time.perf_counter() - self._started

    # -- standard output -------------------------------------------------------------------------------------------

    def write(self, text: str) -> None:
        """Write data, as they are, to standard output; with ``--json`` the envelope says them instead."""
        if not self.as_json:
            self._put(text)

    def write_bytes(self, data: bytes) -> None:
        """Write data that are UTF-8 whatever the terminal's encoding, such as a run."""
        if not self.as_json:
            self._put(data)

    def _put(self, data: str | bytes) -> None:
        self.end_progress()
        try:
            if isinstance(data, bytes):
                sys.stdout.flush()
                sys.stdout.buffer.write(data)
            else:
                sys.stdout.write(data)
            sys.stdout.flush()
        except OSError as error:
            # What is still buffered must not raise again when the interpreter closes the stream.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):
                raise ReaderGone from None
            raise StorageError(f"cannot write to standard output: {error.strerror}") from error

    # -- standard error --------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Tell something of the closing report; silent with ``--quiet``."""
        self.end_progress()
        if not self.quiet:
            self.say(text)

    def warn(self, code: str, message: str) -> None:
        """Warn, also with ``--quiet``; the envelope lists it."""
        self.warnings.append({"code": code, "message": message})
        self.say(f"{self._paint('warning:', _YELLOW)} {message}")

    def fail(self, kind: str, message: str, exit_code: int) -> None:
        """Report an error and set the exit code."""
        self.end_progress()
        self.errors.append({"type": kind, "message": message})
        self.exit_code = exit_code
        self.say(f"{self._paint('error:', _RED)} {message}")

    def partial(self, message: str) -> None:
        """State that the work is done but for some queries."""
        self.warn("partial", message)
        self.exit_code = EXIT_PARTIAL

    def say(self, text: str) -> None:
        """Write a line to standard error, above progress bars if there are any."""
        if self._progress is not None:
            self._progress.say(text)
        else:
            with contextlib.suppress(BrokenPipeError):
                print(text, file=sys.stderr, flush=True)  # noqa: T201 - the command line's voice

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_RESET}" if colours(sys.stderr) else text

    # -- progress --------------------------------------------------------------------------------------------------

    def listener(self, event: Event) -> None:
        """Take an event of the work below: time its stages, show its progress, collect its warnings."""
        now = time.perf_counter()
        if isinstance(event, Started):
            self._begun[event.stage] = now
        elif isinstance(event, Finished) and event.stage in self._begun:
            spent = now - self._begun.pop(event.stage)
            self.stage_seconds[event.stage] = self.stage_seconds.get(event.stage, 0.0) + spent
        if isinstance(event, Warned):
            self.warn(event.code, event.message)
        elif self._progress_wanted:
            if self._progress is None:
                from tamis.cli.progress import make_progress

                self._progress = make_progress(sys.stderr)
            self._progress.take(event)

    def end_progress(self) -> None:
        """Clear the progress bars, before anything that should stay on the terminal."""
        if self._progress is not None:
            self._progress.close()
            self._progress = None

    # -- the end ---------------------------------------------------------------------------------------------------

    def envelope(self) -> dict[str, Any]:
        """Return the command's outcome as JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "command": self.command,
            "exit_code": self.exit_code,
            "inputs": self.inputs,
            "resolved": self.resolved,
            "artifacts": self.artifacts,
            "metrics": self.metrics,
            "results": self.results,
            "warnings": self.warnings,
            "errors": self.errors,
        }

    def finish(self) -> int:
        """Print the envelope if it was asked for, and return the exit code."""
        self.end_progress()
        if self.as_json:
            text = json.dumps(self.envelope(), ensure_ascii=False, indent=1)
            try:
                self._put(text.encode("utf-8", "backslashreplace") + b"\n")
            except StorageError as error:
                self.fail("StorageError", str(error), error.exit_code)
        return self.exit_code


def colours(stream: IO[str]) -> bool:
    """Whether `stream` is a terminal that wants colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
