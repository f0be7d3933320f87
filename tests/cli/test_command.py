from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tamis import errors
from tamis.cli.command import run
from tamis.cli.session import Session


def raising(error: BaseException):
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.TamisError("a fault"), 1),
        (errors.UsageError("usage"), 2),
        (errors.OutputExistsError("taken"), 2),
        (errors.ParseError("bad", "bm25 >", 6), 2),
        (errors.PrerequisiteError("no java"), 3),
        (errors.MissingResourceError("absent"), 4),
        (errors.BadRecordError("broken", "x.jsonl", 3), 5),
        (errors.IndexVersionError("newer"), 5),
        (errors.IndexLockedError("locked"), 5),
        (errors.StorageError("full"), 5),
        (errors.ModelError("model"), 6),
    ],
)
def test_exit_codes_of_the_error_tree(error, code, capsys):
    session = Session("test", as_json=True)
    assert run(session, raising(error)) == code
    captured = capsys.readouterr()
    envelope = json.loads(captured.out)
    assert envelope["exit_code"] == code
    assert envelope["errors"] == [{"type": type(error).__name__, "message": str(error)}]
    assert captured.err == f"error: {error}\n"


def test_a_missing_resource_reads_as_a_sentence(capsys):
    run(Session("test"), raising(errors.MissingResourceError("no index at ix")))
    assert capsys.readouterr().err == "error: no index at ix\n"


def test_an_unexpected_error_is_one_line_and_points_at_debug(capsys, monkeypatch):
    monkeypatch.delenv("TAMIS_DEBUG", raising=False)
    assert run(Session("test"), raising(ZeroDivisionError("division\nby zero"))) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("error: ZeroDivisionError: division by zero")
    assert "--debug" in said
    assert "TAMIS_DEBUG=1" in said


@pytest.mark.parametrize("by", ["option", "variable"])
def test_debug_shows_the_traceback(by, capsys, monkeypatch):
    monkeypatch.setenv("TAMIS_DEBUG", "1" if by == "variable" else "0")
    assert run(Session("test"), raising(ZeroDivisionError("x")), debug=by == "option") == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "--debug" not in said


@pytest.mark.parametrize(
    ("resumable", "said"),
    [(True, "error: interrupted: run the same command again to resume\n"), (False, "error: interrupted\n")],
)
def test_interrupt(resumable, said, capsys):
    session = Session("test")
    session.resumable = resumable
    assert run(session, raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == said


INTERRUPTED = """
import os, signal
from tamis.cli.command import run
from tamis.cli.session import Session

signal.signal(signal.SIGINT, signal.default_int_handler)
session = Session("test")
session.resumable = True
code = run(session, lambda: os.kill(os.getpid(), signal.SIGINT))
print(code, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_a_signal_is_answered_at_once_and_its_handler_goes_away():
    # in a process of its own: this one may hold a virtual machine, which has opinions on signals
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert done.stdout == "130 True\n"
    assert "stopping" in done.stderr
    assert done.returncode == 0


def test_a_reader_who_leaves_is_no_failure(built):
    command = f"{sys.executable} -m tamis.cli search {built.index} --topics {built.topics} 2>&1 >&3 | cat >&2"
    code = f"{{ {command}; }} 3>&1 | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {code}"], capture_output=True, text=True, check=False)
    assert "error" not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_full_disk_under_standard_output(options, built):
    command = [sys.executable, "-m", "tamis.cli", "evaluate", built.qrels, built.bm25, "-m", "AP", *options]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 5
    assert "error: cannot write to standard output: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
