"""The extraction of the standard library's documentation strings."""

from __future__ import annotations

import csv
import inspect
import random
import subprocess
import sys
import tempfile

import pytest

from tamis.data.demo import stdlib
from tamis.data.demo.stdlib import MIN_WORDS, MODULES, passages
from tamis.data.document import Document


@pytest.fixture(scope="module")
def corpus() -> dict[str, Document]:
    return {document.id: document for document in passages()}


def test_thousands_of_passages_in_order_of_id():
    ids = [document.id for document in passages()]
    assert len(ids) > 4000
    assert ids == sorted(set(ids))


def test_order_of_modules_does_not_matter(monkeypatch):
    expected = list(passages())
    shuffled = list(MODULES)
    random.Random(1).shuffle(shuffled)
    monkeypatch.setattr(stdlib, "MODULES", tuple(shuffled))
    assert list(passages()) == expected


def test_only_the_standard_library(corpus):
    for name in MODULES:
        assert name.partition(".")[0] in sys.stdlib_module_names
    assert {document.metadata["module"] for document in corpus.values()} <= set(MODULES)
    assert not any(part.startswith("_") for name in corpus for part in name.split("."))
    assert len(set(MODULES)) == len(MODULES)


def test_text_is_the_cleaned_documentation(corpus):
    assert corpus["csv.reader"].text == inspect.getdoc(csv.reader)
    assert corpus["tempfile.TemporaryDirectory"].text == inspect.getdoc(tempfile.TemporaryDirectory)
    assert corpus["csv"].text == inspect.cleandoc(csv.__doc__).strip()
    assert corpus["str.split"].text == inspect.getdoc(str.split)
    assert all(len(document.text.split()) >= MIN_WORDS for document in corpus.values())


@pytest.mark.parametrize(
    ("name", "kind", "module", "title"),
    [
        ("csv", "module", "csv", "csv, module"),
        ("random.choice", "function", "random", "random.choice(seq), function choice of random"),
        ("sorted", "function", "builtins", None),
        ("os.path.join", "function", "os.path", None),
        ("pathlib.Path.exists", "method", "pathlib", None),
        ("pathlib.Path.cwd", "method", "pathlib", "pathlib.Path.cwd(), method cwd of Path in pathlib"),
        (
            "pathlib.PurePath.suffix",
            "property",
            "pathlib",
            "pathlib.PurePath.suffix, property suffix of PurePath in pathlib",
        ),
        ("OSError", "class", "builtins", None),
        ("collections.Counter", "class", "collections", None),
        ("concurrent.futures.ThreadPoolExecutor", "class", "concurrent.futures", None),
    ],
)
def test_name_kind_module_and_title(corpus, name, kind, module, title):
    document = corpus[name]
    assert document.metadata == {"module": module, "kind": kind}
    if title is None:
        assert document.title.startswith(name)
    else:
        assert document.title == title


def test_titles_hold_no_memory_address(corpus):
    assert not any(" at 0x" in document.title for document in corpus.values())


@pytest.mark.parametrize(
    "absent",
    [
        "IOError",  # a second name of OSError
        "io.open",  # the built-in open
        "KeyError.add_note",  # documented by BaseException
        "pathlib.Path.suffix",  # documented by PurePath
        "socket.SocketType.bind",  # what socket.socket extends
        "shutil.fnmatch",
        "random.Random.choice",  # the function random.choice is this method
    ],
)
def test_an_object_is_listed_once(corpus, absent):
    assert absent not in corpus


def test_a_module_that_the_platform_lacks_is_passed_over(monkeypatch):
    monkeypatch.setattr(stdlib, "MODULES", ("csv", "nowhere_to_be_found"))
    found = list(passages())
    assert {document.metadata["module"] for document in found} == {"csv"}


def test_extraction_is_silent_even_where_warnings_are_errors():
    code = "from tamis.data.demo.stdlib import passages; assert sum(1 for _ in passages()) > 4000"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_python_without_documentation_strings_is_refused():
    code = """
from tamis.data.demo.stdlib import passages
from tamis.errors import PrerequisiteError
try:
    next(passages())
except PrerequisiteError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=True)
    assert "-OO" in done.stdout
