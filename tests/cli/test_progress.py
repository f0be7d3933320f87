from __future__ import annotations

import io

import pytest

from tamis.cli import progress
from tamis.cli.progress import Bars, LogLines, describe, make_progress
from tamis.events import Advanced, CommitStep, Finished, Started


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_bars_and_a_file_gets_lines():
    bars = make_progress(Terminal())
    assert isinstance(bars, Bars)
    bars.close()
    assert isinstance(make_progress(io.StringIO()), LogLines)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("reading", 120_000, 300_000, "docs", 30.0), "reading: 120,000 of 300,000 docs, 4,000/s, 45 s left"),
        (("reading", 120_000, None, "docs", 30.0), "reading: 120,000 docs, 4,000/s"),
        (("reading", 10, 10, "docs", 2.0), "reading: 10 of 10 docs, 5/s"),
        (("reading", 0, 10, "docs", 0.0), "reading: 0 of 10 docs, 0/s"),
    ],
)
def test_describe(args, text):
    assert describe(*args) == text


def test_log_lines_are_rare(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    lines = LogLines(out)
    lines.take(Started("read", 100, "docs"))
    for _ in range(6):
        now[0] += 10
        lines.take(Advanced("read", 10))
    lines.take(Finished("read"))
    assert out.getvalue().splitlines() == [
        "reading: 30 of 100 docs, 1/s, 70 s left",
        "reading: 60 of 100 docs, 1/s, 40 s left",
    ]


def test_short_work_says_nothing():
    out = io.StringIO()
    lines = LogLines(out)
    for event in (Started("read", 2), Advanced("read"), Advanced("read"), Finished("read")):
        lines.take(event)
    assert out.getvalue() == ""


def test_bars_follow_all_events_and_keep_what_is_said(monkeypatch):
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.0)
    out = Terminal()
    bars = Bars(out)
    bars._timer.join()
    for event in (
        Started("read", 2, "docs"),
        Started("documents", 2, "docs"),
        Advanced("read"),
        Advanced("nobody-started-this"),
        Started("commit", 6, "steps"),
        CommitStep("segments"),
    ):
        bars.take(event)
    assert [(task.description, task.completed) for task in bars._progress.tasks] == [("reading", 1), ("committing", 1)]
    bars.say("a warning with [brackets]")
    bars.take(Finished("read"))
    bars.close()
    assert "a warning with [brackets]" in out.getvalue()
    assert "reading" in out.getvalue()


def test_quick_work_draws_no_bar():
    out = Terminal()
    bars = Bars(out)
    for event in (Started("read", 1), Advanced("read"), Finished("read")):
        bars.take(event)
    bars.close()
    assert "reading" not in out.getvalue()
