"""``classifier``: a transformer with a quality head: any checkpoint for sequence classification, given the passage alone.

One label is a logit of quality; of two the second is "worth keeping", and the quality is its log-probability, worked out from
the difference of the logits, which does not round. A cross-encoder is such a checkpoint too: without a query it says how much a
passage looks like an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.encoders.batching import Numerics, require_finite, run_batches
from tamis.encoders.checkpoints import find_checkpoint, load_transformer, read_json
from tamis.encoders.options import LengthOptions
from tamis.encoders.text import TextFormat, Tokenizer, length_limit
from tamis.encoders.transformer import make_identity
from tamis.errors import ModelError
from tamis.families import Address
from tamis.pruning.base import Floats

VERSION = 1


class Classifier(nn.Module):
    """A `tamis.pruning.base.PassageModel`."""

    def __init__(self, identity: ModelIdentity, numerics: Numerics, classifier: nn.Module, format: TextFormat) -> None:  # noqa: A002
        super().__init__()
        self.identity, self.numerics, self.format = identity, numerics, format
        self.classifier = classifier
        self.labels = int(classifier.config.num_labels)  # type: ignore[union-attr, arg-type]

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor | None = None, types: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the quality of each passage of a padded batch, differentiably.

        Args:
            ids: int64 [passages, tokens].
            mask: int64, 1 where there is a token; None: everywhere.
            types: not used; a passage alone is of one type.

        Returns:
            float32 [passages].
        """
        logits: torch.Tensor = self.classifier(input_ids=ids, attention_mask=mask).logits.float()
        return logits[:, 0] if self.labels == 1 else nn.functional.logsigmoid(logits[:, 1] - logits[:, 0])

    def score_passages(self, passages: Sequence[Passage], tick: Tick = no_tick) -> Floats:
        """Return the quality of each passage; see `PassageModel`."""
        inputs = self.format.inputs([passage.joined for passage in passages])
        scores = np.empty(len(inputs), np.float32)

        def take(places: NDArray[np.int64], result: torch.Tensor) -> None:
            scores[places] = result.float().cpu().numpy()

        run_batches(self, inputs, take, pad=self.format.tokenizer.pad, numerics=self.numerics, tick=tick)
        require_finite(self.identity.address, scores)
        return scores


def load(address: Address, options: LengthOptions) -> Classifier:
    """Load a checkpoint for sequence classification.

    Raises:
        MissingResourceError: there is none.
        ModelError: it cannot be used: it lacks a head, or has more than two labels.
    """
    folder = find_checkpoint(address.id, address.revision)
    numerics = Numerics.of(options.device, options.dtype)
    classifier = load_transformer(folder, unused=(), auto="AutoModelForSequenceClassification")
    config: Any = classifier.config
    if config.num_labels not in (1, 2):
        raise ModelError(
            f"{folder} tells {config.num_labels} labels apart: a quality head has one logit, or two of which the second is "
            "'worth keeping'"
        )
    stated = read_json(folder / "tokenizer_config.json", {}).get("model_max_length")
    length = length_limit(config, int(stated) if stated else None, options.max_length)
    form = TextFormat(Tokenizer(folder), length)
    identity = make_identity(address, {"model": folder}, options, VERSION, **form.to_json())
    return Classifier(identity, numerics, classifier, form).to(numerics.device).eval()
