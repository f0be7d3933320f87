"""The error tree, and the exit code that each branch becomes on the command line.

Every error that Tamis raises on purpose is a `TamisError`. Its message names the offending value, the limit it broke and
the way out. The exit codes are those of the documented table (docs/cli.md):

    TamisError                    1   a fault of ours
    ├── UsageError                2   a bad argument, option, address or pipeline
    │   ├── UnknownNameError      2   a misspelt family, option, measure …; carries the nearest valid names
    │   └── ParseError            2   a pipeline or filter string; carries the position of the fault
    ├── PrerequisiteError         3   Java, an extra or a device is missing; carries the exact fix
    ├── MissingResourceError      4   a path, dataset, part or model that is not there
    ├── DataError                 5   invalid input data
    │   ├── BadRecordError        5   a malformed line: names file and line
    │   └── IndexDataError        5   an index that cannot be read
    │       ├── IndexVersionError 5   written by a newer layout
    │       ├── CorruptIndexError 5   a checksum, size or count that does not hold
    │       └── FingerprintError  5   a part opened with another model than built it
    ├── IndexLockedError          5   another writer holds the index
    ├── OutputExistsError         2   refusing to overwrite without --force
    ├── SpaceMismatchError        5   rankings over different document spaces
    ├── StorageError              5   the disk refused a write (full, read-only …)
    └── ModelError                6   a model or a remote back end failed

`PartialResult` (exit 7) is not an error to raise but the status of work that finished with some queries failed, and an
interrupt (exit 130) leaves as `KeyboardInterrupt`.
"""

from __future__ import annotations

from collections.abc import Iterable

EXIT_OK = 0
EXIT_INTERNAL = 1
EXIT_USAGE = 2
EXIT_PREREQUISITE = 3
EXIT_MISSING = 4
EXIT_DATA = 5
EXIT_MODEL = 6
EXIT_PARTIAL = 7
EXIT_INTERRUPTED = 130


class TamisError(Exception):
    """Root of every deliberate error; `exit_code` is what the command line ends with."""

    exit_code = EXIT_INTERNAL


class UsageError(TamisError, ValueError):
    """An argument, option, address or expression that cannot be meant."""

    exit_code = EXIT_USAGE


class UnknownNameError(UsageError):
    """A name that is not among the valid ones.

    Args:
        kind: what was looked up, e.g. ``"family"``.
        name: the name as given.
        valid: every valid name; the nearest are suggested.
    """

    def __init__(self, kind: str, name: str, valid: Iterable[str]) -> None:
        from difflib import get_close_matches

        self.kind, self.name, self.valid = kind, name, sorted(valid)
        near = get_close_matches(name, self.valid, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        shown = ", ".join(self.valid[:40]) + (" …" if len(self.valid) > 40 else "")
        super().__init__(f"unknown {kind} {name!r}: {hint}valid: {shown or 'none'}")


class ParseError(UsageError):
    """A fault at one character of an expression; the message draws a caret under it.

    Args:
        message: what is wrong and what was expected.
        text: the whole expression.
        position: 0-based offset of the offending character (``len(text)`` for a premature end).
    """

    def __init__(self, message: str, text: str, position: int) -> None:
        self.text, self.position = text, position
        super().__init__(f"{message} (at character {position + 1})\n  {text}\n  {' ' * position}^")


class OutputExistsError(UsageError):
    """An output path is taken and overwriting was not asked for."""


class PrerequisiteError(TamisError):
    """Something outside Tamis is missing; the message holds the exact fix."""

    exit_code = EXIT_PREREQUISITE


class MissingResourceError(TamisError, FileNotFoundError):
    """A path, dataset, index part or model does not exist."""

    exit_code = EXIT_MISSING

    def __str__(self) -> str:  # FileNotFoundError would print an errno form
        return str(self.args[0]) if self.args else ""


class DataError(TamisError, ValueError):
    """Input data that cannot be used."""

    exit_code = EXIT_DATA


class BadRecordError(DataError):
    """A malformed record.

    Args:
        message: what is wrong with it.
        path: the file (or dataset) it stands in.
        line: 1-based line number; for whole-document formats the line where the record begins.
    """

    def __init__(self, message: str, path: object, line: int) -> None:
        self.path, self.line, self.problem = str(path), line, message
        super().__init__(f"{path}:{line}: {message}")


class IndexDataError(DataError):
    """An index folder that cannot be read."""


class IndexVersionError(IndexDataError):
    """The index was written in a newer layout than this Tamis reads."""


class CorruptIndexError(IndexDataError):
    """A checksum, size or count in the index does not hold."""


class FingerprintError(IndexDataError):
    """A part is being opened with another model than the one that built it."""


class IndexLockedError(DataError):
    """Another writer holds the index."""


class SpaceMismatchError(DataError):
    """Rankings (or a ranking and an index) speak of different document spaces."""


class StorageError(TamisError, OSError):
    """The file system refused a write; the last committed generation is whole."""

    exit_code = EXIT_DATA

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ModelError(TamisError):
    """A model, or the back end that runs it, failed."""

    exit_code = EXIT_MODEL
