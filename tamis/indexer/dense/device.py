"""Search on a graphics card: exact in torch, and faiss indexes where faiss-gpu is installed.

The vectors lie on the device; a tiled product finds candidates there, and their exact scores come from the same kernel as on
the CPU, so that both give the same hits unless more than `MARGIN` rows besides the k best tie with the last within float32's
rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import DataError, UsageError
from tamis.kernels.codes import widen
from tamis.kernels.dense import Masks, check_arguments, rank, score_rows
from tamis.kernels.searching import Hits

MARGIN = 32
_TILE = 1 << 20


def check_device(name: str) -> Any:
    """Return the torch device.

    Raises:
        UsageError: torch knows no such device, or this machine has none.
    """
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device {name!r} is unknown to torch: cpu, cuda or cuda:0 are examples") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise UsageError(
            f"device {name!r}: torch {torch.__version__} finds {torch.cuda.device_count()} CUDA devices here; use cpu"
        )
    return device


class TorchFlat:
    """Exact search with the vectors on a torch device, in the type in which they are stored.

    Raises:
        UsageError: the device is not there.
    """

    def __init__(self, vectors: Sequence[NDArray[Any]], device: str = "cuda") -> None:
        import torch

        self.device = check_device(device)
        self.vectors = vectors
        self.starts = np.concatenate([[0], np.cumsum([len(array) for array in vectors], dtype=np.int64)])
        self.tensors = []
        for array in vectors:
            widen(array[:0])
            tensor = torch.from_numpy(array.view(np.int16) if array.dtype == np.uint16 else np.asarray(array))
            # A copy: mapped files are read-only, which torch's tensors cannot be.
            tensor = tensor.to(self.device, copy=True)
            self.tensors.append(tensor.view(torch.bfloat16) if array.dtype == np.uint16 else tensor)

    def search(self, queries: NDArray[np.float32], k: int, *, mask: Masks | None = None) -> Hits:
        """Return the k rows of highest inner product; arguments and errors as `tamis.kernels.dense.search_flat`."""
        import torch

        queries, masks = check_arguments(self.vectors, queries, k, mask, 1)
        asked = torch.from_numpy(queries).to(self.device)
        # Rounding to a 16-bit query would cost accuracy: products are in float32, tile by tile.
        positions = torch.zeros((len(queries), 0), dtype=torch.int64, device=self.device)
        scores = torch.zeros((len(queries), 0), dtype=torch.float32, device=self.device)
        for start, tensor, one in zip(self.starts.tolist(), self.tensors, masks, strict=False):
            allowed = None
            if one is not None:
                bits = np.unpackbits(one, count=len(tensor), bitorder="little").astype(np.bool_)
                allowed = torch.from_numpy(bits).to(self.device)
            for first in range(0, len(tensor), _TILE):
                product = asked @ tensor[first : first + _TILE].to(torch.float32).T
                if not bool(torch.isfinite(product).all()):
                    raise DataError(
                        "a score is no finite number: the vectors hold NaN, infinite or huge values; encode again"
                    )
                if allowed is not None:
                    product = product.masked_fill(~allowed[first : first + _TILE], -torch.inf)
                values, places = product.topk(min(k + MARGIN, product.shape[1]), dim=1)
                scores = torch.cat([scores, values], dim=1)
                positions = torch.cat([positions, places + (start + first)], dim=1)
                scores, kept = scores.topk(min(k + MARGIN, scores.shape[1]), dim=1)
                positions = positions.gather(1, kept)
        lists = []
        for query, rows, values in zip(queries, positions.cpu().numpy(), scores.cpu().numpy(), strict=True):
            mine = rows[np.isfinite(values)]
            lists.append(rank(mine, score_rows(self.vectors, query, mine), k))
        return Hits.of(lists)


def faiss_to_device(index: Any, device: int = 0) -> Any:
    """Copy a faiss index to a graphics card.

    Raises:
        UsageError: this faiss is built without GPU support, or the index's kind has none.
    """
    import faiss

    if not hasattr(faiss, "StandardGpuResources") or not faiss.get_num_gpus():
        raise UsageError(
            "this faiss runs on the CPU only: install faiss-gpu (the extra [gpu]) on a machine with a CUDA device"
        )
    try:
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), device, index)
    except RuntimeError as error:
        raise UsageError(f"this index has no form on a graphics card: {error}; search it on the CPU") from error
