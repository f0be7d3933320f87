"""Every deliberate error: its exit code, and a message that helps."""

from __future__ import annotations

import inspect
import pickle

import pytest

from tamis import errors

CODES = {
    "TamisError": 1,
    "UsageError": 2,
    "UnknownNameError": 2,
    "ParseError": 2,
    "OutputExistsError": 2,
    "PrerequisiteError": 3,
    "MissingResourceError": 4,
    "DataError": 5,
    "BadRecordError": 5,
    "IndexDataError": 5,
    "IndexVersionError": 5,
    "CorruptIndexError": 5,
    "FingerprintError": 5,
    "IndexLockedError": 5,
    "SpaceMismatchError": 5,
    "StorageError": 5,
    "ModelError": 6,
}


def test_exit_codes_are_those_of_the_table() -> None:
    classes = {n: c for n, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.TamisError)}
    assert {name: cls.exit_code for name, cls in classes.items()} == CODES
    drawn = errors.__doc__ or ""
    for name, code in CODES.items():
        line = next((line for line in drawn.splitlines() if f" {name} " in line), "")
        assert line.split()[-1].isdigit() is False or str(code) in line
        if name != "OutputExistsError":
            assert f" {code}" in line, name


def test_the_nearest_names_are_suggested() -> None:
    error = errors.UnknownNameError("family", "bm52", ["ql", "bm25", "dense"])
    assert str(error) == "unknown family 'bm52': did you mean 'bm25'? valid: bm25, dense, ql"
    assert str(errors.UnknownNameError("part", "x", [])) == "unknown part 'x': valid: none"
    many = str(errors.UnknownNameError("measure", "zzz", [f"m{i:02}" for i in range(50)]))
    assert many.endswith("m39 …")


def test_a_parse_error_points_at_the_character() -> None:
    error = errors.ParseError("an operand is expected", "bm25 >> ", 8)
    assert str(error) == "an operand is expected (at character 9)\n  bm25 >> \n          ^"
    assert str(error).splitlines()[2].index("^") - 2 == error.position


def test_a_bad_record_names_file_and_line() -> None:
    assert str(errors.BadRecordError("broken JSON", "corpus.jsonl", 7)) == "corpus.jsonl:7: broken JSON"


def test_errors_are_also_what_python_calls_them() -> None:
    for kind, builtin in (
        (errors.UsageError, ValueError),
        (errors.DataError, ValueError),
        (errors.MissingResourceError, FileNotFoundError),
        (errors.StorageError, OSError),
    ):
        with pytest.raises(builtin, match=r"^plain words$"):
            raise kind("plain words")


def test_plain_errors_survive_a_process_boundary() -> None:
    for name in set(CODES) - {"UnknownNameError", "ParseError", "BadRecordError"}:
        error = pickle.loads(pickle.dumps(getattr(errors, name)("why")))
        assert (type(error).__name__, str(error)) == (name, "why")
