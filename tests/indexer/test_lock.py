"""One writer, many readers that keep their generation."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tamis
from tamis.errors import EXIT_DATA, IndexDataError, IndexLockedError
from tamis.indexer.layout import manifest_path, publish_manifest
from tamis.indexer.lock import WriterLock, pin_newest, remove_unless_pinned
from tamis.indexer.writer import Writer

HOLD = """
import sys
from pathlib import Path
from tamis.indexer.lock import WriterLock
with WriterLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_refused_and_told_who_writes(built: tamis.Index) -> None:
    with Writer(built.path):
        with pytest.raises(IndexLockedError, match=rf'is being written by .*"pid": {os.getpid()}') as caught:
            Writer(built.path)
        assert caught.value.exit_code == EXIT_DATA
        for change in (lambda: built.add([{"id": "x", "text": "x"}]), lambda: built.delete(["d1"]), built.compact):
            with pytest.raises(IndexLockedError, match="wait for it, or stop it, and try again"):
                change()
        with pytest.raises(IndexLockedError):
            tamis.Index.create(built.path, overwrite=True)
    with Writer(built.path):
        pass
    assert built.verify().ok
    assert built.search("w1")


def test_a_writer_in_another_process_is_named_and_its_death_frees_the_lock(built: tamis.Index) -> None:
    command = [sys.executable, "-c", HOLD, str(built.path)]
    root = str(Path(tamis.__file__).parent.parent)
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(IndexLockedError, match=f'"pid": {child.pid}'):
            built.delete(["d1"])
    finally:
        child.kill()
        child.communicate()
    assert built.delete(["d1"]).rows == 1


def test_a_killed_writers_longer_note_leaves_no_remains(built: tamis.Index) -> None:
    (built.path / "LOCK").write_text("x" * 500)
    with WriterLock(built.path), pytest.raises(IndexLockedError) as caught:
        WriterLock(built.path)
    assert "xx" not in str(caught.value)


def test_the_lock_is_released_when_opening_for_writing_fails(built: tamis.Index) -> None:
    path = manifest_path(built.path, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(IndexDataError):
        Writer(built.path)
    path.write_bytes(whole)
    with Writer(built.path):
        pass


def test_a_second_publisher_of_a_generation_is_refused(built: tamis.Index) -> None:
    with pytest.raises(IndexLockedError, match="another writer published generation 1"):
        publish_manifest(built.path, built.manifest)


def test_a_reader_keeps_its_generation_while_a_writer_works(
    built: tamis.Index, make_documents: Callable[..., Any], rankings: Callable[..., Any]
) -> None:
    """The reader opens nothing before the writer is through: everything that it needs must still be there."""
    reader = tamis.open(built.path)
    expected = rankings(built)
    built.delete([f"d{i}" for i in range(0, 120, 2)])
    built.add(make_documents(60, seed=9))
    built.compact()
    built.gc()
    assert built.generation == 4
    assert manifest_path(built.path, 1).exists()
    assert not manifest_path(built.path, 2).exists()
    assert not manifest_path(built.path, 3).exists()

    assert reader.generation == 1
    assert rankings(reader) == expected
    original = {document["id"]: document for document in make_documents(120)}
    for doc_id in ("d0", "d7", "d119"):
        document = reader.document(doc_id)
        assert (document.text, document.title) == (original[doc_id]["text"], original[doc_id]["title"])
    assert len(reader) == 120
    needed = set(reader.manifest.files) - set(built.manifest.files)
    assert needed

    reader.close()
    removed = set(built.gc())
    folders = ("segments/", "parts/")  # go as a whole
    assert needed | {"manifests/000000000001.json"} == {
        *{name for name in removed if not name.startswith(folders)},
        *{name for name in needed if name.startswith(folders) and name.rsplit("/", 1)[0] in removed},
    }
    assert not any((built.path / name).exists() for name in needed)
    assert built.gc() == []
    assert built.verify().ok


def test_a_forgotten_reader_lets_its_generation_go(built: tamis.Index) -> None:
    reader = tamis.open(built.path)
    built.delete(["d1"])
    assert manifest_path(built.path, 1).exists()
    del reader
    assert "manifests/000000000001.json" in built.gc()


def test_a_reader_in_another_process_is_respected(built: tamis.Index) -> None:
    read = (
        "import sys, tamis\nindex = tamis.open(sys.argv[1])\nprint('open', flush=True)\nsys.stdin.readline()\n"
        "print(index.document('d1').id, index.generation)"
    )
    root = str(Path(tamis.__file__).parent.parent)
    child = subprocess.Popen(
        [sys.executable, "-c", read, str(built.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"open\n"
    built.delete([f"d{i}" for i in range(60)])
    built.compact()
    assert manifest_path(built.path, 1).exists()
    answer, _ = child.communicate(b"\n", timeout=60)
    assert answer == b"d1 1\n"
    built.gc()
    assert not manifest_path(built.path, 1).exists()


def test_the_manifest_is_held_while_it_is_removed(built: tamis.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that opened a manifest just before it goes waits for the removal, and then takes the newest one."""
    built.close()
    with Writer(built.path) as writer:
        writer.delete(["d1"])
        old = manifest_path(built.path, 1)
        assert not old.exists()  # nobody held it
        publish_manifest(built.path, dataclasses.replace(writer.manifest, generation=1))
        events: list[str] = []
        real_unlink = Path.unlink

        def unlink(path: Path, missing_ok: bool = False) -> None:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                events.append("a reader must wait")
            finally:
                os.close(descriptor)
            real_unlink(path, missing_ok)

        monkeypatch.setattr(Path, "unlink", unlink)
        assert remove_unless_pinned(old)
        assert events == ["a reader must wait"]
    assert pin_newest(built.path).manifest.generation == 2


def test_readers_and_a_writer_at_the_same_time(built: tamis.Index, rankings: Callable[..., Any]) -> None:
    """Readers open again and again while generations come and go; each sees one whole generation."""
    stop = threading.Event()
    faults: list[BaseException] = []
    opened: set[int] = set()

    def read() -> None:
        try:
            while not stop.is_set():
                with tamis.open(built.path, threads=1) as index:
                    opened.add(index.generation)
                    gone = {f"d{i}" for i in range(index.generation - 1)}
                    found = {hit.id for hit in index.search("w0 w1 w2", k=1000)}
                    assert len(index) == 120 - len(gone)
                    assert not found & gone
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            faults.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(12):
        built.delete([f"d{i}"])
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(opened) > 1
