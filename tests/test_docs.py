"""The documentation runs: every ``python`` and ``console`` block of README and docs, file by file, top to bottom.

A ``console`` block's lines that start with ``$`` are commands; the others are shown output and are not compared. Blocks in other
languages (``sh``, ``text``, ``toml`` …) are not run. All blocks of a file share one working folder and one Python namespace.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def blocks_of(page: Path) -> list[tuple[str, str, int]]:
    """(language, code, line) of every runnable block."""
    text = page.read_text("utf-8")
    return [
        (match[1], match[2], text.count("\n", 0, match.start()) + 1)
        for match in FENCE.finditer(text)
        if match[1] in ("python", "console")
    ]


def run_console(code: str, where: str) -> None:
    """Run the ``$`` lines of a block; a line that ends with a backslash goes on in the next."""
    scripts = sysconfig.get_path("scripts")
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120"}
    for line in re.findall(r"^\$ ((?:.*\\\n)*.*)$", code, re.MULTILINE):
        command = line.replace("\\\n", " ")
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, timeout=600, env=environment, check=False
        )
        assert done.returncode == 0, (
            f"{where}: {shlex.quote(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}"
        )


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=lambda page: page.name)
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "docs"}
    for language, code, line in blocks_of(page):
        where = f"{page.name}:{line}"
        if language == "console":
            run_console(code, where)
        else:
            exec(compile("\n" * line + code, str(page), "exec"), namespace)


def test_a_broken_block_is_caught() -> None:
    with pytest.raises(AssertionError, match="page:1"):
        run_console("$ false\n", "page:1")
    assert sys.executable
