"""What the rerankers over T5 share: loading a checkpoint, the words that its decoder answers with, and the run over many prompts.

The model is asked for one word, and the score is made of the logits of two: how much more likely the positive one is. Which words
they are a checkpoint does not say; they are known by its id for those released, or by the ids that they have in T5's own
vocabulary, or must be told (``targets=no/yes``). They are never guessed: another word's row would score too, at random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tamis.encoders.base import ModelIdentity, Tick, no_tick
from tamis.encoders.batching import Inputs, Numerics, require_finite, run_batches
from tamis.encoders.checkpoints import fill, find_checkpoint, read_json, read_state, refuse_missing
from tamis.encoders.options import NumericOptions
from tamis.encoders.text import Tokenizer
from tamis.encoders.transformer import make_identity
from tamis.errors import ModelError
from tamis.families import Address
from tamis.rerankers.options import T5Options
from tamis.rerankers.t5_network import T5, Geometry
from tamis.rerankers.templates import Template

VERSION = 1
"""Of how prompts are written and their scores worked out; raised when what is computed changes."""

MAX_LENGTH = 512
"""Tokens of a prompt that the released checkpoints were trained on."""

T5_TARGETS = {"false": 6136, "true": 1176}
"""The words of nearly all checkpoints, with their ids in the vocabulary of T5."""

_NO_YES, _NAO_SIM, _EMPTY_TRUE = "no/yes", "não/sim", "/true"
RELEASED = {
    **dict.fromkeys(
        [
            "unicamp-dl/mt5-base-en-msmarco",
            "unicamp-dl/mt5-base-en-pt-msmarco-v1",
            "unicamp-dl/mt5-base-en-pt-msmarco-v2",
            "unicamp-dl/mt5-base-mmarco-v1",
            "unicamp-dl/mt5-base-mmarco-v2",
        ],
        _NO_YES,
    ),
    **dict.fromkeys(
        [
            "unicamp-dl/ptt5-base-en-pt-msmarco-100k-v2",
            "unicamp-dl/ptt5-base-en-pt-msmarco-10k-v1",
            "unicamp-dl/ptt5-base-pt-msmarco-100k-v1",
            "unicamp-dl/ptt5-base-pt-msmarco-100k-v2",
            "unicamp-dl/ptt5-base-pt-msmarco-10k-v1",
            "unicamp-dl/ptt5-base-pt-msmarco-10k-v2",
        ],
        _NAO_SIM,
    ),
    **dict.fromkeys(["unicamp-dl/mt5-13b-mmarco-100k", "unicamp-dl/mt5-3B-mmarco-en-pt"], _EMPTY_TRUE),
}
"""The words of checkpoints with a vocabulary of their own, by hub id: negative/positive; those that pygaggle knows."""

SPACE = "▁"
"""What stands for white space before a word in the vocabularies of SentencePiece."""


class T5Scorer(nn.Module):
    """A T5 that answers a prompt with one of two words; its families say what the prompt is and what becomes of the answer.

    Args:
        identity: of the model.
        numerics: where and how it runs.
        network: with the rows of the negative and the positive word.
        template: how prompts are written.

    Attributes:
        tokens: how many tokens the model has read so far, padding not counted.
    """

    def __init__(self, identity: ModelIdentity, numerics: Numerics, network: T5, template: Template) -> None:
        super().__init__()
        self.identity, self.numerics = identity, numerics
        self.network, self.template = network, template
        self.tokens = 0

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own, in whose tokens windows are counted."""
        return self.template.tokenizer

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor | None = None, types: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the log-odds of the positive word against the negative, differentiably.

        Args:
            ids: int64 [prompts, tokens].
            mask: int64, 1 where there is a token; None: everywhere.
            types: nothing; T5 has none.

        Returns:
            float32 [prompts].
        """
        negative, positive = self.network(ids, mask).unbind(-1)
        found: torch.Tensor = positive - negative
        return found

    def log_odds(self, inputs: Inputs, tick: Tick = no_tick) -> NDArray[np.float32]:
        """Return what `forward` gives, of any number of prompts: float32 [prompts].

        Raises:
            ModelError: a number is not finite.
        """
        found = np.empty(len(inputs), np.float32)

        def take(places: NDArray[np.int64], result: torch.Tensor) -> None:
            found[places] = result.cpu().numpy()

        run_batches(self, inputs, take, pad=self.tokenizer.pad, numerics=self.numerics, tick=tick)
        self.tokens += sum(map(len, inputs.ids))
        require_finite(self.identity.address, found)
        return found


FindTargets = Callable[[Tokenizer, Path], tuple[int, int]]
"""Gives the ids of the negative and the positive word, of a checkpoint's tokenizer and its folder."""


