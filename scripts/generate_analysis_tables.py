"""Make the character tables of tamis/encoders/analysis from the pinned jar and Java virtual machine.

    python scripts/generate_analysis_tables.py           write the tables
    python scripts/generate_analysis_tables.py --check   exit with 1 if the committed ones differ

``word_breaks.tsv``: the class of every code point in the scanner of Lucene's StandardTokenizer, which JFlex numbered; each
number gets its letter from a character known to be of the class, and every number must get exactly one.
``lower_case.tsv``: ``Character.toLowerCase`` of every code point.

Both are runs of code points, in hexadecimal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from tamis.encoders.analysis.tables import LOWER_CASE, OTHER, WORD_BREAKS
from tamis.encoders.analysis.words import CLASSES
from tamis.files import atomic_write
from tamis.indexer.lucene.jvm import find_jar, java, start

CODE_POINTS = 0x110000

# Letter to one character of each of the scanner's classes that it joins: the scanner also tells word types apart (Hangul from
# other letters, Han from hiragana, ASCII digits from others), and types are no part of a term.
SPECIMENS = {
    OTHER: " ",
    '"': '"',
    "'": "'",
    ",": ",",
    ".": ".",
    ":": ":",
    "_": "_",
    "#": "#",
    "9": "0\u0660",
    "A": "a\uac00",
    "i": "\u2139",
    "H": "\u05d0",
    "K": "\u30ab",
    "C": "\u4e00\u3042",
    "S": "\u0e01",
    "s": "\u0e31",
    "E": "\u2603",
    "M": "\U0001f3fb",
    "R": "\U0001f1e6",
    "x": "\u0301",
    "J": "\u200d",
    "k": "\u20e3",
    "T": "\ufe0e",
    "V": "\ufe0f",
    "g": "\U000e0061",
    "G": "\U000e007f",
}


def word_break_classes() -> list[str]:
    """The class letter of every code point."""
    scanner = java("org.apache.lucene.analysis.standard.StandardTokenizerImpl").class_

    def constant(name: str) -> list[int]:
        field = scanner.getDeclaredField(name)
        field.setAccessible(True)
        return list(field.get(None))

    top, blocks = constant("ZZ_CMAP_TOP"), constant("ZZ_CMAP_BLOCKS")
    numbers = [blocks[top[code >> 8] | (code & 0xFF)] for code in range(CODE_POINTS)]
    letters: dict[int, str] = {}
    for letter, specimens in SPECIMENS.items():
        for specimen in specimens:
            taken = letters.setdefault(numbers[ord(specimen)], letter)
            if taken != letter:
                raise SystemExit(
                    f"{specimen!r} is of one class with the specimens of {taken!r}: this Lucene has other classes"
                )
    if nameless := set(numbers) - set(letters):
        raise SystemExit(f"scanner classes {sorted(nameless)} have no letter: this Lucene has other classes")
    if set(SPECIMENS) != {OTHER, *CLASSES}:
        raise SystemExit("SPECIMENS does not name the letters of tamis.encoders.analysis.words.CLASSES")
    return [letters[number] for number in numbers]


def word_break_rows(classes: list[str]) -> Iterator[tuple[str, ...]]:
    """First, last, letter of every run of one class but `OTHER`."""
    for letter, run in groupby(range(CODE_POINTS), classes.__getitem__):
        codes = list(run)
        if letter != OTHER:
            yield f"{codes[0]:x}", f"{codes[-1]:x}", letter


def lower_case_rows() -> Iterator[tuple[str, ...]]:
    """First, last, step, distance of every run of equally spaced code points with one distance to their lower case."""
    to_lower = java("java.lang.Character").toLowerCase
    integer = start().JInt  # the overload for code points, not the one for chars
    pairs = [(code, lower - code) for code in range(CODE_POINTS) if (lower := int(to_lower(integer(code)))) != code]
    while pairs:
        first, distance = pairs[0]
        step = pairs[1][0] - first if len(pairs) > 1 and pairs[1][1] == distance else 1
        length = 1
        while length < len(pairs) and pairs[length] == (first + length * step, distance):
            length += 1
        if length == 2 and step > 2:  # two strangers: the second may begin a run of its own
            length, step = 1, 1
        yield f"{first:x}", f"{pairs[length - 1][0]:x}", str(step), str(distance)
        del pairs[:length]


def table(title: str, rows: Iterable[tuple[str, ...]]) -> str:
    """The text of one file."""
    lines = ("\t".join(row) for row in rows)
    return "\n".join((f"# {title}", "# Made by scripts/generate_analysis_tables.py; do not edit.", *lines, ""))


def tables() -> dict[Path, str]:
    """Every file and its text."""
    version = str(java("java.lang.System").getProperty("java.specification.version"))
    lucene = str(java("org.apache.lucene.util.Version").LATEST.toString())
    source = f"{find_jar().stem.removesuffix('-fatjar')} (Lucene {lucene})"
    return {
        WORD_BREAKS: table(f"first, last, word-break class in {source}", word_break_rows(word_break_classes())),
        LOWER_CASE: table(f"first, last, step, distance to the simple lower case in Java {version}", lower_case_rows()),
    }


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed tables; write nothing")
    check = parser.parse_args().check
    stale = 0
    for path, text in tables().items():
        if check and (not path.exists() or path.read_bytes() != text.encode("ascii")):
            stale += 1
            sys.stderr.write(f"{path} is not what this jar and virtual machine give: run the script without --check\n")
        if not check:
            with atomic_write(path, text=True) as handle:
                handle.write(text)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
