"""Approximate search on a GPU: a copy of a faiss index in its memory, where the faiss that is installed can make one.

faiss for GPUs (``faiss-gpu``, the extra ``gpu``) searches inverted lists there, flat, by scalar or product codes; graphs such as
HNSW it does not. It knows no selectors on a GPU either, so that a search of some rows only stays with the index on the processor.
"""

from __future__ import annotations

import re
import threading
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import PrerequisiteError, UsageError

_DEVICE = re.compile(r"cuda(?::(\d+))?\Z")
_LOCK = threading.Lock()


class GpuIndex:
    """A faiss index on a GPU, for one search at a time: those of a process share scratch memory there.

    Args:
        copy: of faiss, on the GPU.
    """

    def __init__(self, copy: Any) -> None:
        self._copy = copy

    def search(self, queries: NDArray[np.float32], k: int, *, params: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return scores, float32 [queries, k], and row numbers; as an index on the processor."""
        with _LOCK:
            scores, numbers = self._copy.search(queries, k, params=params)
        return scores, numbers


def on_gpu(index: Any, device: str) -> GpuIndex:
    """Return a copy of a faiss index on a GPU.

    Args:
        index: of faiss, on the processor.
        device: ``cuda`` or ``cuda:1``.

    Raises:
        UsageError: the device has no such name, or faiss cannot search this kind of index there.
        PrerequisiteError: the faiss that is installed has no GPU code, or finds no such GPU.
    """
    faiss: Any = import_module("faiss")
    found = _DEVICE.match(device)
    if found is None:
        raise UsageError(f"ann={device}: cpu, cuda, or cuda: and the number of a GPU is wanted")
    number = int(found[1] or 0)
    if not hasattr(faiss, "StandardGpuResources"):
        raise PrerequisiteError(
            f"ann={device}: the faiss that is installed ({faiss.__version__}) knows processors only; put faiss-gpu in the place "
            "of it: pip install 'tamis[gpu]', pip uninstall faiss-cpu, pip install --force-reinstall --no-deps faiss-gpu"
        )
    if number >= faiss.get_num_gpus():
        raise PrerequisiteError(f"ann={device}: faiss finds {faiss.get_num_gpus()} GPUs on this machine; take ann=cpu")
    try:
        return GpuIndex(faiss.index_cpu_to_gpu(_resources(), number, index))
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"ann={device}: faiss cannot search a {type(faiss.downcast_index(index)).__name__} on a GPU "
            f"({str(error).strip().splitlines()[-1]}); inverted lists work, as in  index=IVF1024,Flat"
        ) from error


@cache
def _resources() -> Any:
    """What copies on GPUs share: scratch memory, 1.5 GB on each, and streams; kept, as it must outlive them."""
    return import_module("faiss").StandardGpuResources()
