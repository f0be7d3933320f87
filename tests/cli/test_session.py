from __future__ import annotations

import io
import json
import sys

import pytest

from tamis.cli.session import Session, colours
from tamis.events import Finished, Started, Warned


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_envelope_has_the_documented_keys(capsys):
    session = Session("test", as_json=True)
    session.write("for people\n")
    session.warn("code", "a warning")
    assert session.finish() == 0
    captured = capsys.readouterr()
    assert list(json.loads(captured.out)) == [
        "schema_version", "command", "exit_code", "inputs", "resolved", "artifacts", "metrics", "results", "warnings", "errors",
    ]  # fmt: skip
    assert json.loads(captured.out)["warnings"] == [{"code": "code", "message": "a warning"}]
    assert captured.err == "warning: a warning\n"


def test_quiet_keeps_warnings_and_errors_only(capsys):
    session = Session("test", quiet=True)
    session.note("a report")
    session.warn("code", "a warning")
    session.fail("Error", "a fault", 5)
    captured = capsys.readouterr()
    assert captured.err == "warning: a warning\nerror: a fault\n"
    assert captured.out == ""


def test_partial_work_is_exit_code_7(capsys):
    session = Session("test")
    session.partial("1 of 3 queries was cut short")
    assert session.finish() == 7


def test_events_are_timed_and_warnings_collected(capsys):
    session = Session("test", progress=False)
    for event in (Started("bm25", 3), Warned("odd", "look here"), Finished("bm25")):
        session.listener(event)
    assert set(session.stage_seconds) == {"bm25"}
    assert session.warnings == [{"code": "odd", "message": "look here"}]


@pytest.mark.parametrize(
    ("no_color", "term", "wanted"), [("", "xterm", True), ("1", "xterm", False), ("", "dumb", False)]
)
def test_colours(no_color, term, wanted, monkeypatch):
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", term)
    assert colours(Terminal()) is wanted
    assert colours(io.StringIO()) is False


@pytest.mark.parametrize("no_color", ["", "1"])
def test_errors_are_coloured_only_where_that_is_wanted(no_color, monkeypatch):
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    Session("test").fail("Error", "a fault", 5)
    assert ("\x1b[" in sys.stderr.getvalue()) is (no_color == "")
