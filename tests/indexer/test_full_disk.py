"""A full disk is a clear error, leaves the last generation whole, and the same job completes once there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tamis
from tamis.errors import EXIT_DATA, StorageError
from tamis.indexer.lucene.failures import java_errors
from tamis.indexer.lucene.jvm import java

MEGABYTE = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting a small tmpfs is not allowed here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, leave: int) -> Path:
    """Take all but `leave` bytes of the free space."""
    ballast = place / "ballast"
    ballast.unlink(missing_ok=True)
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    ballast.write_bytes(bytes(max(free - leave, 0)))
    return ballast


def check_refused(path: Path, change: Callable[[tamis.Index], Any]) -> None:
    with tamis.open(path) as index:
        with pytest.raises(
            StorageError, match=r"no space left while writing .*: free some and run the same command"
        ) as e:
            change(index)
        assert e.value.exit_code == EXIT_DATA


def test_every_way_of_running_out_of_space(
    small_disk: Path, make_documents: Callable[..., Any], rankings: Callable[..., Any], small_chunks: int
) -> None:
    """The space left grows from nothing, so that every write of the job meets the full disk in turn."""
    path = small_disk / "index"
    documents = make_documents(200, seed=5, prefix="n")
    with tamis.Index.create(path) as index:
        index.add(make_documents(100))
        before = rankings(index)

    def add(index: tamis.Index) -> Any:
        return index.add(documents, fingerprint={"corpus": "n"})

    refused: list[str] = []
    for leave in (0, 4, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512):
        ballast = fill(small_disk, leave << 10)
        try:
            with tamis.open(path) as index:
                add(index)
            break
        except StorageError as error:
            refused.append(str(error))
        with tamis.open(path) as index:
            assert index.generation == 1
            assert index.verify().problems == ()
            assert rankings(index) == before
    assert len(refused) > 5
    assert all("no space left while writing" in message for message in refused)
    ballast.unlink()
    with tamis.open(path) as index:
        add(index)
        assert index.generation == 2
        assert index.verify().problems == ()
        with tamis.Index.create(small_disk.parent / "fresh") as fresh:
            fresh.add(make_documents(100))
            fresh.add(documents)
            assert rankings(index) == rankings(fresh)


def test_delete_and_compact_on_a_full_disk(
    small_disk: Path, make_documents: Callable[..., Any], rankings: Callable[..., Any], small_chunks: int
) -> None:
    path = small_disk / "index"
    gone = [f"d{i}" for i in range(0, 100, 3)]
    with tamis.Index.create(path) as index:
        index.add(make_documents(100))
        before = rankings(index)
    ballast = fill(small_disk, 0)
    check_refused(path, lambda index: index.delete(gone))
    check_refused(path, lambda index: index.compact())
    check_refused(path, lambda index: index.add([{"id": "x", "text": "x"}]))
    with tamis.open(path) as index:
        assert index.verify().problems == ()
        assert rankings(index) == before
    ballast.unlink()
    with tamis.open(path) as index:
        assert index.delete(gone).rows == len(gone)
        deleted = rankings(index)
    ballast = fill(small_disk, 0)
    check_refused(path, lambda index: index.compact())
    with tamis.open(path) as index:
        assert rankings(index) == deleted
        assert index.verify().problems == ()
    ballast.unlink()
    with tamis.open(path) as index:
        index.compact()
        assert len(index) == 100 - len(gone)
        assert index.verify().problems == ()


def test_creating_on_a_full_disk(small_disk: Path) -> None:
    ballast = fill(small_disk, 0)
    with pytest.raises(StorageError, match="no space left"):
        tamis.Index.create(small_disk / "index")
    ballast.unlink()
    with tamis.Index.create(small_disk / "index") as index:
        index.add([{"id": "x", "text": "x"}])


def test_a_read_only_disk(small_disk: Path) -> None:
    with tamis.Index.create(small_disk / "index") as index:
        index.add([{"id": "x", "text": "drum sieve"}])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with tamis.open(small_disk / "index") as index:
        assert [hit.id for hit in index.search("drum")] == ["x"]
        assert index.verify().ok
        with pytest.raises(StorageError, match=r"cannot write .*Read-only file system"):
            index.delete(["x"])
    with pytest.raises(StorageError, match="cannot write"):
        tamis.Index.create(small_disk / "other")


@pytest.mark.parametrize(
    ("exception", "message", "wanted"),
    [
        ("java.io.IOException", "No space left on device", "StorageError"),
        ("java.io.IOException", "Disk quota exceeded", "StorageError"),
        ("java.nio.file.AccessDeniedException", "/x", "StorageError"),
        ("java.io.IOException", "Input/output error", "StorageError"),
        ("java.nio.file.NoSuchFileException", "/x/_0.cfs", "CorruptIndexError"),
        ("java.io.EOFException", "read past EOF", "CorruptIndexError"),
        ("org.apache.lucene.store.LockObtainFailedException", "Lock held", "IndexLockedError"),
        ("java.lang.OutOfMemoryError", "Java heap space", "PrerequisiteError"),
    ],
)
def test_javas_exceptions_become_ours(exception: str, message: str, wanted: str, tmp_path: Path) -> None:
    with pytest.raises(tamis.TamisError) as caught, java_errors(tmp_path):
        raise java(exception)(message)
    assert type(caught.value).__name__ == wanted
    assert message in str(caught.value) or "no space left" in str(caught.value)


def test_a_cause_inside_another_exception_counts(tmp_path: Path) -> None:
    full = java("java.io.IOException")("No space left on device")
    closed = java("java.lang.IllegalStateException")("this IndexWriter is closed", full)
    with pytest.raises(StorageError, match="no space left"), java_errors(tmp_path):
        raise closed


def test_other_exceptions_pass(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), java_errors(tmp_path):
        raise ZeroDivisionError
    with pytest.raises(java("java.lang.IllegalArgumentException")), java_errors(tmp_path):
        raise java("java.lang.IllegalArgumentException")("not ours")
