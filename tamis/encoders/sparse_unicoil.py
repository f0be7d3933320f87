"""``unicoil``: a weight for each word piece that a text holds (Lin and Ma, "A Few Brief Notes on DeepImpact, COIL …", 2021).

A token weighs relu(w · h + b), h its last state. A word piece that a document holds several times has the largest of its weights,
in a query their sum. Nothing is expanded here: documents are to hold their expansion (doc2query, TILDE) already. The authors'
code leaves out [CLS] but not [SEP], whose weight counts; ``special_tokens=masked`` leaves out both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tamis.encoders.base import ModelIdentity
from tamis.encoders.batching import Numerics
from tamis.encoders.checkpoints import fill, find_checkpoint, read_config, read_state
from tamis.encoders.options import UnicoilOptions
from tamis.encoders.sparse_rows import Pruning
from tamis.encoders.sparse_transformer import SparseTransformer, pooled_tokens, special_ids
from tamis.encoders.text import TextFormat, Tokenizer, length_limit
from tamis.encoders.transformer import make_identity
from tamis.errors import ModelError
from tamis.families import Address

VERSION = 1
QUERY_LENGTH, DOCUMENT_LENGTH = 128, 512


class Unicoil(SparseTransformer):
    """A `tamis.encoders.base.SparseEncoder`; one model for both sides.

    Args:
        identity: of the model.
        numerics: where and how it runs.
        transformer: gives the states.
        projection: from a state to a weight.
        formats: how documents and queries are written.
        pruning: of documents and of queries.
        special_tokens: ``pooled`` or ``masked``.
    """

    exports_queries = True

    def __init__(
        self,
        identity: ModelIdentity,
        numerics: Numerics,
        transformer: nn.Module,
        projection: nn.Linear,
        formats: tuple[TextFormat, TextFormat],
        pruning: tuple[Pruning, Pruning],
        special_tokens: str,
    ) -> None:
        config: Any = transformer.config
        super().__init__(identity, numerics, int(config.vocab_size), formats, pruning)
        self.bert, self.tok_proj = transformer, projection
        tokenizer = formats[0].tokenizer
        skipped = special_ids(tokenizer) if special_tokens == "masked" else [tokenizer.id_of("[CLS]")]
        self.register_buffer("skipped", torch.tensor(skipped), persistent=False)

    def forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None = None,
        types: torch.Tensor | None = None,
        *,
        side: str = "document",
    ) -> torch.Tensor:
        """Return the weights of a padded batch; see `SparseTransformer.forward`."""
        states = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = self.tok_proj(states).squeeze(-1).float().relu()
        skipped: Any = self.skipped
        kept = pooled_tokens(ids, mask, skipped)
        weights = weights if kept is None else weights * kept
        found = torch.zeros(ids.shape[0], self.dimensions, device=ids.device)  # a graph's shape may vary, its len not
        return found.scatter_reduce(1, ids, weights, "sum" if side == "query" else "amax")


def load(address: Address, options: UnicoilOptions) -> Unicoil:
    """Load a uniCOIL checkpoint: ``bert.*`` and ``tok_proj.*``, also below ``coil_encoder.``.

    Raises:
        MissingResourceError: there is none.
        ModelError: it cannot be used, or lacks weights.
    """
    from transformers import BertConfig, BertModel

    folder = find_checkpoint(address.id, address.revision)
    numerics = Numerics.of(options.device, options.dtype)
    state = {name.removeprefix("coil_encoder."): value for name, value in read_state(folder).items()}
    if "tok_proj.weight" not in state:
        raise ModelError(f"{folder} has no weight tok_proj.weight, uniCOIL's projection: it is no uniCOIL checkpoint")
    config = read_config(folder, BertConfig)
    transformer: nn.Module = BertModel(config, add_pooling_layer=False)
    fill(transformer, state, folder, "bert.")
    projection = nn.Linear(int(config.hidden_size), 1)
    fill(projection, state, folder, "tok_proj.")
    tokenizer = Tokenizer(folder)
    formats = (
        TextFormat(tokenizer, length_limit(config, DOCUMENT_LENGTH, options.max_length)),
        TextFormat(tokenizer, length_limit(config, QUERY_LENGTH, options.query_length)),
    )
    pruning = Pruning.of(options)
    identity = make_identity(
        address,
        {"model": folder},
        options,
        VERSION,
        formats=[how.to_json() for how in formats],
        special_tokens=options.special_tokens,
    )
    encoder = Unicoil(identity, numerics, transformer, projection, formats, pruning, options.special_tokens)
    return encoder.to(numerics.device).eval()
