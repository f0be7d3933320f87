"""Every example of docs/cli.md runs, in order and in one folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tamis import errors
from tamis.cli.app import COMMANDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_examples_run(tmp_path, monkeypatch, tamis):
    monkeypatch.chdir(tmp_path)
    shown = set()
    for language, name, text in BLOCK.findall(PAGE.read_text("utf-8")):
        if name:
            Path(name).write_text(text, "utf-8")
        if language == "sh":
            for line in text.splitlines():
                program, *args = shlex.split(line)
                assert program == "tamis"
                done = tamis(*args)
                assert done.code == 0, (line, done.err)
                shown.add(args[0])
    assert shown == set(COMMANDS)


def test_the_exit_codes_are_those_of_the_program():
    table = PAGE.read_text("utf-8").split("## Exit codes")[1].split("##")[0]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert documented == {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
