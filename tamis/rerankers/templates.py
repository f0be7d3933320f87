"""A prompt: fixed words around texts, of which some may be cut so that the whole fits.

A template is written as ``Query: {query} Document: {document} Relevant:``. Its words and its texts are tokenised apart, each
distinct text once however many prompts it is in, which gives the tokens of the whole since the tokenizers of T5 never join words
across white space; a tokenizer that does is refused. The fixed words are never cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tamis.encoders.batching import Inputs
from tamis.encoders.text import Tokenizer
from tamis.errors import ModelError
from tamis.rerankers.pairs import fit

LEAST = 64
"""Tokens that documents keep of a prompt however long the query is, or half of what there is room for if that is less."""

QUERY = "query"

_FIELD = re.compile(r"\{(\w+)\}")
_PROBES = ("a drum sieve", "", "12 cooks, no more.", "ﬁne purée")


class Template:
    """How prompts are written for a model.

    Args:
        text: fixed words and fields in braces, apart by spaces. The field ``query`` is the query; one or two more are documents.
        tokenizer: the model's.
        max_length: tokens of a prompt, special tokens counted.
        cut_end: whether too long a prompt loses its end, whatever stands there, as in pygaggle; else its documents theirs.
        whole: fields of a few tokens that are neither query nor document, and never cut.

    Raises:
        ModelError: there is no room for documents, or the tokenizer joins words across white space.
    """

    def __init__(
        self, text: str, tokenizer: Tokenizer, max_length: int, *, cut_end: bool = False, whole: Sequence[str] = ()
    ) -> None:
        self.text, self.tokenizer, self.max_length, self.cut_end = text, tokenizer, max_length, cut_end
        parts = _FIELD.split(text)
        self._fields = parts[1::2]
        self._documents = [name for name in self._fields if name != QUERY and name not in whole]
        self._marks = tokenizer.bare(parts[::2])
        self._begin, self._end = _special(tokenizer)
        self._room = max_length - sum(map(len, (*self._marks, self._begin, self._end)))
        if self._room < 2 * len(self._fields):
            raise ModelError(
                f"max_length={max_length}: the prompt {text!r} alone takes {max_length - self._room} tokens"
            )
        self._require_apart()

    def inputs(self, texts: Mapping[str, Sequence[str]]) -> Inputs:
        """Return prompts as the model reads them.

        What does not fit is cut from the end of the documents, the longer of two first. A query is cut only where it would
        leave the documents less than `LEAST` tokens.

        Args:
            texts: for every field, that of each prompt.
        """
        columns = [self._tokens(texts[name]) for name in self._fields]
        ids, truncated = [], 0
        for row in zip(*columns, strict=True):
            lengths = [len(part) for part in row]
            truncated += sum(lengths) > self._room
            parts = [part[:size] for part, size in zip(row, self._kept(lengths), strict=True)]
            prompt = self._put_together(parts)
            if len(prompt) > self.max_length:
                prompt = prompt[: self.max_length - len(self._end)] + self._end
            ids.append(prompt)
        return Inputs(ids, truncated=truncated)

    def _put_together(self, parts: Sequence[list[int]]) -> list[int]:
        found = [*self._begin, *self._marks[0]]
        for part, mark in zip(parts, self._marks[1:], strict=True):
            found += part
            found += mark
        return found + self._end

    def _kept(self, lengths: Sequence[int]) -> Sequence[int]:
        """Return how many tokens of each field are kept."""
        if sum(lengths) <= self._room or self.cut_end:
            return lengths
        sizes = dict(zip(self._fields, lengths, strict=True))
        wanted = sum(sizes[name] for name in self._documents)
        room = self._room - sum(lengths) + wanted + sizes.get(QUERY, 0)  # what the whole fields leave
        query = min(sizes.get(QUERY, 0), room - min(wanted, LEAST, room // 2))
        first, *others = (sizes[name] for name in self._documents)
        kept = sizes | dict(zip(self._documents, fit(first, sum(others), room - query), strict=False)) | {QUERY: query}
        return [kept[name] for name in self._fields]

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        distinct = list(dict.fromkeys(texts))
        known = dict(zip(distinct, self.tokenizer.bare(distinct), strict=True))
        return [known[text] for text in texts]

    def _require_apart(self) -> None:
        for probe in _PROBES:
            whole, part = self.tokenizer.bare([_FIELD.sub(probe, self.text), probe])
            if self._put_together([part] * len(self._fields)) != [*self._begin, *whole, *self._end]:
                raise ModelError(
                    "the tokenizer joins words across white space, or depends on what stands before them: a prompt cannot be put "
                    "together from the tokens of its parts"
                )


def _special(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and behind a text."""
    encoded = tokenizer.raw.encode("a")
    bare = len(tokenizer.bare(["a"])[0])
    first = next(i for i, special in enumerate(encoded.special_tokens_mask) if not special)
    return encoded.ids[:first], encoded.ids[first + bare :]
