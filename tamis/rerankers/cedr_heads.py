"""Heads of CEDR: what becomes of a query's and a document's similarities in every layer (MacAvaney et al., SIGIR 2019).

Each takes the similarities and the mean state of the first token, and gives a score; weights go by the released names.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import nn

QUERY_LENGTH = 20
MUS = (-0.9, -0.7, -0.5, -0.3, -0.1, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
SIGMAS = (*(0.1,) * 10, 0.001)
FILTERS, GRAMS, BEST = 32, 3, 2
BINS, HIDDEN = 11, 5


class Head(nn.Module, ABC):
    """What the heads share.

    Attributes:
        padded: whether a document's padding counts as tokens like no other, as in the released code.
    """

    padded = False

    @abstractmethod
    def forward(
        self, similar: torch.Tensor, query: torch.Tensor, document: torch.Tensor, first: torch.Tensor
    ) -> torch.Tensor:
        """Return scores, float32 [pairs].

        Args:
            similar: float32 [pairs, layers, query tokens, document tokens], cosines; 0 where one of the tokens is none.
            query: bool [pairs, query tokens], where there is a token.
            document: bool [pairs, document tokens].
            first: float32 [pairs, width], of the last layer.
        """

    def parts(
        self, similar: torch.Tensor, query: torch.Tensor, document: torch.Tensor, first: torch.Tensor
    ) -> dict[str, float]:
        """Return what adds up to the score of one pair, by name; nothing where it is no sum."""
        return {}


class Vanilla(Head):
    """A linear map of the first token's state."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.cls = nn.Linear(width, 1)

    def forward(
        self, similar: torch.Tensor, query: torch.Tensor, document: torch.Tensor, first: torch.Tensor
    ) -> torch.Tensor:
        """See `Head`."""
        scores: torch.Tensor = self.cls(first)[:, 0]
        return scores


class _Kernel(nn.Module):
    def __init__(self, mu: float, sigma: float) -> None:
        super().__init__()
        self.mu, self.sigma = nn.Parameter(torch.tensor(mu)), nn.Parameter(torch.tensor(sigma))


class _Kernels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernels = nn.ModuleList([_Kernel(mu, sigma) for mu, sigma in zip(MUS, SIGMAS, strict=True)])


