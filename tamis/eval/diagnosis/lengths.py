"""How long texts are in a model's own tokens, and how much of them it reads, learnt from how it writes its inputs.

A model says what it reads of a text (`tamis.encoders.batching.Inputs`), and how many texts it cut, but not how long
they were. A text's length is put together from pieces that the model does not cut, which holds wherever tokens do not
reach across white space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import Passage
from tamis.encoders.batching import Inputs
from tamis.errors import UsageError
from tamis.eval.diagnosis.models import TextModel

PIECE = 32
"""Words of a piece."""

Read = Callable[[Sequence[str]], Inputs]
"""Writes texts as a model reads them."""

ReadPairs = Callable[[Sequence[str], Sequence[str]], Inputs]
"""Writes queries and documents as a model reads them."""

Lengths = NDArray[np.int64]


@dataclass(frozen=True)
class Reader:
    """How a model reads texts; what it does not read is None.

    Attributes:
        documents: one by one.
        queries: one by one.
        pairs: of a query and a document.
    """

    documents: Read | None = None
    queries: Read | None = None
    pairs: ReadPairs | None = None


@dataclass(frozen=True)
class Cut:
    """What a model reads of texts, or pairs of them.

    Attributes:
        read: tokens that it reads of each, special tokens included.
        lost: tokens that it does not read of each; None where it cannot be known, since inputs are filled to one length.
        cut: bool, whether anything of it is lost.
    """

    read: Lengths
    lost: Lengths | None
    cut: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.read)

    def take(self, places: Lengths) -> Cut:
        """Return what is read of some of the texts."""
        return Cut(self.read[places], None if self.lost is None else self.lost[places], self.cut[places])


def reader_of(model: TextModel) -> Reader:
    """Return how a model reads.

    Raises:
        UsageError: it does not say: it scores lists, or reads texts elsewhere (behind an endpoint).
    """
    network: Any = model.network() if model.kind in ("pairs", "encoder") else None
    if model.kind == "encoder" and hasattr(network, "document_inputs"):
        return Reader(
            lambda texts: network.document_inputs([Passage("", text) for text in texts]), network.query_inputs
        )
    if hasattr(network, "format"):
        return Reader(pairs=network.format.inputs)
    if hasattr(network, "template"):
        return Reader(pairs=lambda queries, texts: network.template.inputs({"query": queries, "document": texts}))
    raise UsageError(
        f"{model.name} does not say how it cuts texts: name an encoder that runs here, a cross-encoder or monoT5 "
        f"(tamis rerank counts "
        "what the other rerankers cut)"
    )


def cut_texts(read: Read, texts: Sequence[str]) -> Cut:
    """Return what a model reads of texts."""
    whole = read(texts)
    own = _read_lengths(whole)
    overhead = _overhead(read)
    if overhead is None:  # filled to one length: only whether they are cut is known
        return Cut(own, None, _flags(read, list(texts)))
    # an empty text may be written in a way of its own
    lost = np.maximum(lengths_of(read, texts, overhead) + overhead - own, 0) if whole.truncated else np.zeros_like(own)
    return Cut(own, lost, lost > 0)


def cut_pairs(read: ReadPairs, queries: Sequence[str], documents: Sequence[str]) -> Cut:
    """Return what a model reads of pairs."""
    whole = read(queries, documents)
    own = _read_lengths(whole)
    if not whole.truncated:
        return Cut(own, np.zeros_like(own), np.zeros(len(own), np.bool_))

    def asked(texts: Sequence[str]) -> Inputs:
        return read(texts, ["a"] * len(texts))

    def found(texts: Sequence[str]) -> Inputs:
        return read(["a"] * len(texts), texts)

    overheads = _overhead(asked), _overhead(found)
    assert overheads[0] is not None and overheads[1] is not None  # noqa: S101, PT018 - pairs are not filled
    wanted = [lengths_of(asked, queries, overheads[0]), lengths_of(found, documents, overheads[1])]
    around = overheads[0] - 1  # the other text of the probe is one token
    lost = np.maximum(wanted[0] + wanted[1] + around - own, 0)
    return Cut(own, lost, lost > 0)


def lengths_of(read: Read, texts: Sequence[str], overhead: int) -> Lengths:
    """Return the tokens of texts, special tokens not counted, however long they are."""
    owners, pieces = list[int](), list[str]()
    for i, text in enumerate(dict.fromkeys(texts)):
        words = text.split()
        own = [" ".join(words[first : first + PIECE]) for first in range(0, len(words), PIECE)]
        owners += [i] * len(own)
        pieces += own
    sizes = np.array(_piece_lengths(read, pieces, overhead), np.int64)
    sums = np.bincount(np.array(owners, np.int64), sizes, minlength=len(set(texts))).astype(np.int64)
    known = dict(zip(dict.fromkeys(texts), sums.tolist(), strict=True))
    return np.array([known[text] for text in texts], np.int64)


def _piece_lengths(read: Read, pieces: list[str], overhead: int) -> list[int]:
    if not pieces:
        return []
    found = read(pieces)
    if not found.truncated:
        return [max(0, len(ids) - overhead) for ids in found.ids]
    if len(pieces) > 1:
        half = len(pieces) // 2
        return _piece_lengths(read, pieces[:half], overhead) + _piece_lengths(read, pieces[half:], overhead)
    (piece,) = pieces
    if len(piece) < 2:
        return [max(0, len(found.ids[0]) - overhead)]
    # between words if there are several, else within the one
    words = piece.split()
    parts = [" ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])]
    if len(words) == 1:
        parts = [piece[: len(piece) // 2], piece[len(piece) // 2 :]]
    return [sum(_piece_lengths(read, parts, overhead))]


def _overhead(read: Read) -> int | None:
    """Tokens around a text, by two probes of one and two tokens; None where inputs are filled."""
    one, two = (len(ids) for ids in read(["a", "a a"]).ids)
    return one - (two - one) if two > one else None


def _flags(read: Read, texts: list[str]) -> NDArray[np.bool_]:
    """Which texts are cut, from how many are."""
    if not texts:
        return np.zeros(0, np.bool_)
    count = read(texts).truncated
    if count in (0, len(texts)):
        return np.full(len(texts), count > 0)
    half = len(texts) // 2
    return np.concatenate([_flags(read, texts[:half]), _flags(read, texts[half:])])


def _read_lengths(inputs: Inputs) -> Lengths:
    return np.array([len(ids) for ids in inputs.ids], np.int64)
