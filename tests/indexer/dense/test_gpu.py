"""faiss on a GPU: what is refused where there is none, and equal results where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from tamis.errors import PrerequisiteError, UsageError
from tamis.indexer.dense.ann import Ann, build_ann, open_ann
from tamis.indexer.dense.gpu import on_gpu

GPUS = faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0
needs_gpu = pytest.mark.skipif(not GPUS, reason="needs a GPU and faiss-gpu")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    vectors = np.random.default_rng(1).standard_normal((3000, 24)).astype(np.float32)
    path = tmp_path_factory.mktemp("ann") / "ann.faiss"
    build_ann(vectors, path, factory="IVF16,Flat")
    return path, vectors


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "0", "mps"])
def test_names_of_devices(device: str, stored: tuple[Path, Any]) -> None:
    with pytest.raises(UsageError, match=f"ann={device}: cpu, cuda"):
        on_gpu(open_ann(stored[0]), device)


def test_a_gpu_that_is_not_there_is_named_with_the_way_out(stored: tuple[Path, Any]) -> None:
    path, vectors = stored
    with pytest.raises(PrerequisiteError, match=r"ann=cuda:97: .*(put faiss-gpu in the place|finds \d+ GPUs)"):
        Ann([open_ann(path)], [vectors], "cuda:97")


@needs_gpu
def test_a_gpu_finds_what_the_processor_finds(stored: tuple[Path, Any]) -> None:
    path, vectors = stored
    queries = np.random.default_rng(2).standard_normal((20, 24)).astype(np.float32)
    here, there = Ann([open_ann(path)], [vectors]), Ann([open_ann(path)], [vectors], "cuda")
    mask = np.packbits(np.random.default_rng(3).random(len(vectors)) < 0.5, bitorder="little")
    for masks in (None, [mask]):
        ours, theirs = (one.search(queries, 10, nprobe=16, mask=masks) for one in (here, there))
        np.testing.assert_array_equal(ours.docs, theirs.docs)
        np.testing.assert_array_equal(ours.scores, theirs.scores)  # both are rescored alike


@needs_gpu
def test_a_graph_stays_on_the_processor(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).standard_normal((300, 24)).astype(np.float32)
    build_ann(vectors, tmp_path / "ann.faiss", factory="HNSW8")
    with pytest.raises(UsageError, match="cannot search a IndexHNSWFlat on a GPU"):
        on_gpu(open_ann(tmp_path / "ann.faiss"), "cuda")