class Knrm(Head):
    """Soft counts of similarities by radial kernels, in logarithms, summed over the query (Xiong et al., 2017)."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.kernels = _Kernels()
        self.combine = nn.Linear(len(MUS) * layers + width, 1)

    def counts(self, similar: torch.Tensor, document: torch.Tensor) -> torch.Tensor:
        """Return the soft counts: float32 [pairs, kernels, layers, query tokens]."""
        seen = None if self.padded else document[:, None, None]
        found = []
        for kernel in self.kernels.kernels:
            strength = torch.exp(-0.5 * (similar - kernel.mu) ** 2 / kernel.sigma**2)  # type: ignore[operator]
            found.append((strength if seen is None else strength * seen).sum(-1))
        return torch.stack(found, 1)

    def forward(
        self, similar: torch.Tensor, query: torch.Tensor, document: torch.Tensor, first: torch.Tensor
    ) -> torch.Tensor:
        """See `Head`."""
        scores: torch.Tensor = self.combine(torch.cat([self._logs(similar, query, document), first], 1))[:, 0]
        return scores

    def parts(
        self, similar: torch.Tensor, query: torch.Tensor, document: torch.Tensor, first: torch.Tensor
    ) -> dict[str, float]:
        """Return what each kernel adds, over all layers, and what the first token does."""
        logs, weights = self._logs(similar, query, document)[0], self.combine.weight[0]
        kernels = (logs * weights[: len(logs)]).view(len(MUS), -1).sum(1).tolist()
        rest = float(first[0] @ weights[len(logs) :] + self.combine.bias[0])
        return {f"similarities near {mu:g}": value for mu, value in zip(MUS, kernels, strict=True)} | {"[CLS]": rest}

    def _logs(self, similar: torch.Tensor, query: torch.Tensor, document: torch.Tensor) -> torch.Tensor:
        """Return the logarithms of soft counts, summed over the query: float32 [pairs, kernels * layers]."""
        # the released code takes a token whose similarities add up to nothing for padding
        asked = similar.sum(-1)[:, None] != 0 if self.padded else query[:, None, None]
        logs = torch.log(self.counts(similar, document) + 1e-6) * asked
        return logs.sum(-1).flatten(1)


class _Gram(nn.Module):
    def __init__(self, size: int, layers: int) -> None:
        super().__init__()
        self.pad = nn.ConstantPad2d((0, size - 1, 0, size - 1), 0)
        self.conv = nn.Conv2d(layers, FILTERS, size)


class Pacrr(Head):
    """The best matches of n-grams of each query token, by convolutions (Hui et al., 2017); queries are of one length."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.ngrams = nn.ModuleList([_Gram(size, layers) for size in range(1, GRAMS + 1)])
        self.linear1 = nn.Linear(width + QUERY_LENGTH * GRAMS * BEST, 32)
        self.linear2, self.linear3 = nn.Linear(32, 32), nn.Linear(32, 1)

    def forward(
        self, similar: torch.Tensor, query: torch.Tensor, document: torch.Tensor, first: torch.Tensor
    ) -> torch.Tensor:
        """See `Head`."""
        missing = max(0, BEST - similar.shape[-1])
        similar = nn.functional.pad(similar, (0, missing))
        seen = nn.functional.pad(document, (0, missing))[:, None]
        best = []
        for gram in self.ngrams:
            strength = torch.relu(gram.conv(gram.pad(similar))).amax(1)  # type: ignore[operator]
            if not self.padded:
                strength = strength * seen  # not less than 0: as though there were nothing
            best.append(strength.topk(BEST, -1).values)
        x = torch.cat([torch.cat(best, -1).flatten(1), first], 1)
        scores: torch.Tensor = self.linear3(torch.relu(self.linear2(torch.relu(self.linear1(x)))))[:, 0]
        return scores


class Drmm(Head):
    """Histograms of similarities, in logarithms, of every query token, padding too (Guo et al., 2016)."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.hidden_1, self.hidden_2 = nn.Linear(width + BINS * layers, HIDDEN), nn.Linear(HIDDEN, 1)

    @staticmethod
    def histograms(similar: torch.Tensor, query: torch.Tensor, document: torch.Tensor) -> torch.Tensor:
        """Return log counts: float32 [pairs, layers, query tokens, bins]; no gradient comes through counting."""
        bins = ((similar.detach() + 1.000001) / 2 * (BINS - 1)).long().clamp(0, BINS - 1)
        seen = (query[:, None, :, None] & document[:, None, None, :]).float().expand_as(similar)
        counts = torch.zeros(*similar.shape[:3], BINS, device=similar.device)
        return torch.log(counts.scatter_add(-1, bins, seen) + 1e-5)

    def forward(
        self, similar: torch.Tensor, query: torch.Tensor, document: torch.Tensor, first: torch.Tensor
    ) -> torch.Tensor:
        """See `Head`."""
        counts = self.histograms(similar, query, document).permute(0, 2, 3, 1).flatten(2)  # bins before layers
        x = torch.cat([counts, first[:, None].expand(-1, counts.shape[1], -1)], -1)
        scores: torch.Tensor = self.hidden_2(torch.relu(self.hidden_1(x)))[..., 0].sum(1)
        return scores


class Heads:
    """Heads by name, and what of a checkpoint's names tells that it has one."""

    classes: ClassVar[dict[str, type[Head]]] = {"vanilla": Vanilla, "knrm": Knrm, "pacrr": Pacrr, "drmm": Drmm}
    signs: ClassVar[dict[str, str]] = {
        "knrm": "kernels.kernels.",
        "pacrr": "ngrams.",
        "drmm": "hidden_1.",
        "vanilla": "cls.weight",
    }


def chunks_of(tokens: int, most: int) -> tuple[int, int]:
    """Return how a document is cut: into how many chunks, as few as there may be, and their length."""
    count = max(1, math.ceil(tokens / most))
    return count, math.ceil(tokens / count)
