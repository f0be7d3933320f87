"""``qualt5``: T5 asked whether a passage is relevant, to no query in particular.

Chang et al., "Neural Passage Quality Estimation for Static Pruning", 2024. Quality is the logarithm of the probability of "true"
beside "false": at most 0. The words are those that the checkpoint's configuration lists as ``targets``, positive first, else true
and false; of a word that the vocabulary lacks the first piece counts, as in training (of "false", in mT5's, that of a space). It
runs in float32 unless asked otherwise: in bfloat16 many passages get the same number, and a cut through them is chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import Passage, Tick, no_tick
from tamis.encoders.checkpoints import read_json
from tamis.encoders.options import LengthOptions
from tamis.encoders.text import Tokenizer
from tamis.errors import ModelError
from tamis.families import Address
from tamis.rerankers.aggregation import log_sigmoid
from tamis.rerankers.t5 import T5Scorer, load_parts

TEMPLATE = "Document: {document} Relevant:"


class QualT5(T5Scorer):
    """A quality model that reads a passage alone: its title and text, joined."""

    def score_passages(self, passages: Sequence[Passage], tick: Tick = no_tick) -> NDArray[np.float32]:
        """Return the quality of each passage, log P(true): float32 [passages], at most 0, higher is better.

        Results do not depend on which passages are scored together, to 1e-5 in float32. Of too long a passage the end is cut.

        Raises:
            ModelError: the model gave numbers that are not finite.
        """
        inputs = self.template.inputs({"document": [passage.joined for passage in passages]})
        return log_sigmoid(self.log_odds(inputs, tick)).astype(np.float32)


def load(address: Address, options: LengthOptions) -> QualT5:
    """Load a checkpoint.

    Raises:
        MissingResourceError: there is none.
        ModelError: it is no T5, or lacks weights.
    """
    return QualT5(*load_parts(address, options, TEMPLATE, options.max_length, _targets))


def _targets(tokenizer: Tokenizer, folder: Path) -> tuple[int, int]:
    words = read_json(folder / "config.json", {}).get("targets", ["true", "false"])
    ids = [pieces[0] for pieces in tokenizer.bare(words) if pieces]
    if len(words) != 2 or len(set(ids)) != 2:
        raise ModelError(f"{folder}: targets={words} in config.json are not two words that begin with different tokens")
    positive, negative = ids
    return negative, positive
