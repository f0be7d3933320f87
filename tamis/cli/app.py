"""The `tamis` program: finds the command, loads its module, and turns the outcome into an exit code.

Help and start-up must be quick, so nothing but typer is imported here: `COMMANDS` states each command's one line of help, and
a command's module is imported when the command is called (or its own ``--help`` is). A command is a function of a
`Session` and its parameters, named like its module (with an underscore for a dash); `tamis.cli.command` gives it the options that
all commands share. A module with a table `SUBCOMMANDS` is a group of commands.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from tamis._version import __version__
from tamis.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, TamisError, UnknownNameError

COMMANDS = {
    "index": "Build an index from a corpus.",
    "add": "Add documents to an index; those whose id it holds are replaced.",
    "delete": "Delete documents from an index by id.",
    "compact": "Rewrite an index without its deleted rows.",
    "add-part": "Encode an index's documents with a model, as a part of it.",
    "drop-part": "Take an encoded part out of an index.",
    "quality": "Score the passages of an index with a quality model.",
    "prune": "Make a smaller index, without the passages of the lowest quality.",
    "restore": "Let pruned documents back into an index.",
    "search": "Search an index: one query as a table, or a topics file as a run.",
    "explain": "Show where a document stands after each stage of a pipeline, and why.",
    "rerank": "Re-score the first candidates of a run with a model.",
    "fuse": "Fuse several runs into one.",
    "tune-fusion": "Choose the weights of a fusion on judged development topics.",
    "tune": "Find the best pipeline within a budget of time.",
    "evaluate": "Evaluate runs against relevance judgements.",
    "compare": "Compare runs with a baseline: differences, intervals, significance.",
    "run": "Run an experiment: every system on every collection, what they share once.",
    "report": "Report an experiment: one self-contained HTML page, or its tables.",
    "diagnose": "Find out where a model or a pipeline goes wrong.",
    "models": "List the families of models, and the options of each.",
    "entities": "Make vocabularies of entities, and link texts to them.",
    "export-vectors": "Write a sparse part as a collection of JSON vectors that Anserini indexes.",
    "inspect": "Show what an index holds and how it was made.",
    "verify": "Check every file of an index against its manifest.",
    "doctor": "Check this installation, and say how to repair it.",
    "demo": "Index, search and evaluate a collection that every Python carries.",
}
"""Every command with its one-line help, in the order of ``tamis --help``."""


class Commands(TyperGroup):
    """The command group: lists commands from a table, and loads one when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return one command.

        Raises:
            UnknownNameError: there is none of that name; the nearest are suggested.
        """
        if cmd_name.startswith("-"):
            return None  # an unknown option of the program: left to the parser's own message
        if cmd_name not in COMMANDS:
            raise UnknownNameError("command", cmd_name, COMMANDS)
        from tamis.cli.command import as_command

        name = cmd_name.replace("-", "_")
        module = import_module(f"tamis.cli.{name}")
        function = getattr(module, name)
        made = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        if hasattr(module, "SUBCOMMANDS"):
            made.callback(help=inspect.getdoc(function))(lambda: None)
            for own, action in module.SUBCOMMANDS.items():
                made.command(own)(as_command(action, f"{cmd_name} {own}"))
        else:
            made.command(cmd_name)(as_command(function))
        command = typer.main.get_command(made)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the table of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tamis {__version__}")
        raise typer.Exit


@app.callback()
def tamis(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Tamis sifts a corpus for a query: index, search, fuse and evaluate, from plain files to a table of numbers.

    CORPUS, TOPICS and QRELS are paths or ir_datasets ids. Data go to standard output, everything else to standard error.
    Start with: tamis demo
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code (docs/cli.md lists them).

    Args:
        args: the command line without the program's name; the process's own if not given.
    """
    given = list(sys.argv[1:] if args is None else args) or ["--help"]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 must not end a search
    try:
        result = typer.main.get_command(app).main(given, prog_name="tamis", standalone_mode=False)
    except TamisError as error:
        return _refuse(given, type(error).__name__, str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _refuse(given, "Interrupted", "interrupted", EXIT_INTERRUPTED)
    except Exception as error:
        # The parser's errors: click's, of which typer carries a copy of its own in some versions.
        if not hasattr(error, "format_message"):
            raise
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "tamis"
        message = f"{error.format_message().rstrip('.')}; see: {path} --help"
        return _refuse(given, "UsageError", message, EXIT_USAGE)
    return result if isinstance(result, int) else EXIT_OK


def program() -> NoReturn:
    """Run as a program: end the process with the exit code of `main`."""
    code = main()
    jvm = sys.modules.get("tamis.indexer.lucene.jvm")
    if jvm is None or not jvm.started():
        sys.exit(code)
    # Nothing is left to do, and unloading a running Java machine can crash where ending the process cannot.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _refuse(args: Sequence[str], kind: str, message: str, code: int) -> int:
    """Report what went wrong before a command ran."""
    from tamis.cli.session import Session

    command = next((arg for arg in args if arg in COMMANDS), "")
    session = Session(command, as_json="--json" in args, progress=False)
    session.fail(kind, message, code)
    return session.finish()
