"""``spar``: SPAR, a dense retriever beside a dense model of a lexical one (Chen et al., Findings of EMNLP 2022).

The lexical model, Λ, was trained to rank as BM25 or uniCOIL does. Its vector is joined to that of a base retriever, so that one
inner product adds up both scores; the weight of Λ multiplies the query's half only, and can be changed without encoding again.

    spar:LEXICAL-CONTEXT-ENCODER?base=dpr:CONTEXT-ENCODER
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tamis.encoders.base import DenseVectors, ModelIdentity, Passage, Similarity, Tick, no_tick
from tamis.encoders.batching import Inputs
from tamis.encoders.checkpoints import load_transformer
from tamis.encoders.options import SparOptions
from tamis.encoders.registry import open_encoder
from tamis.encoders.sides import TwoSided, find_pair
from tamis.encoders.states import numerics_of
from tamis.encoders.text import Tokenizer
from tamis.encoders.transformer import make_identity, ready
from tamis.errors import UsageError
from tamis.families import Address

VERSION = 1
LENGTH = 256
PATTERNS = (("context-encoder", "query-encoder"), ("context", "query"))


class LexicalModel(TwoSided):
    """Λ: like DPR, but title and text are one string with "[SEP]" between them, all of one token type.

    A text without a title stands alone, as the authors train on MS MARCO, whose passages have none. With titles their code would
    put a "[SEP]" before it, which their models have never seen: the Wikipedia passages of their training all have one.
    """

    def document_inputs(self, passages: Sequence[Passage]) -> Inputs:
        """Return title, "[SEP]" and text as one text."""
        written = [f"{p.title} [SEP] {p.text}" if p.title else p.text for p in passages]
        return self.tokenizers[0].texts(written, self.max_lengths[0])

    def query_inputs(self, texts: Sequence[str]) -> Inputs:
        """Return the query."""
        return self.tokenizers[1].texts(texts, self.max_lengths[1])


class Spar:
    """A `DenseEncoder`: the base retriever's vector, then Λ's.

    Args:
        identity: of both.
        base: the base retriever's encoder.
        lexical: Λ.
        weight: of Λ's half of a query.
    """

    similarity: Similarity = "dot"

    def __init__(self, identity: ModelIdentity, base: Any, lexical: LexicalModel, weight: float = 1.0) -> None:
        self.identity, self.base, self.lexical, self.weight = identity, base, lexical, weight
        self.dimensions = base.dimensions + lexical.dimensions

    @property
    def tokens(self) -> int:
        """How many tokens both models have read so far; a base that does not count counts as none."""
        return int(getattr(self.base, "tokens", 0)) + self.lexical.tokens

    def encode_passages(self, passages: Sequence[Passage], *, tick: Tick = no_tick) -> DenseVectors:
        """Encode documents with both; see `_joined` for what counts as truncated."""
        return _joined(self.base.encode_passages(passages), self.lexical.encode_passages(passages, tick=tick), 1.0)

    def encode_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> DenseVectors:
        """Encode queries with both, Λ's half weighted."""
        return _joined(self.base.encode_queries(texts), self.lexical.encode_queries(texts, tick=tick), self.weight)

    def weighted(self, weight: float) -> Spar:
        """Return the same encoder with another weight of Λ."""
        return Spar(self.identity, self.base, self.lexical, weight)


def _joined(base: DenseVectors, lexical: DenseVectors, weight: float) -> DenseVectors:
    """Lay both models' vectors end to end, the lexical ones times `weight`.

    As truncated count the texts that the model which cut more of them cut: a text that both cut is one, and which texts they were
    is not known. Where the two models' tokenizers and lengths differ, a few more may be cut by either.
    """
    vectors = np.concatenate([base.vectors, np.float32(weight) * lexical.vectors], axis=1)
    return DenseVectors(np.ascontiguousarray(vectors, np.float32), max(base.truncated, lexical.truncated))


def load(address: Address, options: SparOptions) -> Spar:
    """Load Λ and the base retriever.

    Raises:
        UsageError: no base is named, or Λ's query encoder is not known.
        MissingResourceError: a checkpoint is not there.
        ModelError: one cannot be used.
    """
    if options.base is None:
        raise UsageError(
            f"{address}: name the retriever that Λ joins, as in  spar:{address.id}?base=dpr:CONTEXT-ENCODER"
        )
    base = open_encoder(options.base)
    folders = find_pair(address.id, address.revision, options.query, PATTERNS)
    numerics = numerics_of(address, options)
    length = options.max_length or LENGTH
    own = make_identity(address, {"document": folders[0], "query": folders[1]}, options, VERSION, max_length=length)
    identity = ModelIdentity(own.address, own.files, {**own.settings, "base": base.identity.fingerprint})
    models = [load_transformer(folder) for folder in folders]
    tokenizers = (Tokenizer(folders[0]), Tokenizer(folders[1]))
    lexical = LexicalModel(own, numerics, models[0], models[1], tokenizers, (length, length))
    return Spar(identity, base, ready(lexical, options))
