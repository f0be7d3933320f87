"""Exact search on an accelerator: the vectors lie in its memory, in the part's storage type, and torch multiplies.

Results are those of the exact scan on the processor. Products are summed in float32 there, in another order than here; so some
more than k are taken, scored by `tamis.kernels.dense.score_rows`, and the search ends when what was left out cannot reach the
k-th score even at the largest error that the sums can have. Vectors of 16 bits are multiplied with queries split into three
parts of 16 bits, which together are the float32 query to the last bit but one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tamis.errors import UsageError
from tamis.kernels.dense import rank, score_rows
from tamis.kernels.searching import Hits

_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_BATCH = 64
_PRODUCTS = 1 << 26
"""Scores that are held at a time."""
_BLOCK = 256
"""Scores whose largest stands for them in the first round of a selection."""
_MARGIN = 64


class DeviceScan:
    """The vectors of a part on a device.

    Args:
        vectors: [rows, dimensions] of every shard, in the storage type.
        store: name of that type.
        device: a torch device, e.g. ``cuda`` or ``cuda:1``.

    Raises:
        UsageError: there is no such device, or it has too little memory.
    """

    def __init__(self, vectors: Sequence[NDArray[Any]], store: str, device: str) -> None:
        self._host, self._type = vectors, _TYPES[store]
        try:
            self._device = torch.device(device)
            torch.empty(1, device=self._device)
        except (RuntimeError, AssertionError) as error:
            raise UsageError(f"device {device!r} cannot be used: {error}") from error
        rows, dimensions = sum(map(len, vectors)), vectors[0].shape[1] if vectors else 1
        self._require(rows * dimensions * self._type.itemsize)
        self._starts = np.cumsum([0, *map(len, vectors)])
        self._vectors = torch.empty((rows, dimensions), dtype=self._type, device=self._device)
        self._longest = 0.0
        for array, first in zip(vectors, self._starts.tolist(), strict=False):
            for at in range(0, len(array), 1 << 18):
                some = torch.from_numpy(np.ascontiguousarray(array[at : at + (1 << 18)]))
                some = some.view(self._type) if store == "bfloat16" else some
                there = self._vectors[first + at : first + at + len(some)]
                there.copy_(some)
                self._longest = max(self._longest, float(there.float().norm(dim=1).max()) if len(some) else 0.0)

    def _require(self, wanted: int) -> None:
        if self._device.type != "cuda":
            return
        free = torch.cuda.mem_get_info(self._device)[0]
        room = wanted + 8 * _PRODUCTS
        if room > free:
            raise UsageError(
                f"{self._device} has {free / 1e9:.1f} GB free, and {room / 1e9:.1f} GB are needed: encode the part with "
                "?store=bfloat16, or search on the processor"
            )

    @torch.no_grad()
    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None) -> Hits:
        """Return the `k` positions of largest inner product of every query; as `tamis.kernels.dense.search_flat`."""
        lists = []
        barred = None if allowed is None else torch.from_numpy(~allowed).to(self._device)
        for first in range(0, len(queries), _BATCH):
            lists += self._search_some(queries[first : first + _BATCH], k, allowed, barred)
        return Hits.of(lists)

    def _search_some(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None, barred: torch.Tensor | None
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        rows = len(self._vectors) if allowed is None else int(allowed.sum())
        found: list[Any] = [None] * len(queries)
        left, wanted = np.arange(len(queries)), min(k + _MARGIN, rows)
        while len(left):
            scores, positions = self._best(queries[left], wanted, barred)
            more = []
            for place, i in enumerate(left.tolist()):
                query, own = queries[i], np.sort(positions[place])
                exact = rank(own, score_rows(self._host, query, own), k)
                bound = self._error(query) + (float(scores[place, -1]) if wanted else 0.0)
                if wanted == rows or (len(exact.scores) == k and bound < exact.scores[-1]):
                    found[i] = exact
                else:
                    more.append(i)
            left, wanted = np.array(more, np.int64), min(4 * wanted, rows)
        return found

    def _error(self, query: NDArray[np.float32]) -> float:
        """How far a score there and its exact one can lie apart, for both sums together."""
        return float((len(query) + 8) * 2.0**-21 * np.linalg.norm(query) * self._longest)

    def _best(
        self, queries: NDArray[np.float32], wanted: int, barred: torch.Tensor | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The `wanted` largest scores of each query, descending, and their positions."""
        there = torch.from_numpy(queries).to(self._device)
        tile = max(_PRODUCTS // max(len(queries), 1) // _BLOCK * _BLOCK, _BLOCK)
        held: list[tuple[torch.Tensor, torch.Tensor]] = []
        for first in range(0, len(self._vectors), tile):
            products = self._products(there, self._vectors[first : first + tile])
            if barred is not None:
                products.masked_fill_(barred[first : first + tile], -torch.inf)
            scores, places = _largest(products, min(wanted, products.shape[1]))
            held.append((scores, places + first))
        if not held:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        scores, places = (torch.cat(parts, 1) for parts in zip(*held, strict=True))
        top, order = scores.topk(min(wanted, scores.shape[1]), dim=1)
        return top.cpu().numpy(), places.gather(1, order).cpu().numpy()

    def _products(self, queries: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Inner products [queries, vectors] in float32, whatever the vectors are kept in."""
        if vectors.dtype == torch.float32 or self._device.type != "cuda":
            return queries @ vectors.float().T
        parts, rest = [], queries
        for _ in range(3):
            parts.append(rest.to(vectors.dtype))
            rest = rest - parts[-1].float()
        products = torch.mm(torch.cat(parts), vectors.T, out_dtype=torch.float32)
        return products.view(3, len(queries), -1).sum(0)


def _largest(scores: torch.Tensor, wanted: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest of each row and their places: first the blocks with the largest maxima, which hold them all."""
    count = scores.shape[1]
    blocks = -(-count // _BLOCK)
    if wanted * 4 > blocks:
        top = scores.topk(wanted, dim=1)
        return top.values, top.indices
    padded = torch.nn.functional.pad(scores, (0, blocks * _BLOCK - count), value=-torch.inf)
    cut = padded.view(len(scores), blocks, _BLOCK)
    chosen = cut.amax(2).topk(wanted, dim=1).indices
    within = cut.gather(1, chosen.unsqueeze(2).expand(-1, -1, _BLOCK)).flatten(1)
    top = within.topk(wanted, dim=1)
    places = chosen.gather(1, top.indices // _BLOCK) * _BLOCK + top.indices % _BLOCK
    return top.values, places
