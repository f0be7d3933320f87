"""A query and a passage as a conversation, the way a checkpoint's chat template writes messages of those two roles.

The template is rendered once, with marks where the texts go; that it does nothing to a text but strip it is tried out. A prompt
is the message of the system before them. What is too long loses the end of its passage, never the template's: what follows the
passage, such as the words that the model answers to, stays whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tamis.encoders.batching import Inputs
from tamis.encoders.checkpoints import Quiet
from tamis.encoders.text import Tokenizer
from tamis.errors import ModelError
from tamis.rerankers.templates import LEAST

QUERY, DOCUMENT = "\ue000\ue001", "\ue002\ue003"
"""Marks of the two texts: characters for private use, which no template has."""

_MARKS = re.compile(f"({QUERY}|{DOCUMENT})")
_PROBES = (("a drum sieve", "12 cooks, no more."), (" what ", "\nfine purée \n"), ("{q} <b>", "A\tB"))
_FILLERS = ("0", "1 2 3 4")
"""Passages without a token in common: what prompts about them share is the template's."""

Render = Callable[[str, str], str]


class ChatFormat:
    """How pairs are written for a model that reads conversations.

    Args:
        tokenizer: the model's.
        pieces: the template's text, cut at its marks, which are among them.
        max_length: tokens that are read of a pair.
        query_length: tokens that are read of a query; None: as many as fit.
        strips: whether the template strips the texts.

    Raises:
        ModelError: the template leaves no room for texts.
    """

    typed = False

    def __init__(
        self,
        tokenizer: Tokenizer,
        pieces: Sequence[str],
        max_length: int,
        *,
        query_length: int | None = None,
        strips: bool = False,
    ) -> None:
        self.tokenizer, self.pieces, self.max_length = tokenizer, tuple(pieces), max_length
        self.query_length, self.strips = query_length, strips
        (empty,) = tokenizer.bare([self.text("", "")])
        self._room = max_length - len(empty)
        if self._room < 2:
            raise ModelError(f"max_length={max_length}: the chat template alone takes {len(empty)} tokens")

    def text(self, query: str, passage: str) -> str:
        """Return what the model reads of a pair that is not too long."""
        if self.strips:
            query, passage = query.strip(), passage.strip()
        texts = {QUERY: query, DOCUMENT: passage}
        return "".join(texts.get(piece, piece) for piece in self.pieces)

    def inputs(self, queries: Sequence[str], passages: Sequence[str]) -> Inputs:
        """Return query i with passage i, as the model reads them."""
        shown = {query: self._shortened(query, self.query_length) for query in dict.fromkeys(queries)}
        pairs = [(shown[query], passage) for query, passage in zip(queries, passages, strict=True)]
        ids = self.tokenizer.bare([self.text(*pair) for pair in pairs])
        truncated = 0
        for i, (query, passage) in enumerate(pairs):
            over = len(ids[i]) > self.max_length
            truncated += over or query != queries[i]
            if over:
                ids[i] = self._cut(query, passage, ids[i])
        return Inputs(ids, truncated=truncated)

    def to_json(self) -> dict[str, Any]:
        """Return all but the tokenizer."""
        return {name: getattr(self, name) for name in ("max_length", "query_length", "strips")} | {
            "pieces": list(self.pieces)
        }

    def _cut(self, query: str, passage: str, ids: list[int]) -> list[int]:
        """Return the tokens of a pair without so many of its passage, or of its query where nothing else helps.

        A query is cut only where it would leave the passage less than `LEAST` tokens, or half of what there is room for.
        """
        head, tail = self._around(query)
        share = min(len(ids) - head - len(tail), LEAST, self._room // 2)
        short, kept = query, len(self.tokenizer.bare([query])[0])
        while (lack := share - (self.max_length - head - len(tail))) > 0 and kept > 0:
            kept = max(0, kept - max(1, lack // self.pieces.count(QUERY)))
            short = self._shortened(query, kept)
            head, tail = self._around(short)
        if short != query:
            (ids,) = self.tokenizer.bare([self.text(short, passage)])
        return ids if len(ids) <= self.max_length else ids[: self.max_length - len(tail)] + tail

    def _around(self, query: str) -> tuple[int, list[int]]:
        """Return how many tokens stand before a passage, and those that stand behind it."""
        one, other = self.tokenizer.bare([self.text(query, filler) for filler in _FILLERS])
        behind = _common(one[::-1], other[::-1])
        return _common(one, other), one[len(one) - behind :]

    def _shortened(self, query: str, length: int | None) -> str:
        """Return the beginning of a query, of so many tokens."""
        if length is None:
            return query
        (spans,) = self.tokenizer.spans([query])
        return query if len(spans[0]) <= length else query[: spans[0][length - 1][1] if length else 0]


def read_chat_format(
    home: Path,
    tokenizer: Tokenizer,
    max_length: int,
    arguments: Mapping[str, Any],
    *,
    prompt: str = "",
    query_length: int | None = None,
) -> ChatFormat:
    """Return how the chat template of a checkpoint writes pairs.

    Args:
        home: the folder of the transformer.
        tokenizer: its own.
        max_length: tokens that are read of a pair.
        arguments: of the template, besides the messages.
        prompt: what the system says; nothing if empty.
        query_length: tokens that are read of a query; None: as many as fit.

    Raises:
        ModelError: there is no template, it does not take a query and a document, or it changes them.
    """
    import transformers

    loader: Any = transformers.AutoTokenizer
    try:
        with Quiet():
            writer = loader.from_pretrained(home)
    except Exception as error:  # a damaged file's errors share no base
        raise ModelError(f"{home} holds no tokenizer that can be read: {error}") from error
    failures = list[str]()
    for structured in (False, True) if writer.chat_template else ():
        render = _renderer(writer, arguments, prompt, structured=structured)
        try:
            pieces = _MARKS.split(render(QUERY, DOCUMENT))
            found = [(render(*probe), probe) for probe in _PROBES]
        except Exception as error:  # noqa: BLE001 - a template is a program, which may fail in any way
            failures.append(f"it fails: {error}")
            continue
        if QUERY not in pieces or pieces.count(DOCUMENT) != 1:
            failures.append("what it writes does not hold the query, and the document once")
            continue
        for strips in (False, True):
            format = ChatFormat(tokenizer, pieces, max_length, query_length=query_length, strips=strips)  # noqa: A001
            if all(format.text(*probe) == text for text, probe in found):
                return format
        failures.append("it changes the texts")
    raise ModelError(
        f"{home}: pairs of this checkpoint are written by its chat template, as messages of the roles 'query' and 'document', "
        f"and the template cannot: {'; with lists of parts as contents, '.join(failures) or 'there is none'}"
    )


def _renderer(writer: Any, arguments: Mapping[str, Any], prompt: str, *, structured: bool) -> Render:
    """Return what renders a query and a document, with contents that are texts, or lists of parts."""

    def message(role: str, content: str) -> dict[str, Any]:
        return {"role": role, "content": [{"type": "text", "text": content}] if structured else content}

    def render(query: str, document: str) -> str:
        messages = [message("system", prompt)] if prompt else []
        messages += [message("query", query), message("document", document)]
        text: str = writer.apply_chat_template(messages, tokenize=False, **arguments)
        return text

    return render


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two prompts have in common at the beginning."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
