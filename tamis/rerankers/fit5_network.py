"""The network of FiT5: a T5 whose encodings of one query's candidates look at each other.

Yu et al., "Fusion-in-T5: Unifying Document Ranking Signals for Improved Information Retrieval", 2023. In the last layers of the
encoder the states of the candidates' first tokens attend to each other, without positions: no candidate's place matters, and
there may be any number. The released network adds the state twice there, x + (x + attention(norm(x))), and its checkpoints were
trained with that. The output matrix is one of its own, with a bias, of which the row of the word asked for is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from tamis.rerankers.t5_network import T5, Geometry, Layer, SelfAttention, hidden

Batch = tuple[torch.Tensor, torch.Tensor | None]
"""Ids, int64 [prompts, tokens], and mask, 1 where there is a token (None: everywhere), of prompts of about one length."""


class FusionT5(T5):
    """The network; weights go by the names of the released checkpoint, less its ``t5.`` and ``dense.``.

    Args:
        geometry: its sizes.
        fused: how many of the encoder's layers, the last ones, are followed by attention between candidates.
    """

    def __init__(self, geometry: Geometry, fused: int) -> None:
        super().__init__(replace(geometry, scaled=False), 1)
        self.encoder.project_global = nn.ModuleList(
            [Layer(geometry, "SelfAttention", SelfAttention(geometry, first=False)) for _ in range(fused)]
        )
        self.bias = nn.Parameter(torch.empty(1))

    def score(self, batches: Sequence[Batch], members: torch.Tensor) -> torch.Tensor:
        """Return the logit of the word asked for, differentiably.

        Args:
            batches: prompts, numbered through.
            members: int64 [lists, most candidates]; numbers of the prompts of each list, -1 where it has no more.

        Returns:
            float32 [prompts].
        """
        masks = [mask for _, mask in batches]
        states, biases = map(list, zip(*(self.begin(*batch) for batch in batches), strict=True))
        unfused = self.geometry.layers - len(self.encoder.project_global)  # type: ignore[arg-type]
        for number in range(self.geometry.layers):
            states = [self.layer(number, part, bias) for part, bias in zip(states, biases, strict=True)]
            if number >= unfused:
                self._fuse(number - unfused, states, members)
        ends = [
            self.answer(self.encoder.final_layer_norm(part), mask) for part, mask in zip(states, masks, strict=True)
        ]
        return torch.cat(ends)[:, 0] + self.bias

    def _fuse(self, number: int, states: list[torch.Tensor], members: torch.Tensor) -> None:
        """Let the first states of each list's prompts attend to each other, in place of `states`."""
        first = torch.cat([part[:, 0] for part in states])
        held = members >= 0
        lists = first[members.clamp(min=0)]
        bias = hidden(held)[:, None, None]
        found = lists + self.encoder.project_global[number](lists, bias)  # type: ignore[index, operator]
        fused = torch.empty_like(first).index_put((members[held],), found[held].to(first.dtype))
        at = 0
        for i, part in enumerate(states):
            states[i] = torch.cat([fused[at : at + len(part), None], part[:, 1:]], 1)
            at += len(part)
