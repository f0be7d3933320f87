"""What docs/cli.md promises; that its examples run is checked with all other pages."""

from __future__ import annotations

import re
from pathlib import Path

from tamis import errors
from tamis.cli.app import COMMANDS
from tamis.cli.session import Session

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text("utf-8")


def test_every_command_has_an_example():
    assert set(re.findall(r"^\$ tamis ([\w-]+)", PAGE, re.MULTILINE)) == set(COMMANDS)


def test_the_exit_codes_are_those_of_the_program():
    table = PAGE.split("## Exit codes")[1].split("##")[0]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert documented == {value for name, value in vars(errors).items() if name.startswith("EXIT_")}


def test_the_envelope_is_the_documented_one():
    table = PAGE.split("## The JSON envelope")[1].split("##")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(Session("x").envelope())
