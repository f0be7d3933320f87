"""A query and a passage as one sequence of tokens, the way a checkpoint's tokenizer joins them.

Each distinct text is tokenised once, however many pairs it is in: the tokenizer's own template, learnt from an example, puts the
halves together. A pair that is too long loses tokens from the end of its longer half, as everybody's tokenizers do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tamis.encoders.batching import Inputs
from tamis.encoders.text import Tokenizer
from tamis.errors import ModelError

VERSION = 1
"""Of how pairs are written and their scores worked out; raised when what is computed changes."""


@dataclass(frozen=True)
class _Template:
    """The tokens before, between and behind two texts, and the token type of each place."""

    marks: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    mark_types: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    types: tuple[int, int]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> _Template:
        raw = tokenizer.raw
        joined = raw.encode("a", "a")
        sides = joined.sequence_ids
        if 0 not in sides or 1 not in sides or sides.index(0) > sides.index(1):
            raise ModelError("the tokenizer does not join a query and a passage, in this order, to one sequence")
        first, last = sides.index(0), len(sides) - 1 - sides[::-1].index(1)
        end, begin = len(sides) - 1 - sides[::-1].index(0), sides.index(1)
        spans = (slice(0, first), slice(end + 1, begin), slice(last + 1, len(sides)))
        before, between, behind = (tuple(joined.ids[span]) for span in spans)
        types = tuple(tuple(joined.type_ids[span]) for span in spans)
        return cls((before, between, behind), types, (joined.type_ids[first], joined.type_ids[begin]))  # type: ignore[arg-type]


class PairFormat:
    """How pairs are written for a model.

    Args:
        tokenizer: the model's.
        max_length: tokens that are read of a pair.
        query_length: tokens that are read of a query, its special tokens not counted; None: as many as fit.
        prompt: what is put before a query.
        lower: whether texts are lower-cased first.
        typed: whether the model tells its halves apart by token types.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_length: int,
        *,
        query_length: int | None = None,
        prompt: str = "",
        lower: bool = False,
        typed: bool = True,
    ) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length
        self.query_length, self.prompt, self.lower, self.typed = query_length, prompt, lower, typed
        self._template = _Template.of(tokenizer)
        self._room = max_length - sum(map(len, self._template.marks))

    def inputs(self, queries: Sequence[str], passages: Sequence[str]) -> Inputs:
        """Return query i with passage i, as the model reads them."""
        halves = self._tokens([self.prompt + query for query in queries]), self._tokens(passages)
        template, ids, types, truncated = self._template, [], [], 0
        (before, between, behind), (type_a, type_b) = template.marks, template.types
        edge, middle, end = (list(kinds) for kinds in template.mark_types)
        for query, passage in zip(*halves, strict=True):
            a, b = fit(min(len(query), self.query_length or len(query)), len(passage), self._room)
            truncated += a < len(query) or b < len(passage)
            ids.append([*before, *query[:a], *between, *passage[:b], *behind])
            if self.typed:
                types.append([*edge, *[type_a] * a, *middle, *[type_b] * b, *end])
        return Inputs(ids, types if self.typed else None, truncated=truncated)

    def to_json(self) -> dict[str, Any]:
        """Return all but the tokenizer: arguments for another `PairFormat`."""
        names = ("max_length", "query_length", "prompt", "lower", "typed")
        return {name: getattr(self, name) for name in names}

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        distinct = list(dict.fromkeys(text.lower() if self.lower else text for text in texts))
        known = dict(zip(distinct, self.tokenizer.bare(distinct), strict=True))
        return [known[text.lower() if self.lower else text] for text in texts]


def fit(first: int, second: int, room: int) -> tuple[int, int]:
    """Return how many tokens of two texts are kept so that both fit into `room`: the longer one is cut first."""
    if first + second <= room:
        return first, second
    short, long = sorted((first, second))
    if 2 * short > room:
        short = room // 2
    long = room - short
    return (short, long) if first <= second else (long, short)
