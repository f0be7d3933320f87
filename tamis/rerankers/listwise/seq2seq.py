"""A language model of an encoder and a decoder, such as Flan-T5, that answers a conversation.

The encoder reads the conversation, and the answer begins in the decoder: so Zhuang et al., "A Setwise Approach for Effective and
Highly Efficient Zero-shot Ranking with Large Language Models", 2024, read the choice of a passage from the logits of the labels
behind the decoder's ``Passage``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tamis.encoders.batching import Numerics
from tamis.errors import ModelError
from tamis.rerankers.listwise.causal import Causal, Step
from tamis.rerankers.listwise.prompts import Messages


class EncoderDecoder(Causal):
    """A `Causal` whose prompts are read by an encoder, and padded on the right.

    Args:
        model: of transformers, for sequence-to-sequence language modelling.
        tokenizer: its own, of transformers.
        numerics: where it runs, and how many tokens a batch may have.
        template: see `Causal`.
        context: tokens of a prompt and its answer; None: as many as the tokenizer says.

    Raises:
        ModelError: more are wanted than there are positions, or it is not known what the decoder begins with.
    """

    def __init__(
        self, model: Any, tokenizer: Any, numerics: Numerics, *, template: str = "auto", context: int | None = None
    ) -> None:
        super().__init__(model, tokenizer, numerics, template=template, context=context)
        self._start = model.config.decoder_start_token_id
        if self._start is None:
            raise ModelError("the checkpoint does not say what its decoder begins with (decoder_start_token_id)")

    def text(self, messages: Messages) -> str:
        """Return a conversation as the encoder reads it."""
        return super().text(messages).rstrip("\n")

    def prompt(self, messages: Messages, opening: str) -> list[int]:
        """Return the tokens of a conversation; how the answer begins is the decoder's."""
        return self.ids(self.text(messages))

    def ids(self, text: str) -> list[int]:
        """Return the tokens of a text, with the tokenizer's special ones."""
        found: list[int] = self.tokenizer(text, verbose=False)["input_ids"]
        return found

    def first(
        self, prompts: Sequence[Sequence[int]], tokens: Sequence[Sequence[int]], openings: Sequence[str]
    ) -> list[list[float]]:
        """Return the logits of some tokens where each answer goes on behind its opening; see `Causal.first`."""
        ids, mask = self._padded(prompts)
        begun = [[self._start, *self._answered(opening)] for opening in openings]
        answers, _ = self._padded(begun)
        with torch.inference_mode():
            logits = self.model(input_ids=ids, attention_mask=mask, decoder_input_ids=answers, use_cache=False).logits
            rows = torch.arange(len(begun), device=ids.device)
            last = self._finite(logits[rows, [len(one) - 1 for one in begun]])
        return [last[i, list(wanted)].tolist() for i, wanted in enumerate(tokens)]

    def _answered(self, answer: str) -> list[int]:
        found: list[int] = self.tokenizer(answer, add_special_tokens=False, verbose=False)["input_ids"]
        return found

    def _begun(self, prompts: Sequence[Sequence[int]]) -> Step:
        ids, mask = self._padded(prompts)
        states = self.model.get_encoder()(input_ids=ids, attention_mask=mask)
        cache = None

        def step(chosen: torch.Tensor | None) -> torch.Tensor:
            nonlocal cache
            tokens = torch.full_like(ids[:, :1], self._start) if chosen is None else chosen[:, None]
            result = self.model(
                encoder_outputs=states,
                attention_mask=mask,
                decoder_input_ids=tokens,
                past_key_values=cache,
                use_cache=True,
            )
            cache = result.past_key_values
            logits: torch.Tensor = result.logits[:, -1]
            return logits

        return step

    def _padded(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self._pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for i, prompt in enumerate(prompts):
            ids[i, : len(prompt)] = torch.tensor(prompt)
            mask[i, : len(prompt)] = 1
        return ids.to(self.numerics.device), mask.to(self.numerics.device)
