"""Cutting documents into passages: sliding windows over white-space separated words."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tamis.data.document import Document
from tamis.errors import UsageError

_WORD = re.compile(r"\S+")
_SPEC = re.compile(r"tokens:(\d+)(?:/(\d+))?")


@dataclass(frozen=True, slots=True)
class Chunker:
    """Windows of `window` words, a new one every `stride` words; ``tokens:200/100`` in writing.

    Attributes:
        window: words a passage holds at most.
        stride: words from the start of one passage to the start of the next, from 1 to `window`, so that no word is lost.
    """

    window: int
    stride: int

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.window:
            raise UsageError(
                f"passages {self}: the stride must be at least 1 and at most the window, so that every word is in a passage"
            )

    @classmethod
    def parse(cls, text: str) -> Chunker:
        """Parse ``tokens:WINDOW[/STRIDE]``; the stride defaults to the window.

        Raises:
            UsageError: another form, or a stride out of its limits.
        """
        found = _SPEC.fullmatch(text.strip())
        if found is None:
            raise UsageError(f"passages {text!r}: expected tokens:WINDOW/STRIDE, for example tokens:200/100")
        return cls(int(found[1]), int(found[2] or found[1]))

    def __str__(self) -> str:
        return f"tokens:{self.window}/{self.stride}"

    def split(self, document: Document) -> list[Document]:
        """Cut a document's body into passages ``ID#0``, ``ID#1``, …, each with the whole title and metadata.

        Every word of the body is in a passage, and the last passage holds a word that the one before it does not. White
        space inside a passage stays as it was. A body without words gives one passage.
        """
        words = [word.span() for word in _WORD.finditer(document.text)]
        passages: list[Document] = []
        start = 0
        while True:
            part = words[start : start + self.window]
            text = document.text[part[0][0] : part[-1][1]] if part else document.text
            passages.append(replace(document, id=f"{document.id}#{len(passages)}", text=text))
            if start + self.window >= len(words):
                return passages
            start += self.stride
