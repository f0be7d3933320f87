"""The cache of scores: known by content, shared between processes, bounded, and never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tamis.database import VARIABLE
from tamis.encoders.base import Passage
from tamis.errors import StorageError
from tamis.rerankers.cache import FILE, PairCache, default_cache, pair_keys


def keys(count: int, first: int = 0) -> list[bytes]:
    return [number.to_bytes(16, "little") for number in range(first, first + count)]


def test_scores_come_back_to_the_bit(tmp_path: Path) -> None:
    import numpy as np

    cache = PairCache(tmp_path / "deep" / "cache.sqlite3")
    scores = {key: float(np.float32(0.1) * i) for i, key in enumerate(keys(1200))}
    assert cache.get(list(scores)) == {}
    cache.put(scores)
    assert cache.get(list(scores)) == scores
    cache.close()
    assert PairCache(cache.path).get([*keys(1), b"x" * 16]) == {keys(1)[0]: 0.0}


def test_a_key_is_the_content() -> None:
    base = ("model", "query", Passage("title", "text"))
    others = [
        ("model2", "query", Passage("title", "text")),
        ("model", "query ", Passage("title", "text")),
        ("model", "quer", Passage("ytitle", "text")),
        ("model", "query", Passage("", "title text")),
        ("model", "query", Passage("titlet", "ext")),
        ("model", "query", Passage("title", "texts")),
        ("model", "query", Passage("title", "\udcff")),  # text that is not UTF-8
    ]
    found = [pair_keys(model, [query], [passage])[0] for model, query, passage in [base, *others]]
    assert len(set(found)) == len(found)
    assert {len(key) for key in found} == {16}
    again = pair_keys("model", ["other", "query"], [Passage("", ""), Passage("title", "text")])
    assert again[1] == found[0]


def test_it_is_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    cache = PairCache(tmp_path / "cache.sqlite3", limit=100)
    for first in range(0, 1000, 30):
        cache.put(dict.fromkeys(keys(30, first), 1.0))
    assert len(cache) == 100
    assert set(cache.get(keys(1020))) == set(keys(100, 920))
    size = cache.path.stat().st_size
    for first in range(1000, 5000, 30):
        cache.put(dict.fromkeys(keys(30, first), 1.0))
    assert cache.path.stat().st_size <= 2 * size


def test_what_is_known_stays(tmp_path: Path) -> None:
    cache = PairCache(tmp_path / "cache.sqlite3")
    cache.put({b"k" * 16: 1.5})
    cache.put({b"k" * 16: 2.5})
    assert cache.get([b"k" * 16]) == {b"k" * 16: 1.5}


WRITER = """
import sys
from pathlib import Path
from tamis.rerankers.cache import PairCache
cache = PairCache(Path(sys.argv[1]))
for turn in range(20):
    numbers = range(int(sys.argv[2]) * 1000 + turn * 50, int(sys.argv[2]) * 1000 + turn * 50 + 50)
    cache.put({n.to_bytes(16, "little"): float(n) for n in numbers})
"""


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite3"
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(i)], env=here) for i in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    wanted = [i * 1000 + n for i in range(4) for n in range(1000)]
    found = PairCache(path).get([n.to_bytes(16, "little") for n in wanted])
    assert found == {n.to_bytes(16, "little"): float(n) for n in wanted}


def test_threads_share_one(tmp_path: Path) -> None:
    cache = PairCache(tmp_path / "cache.sqlite3")

    def work(number: int) -> None:
        for turn in range(10):
            cache.put(dict.fromkeys(keys(10, number * 100 + turn * 10), float(number)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache) == 400


def test_a_fork_opens_its_own(tmp_path: Path) -> None:
    import multiprocessing

    cache = PairCache(tmp_path / "cache.sqlite3")
    cache.put({b"p" * 16: 1.0})
    child = multiprocessing.get_context("fork").Process(target=cache.put, args=({b"c" * 16: 2.0},))
    child.start()
    child.join(60)
    assert cache.get([b"p" * 16, b"c" * 16]) == {b"p" * 16: 1.0, b"c" * 16: 2.0}


def test_the_environment_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "off")
    assert default_cache() is None
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    cache = default_cache()
    assert cache is not None
    assert cache.path == tmp_path / FILE


def test_damage_and_refusals_name_the_file_and_the_way_out(tmp_path: Path) -> None:
    broken = tmp_path / "broken.sqlite3"
    broken.write_bytes(b"this is no database" * 100)
    (tmp_path / "file").write_text("x")
    for path in (broken, tmp_path / "file" / "cache.sqlite3"):
        with pytest.raises(StorageError, match=r"cannot be used: .*TAMIS_CACHE=off") as caught:
            PairCache(path).get(keys(1))
        assert str(path) in str(caught.value)
