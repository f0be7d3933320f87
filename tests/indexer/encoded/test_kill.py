"""A kill while encoding costs what was in hand and nothing else: the repeated command ends with the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

import tamis
from tamis.indexer.commit import STEPS
from tamis.indexer.encoded.entry import encoded_entries
from tamis.indexer.writer import Writer, newest_manifest

pytestmark = pytest.mark.slow

DRIVER = Path(__file__).with_name("kill_driver.py")
CHUNKS = 9  # 120 rows in three segments, 16 rows a chunk


def start(path: Path, step: str = "-") -> subprocess.Popen[str]:
    root = str(Path(tamis.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    return subprocess.Popen(
        [sys.executable, str(DRIVER), str(path), step], stdout=subprocess.PIPE, text=True, env=environment
    )


def finish(path: Path, toy: ModuleType) -> int:
    """Repeat the command in this process; return how many batches it had to encode."""
    encoder = toy.ToyEncoder()
    with Writer(path) as writer:
        writer.add_part("toy", "dense", encoder, {"store": "float32", "codes": None, "index": "flat"})
    return len(encoder.batches)


def part_bytes(path: Path) -> dict[str, str]:
    return {name: entry.sha256 for name, entry in newest_manifest(path).files.items() if name.startswith("parts/")}


def chunks_done(path: Path) -> int:
    """Chunks that have a receipt, or are part of a shard."""
    rooms = list((path / "work").glob("part-*/encode-*"))
    shards = 0
    for room in rooms:
        part = path / "parts" / room.name.removeprefix("encode-")
        names = {entry.id for entry in newest_manifest(path).segments}
        held = {shard.name for shard in part.iterdir()} & names if part.is_dir() else set()
        shards += 3 * len(held)
        receipts = [r for r in (room / "receipts").glob("*.json") if r.name.split("-")[0] not in held]
        shards += len(receipts)
    return shards


@pytest.fixture
def whole(encoded: Path, tmp_path: Path, toy: ModuleType) -> dict[str, str]:
    """What an undisturbed build writes."""
    other = tmp_path / "whole"
    shutil.copytree(encoded, other)
    assert finish(other, toy) == CHUNKS
    return part_bytes(other)


def test_kills_while_encoding(encoded: Path, tmp_path: Path, toy: ModuleType, whole: dict[str, str]) -> None:
    rng = random.Random(11)
    for number in range(8):
        path = tmp_path / f"copy-{number}"
        shutil.copytree(encoded, path)
        generation = newest_manifest(path).generation
        child = start(path)
        assert child.stdout is not None
        for _ in range(rng.randrange(1, CHUNKS + 1)):
            assert child.stdout.readline() == "batch\n"
        time.sleep(rng.random() * 0.02)
        child.kill()
        assert child.wait(30) in (-9, 0)
        child.stdout.close()
        if encoded_entries(newest_manifest(path).parts):
            continue  # the kill came after the commit
        assert newest_manifest(path).generation == generation
        done = chunks_done(path)
        assert finish(path, toy) == CHUNKS - done
        assert part_bytes(path) == whole
        with tamis.open(path) as index:
            assert index.verify().problems == ()


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_every_step_of_the_commit(
    step: str, encoded: Path, toy: ModuleType, whole: dict[str, str], tmp_path: Path
) -> None:
    before = newest_manifest(encoded).generation
    child = start(encoded, step)
    assert child.wait(60) == -9
    assert child.stdout is not None
    child.stdout.close()
    published = step in ("published", "cleared")
    assert newest_manifest(encoded).generation == before + published
    with tamis.open(encoded) as index:
        assert index.verify().problems == ()
    assert finish(encoded, toy) == 0
    assert newest_manifest(encoded).generation == before + 1
    assert part_bytes(encoded) == whole
