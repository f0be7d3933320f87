"""``cross``: cross-encoders, which read query and passage as one text (Nogueira and Cho, "Passage Re-ranking with BERT", 2019).

Any checkpoint for sequence classification with one label (a logit of relevance) or two (the second is "relevant"), causal
language models by their answer (`tamis.rerankers.cross.causal`), and transformers with a head behind them
(`tamis.rerankers.cross.pooled`): what sentence-transformers' ``CrossEncoder`` reads. Pairs are compared by logits: a sigmoid
would round distinct scores to the same number. Of two labels the score is log P(relevant), worked out from the difference of
the logits, which does not round either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.encoders.batching import Numerics, require_finite, run_batches
from tamis.encoders.checkpoints import find_checkpoint, load_transformer, read_json
from tamis.encoders.text import Tokenizer, length_limit
from tamis.encoders.transformer import make_identity
from tamis.errors import ModelError, UsageError
from tamis.families import Address
from tamis.rerankers.base import PairScores
from tamis.rerankers.cross.causal import load_answers
from tamis.rerankers.cross.chat import ChatFormat, read_chat_format
from tamis.rerankers.cross.pooled import load_pooled
from tamis.rerankers.cross.saved import CAUSAL, POOLED, Saved, read_saved
from tamis.rerankers.options import CrossOptions
from tamis.rerankers.pairs import VERSION, PairFormat


class CrossEncoder(nn.Module):
    """A `tamis.rerankers.base.PairScorer`: a transformer with a classification head.

    Args:
        identity: of the model.
        numerics: where and how it runs.
        classifier: gives ``logits``, as transformers' for sequence classification do.
        format: how pairs are written.
        labels: how many logits a pair has, 1 or 2.

    Attributes:
        tokens: how many tokens the model has read so far, padding not counted.
    """

    def __init__(
        self,
        identity: ModelIdentity,
        numerics: Numerics,
        classifier: nn.Module,
        format: PairFormat | ChatFormat,  # noqa: A002 - the word
        labels: int,
    ) -> None:
        super().__init__()
        self.identity, self.numerics, self.format = identity, numerics, format
        self.classifier, self.labels = classifier, labels
        self.tokens = 0

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own, in whose tokens windows are counted."""
        return self.format.tokenizer

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor | None = None, types: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the logit of relevance of each pair of a padded batch, differentiably.

        Args:
            ids: int64 [pairs, tokens].
            mask: int64, 1 where there is a token; None: everywhere.
            types: int64 token types; None: all 0.

        Returns:
            float32 [pairs]: the logit of one label, or of two the log-odds of the second.
        """
        given = {} if types is None else {"token_type_ids": types}
        logits: torch.Tensor = self.classifier(input_ids=ids, attention_mask=mask, **given).logits.float()
        return logits[:, 0] if self.labels == 1 else logits[:, 1] - logits[:, 0]

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Return scores from what `forward` gives: the logit itself, or log P(relevant) where there are two labels."""
        return logits if self.labels == 1 else nn.functional.logsigmoid(logits)

    def score_pairs(self, queries: Sequence[str], passages: Sequence[Passage], *, tick: Tick = no_tick) -> PairScores:
        """Score query i with passage i; see `PairScorer`."""
        inputs = self.format.inputs(queries, [passage.joined for passage in passages])
        scores = np.empty(len(inputs), np.float32)

        def take(places: NDArray[np.int64], result: torch.Tensor) -> None:
            scores[places] = self.score(result).cpu().numpy()

        run_batches(self, inputs, take, pad=self.tokenizer.pad, numerics=self.numerics, tick=tick)
        self.tokens += inputs.tokens
        require_finite(self.identity.address, scores)
        return PairScores(scores, inputs.truncated)


def load(address: Address, options: CrossOptions) -> CrossEncoder:
    """Load a checkpoint of any kind that scores pairs.

    Raises:
        UsageError: the backend cannot run this kind.
        MissingResourceError: there is none.
        ModelError: it cannot be used: it lacks a head, has more than two labels, or needs modules that are not known here.
    """
    folder = find_checkpoint(address.id, address.revision)
    saved = read_saved(folder)
    if options.backend != "torch" and (saved.task == CAUSAL or saved.chat is not None):
        raise UsageError(
            f"{address}: backend={options.backend} runs classifiers whose tokenizer joins query and passage; a causal language "
            "model, or one that reads a conversation, takes backend=torch"
        )
    numerics = Numerics.of(options.device, options.dtype)
    prompt = saved.prompt if options.prompt is None else options.prompt
    tokenizer = Tokenizer(saved.home)
    classifier, labels = _classifier(saved, numerics, tokenizer, prompt)
    config: Any = classifier.config
    if labels not in (1, 2):
        raise ModelError(
            f"{folder} tells {labels} labels apart: a reranker has one logit, or two of which the second is "
            "'relevant'; this is a classifier of something else"
        )
    max_length = length_limit(config, saved.max_length, options.max_length)
    format: PairFormat | ChatFormat  # noqa: A001 - the word
    if saved.chat is None:
        typed = getattr(config, "type_vocab_size", 0) > 1 and _tells_halves_apart(
            read_json(saved.home / "tokenizer_config.json", {})
        )
        format = PairFormat(  # noqa: A001
            tokenizer, max_length, query_length=options.query_length, prompt=prompt, lower=saved.lower, typed=typed
        )
    elif saved.lower:
        raise ModelError(f"{folder} lower-cases what its chat template writes, which is not known here")
    else:
        format = read_chat_format(  # noqa: A001
            saved.home, tokenizer, max_length, saved.chat, prompt=prompt, query_length=options.query_length
        )
    identity = make_identity(
        address,
        {"model": folder},
        options,
        VERSION,
        **format.to_json(),
        backend=options.backend,
    )
    return CrossEncoder(identity, numerics, classifier, format, labels).to(numerics.device).eval()


def _classifier(saved: Saved, numerics: Numerics, tokenizer: Tokenizer, prompt: str) -> tuple[nn.Module, int]:
    """Load what gives logits, and tell how many."""
    if saved.task == CAUSAL:
        return load_answers(saved, numerics, tokenizer), 1
    if saved.task == POOLED:
        return load_pooled(saved, prompt)
    classifier = load_transformer(saved.home, unused=(), auto="AutoModelForSequenceClassification")
    config: Any = classifier.config
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad  # by which those over decoders find the last token
    return classifier, int(config.num_labels)


def _tells_halves_apart(tokenizer: Mapping[str, Any]) -> bool:
    """Whether a tokenizer's configuration gives the halves of a pair token types of their own."""
    names = tokenizer.get("model_input_names")
    if names is not None:
        return "token_type_ids" in names
    return tokenizer.get("tokenizer_class") != "TokenizersBackend"  # the one class that gives none unless it says so
