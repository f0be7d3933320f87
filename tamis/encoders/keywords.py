r"""Keywords of a text, chosen by a token classifier over ELECTRA: sparse retrieval for few-shot entity linking (HITsz-TMG, 2023).

A token's logit comes from its last state through a layer of 128, relu, normalisation and a layer of 1, and is trained to say
whether the token helps BM25 to find the description of what the text mentions. A query is made of the distinct tokens of the
largest logits, 1 each, and of the tokens of its mention, 1 for every time that they stand there; a mention stands between
``[e1]`` and ``[\e1]``, where the vocabulary has these marks.

Special tokens and marks are never chosen here; by the authors' code they may take a place, which changes nothing but the number
of keywords that are left. The authors also leave out some 70 pieces that are frequent in their data: name yours in ``stop``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

MARKS = ("[e1]", "[\\e1]")
HIDDEN, DROPOUT = 128, 0.1


def keyword_net(width: int) -> nn.Sequential:
    """Return the classifier over states of a width; parameters are named as the authors' code names them, below ``net``."""
    return nn.Sequential(
        nn.Dropout(DROPOUT),
        nn.Linear(width, HIDDEN),
        nn.ReLU(),
        nn.LayerNorm(HIDDEN),
        nn.Dropout(DROPOUT),
        nn.Linear(HIDDEN, 1),
    )


class KeywordChooser:
    """Makes a query of tokens and their logits.

    Args:
        count: how many distinct tokens are chosen.
        stop: ids of tokens that are not.
        marks: ids of the tokens before and behind a mention; None where the vocabulary has none.
    """

    def __init__(self, count: int, stop: Sequence[int], marks: tuple[int, int] | None) -> None:
        self.count, self.marks = count, marks
        self.stop = torch.tensor(sorted({*stop, *(marks or ())}), dtype=torch.int64)

    def mentioned(self, ids: torch.Tensor) -> torch.Tensor:
        """Say which tokens stand in a mention, bool [texts, tokens]."""
        if self.marks is None:
            return torch.zeros_like(ids, dtype=torch.bool)
        begins, ends = (ids == mark for mark in self.marks)
        return (begins.cumsum(1) > ends.cumsum(1)) & ~begins

    def weights(self, ids: torch.Tensor, logits: torch.Tensor, kept: torch.Tensor | None, words: int) -> torch.Tensor:
        """Return the weights of the words of queries.

        Among equal logits the lower id is chosen. Values are whole; the gradient of a chosen word is that of the probability
        of its best token.

        Args:
            ids: int64 [texts, tokens].
            logits: float32 [texts, tokens].
            kept: bool [texts, tokens], which tokens may count; None: all.
            words: how many there are; tokens beyond, such as marks that were added to a vocabulary, do not count.

        Returns:
            float32 [texts, words].
        """
        allowed = ids < words
        if kept is not None:
            allowed = allowed & kept
        eligible = allowed & (ids.unsqueeze(-1) != self.stop.to(ids.device)).all(-1)
        places = ids.clamp(max=words - 1)
        away = torch.full((ids.shape[0], words), -torch.inf, device=ids.device)
        best = away.scatter_reduce(1, places, logits.float().masked_fill(~eligible, -torch.inf), "amax")
        order = torch.sort(best.detach(), dim=1, descending=True, stable=True).indices[:, : self.count]
        chosen = torch.zeros_like(best).scatter(1, order, 1.0) * best.isfinite()
        likely = torch.sigmoid(best)
        found = chosen * (1 + (likely - likely.detach()))
        spoken = (self.mentioned(ids) & allowed).float()
        return found.scatter_add(1, places, spoken)


def chooser(tokenizer: Any, count: int, stop: Sequence[str]) -> KeywordChooser:
    """Return the chooser that a tokenizer and a recipe mean; pieces that the vocabulary lacks are passed over.

    Args:
        tokenizer: a `tamis.encoders.text.Tokenizer`.
        count: how many keywords.
        stop: pieces that are none.
    """
    found = [tokenizer.raw.token_to_id(mark) for mark in MARKS]
    marks = None if None in found else (int(found[0]), int(found[1]))
    numbers = (tokenizer.raw.token_to_id(piece) for piece in stop)
    return KeywordChooser(count, [int(number) for number in numbers if number is not None], marks)
