"""Small things that people read: sizes, clean one-line texts, tables."""

from __future__ import annotations

import re
import shutil
import sys
from typing import TYPE_CHECKING, Any

from tamis.cli.session import colours

if TYPE_CHECKING:
    from rich.console import Console

    from tamis.cli.session import Session
    from tamis.eval.tables import Table

PIPED_WIDTH = 100
"""Columns of a drawing that does not go to a terminal (``COLUMNS`` overrides)."""

_SPACE = re.compile(r"\s+")
# Control characters and direction overrides, which would act on the terminal, and what UTF-8 cannot say.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_UNITS = ("kB", "MB", "GB", "TB")


def clean(text: str) -> str:
    """Return `text` on one line, without anything that a terminal would obey."""
    return _UNSAFE.sub("\ufffd", _SPACE.sub(" ", text)).strip()


def format_bytes(size: int) -> str:
    """Return a size for people, in powers of 1000."""
    if size < 1000:
        return f"{size} bytes"
    power = min((len(str(size)) - 1) // 3, len(_UNITS))
    value = size / 1000**power
    if value >= 999.5 and power < len(_UNITS):  # would be shown as 1000 of the smaller unit
        value, power = value / 1000, power + 1
    return f"{value:.{0 if value >= 99.5 else 1}f} {_UNITS[power - 1]}"


def make_console(stream: Any) -> Console:
    """Return a rich console that renders into `stream` and takes no text for markup."""
    from rich.console import Console

    wants_colour = colours(sys.stdout)
    width = shutil.get_terminal_size((PIPED_WIDTH, 24)).columns
    return Console(
        file=stream,
        width=width,
        force_terminal=wants_colour,
        no_color=not wants_colour,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
    )


def write_pairs(session: Session, pairs: list[tuple[str, str]]) -> None:
    """Write aligned names and values; a long value's other lines stand below its first."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        session.write(f"{name:<{width}}  " + value.replace("\n", "\n" + " " * (width + 2)) + "\n")


def write_tables(session: Session, tables: list[Table], form: str) -> None:
    """Write tables in one of their forms; ``table`` is plain text, in colour on a terminal."""
    if form == "table":
        texts = [_coloured(table) if colours(sys.stdout) else table.render("text") for table in tables]
    else:
        texts = [table.render(form) for table in tables]
    session.write("\n".join(texts))


def _coloured(table: Table) -> str:
    """Return the plain text with a bold header, and marks in green and red; the columns stay where they are."""
    header, rest = table.render("text").split("\n", 1)
    return f"\x1b[1m{header}\x1b[0m\n" + rest.replace("↑", "\x1b[32m↑\x1b[0m").replace("↓", "\x1b[31m↓\x1b[0m")
