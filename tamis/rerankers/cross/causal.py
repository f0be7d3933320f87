"""Causal language models as cross-encoders: relevance is what the model would answer (``LogitScore`` of sentence-transformers).

    score = logit of the token for "relevant", less that of the token for "irrelevant" if there is one

where the model answers, behind the last token of a pair. So Qwen3-Reranker (Zhang et al., "Qwen3 Embedding", 2025) and
mxbai-rerank-v2 are read. Of the matrix to the vocabulary only those rows are kept, and only the last places go through it.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from tamis.encoders.batching import Numerics
from tamis.encoders.text import Tokenizer
from tamis.errors import ModelError
from tamis.rerankers.cross.saved import Part, Saved
from tamis.rerankers.listwise.causal import load_language_model

ANSWERS = ("yes", "no")
"""What a model is asked for whose files do not say, as sentence-transformers does it."""


class Logits(NamedTuple):
    """What a classifier gives: logits, float [pairs, labels]."""

    logits: torch.Tensor


class AnswerLogits(nn.Module):
    """A causal language model as a classifier of one label, for batches that are padded on the right.

    Args:
        model: of transformers, with a head for language modelling, which is cut down to the rows that are needed.
        tokens: that for "relevant", and that for "irrelevant" if it counts.
    """

    def __init__(self, model: Any, tokens: Sequence[int]) -> None:
        super().__init__()
        head = model.get_output_embeddings()
        rows = nn.Linear(head.weight.shape[1], len(tokens), bias=getattr(head, "bias", None) is not None)
        with torch.no_grad():
            rows.weight = nn.Parameter(head.weight[list(tokens)].clone())
            if rows.bias is not None:
                rows.bias = nn.Parameter(head.bias[list(tokens)].clone())
        model.set_output_embeddings(rows)  # the model still does to its logits what it does, such as scaling them
        self.model, self.config = model, model.config
        self._picks = "logits_to_keep" in inspect.signature(model.forward).parameters

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, token_type_ids: Any = None
    ) -> Logits:
        """Return the logits of a padded batch: [pairs, 1]. Token types are not read."""
        width = input_ids.shape[1]
        counts = torch.full_like(input_ids[:, 0], width) if attention_mask is None else attention_mask.sum(1)
        places, which = torch.unique((counts - 1).clamp(min=0), return_inverse=True)
        more = {"logits_to_keep": places} if self._picks else {}
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **more).logits
        if logits.shape[1] == width:  # it has none to pick, or was to pick all
            which = places[which]
        last = logits[torch.arange(len(input_ids), device=input_ids.device), which].float()
        return Logits(last[:, :1] - last[:, 1:] if last.shape[1] > 1 else last)

    def get_input_embeddings(self) -> Any:
        """Return the matrix of token vectors."""
        return self.model.get_input_embeddings()


def load_answers(saved: Saved, numerics: Numerics, tokenizer: Tokenizer) -> AnswerLogits:
    """Load the language model of a checkpoint.

    Raises:
        ModelError: it cannot be read, lacks its head, or does not say which tokens it answers with.
    """
    model, _ = load_language_model(saved.home, numerics.dtype)
    head = model.get_output_embeddings()
    if head is None:
        raise ModelError(f"{saved.home}: the language model has no head that gives logits of tokens")
    tokens = _stated(saved.parts[0]) if saved.parts else _usual(saved.home, tokenizer)
    for token in tokens:
        if not 0 <= token < head.weight.shape[0]:
            raise ModelError(
                f"{saved.folder}: token {token} is not one of the {head.weight.shape[0]} of the vocabulary"
            )
    return AnswerLogits(model, tokens)


def _stated(part: Part) -> list[int]:
    """Return the tokens that a ``LogitScore`` names."""
    folder, config = part.folder, part.config
    if config.get("module_input_name", "causal_logits") != "causal_logits":
        raise ModelError(
            f"{folder}: a LogitScore over {config['module_input_name']!r} is not known; known: causal_logits"
        )
    good, bad = config.get("true_token_id"), config.get("false_token_id")
    given = [good] if bad is None else [good, bad]
    tokens = [token for token in given if isinstance(token, int) and not isinstance(token, bool)]
    if len(tokens) < len(given):
        raise ModelError(
            f"{folder / 'config.json'} does not say which token means relevant: true_token_id is {good!r}, and false_token_id "
            f"{bad!r}"
        )
    return tokens


def _usual(home: Path, tokenizer: Tokenizer) -> list[int]:
    try:
        return [tokenizer.id_of(answer) for answer in ANSWERS]
    except ModelError as error:
        raise ModelError(
            f"{home} is a causal language model without a LogitScore, which would name the tokens that it answers with, and "
            f"{' and '.join(ANSWERS)} are not tokens of its own: it is no cross-encoder"
        ) from error
