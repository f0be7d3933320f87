"""`tamis add`, `tamis delete` and `tamis compact`, one after another on a copy of the tiny index."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tamis.engine import Index


@pytest.fixture
def folder(built, tmp_path: Path) -> Path:
    return shutil.copytree(built.index, tmp_path / "ix")


def test_add_replaces_and_adds(folder, tmp_path, tamis):
    more = tmp_path / "more.jsonl"
    more.write_text('{"_id":"cat","text":"a newer cat"}\n{"_id":"dog","text":"a dog"}\n')
    done = tamis("add", folder, more)
    assert (done.code, done.out) == (0, "")
    assert "replaced" in done.err
    with Index.open(folder) as index:
        assert len(index) == 5
        assert index.document("cat").text == "a newer cat"
    assert "already" in tamis("add", folder, more).err


def test_delete_then_compact(folder, tmp_path, tamis):
    listed = tmp_path / "ids.txt"
    listed.write_text("cat\n\nunicorn\n")
    done = tamis("delete", folder, "soup", "--ids-file", listed, "--json")
    assert done.code == 0
    assert done.envelope["metrics"] == {"deleted_rows": 2, "unknown_ids": 1, "live_rows": 2}
    assert "unicorn" in done.envelope["warnings"][0]["message"]
    assert json.loads(tamis("inspect", folder, "--json").out)["results"]["deleted_rows"] == 2
    compacted = tamis("compact", folder, "--json").envelope["metrics"]
    assert (compacted["deleted_rows"], compacted["rows"]) == (2, 2)
    assert compacted["bytes"] < compacted["bytes_before"]
    assert "compact already" in tamis("compact", folder).err
    assert tamis("verify", folder).code == 0


def test_nothing_to_delete(folder, tmp_path, tamis):
    assert tamis("delete", folder).code == 2
    absent = tamis("delete", folder, "--ids-file", tmp_path / "absent.txt")
    assert (absent.code, "absent.txt" in absent.err) == (4, True)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    assert tamis("delete", folder, "--ids-file", tmp_path / "latin.txt").code == 5


@pytest.mark.parametrize("command", [["add", "corpus"], ["delete", "x"], ["compact"]])
def test_no_index(command, built, tmp_path, tamis):
    name, *rest = command
    refused = tamis(name, tmp_path / "none", *[built.corpus if arg == "corpus" else arg for arg in rest])
    assert refused.code == 4
    assert "tamis index" in refused.err
