"""A neutral table, and its spellings: aligned text, CSV, Markdown, LaTeX (booktabs).

Text, Markdown and LaTeX show four decimals, for people; CSV carries the unrounded values, for programs. All are
deterministic. The command line draws the same tables in colour.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tamis.errors import UnknownNameError

Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One entry of a table.

    Attributes:
        value: the exact value, None where there is none.
        mark: ``↑`` or ``↓`` beside a value that differs significantly, ``≈`` beside one shown equivalent, a raised number for a
            footnote; explained by a note of the table.
        text: how people see the value; derived from it where not given.
    """

    value: Value
    mark: str = ""
    text: str = ""

    def __post_init__(self) -> None:
        if not self.text:
            object.__setattr__(self, "text", format_value(self.value))


@dataclass(frozen=True, slots=True)
class Table:
    """Header, rows of cells and notes. Columns that hold a number are aligned right."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def is_numeric(self, column: int) -> bool:
        """Whether a column holds numbers."""
        return any(isinstance(row[column].value, (int, float)) for row in self.rows)

    def render(self, form: str) -> str:
        """Return the table as ``text``, ``csv``, ``markdown`` or ``latex``, ended by a line feed.

        Raises:
            UnknownNameError: there is no such form.
        """
        if form not in FORMS:
            raise UnknownNameError("table form", form, FORMS)
        return FORMS[form](self)


def format_value(value: Value) -> str:
    """Return a value for people: four decimals, ``-`` for None."""
    if value is None:
        return "-"
    if isinstance(value, float):
        shown = f"{value:.4f}"
        return shown.removeprefix("-") if float(shown) == 0 else shown
    return str(value)


def format_p(p: float | None) -> str:
    """Return a p value for people; a small one is not shown as 0."""
    return "<0.0001" if p is not None and p < 0.0001 else format_value(p)


def to_text(table: Table) -> str:
    """Return aligned plain text: header, rule, rows, notes."""
    columns = range(len(table.header))
    # An unmarked number keeps the room of the longest mark, so that decimals stay below each other.
    room = [max((len(row[c].mark) for row in table.rows), default=0) for c in columns]
    body = [[cell.text + cell.mark.ljust(room[c]) for c, cell in enumerate(row)] for row in table.rows]
    header = [name + " " * room[c] for c, name in enumerate(table.header)]
    widths = [max(_width(line[c]) for line in [header, *body]) for c in columns]
    lines = []
    for line in [header, ["-" * width for width in widths], *body]:
        padded = [_pad(line[c], widths[c], right=table.is_numeric(c)) for c in columns]
        lines.append("  ".join(padded).rstrip())
    return _lines([*lines, *([""] if table.notes else []), *table.notes])


def to_csv(table: Table) -> str:
    """Return CSV (RFC 4180, line feeds) of the unrounded values; an absent one is empty, notes are left out."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.header)
    writer.writerows(["" if cell.value is None else cell.value for cell in row] for row in table.rows)
    return out.getvalue()


def to_markdown(table: Table) -> str:
    """Return a GitHub-flavoured Markdown table, its notes below."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    rule = ["---:" if table.is_numeric(c) else ":---" for c in range(len(table.header))]
    rows = [line(_markdown(cell.text) + cell.mark for cell in row) for row in table.rows]
    notes = [part for note in table.notes for part in ("", _markdown(note))]
    return _lines([line(map(_markdown, table.header)), line(rule), *rows, *notes])


def to_latex(table: Table) -> str:
    """Return a LaTeX tabular (needs the package booktabs), its notes below in small type."""

    def line(cells: Iterable[str]) -> str:
        return " & ".join(cells) + r" \\"

    align = "".join("r" if table.is_numeric(c) else "l" for c in range(len(table.header)))
    rows = [line(_latex(cell.text) + _latex_mark(cell.mark) for cell in row) for row in table.rows]
    notes = [rf"\par\smallskip{{\footnotesize {_latex(note)}}}" for note in table.notes]
    return _lines(
        [
            rf"\begin{{tabular}}{{{align}}}",
            r"\toprule",
            line(map(_latex, table.header)),
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            *notes,
        ]
    )


FORMS: dict[str, Callable[[Table], str]] = {
    "text": to_text,
    "csv": to_csv,
    "markdown": to_markdown,
    "latex": to_latex,
}

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{character: "\\" + character for character in "&%$#_{}"},
        "<": "$<$",
        ">": "$>$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "Δ": r"$\Delta$",
        "≈": r"$\approx$",
        "±": r"$\pm$",
        **{raised: f"$^{{{number}}}$" for number, raised in enumerate("¹²³", 1)},
    }
)
_LATEX_MARKS = {"↑": r"\uparrow", "↓": r"\downarrow", "≈": r"\approx", "¹": "1", "²": "2", "³": "3"}
_MARKDOWN = str.maketrans({character: "\\" + character for character in "\\|*_`<>"})


def _latex(text: str) -> str:
    return text.translate(_LATEX)


def _latex_mark(mark: str) -> str:
    return f"$^{{{''.join(_LATEX_MARKS.get(character, character) for character in mark)}}}$" if mark else ""


def _markdown(text: str) -> str:
    return text.translate(_MARKDOWN)


def _width(text: str) -> int:
    """Columns that a text takes in a terminal: wide characters two, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _pad(text: str, width: int, *, right: bool) -> str:
    room = " " * (width - _width(text))
    return room + text if right else text + room


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
