"""Durable writes: the old file or the new one, never a part; refusals of the disk with a way out."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.errors import EXIT_DATA, OutputExistsError, StorageError
from tamis.files import (
    atomic_write,
    canonical_json,
    link_or_copy,
    sha256_file,
    sha256_json,
    storage_errors,
    write_array,
    write_json,
)


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_write(path) as handle:
        handle.write(b"old and long")
        assert not path.exists()
    with atomic_write(path, text=True) as handle:
        handle.write("né\n")
        assert path.read_bytes() == b"old and long"
    assert path.read_bytes() == "né\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_and_no_remains(tmp_path: Path, fault: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(fault), atomic_write(path) as handle:  # noqa: PT012 - the write is what must be undone
        handle.write(b"new")
        raise fault
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with (
        pytest.raises(OutputExistsError, match="exists: choose another name, or pass --force"),
        atomic_write(path, overwrite=False),
    ):
        pytest.fail("it must be refused before any work is done")
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space left while writing"),
        (errno.EDQUOT, "no space left while writing"),
        (errno.EROFS, "check its permissions or choose another folder"),
        (errno.EACCES, "check its permissions or choose another folder"),
    ],
)
def test_refusals_of_the_disk(tmp_path: Path, number: int, message: str) -> None:
    with pytest.raises(StorageError, match=message) as caught, storage_errors(tmp_path / "x"):
        raise OSError(number, "refused")
    assert str(tmp_path / "x") in str(caught.value)
    assert caught.value.exit_code == EXIT_DATA


def test_other_faults_pass_and_ours_are_not_wrapped_twice(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "gone")
    ours = StorageError("as it is")
    with pytest.raises(StorageError) as caught, storage_errors(tmp_path):
        raise ours
    assert caught.value is ours


def test_a_full_device_is_told_for_arrays_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full refuses every write; numpy's own way of writing to it hides the reason."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *args, **kwargs: real(Path("/dev/full"), "wb"))
    with pytest.raises(StorageError, match="no space left while writing"):
        write_array(tmp_path / "a.npy", np.zeros(1 << 16))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.uint64).reshape(3, 4),
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.zeros(0, np.int64),
        np.array([True, False]),
        np.arange(20)[::3],
    ],
)
def test_arrays_round_trip(tmp_path: Path, array: Any) -> None:
    write_array(tmp_path / "a.npy", array)
    for mode in (None, "r"):
        if mode and not array.size:
            continue
        read = np.load(tmp_path / "a.npy", mmap_mode=mode, allow_pickle=False)
        assert np.array_equal(read, array)
        assert read.dtype == array.dtype
        assert read.shape == array.shape


def test_objects_are_never_pickled(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dtype object would need pickle"):
        write_array(tmp_path / "a.npy", np.array([{"a": 1}], object))
    assert not (tmp_path / "a.npy").exists()


def test_json_has_one_spelling(tmp_path: Path) -> None:
    assert canonical_json({"b": [1, "é"], "a": None}) == '{"a":null,"b":[1,"é"]}'
    assert sha256_json({"b": 1, "a": 2}) == sha256_json({"a": 2, "b": 1})
    write_json(tmp_path / "x.json", {"b": "é", "a": 1})
    assert (tmp_path / "x.json").read_text("utf-8") == '{\n "a": 1,\n "b": "é"\n}\n'
    assert sha256_file(tmp_path / "x.json") == hashlib.sha256((tmp_path / "x.json").read_bytes()).hexdigest()


def test_a_file_gets_a_second_name_or_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"postings")
    link_or_copy(source, tmp_path / "linked")
    assert (tmp_path / "linked").samefile(source)

    def refuse(*_: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(source, tmp_path / "copied")
    assert (tmp_path / "copied").read_bytes() == b"postings"
    assert not (tmp_path / "copied").samefile(source)
