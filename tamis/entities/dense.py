"""``dense``: entities by the inner product of two encodings (BLINK: Wu et al., EMNLP 2020), perhaps re-scored by a cross-encoder.

``dense:ID`` takes any encoder of the family ``dense``. By default a text is encoded as it is, behind its mention where one is
known, and an entity as a passage of title and description. ``marks=blink`` writes both as BLINK does, with special tokens that
the encoder's vocabulary must have:

    left [unused0] mention [unused1] right          in `context` tokens, half of what the mention leaves for either side, and
                                                    what one side does not need for the other
    title [unused2] description

The vectors of a block of the vocabulary are computed once for an encoder and kept beside it; the search is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import Passage
from tamis.encoders.registry import open_encoder
from tamis.encoders.text import Tokenizer
from tamis.entities.cache import CachedLinker
from tamis.entities.linking import Candidate, Mention, best, linker_fingerprint
from tamis.entities.vocabulary import EntityVocabulary, VocabularyBlock
from tamis.errors import ModelError
from tamis.families import Address, option, option_values, parse_options
from tamis.files import sha256_json, write_array

VERSION = 1
OPENING, CLOSING, TITLE = "[unused0]", "[unused1]", "[unused2]"
_SPECIAL = 2
_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class DenseLinkerOptions:
    """Options of the linker ``dense``, besides its encoder's."""

    depth: int = option(100, "how many entities a text gets", scope="model", ge=1)
    marks: str = option("none", "how mentions and titles are marked", scope="model", choices=("none", "blink"))
    context: int = option(128, "tokens of a marked mention and its context", scope="model", ge=8)
    cross: str | None = option(None, "a cross-encoder that re-scores, e.g. cross:MODEL", scope="model")
    cross_depth: int = option(20, "how many entities it re-scores", scope="model", ge=1)


