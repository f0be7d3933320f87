"""Exact search on an accelerator: the vectors lie in its memory, in the part's storage type, and torch multiplies.

Results are those of the exact scan on the processor. Products are summed in float32 there, in another order than here; so some
more than k are taken, scored by `tamis.kernels.dense.score_rows`, and the search ends when what was left out cannot reach the
k-th score even at the largest error that the products can have. Vectors of 16 bits are multiplied with queries rounded to 16 bits
at first; where that error is too large, with queries split into three parts of 16 bits, which together are the float32 query to
the last bit but one.

A scan keeps the largest product of every block of rows only. The blocks with the largest hold all that is wanted, and are
multiplied again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tamis.errors import UsageError
from tamis.kernels.dense import rank, score_rows
from tamis.kernels.searching import Hits

_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_BATCH = 64
_PRODUCTS = 1 << 25
"""Scores that are held at a time, 128 MiB: with fewer, a device waits to be told what comes next."""
_BLOCK = 64
"""Rows whose largest score stands for them."""
_GATHERED = 1 << 26
"""Numbers of the rows that are multiplied again at a time."""
_MARGIN = 64
_PARTS = (1, 3)
"""Into how many parts of 16 bits a query is split: at first, and where that does not settle it."""


class _Proposed(NamedTuple):
    """The positions of the largest products of each query, and what no other row's product is above."""

    positions: torch.Tensor
    others: torch.Tensor


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
        room = wanted + 8 * (_PRODUCTS + _GATHERED)
        if room > free:
            raise UsageError(
                f"{self._device} has {free / 1e9:.1f} GB free, and {room / 1e9:.1f} GB are needed: encode the part with "
                "?store=bfloat16, or search on the processor"
            )

    @torch.no_grad()
    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None) -> Hits:
        """Return the `k` positions of largest inner product of every query; as `tamis.kernels.dense.search_flat`."""
        rows = len(self._vectors) if allowed is None else int(allowed.sum())
        barred = None if allowed is None else torch.from_numpy(~allowed).to(self._device)
        wanted, batches = min(k + _MARGIN, rows), [queries[i : i + _BATCH] for i in range(0, len(queries), _BATCH)]
        if not wanted:
            return Hits.of([(np.zeros(0, np.int64), np.zeros(0, np.float32))] * len(queries))
        lists: list[Any] = []
        ahead: deque[tuple[NDArray[np.float32], _Proposed]] = deque()
        for some in [*batches, None]:  # the device is at the next batch while this one's rows are scored
            if some is not None:
                ahead.append((some, self._propose(some, wanted, barred, _PARTS[0])))
            if len(ahead) > 1 or (some is None and ahead):
                lists += self._settle(*ahead.popleft(), k, rows, barred)
        return Hits.of(lists)

    def _settle(
        self, queries: NDArray[np.float32], proposed: _Proposed, k: int, rows: int, barred: torch.Tensor | None
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Score what was proposed, and propose more until nothing else can belong to the `k` best."""
        found: list[Any] = [None] * len(queries)
        left, parts, wanted = np.arange(len(queries)), _PARTS[0], min(k + _MARGIN, rows)
        while True:
            positions = proposed.positions.cpu().numpy()
            bounds = proposed.others.cpu().numpy() + self._errors(queries[left], parts)
            more = []
            for place, i in enumerate(left.tolist()):
                query, own = queries[i], np.sort(positions[place])
                exact = rank(own, score_rows(self._host, query, own), k)
                if wanted == rows or (len(exact.scores) == k and bounds[place] < exact.scores[-1]):
                    found[i] = exact
                else:
                    more.append(i)
            if not more:
                return found
            left = np.array(more, np.int64)
            if parts == _PARTS[-1] or self._exact:
                wanted = min(4 * wanted, rows)
            parts = _PARTS[-1]
            proposed = self._propose(queries[left], wanted, barred, parts)

    @property
    def _exact(self) -> bool:
        """Whether queries are multiplied as they are."""
        return self._type == torch.float32 or self._device.type != "cuda"

    def _errors(self, queries: NDArray[np.float32], parts: int) -> NDArray[np.float64]:
        """How far a product there and the exact score of each query can lie apart, for both sums together."""
        error: NDArray[np.float64] = (
            (queries.shape[1] + 8) * 2.0**-21 * np.linalg.norm(queries, axis=1).astype(np.float64)
        )
        if parts == 1 and not self._exact:
            rounded = torch.from_numpy(queries).to(self._type).float().numpy()
            error += np.linalg.norm(queries - rounded, axis=1)
        error *= self._longest
        return error

    def _propose(self, queries: NDArray[np.float32], wanted: int, barred: torch.Tensor | None, parts: int) -> _Proposed:
        """Find the `wanted` rows of largest product with each query; nothing waits for the device."""
        there, rows, n = torch.from_numpy(queries).to(self._device), len(self._vectors), len(queries)
        blocks, tile = -(-rows // _BLOCK), max(_PRODUCTS // n // _BLOCK * _BLOCK, _BLOCK)
        split, spared = self._split(there, parts), wanted * 4 <= blocks  # else nearly all would be multiplied again
        maxima = there.new_empty((blocks if spared else 0, n))
        held: list[tuple[torch.Tensor, torch.Tensor]] = []
        for first in range(0, rows, tile):
            products = self._products(self._vectors[first : first + tile], split, n)
            if barred is not None:
                products.masked_fill_(barred[first : first + tile, None], -torch.inf)
            if not spared:
                top = products.topk(min(wanted, len(products)), dim=0)
                held.append((top.values, top.indices + first))
                continue
            if len(products) % _BLOCK:  # the last tile
                products = torch.nn.functional.pad(products, (0, 0, 0, -len(products) % _BLOCK), value=-torch.inf)
            cut, at = products.view(-1, _BLOCK, n), first // _BLOCK
            torch.amax(cut, 1, out=maxima[at : at + len(cut)])
        if spared:
            best = maxima.T.contiguous().topk(wanted, dim=1)
            return self._among(there, best.indices, best.values, barred)
        scores, places = (torch.cat(column).T for column in zip(*held, strict=True))
        top = scores.topk(wanted, dim=1)
        return _Proposed(places.gather(1, top.indices), top.values[:, -1])

    def _among(
        self, queries: torch.Tensor, blocks: torch.Tensor, maxima: torch.Tensor, barred: torch.Tensor | None
    ) -> _Proposed:
        """Find as many rows as there are blocks among those of the blocks."""
        wanted, rows = blocks.shape[1], len(self._vectors)
        each = max(1, _GATHERED // (wanted * _BLOCK * self._vectors.shape[1]))
        within, parted = torch.arange(_BLOCK, device=self._device), []
        for first in range(0, len(queries), each):
            some = slice(first, first + each)
            places = (blocks[some, :, None] * _BLOCK + within).flatten(1)
            there = places.clamp(max=rows - 1)
            scores = torch.bmm(self._vectors[there].float(), queries[some, :, None]).squeeze(2)
            outside = places >= rows if barred is None else (places >= rows) | barred[there]
            top = scores.masked_fill_(outside, -torch.inf).topk(wanted, dim=1)
            others = torch.maximum(top.values[:, -1], maxima[some, -1])
            parted.append(_Proposed(places.gather(1, top.indices), others))
        return _Proposed(*(torch.cat(column) for column in zip(*parted, strict=True)))

    def _split(self, queries: torch.Tensor, parts: int) -> torch.Tensor:
        """Queries as they are multiplied, [parts * queries, dimensions]: the sum of a query's parts is the query, or nearly."""
        if self._exact:
            return queries
        split, rest = [], queries
        for _ in range(parts):
            split.append(rest.to(self._type))
            rest = rest - split[-1].float()
        return torch.cat(split)

    def _products(self, vectors: torch.Tensor, split: torch.Tensor, n: int) -> torch.Tensor:
        """Inner products [vectors, n queries] in float32, whatever the vectors are kept in.

        In this order maxima of rows read memory in rows as well, three times as fast as the other way round.
        """
        if vectors.dtype == torch.float32 or self._device.type != "cuda":
            products = vectors.float() @ split.float().T
        else:
            products = torch.mm(vectors, split.T, out_dtype=torch.float32)
        return products if products.shape[1] == n else products.view(len(products), -1, n).sum(1)
