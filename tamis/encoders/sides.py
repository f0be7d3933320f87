"""Encoders of two transformers, one a side, whose vector is a token's last state: DPR and what is shaped like it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from tamis.encoders.base import ModelIdentity
from tamis.encoders.batching import Numerics
from tamis.encoders.checkpoints import find_checkpoint
from tamis.encoders.text import Tokenizer
from tamis.encoders.transformer import DenseTransformer
from tamis.errors import MissingResourceError, ModelError, UsageError


class TwoSided(DenseTransformer):
    """A `DenseTransformer` whose vector is the last state of [CLS], by another transformer for each side.

    Args:
        identity: of the pair.
        numerics: where and how it runs.
        document: transformer of the documents.
        query: transformer of the queries.
        tokenizers: of documents and of queries.
        max_lengths: tokens that are read of a document and of a query.
    """

    def __init__(
        self,
        identity: ModelIdentity,
        numerics: Numerics,
        document: nn.Module,
        query: nn.Module,
        tokenizers: tuple[Tokenizer, Tokenizer],
        max_lengths: tuple[int, int],
    ) -> None:
        width = int(document.config.hidden_size)  # type: ignore[union-attr, arg-type]
        if width != int(query.config.hidden_size):  # type: ignore[union-attr, arg-type]
            raise ModelError(f"{identity.address}: queries and documents have vectors of different lengths")
        super().__init__(identity, numerics, width, "dot")
        self.document, self.query = document, query
        self.tokenizers, self.max_lengths = tokenizers, max_lengths

    def transformer_of(self, side: str) -> nn.Module:
        """Return the transformer of a side."""
        return self.query if side == "query" else self.document

    def finish(self, states: torch.Tensor, mask: torch.Tensor | None, side: str) -> torch.Tensor:
        """Return the last state of the first token; see `DenseTransformer.finish`."""
        return states[:, 0].float()

    @property
    def pad(self) -> int:
        """Id of the padding token."""
        return self.tokenizers[0].pad


def find_pair(
    identifier: str, revision: str | None, query: str | None, patterns: Sequence[tuple[str, str]]
) -> tuple[Path, Path]:
    """Return the folders of the document's and the query's checkpoint.

    Args:
        identifier: of the document encoder.
        revision: of both encoders, unless `query` states one of its own.
        query: of the query encoder, ID or ID@REVISION; None: `identifier` with the first pattern that it holds replaced.
        patterns: (what names a document encoder, what names its query encoder).

    Raises:
        UsageError: no query encoder is given, and no pattern names one.
        MissingResourceError: a checkpoint is not there, or not at that revision.
    """
    document = find_checkpoint(identifier, revision)
    if query is not None:
        return document, _find_query(query, revision)
    for ours, theirs in patterns:
        if ours in identifier:
            head, _, tail = identifier.rpartition(ours)
            return document, _find_query(f"{head}{theirs}{tail}", revision)
    names = " or ".join(repr(ours) for ours, _ in patterns)
    raise UsageError(
        f"{identifier!r} does not tell its query encoder (its name holds no {names}): give it with ?query=ID, the same id if "
        "one encoder serves both sides"
    )


def _find_query(query: str, revision: str | None) -> Path:
    if "@" in query and not Path(query).expanduser().is_dir():
        query, _, own = query.rpartition("@")
        return find_checkpoint(query, own)
    try:
        return find_checkpoint(query, revision)
    except MissingResourceError as error:
        if revision is None:
            raise
        raise MissingResourceError(
            f"{error}; a commit belongs to one repository: give the query encoder its own, as in  ?query={query}@REVISION"
        ) from error
