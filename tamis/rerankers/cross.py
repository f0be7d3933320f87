"""``cross``: cross-encoders, which read query and passage as one text (Nogueira and Cho, "Passage Re-ranking with BERT", 2019).

Any checkpoint for sequence classification with one label (a logit of relevance) or two (the second is "relevant"), and every
folder of sentence-transformers' ``CrossEncoder`` that is one. Pairs are compared by logits: a sigmoid would round distinct
scores to the same number. Of two labels the score is log P(relevant), worked out from the difference of the logits, which does
not round either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
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
from tamis.errors import ModelError
from tamis.families import Address
from tamis.rerankers.base import PairScores
from tamis.rerankers.options import CrossOptions
from tamis.rerankers.pairs import VERSION, PairFormat

MONOTONE = ("Identity", "Sigmoid", "Tanh", "LogSigmoid", "Softplus", "Softsign", "Softmax", "LogSoftmax", "ReLU")
"""Activations that a checkpoint may state: none of them changes the order of the logits."""


class CrossEncoder(nn.Module):
    """A `tamis.rerankers.base.PairScorer`: a transformer with a classification head.

    Args:
        identity: of the model.
        numerics: where and how it runs.
        classifier: of transformers, for sequence classification.
        format: how pairs are written.

    Attributes:
        tokens: how many tokens the model has read so far, padding not counted.
    """

    def __init__(self, identity: ModelIdentity, numerics: Numerics, classifier: nn.Module, format: PairFormat) -> None:  # noqa: A002
        super().__init__()
        self.identity, self.numerics, self.format = identity, numerics, format
        self.classifier = classifier
        self.labels = int(classifier.config.num_labels)  # type: ignore[union-attr, arg-type]
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
    """Load a checkpoint for sequence classification.

    Raises:
        MissingResourceError: there is none.
        ModelError: it cannot be used: it lacks a head, has more than two labels, or needs modules that are not known here.
    """
    folder = find_checkpoint(address.id, address.revision)
    home, stated = _read_settings(folder)
    numerics = Numerics.of(options.device, options.dtype)
    classifier = load_transformer(home, unused=(), auto="AutoModelForSequenceClassification")
    config: Any = classifier.config
    if config.num_labels not in (1, 2):
        raise ModelError(
            f"{folder} tells {config.num_labels} labels apart: a reranker has one logit, or two of which the second is "
            "'relevant'; this is a classifier of something else"
        )
    typed = getattr(config, "type_vocab_size", 0) > 1 and _tells_halves_apart(
        read_json(home / "tokenizer_config.json", {})
    )
    format = PairFormat(  # noqa: A001 - the word
        Tokenizer(home),
        length_limit(config, stated["max_length"], options.max_length),
        query_length=options.query_length,
        prompt=stated["prompt"] if options.prompt is None else options.prompt,
        lower=stated["lower"],
        typed=typed,
    )
    identity = make_identity(
        address,
        {"model": folder},
        options,
        VERSION,
        **format.to_json(),
        backend=options.backend,
    )
    return CrossEncoder(identity, numerics, classifier, format).to(numerics.device).eval()


def _read_settings(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """Return the folder of the transformer, and what the files around it say of the input."""
    home = folder
    for module in read_json(folder / "modules.json", []):
        kind = module["type"].rpartition(".")[2]
        if kind != "Transformer":
            raise ModelError(
                f"{folder}: cross reads checkpoints for sequence classification, and modules of type {module['type']!r} are not "
                "part of one"
            )
        home = folder / module["path"]
    around, transformer = (
        read_json(folder / "config_sentence_transformers.json", {}),
        read_json(home / "sentence_bert_config.json", {}),
    )
    config = read_json(home / "config.json", {})
    _require_order(folder, config, around)
    prompts = around.get("prompts") or {}
    lengths = [
        transformer.get("max_seq_length"),
        read_json(home / "tokenizer_config.json", {}).get("model_max_length"),
    ]
    return home, {
        "max_length": min((int(length) for length in lengths if length), default=None),
        "prompt": prompts.get(around.get("default_prompt_name") or "", ""),
        "lower": bool(transformer.get("do_lower_case")),
    }


def _tells_halves_apart(tokenizer: Mapping[str, Any]) -> bool:
    """Whether a tokenizer's configuration gives the halves of a pair token types of their own."""
    names = tokenizer.get("model_input_names")
    if names is not None:
        return "token_type_ids" in names
    return tokenizer.get("tokenizer_class") != "TokenizersBackend"  # the one class that gives none unless it says so


def _require_order(folder: Path, config: Mapping[str, Any], around: Mapping[str, Any]) -> None:
    """Check that the activation a checkpoint states leaves the order of its logits alone."""
    stated = (
        (config.get("sentence_transformers") or {}).get("activation_fn")
        or config.get("sbert_ce_default_activation_function")
        or around.get("activation_fn")
        or "Identity"
    )
    name = str(stated).rpartition(".")[2]
    if name not in MONOTONE:
        raise ModelError(
            f"{folder} states the activation {stated!r}, under which logits may not be in order; known: {', '.join(MONOTONE)}"
        )
