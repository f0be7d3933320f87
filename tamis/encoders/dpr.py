"""``dpr``: dense passage retrieval (Karpukhin et al., EMNLP 2020).

Title and text are encoded as a pair, a question alone; the vector is the last state of [CLS], without BERT's pooler and without
normalisation, and relevance is the inner product. An address names the context encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from tamis.encoders.base import Passage
from tamis.encoders.batching import Inputs
from tamis.encoders.checkpoints import fill, load_transformer, read_config, read_json, read_state
from tamis.encoders.options import PairOptions
from tamis.encoders.sides import TwoSided, find_pair
from tamis.encoders.states import numerics_of
from tamis.encoders.text import Tokenizer
from tamis.encoders.transformer import make_identity, ready
from tamis.errors import ModelError
from tamis.families import Address

VERSION = 1
LENGTH = 256
PATTERNS = (("ctx_encoder", "question_encoder"), ("context", "question"))


class DPR(TwoSided):
    """A `DenseEncoder` of a DPR pair."""

    typed: ClassVar[bool] = True

    def document_inputs(self, passages: Sequence[Passage]) -> Inputs:
        """Return title and text as a pair."""
        return self.tokenizers[0].pairs([(p.title, p.text) for p in passages], self.max_lengths[0])

    def query_inputs(self, texts: Sequence[str]) -> Inputs:
        """Return the question alone."""
        return self.tokenizers[1].texts(texts, self.max_lengths[1])


def load(address: Address, options: PairOptions) -> DPR:
    """Load a DPR pair.

    Raises:
        UsageError: the question encoder is not known.
        MissingResourceError: a checkpoint is not there.
        ModelError: one cannot be used.
    """
    numerics = numerics_of(address, options)
    folders = find_pair(address.id, address.revision, options.query, PATTERNS)
    length = options.max_length or LENGTH
    identity = make_identity(
        address, {"document": folders[0], "query": folders[1]}, options, VERSION, max_length=length
    )
    models = [
        _load_side(folder, prefix) for folder, prefix in zip(folders, ("ctx_encoder", "question_encoder"), strict=True)
    ]
    tokenizers = (Tokenizer(folders[0]), Tokenizer(folders[1]))
    return ready(DPR(identity, numerics, models[0], models[1], tokenizers, (length, length)), options)


def _load_side(folder: Path, prefix: str) -> nn.Module:
    """A BERT, out of a DPR checkpoint (whose weights have a prefix) or a bare one."""
    config = read_json(folder / "config.json", {})
    if config.get("projection_dim"):
        raise ModelError(f"{folder}: DPR checkpoints with a projection are not supported")
    state: Mapping[str, Tensor] = read_state(folder)
    whole = f"{prefix}.bert_model."
    if not any(name.startswith(whole) for name in state):
        return load_transformer(folder)
    from transformers import BertConfig, BertModel

    model: nn.Module = BertModel(read_config(folder, BertConfig), add_pooling_layer=False)
    fill(model, state, folder, whole)
    return model.eval()
