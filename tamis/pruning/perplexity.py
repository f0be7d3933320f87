"""``perplexity``: how well a language model foresees a passage, as the mean log-likelihood of its tokens: -ln(perplexity).

Any checkpoint of transformers for causal language modelling, such as GPT-2. Where the model has a token that begins a text, the
first token is foreseen from it; otherwise the first token has no probability, and a passage of one token gets 0 bits to judge
by, that is, quality 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.encoders.batching import Inputs, Numerics, require_finite, run_batches
from tamis.encoders.checkpoints import find_checkpoint, load_transformer
from tamis.encoders.options import LengthOptions
from tamis.encoders.text import Tokenizer, length_limit
from tamis.encoders.transformer import make_identity
from tamis.families import Address
from tamis.pruning.base import Floats

VERSION = 1
DEFAULT_LENGTH = 512


class LanguageModel(nn.Module):
    """A `tamis.pruning.base.PassageModel`.

    Args:
        identity: of the model.
        numerics: where and how it runs.
        model: of transformers, with a head for causal language modelling.
        tokenizer: its own.
        max_length: tokens that are read, the one that begins a text among them.
        begin: id of the token that begins a text, None where there is none.
    """

    def __init__(
        self,
        identity: ModelIdentity,
        numerics: Numerics,
        model: nn.Module,
        tokenizer: Tokenizer,
        max_length: int,
        begin: int | None,
    ) -> None:
        super().__init__()
        self.identity, self.numerics, self.model = identity, numerics, model
        self.tokenizer, self.max_length, self.begin = tokenizer, max_length, begin

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor | None = None, types: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the mean log-likelihood of the tokens after the first, of each text of a padded batch, differentiably.

        Args:
            ids: int64 [texts, tokens].
            mask: int64, 1 where there is a token; None: everywhere.
            types: not used.

        Returns:
            float32 [texts].
        """
        logits = self.model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
        # log-softmax without a second array of the vocabulary's size
        chosen: torch.Tensor = logits.gather(2, ids[:, 1:, None])[..., 0] - torch.logsumexp(logits, dim=2)
        inside = torch.ones_like(chosen) if mask is None else mask[:, 1:].to(chosen.dtype)
        means: torch.Tensor = (chosen * inside).sum(1) / inside.sum(1).clamp(min=1)
        return means

    def score_passages(self, passages: Sequence[Passage], tick: Tick = no_tick) -> Floats:
        """Return the quality of each passage; see `PassageModel`."""
        head = [] if self.begin is None else [self.begin]
        pieces = self.tokenizer.bare([passage.joined for passage in passages])
        # a text of which the tokenizer keeps nothing is its beginning, or the padding token, alone
        written = [[*head, *ids][: self.max_length] or [self.tokenizer.pad] for ids in pieces]
        scores = np.empty(len(written), np.float32)

        def take(places: NDArray[np.int64], result: torch.Tensor) -> None:
            scores[places] = result.float().cpu().numpy()

        run_batches(self, Inputs(written), take, pad=self.tokenizer.pad, numerics=self.numerics, tick=tick)
        require_finite(self.identity.address, scores)
        return scores


def load(address: Address, options: LengthOptions) -> LanguageModel:
    """Load a checkpoint for causal language modelling.

    Raises:
        MissingResourceError: there is none.
        ModelError: it cannot be used.
    """
    folder = find_checkpoint(address.id, address.revision)
    numerics = Numerics.of(options.device, options.dtype)
    model = load_transformer(folder, unused=("lm_head.",), auto="AutoModelForCausalLM")
    config: Any = model.config
    length = length_limit(config, DEFAULT_LENGTH, options.max_length)
    begin = None if config.bos_token_id is None else int(config.bos_token_id)
    identity = make_identity(address, {"model": folder}, options, VERSION, max_length=length, begin=begin)
    return LanguageModel(identity, numerics, model, Tokenizer(folder), length, begin).to(numerics.device).eval()
