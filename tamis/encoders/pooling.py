"""From token states to one vector: the poolings of the bi-encoder literature."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

POOLINGS = ("cls", "lasttoken", "max", "mean", "mean_sqrt_len_tokens", "weightedmean")


def pool(states: torch.Tensor, mask: torch.Tensor | None, how: str) -> torch.Tensor:
    """Pool token states, in float32.

    Args:
        states: [texts, tokens, width].
        mask: int64 [texts, tokens], 1 for the tokens to pool; None for all.
        how: one of `POOLINGS`.

    Returns:
        float32 [texts, width].
    """
    import torch

    states = states.float()
    if mask is None:
        mask = torch.ones(states.shape[:2], dtype=torch.int64, device=states.device)
    if how == "cls":
        return states[:, 0]
    if how == "lasttoken":
        last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
        return states[torch.arange(len(states), device=states.device), last]
    weights = mask.unsqueeze(-1).float()
    if how == "max":
        return states.masked_fill(weights == 0, -torch.inf).amax(1)
    if how == "weightedmean":  # later tokens weigh more (Muennighoff, "SGPT", 2022)
        weights = weights * torch.arange(1, mask.shape[1] + 1, device=states.device).view(1, -1, 1)
    total = (states * weights).sum(1)
    count = weights.sum(1).clamp(min=1e-9)
    return total / (count.sqrt() if how == "mean_sqrt_len_tokens" else count)
