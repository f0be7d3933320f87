"""A kill at any instant leaves the last committed generation whole, and the repeated command finishes the work."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tamis
from tamis.indexer.commit import STEPS
from tamis.indexer.layout import generations
from tamis.indexer.lucene import build

pytestmark = pytest.mark.slow

OPERATIONS = ("create", "add", "delete", "compact")
KILLS = 8  # at random instants, of each operation
DRIVER = Path(__file__).with_name("crash_driver.py")

Rankings = dict[str, list[tuple[str, float]]]


def load_driver() -> ModuleType:
    spec = importlib.util.spec_from_file_location("crash_driver", DRIVER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Child:
    """A process that does one operation on a copy of a scene's index, once it is told to."""

    def __init__(self, scene: Scene, path: Path, step: str = "-") -> None:
        self.path, self.step = scene.copy_to(path), step
        command = [sys.executable, str(DRIVER), str(path), scene.operation, str(scene.argument), "40", step]
        root = str(Path(tamis.__file__).parent.parent)
        environment = {**os.environ, "TAMIS_JAVA_QUICK": "1", "PYTHONPATH": root}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def begin(self) -> None:
        """Wait until Java runs, then let it work."""
        assert self.says("ready")
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()

    def says(self, word: str) -> bool:
        """Wait for a line; False where the process died instead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode().strip()
        assert line in (word, ""), line
        return line == word

    def kill(self) -> bool:
        """Kill it now; return whether it had finished its work."""
        assert self.process.stdout is not None
        self.process.kill()
        ready, _, _ = select.select([self.process.stdout], [], [], 10)
        finished = bool(ready) and self.process.stdout.readline().strip() == b"done"
        assert self.wait() == -9
        return finished

    def wait(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            return self.process.wait(60)
        finally:
            self.process.stdin.close()
            self.process.stdout.close()


def one_ahead(children: Iterator[Child]) -> Iterator[Child]:
    """Yield children with the next one starting up meanwhile; the last is killed unused."""
    following = next(children)
    try:
        for child in children:
            current, following = following, child
            yield current
    finally:
        following.process.kill()
        following.wait()


class Scene:
    """Where an operation starts from, what it is given, and what it must end with."""

    def __init__(self, folder: Path, operation: str, make_documents: Any, rankings: Any) -> None:
        self.operation, self._rankings = operation, rankings
        self.base, self.argument = folder / "base", folder / "argument.json"
        self.perform = load_driver().perform
        self.value: Any = make_documents(200, seed=3)
        self.before: Rankings | None = None
        if operation != "create":
            with tamis.Index.create(self.base, filterable=("year",)) as index:
                index.add(make_documents(150, seed=1))
                index.add(make_documents(60, seed=2, prefix="e"))
                if operation == "compact":
                    index.delete([f"d{i}" for i in range(0, 150, 4)])
                self.before = rankings(index)
                self.generation = index.generation
            if operation == "delete":
                self.value = [f"d{i}" for i in range(0, 150, 3)] + [f"e{i}" for i in range(30)]
        else:
            self.generation = 0
        self.argument.write_text(json.dumps(self.value), "utf-8")
        undisturbed = self.copy_to(folder / "undisturbed")
        self.repeat(undisturbed)
        with tamis.open(undisturbed) as index:
            self.after: Rankings = rankings(index)
            self.rows = index.inspect()["live_rows"]

    def copy_to(self, path: Path) -> Path:
        if self.base.exists():
            shutil.copytree(self.base, path)
        return path

    def repeat(self, path: Path) -> None:
        self.perform(path, self.operation, self.value, lambda event: None)

    def check(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
        """What must hold after a kill; returns whether the new generation had been published."""
        published = self._check_as_left(path)
        receipts = [json.loads(p.read_text("utf-8")) for p in path.glob("work/*/receipts/documents-*.json")]
        built = len(list(path.glob("work/*/receipts/lucene-*.json")))
        held = {r["segment"]["id"]: _identity(path / "segments" / r["segment"]["id"] / "docs.arrow") for r in receipts}

        calls = []
        with monkeypatch.context() as patch:
            real = build.build_chunk
            patch.setattr(build, "build_chunk", lambda *args: calls.append(1) or real(*args))
            self.repeat(path)
        for segment, identity in held.items():  # what has a receipt is not made again
            assert _identity(path / "segments" / segment / "docs.arrow") == identity
        if self.operation in ("create", "add"):
            assert len(calls) == (0 if published else 5 - built)

        with tamis.open(path) as index:
            assert self._rankings(index) == self.after
            assert index.inspect()["live_rows"] == self.rows
            assert index.verify().problems == ()
            assert index.inspect()["unfinished_jobs"] == []
            index.gc()
            named = set(index.manifest.files)
            on_disk = {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}
            rest = {"FORMAT", "LOCK", "lucene/write.lock", f"manifests/{index.generation:012d}.json"}
            assert on_disk - named <= rest  # nothing that the kill left stays for ever
        return published

    def _check_as_left(self, path: Path) -> bool:
        if not generations(path):
            assert self.operation == "create"
            return False
        report = tamis.open(path).verify()
        assert report.problems == ()
        with tamis.open(path) as index:
            new = 1 if self.operation == "create" else self.generation + 1
            assert index.generation in (self.generation, new)
            published = index.generation == new
            if published:
                assert self._rankings(index) == self.after
            elif self.before is not None:
                assert self._rankings(index) == self.before
            else:
                assert len(index) == 0
        return published


def _identity(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_ino, state.st_mtime_ns


@pytest.fixture(scope="module", params=OPERATIONS)
def scene(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    make_documents: Callable[..., Any],
    rankings: Callable[..., Rankings],
) -> Iterator[Scene]:
    from tamis.indexer import compaction, jobs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "CHUNK_DOCUMENTS", 40)
        patch.setattr(compaction, "SEGMENT_ROWS", 90)
        yield Scene(tmp_path_factory.mktemp(request.param), request.param, make_documents, rankings)


def test_a_kill_at_every_step_of_the_commit(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = {}
    for child in one_ahead(Child(scene, tmp_path / step, step) for step in (*STEPS, "-")):
        child.begin()
        assert not child.says("done")
        assert child.wait() == -9, child.step
        published[child.step] = scene.check(child.path, monkeypatch)
        shutil.rmtree(child.path)
    boundary = STEPS.index("published")
    assert published == {step: i >= boundary for i, step in enumerate(STEPS)}


def test_kills_at_random_instants(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child(scene, tmp_path / "measured")
    child.begin()
    begin = time.perf_counter()
    assert child.says("done")
    duration = time.perf_counter() - begin
    assert child.kill() is False  # "done" was read already

    rng = random.Random(f"{scene.operation} 1")
    interrupted = 0
    for child in one_ahead(Child(scene, tmp_path / f"kill-{attempt}") for attempt in range(2 * KILLS)):
        child.begin()
        time.sleep(duration * (interrupted + rng.random()) / KILLS)
        if child.kill():
            duration *= 0.8  # it was quicker this time: aim earlier
        else:
            interrupted += 1
        scene.check(child.path, monkeypatch)
        shutil.rmtree(child.path, ignore_errors=True)
        if interrupted == KILLS:
            return
    pytest.fail(f"only {interrupted} kills came before the end of the work")