def load_parts(
    address: Address,
    options: NumericOptions,
    template: str,
    max_length: int | None,
    find_targets: FindTargets,
    *,
    cut_end: bool = False,
) -> tuple[ModelIdentity, Numerics, T5, Template]:
    """Load what a `T5Scorer` is made of.

    Args:
        address: of the checkpoint, with model-scope options only.
        options: its numeric mode and device.
        template: of its prompts.
        max_length: tokens of a prompt; None: `MAX_LENGTH`.
        find_targets: see `FindTargets`.
        cut_end: see `Template`.

    Raises:
        MissingResourceError: there is no such checkpoint.
        ModelError: it is no T5, lacks weights, or it is not known which words it answers with.
    """
    folder = find_checkpoint(address.id, address.revision)
    numerics = Numerics.of(options.device, options.dtype)
    tokenizer = Tokenizer(folder)
    prompts = Template(template, tokenizer, max_length or MAX_LENGTH, cut_end=cut_end)
    targets = find_targets(tokenizer, folder)
    identity = make_identity(
        address,
        {"model": folder},
        options,
        VERSION,
        template=template,
        max_length=prompts.max_length,
        cut_end=cut_end,
        targets=list(targets),
    )
    network = load_network(folder, targets)
    if options.dtype == "float16":
        network.shrink()
    return identity, numerics, network.to(numerics.device).eval(), prompts


def load_ranker(address: Address, options: T5Options, template: str) -> tuple[ModelIdentity, Numerics, T5, Template]:
    """Load what a reranker is made of: see `load_parts`, and of the words the head of this file."""
    words = options.targets or RELEASED.get(address.id)

    def find_targets(tokenizer: Tokenizer, folder: Path) -> tuple[int, int]:
        return t5_targets(tokenizer, folder) if words is None else ids_of_words(tokenizer, words)

    cut_end = options.truncation == "pygaggle"
    return load_parts(address, options, template, options.max_length, find_targets, cut_end=cut_end)


def ids_of_words(tokenizer: Tokenizer, words: str) -> tuple[int, int]:
    """Return the ids of two words that are a token each, written ``negative/positive``.

    Raises:
        ModelError: they are not two, or the vocabulary lacks one.
    """
    negative, _, positive = words.partition("/")
    if words.count("/") != 1 or negative == positive:
        raise ModelError(f"targets={words}: two different words are needed, NEGATIVE/POSITIVE, e.g. targets=false/true")
    return tokenizer.id_of(SPACE + negative), tokenizer.id_of(SPACE + positive)


def t5_targets(tokenizer: Tokenizer, folder: Path) -> tuple[int, int]:
    """Return the ids of false and true in the vocabulary of T5.

    Raises:
        ModelError: the tokenizer has another.
    """
    found = {word: tokenizer.raw.token_to_id(SPACE + word) for word in T5_TARGETS}
    if found != T5_TARGETS:
        raise ModelError(
            f"it is not known which words {folder} answers with: its vocabulary is not T5's, where false is token "
            f"{T5_TARGETS['false']} and true {T5_TARGETS['true']} (here {found['false']} and {found['true']}); name them as "
            "targets=NEGATIVE/POSITIVE, e.g. targets=no/yes"
        )
    return T5_TARGETS["false"], T5_TARGETS["true"]


def load_network(folder: Path, targets: Sequence[int]) -> T5:
    """Load the weights of a checkpoint.

    Args:
        folder: of the checkpoint.
        targets: the rows of its output matrix that are kept.

    Raises:
        ModelError: it is no T5, or lacks weights.
    """
    config = read_json(folder / "config.json", {})
    geometry = Geometry.of(config, folder)
    state = {name: weight.float() for name, weight in read_state(folder).items()}
    # one matrix may stand under any of its names, and the output's is that of the embedding unless the configuration denies it
    names = ["shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]
    tied = config.get("tie_word_embeddings") is not False
    shared = next((state[name] for name in (*names, *(["lm_head.weight"] if tied else [])) if name in state), None)
    head = state.get("lm_head.weight", shared if tied else None)
    if shared is None or head is None:
        refuse_missing(folder, ["shared.weight" if shared is None else "lm_head.weight"])
        raise AssertionError  # refuse_missing has raised
    if max(targets) >= len(head):
        raise ModelError(f"{folder}: token {max(targets)} is asked for, and the output matrix has {len(head)} rows")
    with torch.device("meta"):
        network = T5(geometry, len(targets))
    fill(network, state | {"shared.weight": shared, "rows": head[list(targets)].clone()}, folder, assign=True)
    return network
