"""Long documents: cut into windows that a model can read, whose scores become one (Dai and Callan, 2019).

FirstP scores the first window, MaxP takes the best, SumP adds all; a mean, and a mean of the few best, stand between. Windows
are counted in the model's own tokens, or in sentences (Yilmaz et al., "Document Retrieval with BERT", 2019). They overlap if
the stride is shorter than the window; every character is in one, and none ends inside a word that fits into it. A window that
reaches the end of the text is the last. The title stands before every window.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.text import Tokenizer
from tamis.errors import UsageError

_SPEC = re.compile(r"(tokens|sentences):(\d+)(?:/(\d+))?")
_TOP = re.compile(r"top:([1-9]\d*)")
_SENTENCE_END = re.compile(r"""[.!?…]+["'”’)\]]*\s+|[。！？]+["'”’」』)\]]*\s*|\n\s*\n\s*""")
POOLS = ("first", "max", "sum", "mean", "top:N")


@runtime_checkable
class Tokenized(Protocol):
    """A scorer in whose tokens windows can be counted."""

    tokenizer: Tokenizer


@dataclass(frozen=True, slots=True)
class Windows:
    """How bodies are cut; ``tokens:256/128`` or ``sentences:10/5`` in writing.

    Attributes:
        unit: ``tokens`` or ``sentences``.
        size: units of a window.
        stride: units from the start of one to the start of the next, from 1 to `size`.
        most: windows of a document at most; where there are more, the first, the last and others evenly between stay.
    """

    unit: str
    size: int
    stride: int
    most: int | None = None

    @classmethod
    def parse(cls, text: str, most: int | None = None) -> Windows:
        """Parse ``tokens:SIZE[/STRIDE]`` or ``sentences:SIZE[/STRIDE]``; the stride defaults to the size.

        Raises:
            UsageError: another form, or a stride out of its limits.
        """
        found = _SPEC.fullmatch(text)
        if found is None:
            raise UsageError(
                f"windows={text}: expected tokens:SIZE/STRIDE or sentences:SIZE/STRIDE, e.g. tokens:256/128"
            )
        size, stride = int(found[2]), int(found[3] or found[2])
        if not 1 <= stride <= size:
            raise UsageError(
                f"windows={text}: the stride must be at least 1 and at most the size, so that nothing of a text is lost"
            )
        return cls(found[1], size, stride, most)

    def cut(self, texts: Sequence[str], tokenizer: Tokenizer) -> list[list[str]]:
        """Return the windows of each text; a text without tokens is its own window."""
        if self.unit == "sentences":
            return [self._chosen(text, _sentence_windows(text, self.size, self.stride)) for text in texts]
        return [
            self._chosen(text, _token_windows(spans, words, self.size, self.stride))
            for text, (spans, words) in zip(texts, tokenizer.spans(texts), strict=True)
        ]

    def _chosen(self, text: str, spans: Iterator[tuple[int, int]]) -> list[str]:
        found = list(spans)
        if self.most is not None and len(found) > self.most:
            found = [found[i] for i in np.linspace(0, len(found) - 1, self.most).round().astype(int).tolist()]
        return [text[first:end].strip() for first, end in found] or [text]


def _token_windows(
    spans: Sequence[tuple[int, int]], words: Sequence[int | None], size: int, stride: int
) -> Iterator[tuple[int, int]]:
    first = 0
    while first < len(spans):
        end = min(first + size, len(spans))
        if end < len(spans):
            end = _between_words(words, first, end)
        yield spans[first][0], spans[end - 1][1]
        if end == len(spans):
            return
        first = _between_words(words, first, min(first + stride, end))


def _between_words(words: Sequence[int | None], first: int, wanted: int) -> int:
    """Return the last place behind `first`, up to `wanted`, where a word begins; `wanted` itself where none does."""
    for place in range(wanted, first, -1):
        if words[place] != words[place - 1]:
            return place
    return wanted


def _sentence_windows(text: str, size: int, stride: int) -> Iterator[tuple[int, int]]:
    ends = [found.end() for found in _SENTENCE_END.finditer(text) if found.end() < len(text)] + [len(text)]
    starts = [0, *ends[:-1]]
    for first in range(0, len(ends), stride):
        last = min(first + size, len(ends))
        yield starts[first], ends[last - 1]
        if last == len(ends):
            return


Pool = Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]]
"""(scores of all windows, where each document's begin) → score of each document, which has one window or more."""


def parse_pool(text: str) -> Pool:
    """Return what makes one score of a document's windows; sums and means are of the model's scores as they are.

    Raises:
        UsageError: it is none of `POOLS`.
    """
    if found := _TOP.fullmatch(text):
        return lambda scores, starts: _top(scores, starts, int(found[1]))
    known: dict[str, Any] = {
        "first": lambda scores, starts: scores[starts],
        "max": np.maximum.reduceat,
        "sum": np.add.reduceat,
        "mean": lambda scores, starts: np.add.reduceat(scores, starts) / np.diff([*starts, len(scores)]),
    }
    if text not in known:
        raise UsageError(f"pool={text}: expected one of {', '.join(POOLS)}, for example top:3")
    pool: Pool = known[text]
    return pool


def _top(scores: NDArray[np.float64], starts: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    parts = np.split(scores, starts[1:])
    return np.array([np.sort(part)[::-1][:count].mean() for part in parts])
