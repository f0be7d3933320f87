"""Runs: which shards they span, and what they hold."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.indexer.sparse import runs as runs_module
from tamis.indexer.sparse.runs import GROWTH, Run, RunEntry, build_run, plan_runs
from tamis.indexer.sparse.storage import CODES, SparseRows, write_rows


@given(st.lists(st.lists(st.integers(1, 1000), min_size=1, max_size=4), min_size=1, max_size=12))
def test_runs_follow_each_other_and_shrink(commits: list[list[int]]) -> None:
    """After any number of commits, runs cover all shards, and each is more than GROWTH times the next."""
    sizes: list[int] = []
    ends: list[int] = []
    for added in commits:
        sizes += added
        spans = plan_runs(ends, sizes)
        ends = [end for _, end in spans]
        assert [first for first, _ in spans] == [0, *ends[:-1]]
        assert ends[-1] == len(sizes)
        rows = [sum(sizes[first:end]) for first, end in spans]
        assert all(a > GROWTH * b for a, b in pairwise(rows))


def test_nothing_to_span() -> None:
    assert plan_runs([], []) == []


def write_shards(folder: Path, sizes: list[int], dims: int = 50) -> tuple[list[Path], Any]:
    """Shards of random rows, and the matrix of their codes."""
    rng = np.random.default_rng(5)
    matrix = rng.integers(1, 300, (sum(sizes), dims)) * (rng.random((sum(sizes), dims)) < 0.3)
    matrix[:, 7] = 0
    shards, first = [], 0
    for number, size in enumerate(sizes):
        part = matrix[first : first + size]
        first += size
        rows, held = np.nonzero(part)
        offsets = np.searchsorted(rows, np.arange(size + 1))
        shard = folder / f"shard{number}"
        shard.mkdir()
        write_rows(shard, SparseRows(offsets, held.astype(np.uint32), part[rows, held].astype(np.uint16)), CODES)
        shards.append(shard)
    return shards, matrix


@pytest.mark.parametrize("entries", [1 << 24, 900])
def test_a_run_is_the_transpose_of_its_shards(tmp_path: Path, entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "BLOCK_ENTRIES", entries)
    shards, matrix = write_shards(tmp_path, [30, 1, 60])
    build_run(shards, tmp_path / "run", binary=False)
    run = Run(tmp_path / "run", RunEntry("run", 0, 3, 91, int(matrix.max()) + 1))
    run.postings.validate()
    assert 7 not in run.dims.tolist()
    assert run.terms(np.array([7, 8, 999])).tolist() == [-1, 7, -1]
    back = np.zeros_like(matrix)
    for term, dim in enumerate(run.dims.tolist()):
        assert run.postings.codes is not None
        codes = run.postings.codes[run.postings.starts[term] : run.postings.starts[term + 1]]
        back[run.postings.documents(term, term + 1), dim] = codes
    assert (back == matrix).all()
    assert not list((tmp_path / "run").glob("block-*"))


def test_binary(tmp_path: Path) -> None:
    rows = SparseRows(np.array([0, 2, 2, 3]), np.array([1, 4, 1], np.uint32), None)
    (tmp_path / "shard").mkdir()
    write_rows(tmp_path / "shard", rows, None)
    build_run([tmp_path / "shard"], tmp_path / "run", binary=True)
    run = Run(tmp_path / "run", RunEntry("run", 0, 1, 3, 0))
    assert run.postings.codes is None
    assert run.postings.documents(0, 2).tolist() == [0, 2, 0]