def mark_mention(tokenizer: Tokenizer, mention: Mention, limit: int) -> str:
    """Return left context, marked mention and right context in at most `limit` tokens, [CLS] and [SEP] counted."""
    text, (first, end) = mention.text, mention.span or (0, len(mention.text))
    left, inner, right = text[:first], text[first:end], text[end:]
    (left_spans, _), (inner_spans, _), (right_spans, _) = tokenizer.spans([left, inner, right])
    room = limit - _SPECIAL - 2
    if len(inner_spans) > room:
        inner = inner[: inner_spans[room - 1][1]]
    free = max(room - len(inner_spans), 0)
    before = min(len(left_spans), max(free // 2, free - len(right_spans)))
    after = min(len(right_spans), free - before)
    left = left[left_spans[-before][0] :] if before else ""
    right = right[: right_spans[after - 1][1]] if after else ""
    return " ".join(part for part in (left.strip(), OPENING, inner.strip(), CLOSING, right.strip()) if part)


class DenseLinker:
    """A `tamis.entities.linking.Linker`.

    Args:
        vocabulary: whose entities are found.
        encoder: a `tamis.encoders.base.DenseEncoder`.
        options: see `DenseLinkerOptions`.
        reranker: a `tamis.rerankers.base.PairScorer`, or None.

    Raises:
        ModelError: the encoder has no such marks.
    """

    def __init__(
        self, vocabulary: EntityVocabulary, encoder: Any, options: DenseLinkerOptions, reranker: Any = None
    ) -> None:
        self._vocabulary, self._encoder, self._options, self._reranker = vocabulary, encoder, options, reranker
        self._tokenizer = _marked_tokenizer(encoder) if options.marks == "blink" else None
        settings = {**option_values(options), "cross": None if reranker is None else reranker.identity.fingerprint}
        self.fingerprint = linker_fingerprint(
            vocabulary, "dense", VERSION, encoder=encoder.identity.fingerprint, **settings
        )

    @cached_property
    def _vectors(self) -> list[NDArray[np.float32]]:
        return [self._block_vectors(block) for block in self._vocabulary.blocks]

    def _block_vectors(self, block: VocabularyBlock) -> NDArray[np.float32]:
        key = sha256_json([VERSION, self._encoder.identity.fingerprint, self._options.marks])[:32]
        path = block.cached(f"dense-{key}.npy")
        if not path.is_file():
            vectors: NDArray[np.float32] = self._encoder.encode_passages(self._passages(block)).vectors
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_array(path, vectors)
            except OSError:
                return vectors  # a vocabulary that cannot be written
        found: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
        return found

    def _passages(self, block: VocabularyBlock) -> list[Passage]:
        pairs = [(block.titles[i], block.descriptions[i]) for i in range(len(block))]
        if self._tokenizer is None:
            return [Passage(title, text) for title, text in pairs]
        return [Passage("", f"{title} {TITLE} {text}") for title, text in pairs]

    def _written(self, mention: Mention) -> str:
        if self._tokenizer is not None:
            return mark_mention(self._tokenizer, mention, self._options.context)
        return mention.text if mention.span is None else f"{mention.surface}: {mention.text}"

    def link(self, mentions: Sequence[Mention]) -> list[list[Candidate]]:
        """See `Linker`; without texts nothing is encoded."""
        if not mentions:
            return []
        asked = self._encoder.encode_queries([self._written(mention) for mention in mentions]).vectors
        found = [list[Candidate]() for _ in mentions]
        for block, vectors in zip(self._vocabulary.blocks, self._vectors, strict=True):
            for start in range(0, len(vectors), _AT_ONCE):
                scores = asked @ vectors[start : start + _AT_ONCE].T
                for i, row in enumerate(scores):
                    found[i] = best([*found[i], *self._top(row, block.first + start, mentions[i])], self._options.depth)
        return found if self._reranker is None else self._rescored(mentions, found)

    def _top(self, scores: NDArray[np.float32], first: int, mention: Mention) -> list[Candidate]:
        depth = self._options.depth
        places = np.arange(len(scores))
        if depth < len(scores):
            least = np.partition(scores, -depth)[-depth]
            places = np.flatnonzero(scores >= least)  # all of equal scores, so that the lowest numbers stay
        return [Candidate(first + int(place), float(scores[place]), mention.span) for place in places]

    def _rescored(self, mentions: Sequence[Mention], found: Sequence[Sequence[Candidate]]) -> list[list[Candidate]]:
        """Put the first candidates in the order of the cross-encoder; the others are left out."""
        kept = [own[: self._options.cross_depth] for own in found]
        entities = [self._vocabulary[one.entity] for own in kept for one in own]
        queries = [self._written(mention) for mention, own in zip(mentions, kept, strict=True) for _ in own]
        passages = [Passage(entity.title, entity.description) for entity in entities]
        scores = iter(self._reranker.score_pairs(queries, passages).scores.tolist())
        return [best([one._replace(score=next(scores)) for one in own], len(own)) for own in kept]


def _marked_tokenizer(encoder: Any) -> Tokenizer:
    """Return the encoder's tokenizer, to which the marks are single tokens from now on."""
    text_format: Any = getattr(encoder, "query_format", None)
    raw = None if text_format is None else text_format.tokenizer.raw
    if raw is None or any(raw.token_to_id(mark) is None for mark in (OPENING, CLOSING, TITLE)):
        raise ModelError(
            f"{encoder.identity.address}: marks=blink needs {OPENING}, {CLOSING} and {TITLE} in the encoder's vocabulary"
        )
    raw.add_special_tokens([OPENING, CLOSING, TITLE])
    tokenizer: Tokenizer = text_format.tokenizer
    return tokenizer


def load(address: Address, vocabulary: EntityVocabulary) -> Any:
    """Make the linker; errors as of the encoder, the cross-encoder and `parse_options`."""
    names = {field.name for field in fields(DenseLinkerOptions)}
    own = [pair for pair in address.options if pair[0] in names]
    options = parse_options(DenseLinkerOptions, own, of="linker dense")
    rest = tuple(pair for pair in address.options if pair[0] not in names)
    encoder = open_encoder(Address("dense", address.id, address.revision, rest))
    reranker = None
    if options.cross is not None:
        from tamis.rerankers.registry import open_reranker

        reranker = open_reranker(options.cross)
    return CachedLinker(DenseLinker(vocabulary, encoder, options, reranker), vocabulary)
