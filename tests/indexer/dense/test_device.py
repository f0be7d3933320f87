"""The scan on a device, run on torch's own processor device: the same hits as the kernel's exact scan, to the bit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from tamis.errors import UsageError
from tamis.indexer.dense import device as device_module
from tamis.indexer.dense.device import DeviceScan
from tamis.indexer.dense.storage import to_storage
from tamis.kernels.dense import search_flat

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def vectors_of(seed: int, store: str, *, ties: bool) -> list[Any]:
    rng = np.random.default_rng(seed)
    shards = [rng.standard_normal((rows, 24)).astype(np.float32) for rows in (700, 1, 1300)]
    if ties:
        shards = [np.rint(shard) for shard in shards]
    return [to_storage(shard, store) for shard in shards]


@pytest.mark.parametrize("store", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k", [1, 10, 300, 5000])
@pytest.mark.parametrize("how", ["cpu", "cpu, rounded", pytest.param("cuda", marks=needs_cuda)])
def test_same_as_the_exact_scan(store: str, k: int, how: str, monkeypatch: pytest.MonkeyPatch, *, ties: bool) -> None:
    """Several tiles, blocks and batches, and queries as a device multiplies them: in 16 bits at first, and in more if need be."""
    for name, value in {"_PRODUCTS": 70 * 512, "_BLOCK": 4, "_MARGIN": 3, "_GATHERED": 24 * 4 * 100}.items():
        monkeypatch.setattr(device_module, name, value)
    if how == "cpu, rounded":
        monkeypatch.setattr(DeviceScan, "_exact", store == "float32")
    vectors = vectors_of(1, store, ties=ties)
    queries = np.random.default_rng(2).standard_normal((70, 24)).astype(np.float32)
    if ties:
        queries = np.rint(queries)
    scan = DeviceScan(vectors, store, how.split(",")[0])
    for share in (None, 0.3, 0.0):
        allowed = None if share is None else np.random.default_rng(3).random(2001) < share
        cuts = pairwise(np.cumsum([0, *map(len, vectors)]).tolist())
        masks = [None if allowed is None else np.packbits(allowed[a:b], bitorder="little") for a, b in cuts]
        wanted = search_flat(vectors, queries, k, mask=masks)
        found = scan.search(queries, k, allowed)
        assert found.offsets.tolist() == wanted.offsets.tolist()
        assert found.docs.tolist() == wanted.docs.tolist()
        assert found.scores.tobytes() == wanted.scores.tobytes()


def test_no_such_device() -> None:
    with pytest.raises(UsageError, match="nonsense"):
        DeviceScan(vectors_of(1, "float32", ties=False), "float32", "nonsense")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="cuda"):
            DeviceScan(vectors_of(1, "float32", ties=False), "float32", "cuda")
