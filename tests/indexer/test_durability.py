"""Everything that a manifest names is on the device before the manifest appears: the calls, in their order.

A kill does not lose what the kernel holds, so the crash tests cannot see a missing fsync; this one records them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tamis
from tamis.indexer.layout import manifest_path


class Recorder:
    """Remembers, in order, which inodes were flushed and which names were made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.flushed: list[tuple[int, int]] = []  # (time, inode)
        self.made: list[tuple[int, Path]] = []
        self._clock = 0
        real_fsync = os.fsync

        def fsync(descriptor: int) -> None:
            real_fsync(descriptor)
            self.flushed.append((self._tick(), os.fstat(descriptor).st_ino))

        monkeypatch.setattr(os, "fsync", fsync)
        for name in ("link", "rename", "replace", "mkdir"):
            monkeypatch.setattr(os, name, self._making(getattr(os, name), 0 if name == "mkdir" else 1))

    def _tick(self) -> int:
        self._clock += 1
        return self._clock

    def _making(self, real: Callable[..., Any], position: int) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            answer = real(*args, **kwargs)
            self.made.append((self._tick(), Path(args[position])))
            return answer

        return call

    def when_made(self, path: Path) -> int:
        """Time at which the name last appeared; 0 if it was made by other means or before."""
        return max((time for time, made in self.made if made == path), default=0)

    def flushed_between(self, inode: int, first: int, last: int) -> bool:
        return any(first < time < last for time, flushed in self.flushed if flushed == inode)


def check(recorder: Recorder, index: tamis.Index, generation: int, old: set[str]) -> int:
    """Check a published generation's new files; return how many there were."""
    root = index.path
    published = recorder.when_made(manifest_path(root, generation))
    assert published
    manifests = (root / "manifests").stat().st_ino
    assert recorder.flushed_between(manifest_path(root, generation).stat().st_ino, 0, published), "the manifest itself"
    assert recorder.flushed_between(manifests, published, 1 << 60), "the manifest's name"
    new = set(index.manifest.files) - old
    for name in new:
        path = root / name
        if not name.startswith("lucene/"):  # Lucene flushes its own files and their folder
            assert recorder.flushed_between(path.stat().st_ino, 0, published), f"{name}: contents"
            assert recorder.flushed_between(path.parent.stat().st_ino, recorder.when_made(path), published), (
                f"{name}: name"
            )
        for folder in path.relative_to(root).parents[:-1]:
            made = recorder.when_made(root / folder)
            if made:
                parent = (root / folder).parent.stat().st_ino
                assert recorder.flushed_between(parent, made, published), f"{folder}: name"
    return len(new)


def test_what_a_manifest_names_is_flushed_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_documents: Callable[..., Any], small_chunks: int
) -> None:
    recorder = Recorder(monkeypatch)
    index = tamis.Index.create(tmp_path / "index", filterable=("year",))
    published = recorder.when_made(manifest_path(index.path, 0))
    for name in ("FORMAT", "manifests", "segments"):
        made = recorder.when_made(index.path / name)
        assert made, name
        assert recorder.flushed_between(index.path.stat().st_ino, made, published), name
    assert recorder.flushed_between((index.path / "FORMAT").stat().st_ino, 0, published)
    assert recorder.flushed_between(tmp_path.stat().st_ino, recorder.when_made(index.path), published)

    changes: list[Callable[[], Any]] = [
        lambda: index.add(make_documents(100)),
        lambda: index.add(make_documents(50, seed=2)),
        lambda: index.delete([f"d{i}" for i in range(60, 90)]),
        index.compact,
    ]
    for generation, change in enumerate(changes, 1):
        old = set(index.manifest.files)
        change()
        assert check(recorder, index, generation, old) > 0
    index.close()


def test_a_receipt_is_written_after_what_it_vouches_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_documents: Callable[..., Any], small_chunks: int
) -> None:
    recorder = Recorder(monkeypatch)
    with tamis.Index.create(tmp_path / "index") as index:
        monkeypatch.setattr("tamis.indexer.writer.commit", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            index.add(make_documents(100), fingerprint={"corpus": "x"})
        (job,) = (index.path / "work").iterdir()
        segments = (index.path / "segments").stat().st_ino
        for number, segment in enumerate(_segments_of(job)):
            receipt = recorder.when_made(job / "receipts" / f"documents-{number:05d}.json")
            folder = index.path / "segments" / segment
            assert receipt
            assert recorder.flushed_between(segments, recorder.when_made(folder), receipt)
            for file in folder.iterdir():
                assert recorder.flushed_between(file.stat().st_ino, 0, receipt)
            built = recorder.when_made(job / "receipts" / f"lucene-{number:05d}.json")
            made = recorder.when_made(job / f"lucene-{number:05d}")
            assert recorder.flushed_between(job.stat().st_ino, made, built)


def _interrupt(*args: Any, **kwargs: Any) -> None:
    raise KeyboardInterrupt


def _segments_of(job: Path) -> list[str]:
    import json

    receipts = sorted((job / "receipts").glob("documents-*.json"))
    assert len(receipts) == 3
    return [json.loads(path.read_text("utf-8"))["segment"]["id"] for path in receipts]
