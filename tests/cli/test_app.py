from __future__ import annotations

import inspect
import json
import subprocess
import sys
from importlib import import_module

import pytest

from tamis._version import __version__
from tamis.cli.app import COMMANDS

HEAVY = ("torch", "pyarrow", "scipy", "ir_measures", "ir_datasets", "jpype", "numpy", "rich", "transformers", "faiss")

TYPERS_OWN = {"rich"}  # typer itself imports it in its older versions


def loaded_by(code: str, *args: str) -> set[str]:
    """Return the heavy modules that a fresh interpreter holds after `code`."""
    tail = f"\nimport sys, json; sys.stderr.write('\\n' + json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code + tail, *args], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_help_lists_every_command(tamis):
    shown = tamis("--help")
    assert shown.code == 0
    for name in COMMANDS:
        assert f"  {name} " in shown.out
    assert shown.err == ""


def test_without_arguments_it_helps(tamis):
    assert tamis().out == tamis("--help").out


@pytest.mark.parametrize("name", COMMANDS)
def test_static_help_is_the_commands_own(name, tamis):
    module = name.replace("-", "_")
    function = getattr(import_module(f"tamis.cli.{module}"), module)
    assert inspect.getdoc(function).splitlines()[0] == COMMANDS[name]
    shown = tamis(name, "--help")
    assert shown.code == 0
    assert "Example: tamis " + name in shown.out
    for shared in ("--json", "--quiet", "--no-progress", "--debug"):
        assert shared in shown.out


def test_version(tamis):
    assert tamis("--version").out == f"tamis {__version__}\n"


def test_unknown_command_names_the_nearest(tamis):
    refused = tamis("serach", "x")
    assert (refused.code, refused.out) == (2, "")
    assert "did you mean 'search'" in refused.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["search", "ix", "q", "--pipline", "ql"], "--pipeline"),
        (["--verson"], "--version"),
        (["index", "corpus"], "--output"),
        (["search", "ix", "q", "-k", "ten"], "'-k'"),
        (["inspect"], "INDEX"),
    ],
)
def test_usage_errors(args, said, tamis):
    refused = tamis(*args)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("error: ")
    assert said in refused.err
    assert "--help" in refused.err


def test_usage_errors_make_an_envelope_too(tamis):
    refused = tamis("search", "--json", "ix", "q", "--pipline", "ql")
    assert refused.code == 2
    assert refused.envelope["exit_code"] == 2
    assert refused.envelope["command"] == "search"
    assert "--pipline" in refused.envelope["errors"][0]["message"]


def test_importing_tamis_loads_nothing_heavy():
    assert loaded_by("import tamis") == set()


def test_help_loads_nothing_heavy():
    assert loaded_by("from tamis.cli.app import main; assert main(['--help']) == 0") <= TYPERS_OWN


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_loads_nothing_heavy(name):
    assert loaded_by(f"from tamis.cli.app import main; assert main(['{name}', '--help']) == 0") <= TYPERS_OWN


def test_cold_search_loads_only_what_it_needs(built):
    code = f"from tamis.cli.app import main; assert main(['search', {built.index!r}, 'sieve', '--quiet']) == 0"
    assert loaded_by(code) <= {"numpy", "jpype", "rich"}
