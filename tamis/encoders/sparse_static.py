"""Queries of sparse models that need no model: a token weighs what a table says, wherever and however often it stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import SparseVectors
from tamis.encoders.batching import Inputs
from tamis.encoders.sparse_rows import sparse_rows
from tamis.encoders.text import TextFormat


def bare_inputs(how: TextFormat, texts: Sequence[str]) -> Inputs:
    """Return texts without special tokens, cut where the format says."""
    written = [how.prompt + text.strip() for text in texts]
    ids = how.tokenizer.bare([text.lower() for text in written] if how.lower else written)
    return Inputs([own[: how.max_length] for own in ids], truncated=sum(len(own) > how.max_length for own in ids))


def table_rows(table: NDArray[np.float32], inputs: Inputs) -> SparseVectors:
    """Return the weights of texts' tokens; those of 0 or below are left out.

    Args:
        table: float32 [dimensions].
        inputs: the texts, bare.
    """
    rows = [np.unique(np.asarray(ids, np.int64)) for ids in inputs.ids]
    owners = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    dimensions = np.concatenate([np.zeros(0, np.int64), *rows])
    return sparse_rows(len(rows), owners, dimensions, table[dimensions], inputs.truncated)
