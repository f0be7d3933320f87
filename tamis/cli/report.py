"""`tamis report`: the results of an experiment as a page, or as tables for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tamis.cli.options import ForceOption
from tamis.cli.session import Session
from tamis.errors import MissingResourceError, UnknownNameError, UsageError

FORMATS = ("html", "markdown", "latex", "csv", "text")


def report(
    session: Session,
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder that tamis run made.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="File to write; standard output if not given.", show_default=False
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="html|markdown|latex|csv|text", help="Form of the report.")
    ] = "html",
    force: ForceOption = False,
) -> None:
    """Report an experiment: one self-contained HTML page, or its tables.

    Example: tamis report results -o report.html

    Example: tamis report results --format latex
    """
    from tamis.eval.laboratory import read_results
    from tamis.eval.laboratory.report import html_report, report_tables
    from tamis.files import atomic_write

    if form not in FORMATS:
        raise UnknownNameError("form of a report", form, FORMATS)
    if form == "html" and output is None:
        raise UsageError("an HTML report goes to a file: name it with -o report.html, or choose another --format")
    if output is not None and not output.absolute().parent.is_dir():
        raise MissingResourceError(f"cannot write {output}: there is no folder {output.parent}; make it first")
    found = read_results(results)
    if form == "html":
        text = html_report(found)
    else:
        heads = {"markdown": "## {}\n\n", "latex": "% {}\n", "csv": "# {}\n", "text": "{}\n\n"}
        text = "\n".join(heads[form].format(title) + table.render(form) for title, table in report_tables(found))
    session.resolved.update(experiment=found.name, collections=list(found.collections), format=form)
    if output is None:
        session.write(text)
        return
    with atomic_write(output, text=True, overwrite=force) as handle:
        handle.write(text)
    session.artifacts["report"] = str(output)
    session.note(f"report: {output}")
