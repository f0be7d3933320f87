"""From a function of a `Session` to a command: the options that all commands share, and the one map of errors to exit codes."""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Annotated, Any

import typer

from tamis.cli.session import ReaderGone, Session
from tamis.errors import EXIT_INTERNAL, EXIT_INTERRUPTED, TamisError

DEBUG_VARIABLE = "TAMIS_DEBUG"
"""Environment variable: 1 shows the traceback of an unexpected error, as ``--debug`` does."""


def _shared(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON envelope on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no closing report.")] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bars or lines.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an unexpected error.")] = False,
) -> None:
    """Carry the shared options' declarations."""


def as_command(function: Callable[..., None], name: str | None = None) -> Callable[..., None]:
    """Return `function` as typer takes it: without its session, with the shared options; `name` is its own if not given."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    shared = list(inspect.signature(_shared, eval_str=True).parameters.values())
    called = name or function.__name__.replace("_", "-")

    def command(**values: Any) -> None:
        as_json, quiet, no_progress, debug = (values.pop(parameter.name) for parameter in shared)
        session = Session(called, as_json=as_json, quiet=quiet, progress=not (quiet or no_progress))
        session.inputs = {key: _json_value(value) for key, value in values.items() if value is not None}
        raise typer.Exit(run(session, lambda: function(session, **values), debug=debug))

    command.__name__, command.__doc__ = function.__name__, inspect.getdoc(function)
    # typer reads parameters from the signature and, in some versions, types from the annotations
    command.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *shared]}
    return command


def run(session: Session, work: Callable[[], None], *, debug: bool = False) -> int:
    """Do a command's work and return the exit code; whatever it raises is reported through the session."""
    try:
        try:
            with _announced_interrupt(session):
                work()
        except TamisError as error:
            session.fail(type(error).__name__, str(error), error.exit_code)
        except KeyboardInterrupt:
            hint = ": run the same command again to resume" if session.resumable else ""
            session.fail("Interrupted", f"interrupted{hint}", EXIT_INTERRUPTED)
        except ReaderGone:
            raise
        except Exception as error:  # noqa: BLE001 - the program's outermost net
            _report_fault(session, error, debug=debug or os.environ.get(DEBUG_VARIABLE, "") not in ("", "0"))
        return session.finish()
    except ReaderGone:  # `tamis … | head`: whoever reads has had enough, which is no failure
        return session.exit_code


@contextlib.contextmanager
def _announced_interrupt(session: Session) -> Iterator[None]:
    """Answer Ctrl-C at once, since work that leaves a resumable state may take seconds to come to rest."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        if session.resumable and not session.quiet:
            # not print(): the signal may have come in the middle of one
            os.write(sys.stderr.fileno(), b"\nstopping: work in hand is brought to rest first\n")
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _report_fault(session: Session, error: Exception, *, debug: bool) -> None:
    text = " ".join(str(error).split())
    hint = "" if debug else f" (a fault of Tamis: pass --debug, or set {DEBUG_VARIABLE}=1, for the traceback)"
    if debug:
        import traceback

        session.say("".join(traceback.format_exception(error)).rstrip())
    name = type(error).__name__
    session.fail(name, f"{name}: {text}{hint}" if text else f"{name}{hint}", EXIT_INTERNAL)


def _json_value(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
