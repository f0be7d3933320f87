from __future__ import annotations

import shutil
from pathlib import Path

import pytest


def test_a_whole_index(built, tamis):
    done = tamis("verify", built.index)
    assert (done.code, done.err) == (0, "")
    assert "is whole" in done.out
    assert tamis("verify", built.index, "--json").envelope["results"] == {"ok": True, "problems": []}


def test_every_fault_is_a_line_that_names_the_file(built, tmp_path, tamis):
    folder = Path(shutil.copytree(built.index, tmp_path / "ix"))
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name not in ("ix", "manifests"))
    flipped, gone = files[0], files[-1]
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    gone.unlink()
    done = tamis("verify", folder)
    assert done.code == 5
    assert len(done.out.splitlines()) == 2
    assert str(flipped) in done.out
    assert str(gone) in done.out
    assert "2 faults" in done.err
    quick = tamis("verify", folder, "--quick", "--json")
    assert quick.code == quick.envelope["exit_code"] == 5
    assert len(quick.envelope["results"]["problems"]) == 1


@pytest.mark.parametrize("name", ["FORMAT", "manifest"])
def test_a_flipped_byte_in_format_or_manifest(name, built, tmp_path, tamis):
    folder = Path(shutil.copytree(built.index, tmp_path / "ix"))
    path = folder / "FORMAT" if name == "FORMAT" else max((folder / "manifests").iterdir())
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    done = tamis("verify", folder)
    assert done.code == 5
    assert str(path) in done.out


def test_nothing_there(tmp_path, tamis):
    assert tamis("verify", tmp_path / "none").code == 4
