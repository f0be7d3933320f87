"""``alias``: names of the vocabulary found in a text, each with the entities that it may mean, by how likely it means them.

Names are sequences of words (Unicode word breaks, lower case), kept in a trie whose edges are words. A text is read from left to
right; where names begin, the longest is taken and reading goes on behind it, so mentions neither overlap nor begin or end inside
a word. A name of stop words only ("It", "To Be") is no mention. What stands in brackets behind a title, as in "Mercury (planet)",
is not part of the name: both the whole and what is before it are looked up.

The score of an entity is the share of its weight among all that the name may mean: P(entity | name), where weights are counts of
the alias, or else popularity. An entity that several mentions propose has its largest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tamis.encoders.analysis.english import STOP_WORDS
from tamis.encoders.analysis.tables import lower_case
from tamis.encoders.analysis.words import word_spans
from tamis.entities.linking import Candidate, Mention, best, linker_fingerprint
from tamis.entities.vocabulary import EntityVocabulary
from tamis.families import Address, option, option_values, parse_options

VERSION = 1
_BRACKETS = re.compile(r"(.*\S)\s*\([^()]*\)\s*", re.DOTALL)
_ROOT = 0


@dataclass(frozen=True)
class AliasOptions:
    """Options of ``alias``."""

    depth: int = option(100, "how many entities a text gets at most", scope="model", ge=1)
    per_mention: int = option(10, "how many entities a mention proposes, the likeliest", scope="model", ge=1)
    prior: float = option(0.0, "the least P(entity | name) that proposes", scope="model", ge=0, le=1)
    brackets: bool = option(
        True, "whether a title also counts without what stands in brackets behind it", scope="model"
    )


class NameTrie:
    """Names as sequences of words, each with the weight of every entity that it may mean.

    The transitions of all nodes are one table, (node, word) → node: a name costs an entry a word that no other name shares.
    """

    def __init__(self) -> None:
        self._next = dict[tuple[int, str], int]()
        self._meanings = dict[int, dict[int, float]]()

    def add(self, words: Sequence[str], entity: int, weight: float) -> None:
        """Add a name; the larger weight counts where an entity has it twice."""
        node = _ROOT
        for word in words:
            node = self._next.setdefault((node, word), len(self._next) + 1)
        meanings = self._meanings.setdefault(node, {})
        meanings[entity] = max(weight, meanings.get(entity, 0.0))

    def longest(self, words: Sequence[str], first: int) -> tuple[int, dict[int, float]] | None:
        """Return where the longest name that begins with word `first` ends, and what it may mean."""
        node, found = _ROOT, None
        for place in range(first, len(words)):
            following = self._next.get((node, words[place]))
            if following is None:
                break
            node = following
            if node in self._meanings:
                found = place + 1, self._meanings[node]
        return found

    def mentions(self, words: Sequence[str]) -> Iterator[tuple[int, int, dict[int, float]]]:
        """Yield (first word, end, meanings) of every mention, from left to right."""
        place = 0
        while place < len(words):
            found = self.longest(words, place)
            if found is None:
                place += 1
            else:
                yield place, found[0], found[1]
                place = found[0]


class AliasLinker:
    """A `tamis.entities.linking.Linker`.

    Args:
        vocabulary: whose names are found.
        options: see `AliasOptions`.
    """

    def __init__(self, vocabulary: EntityVocabulary, options: AliasOptions) -> None:
        self._options, self._trie = options, NameTrie()
        self.fingerprint = linker_fingerprint(vocabulary, "alias", VERSION, **option_values(options))
        for entity, name, weight in vocabulary.names():
            bare = _BRACKETS.fullmatch(name) if options.brackets else None
            for one in (name, bare[1]) if bare else (name,):
                words = [word for word, _, _ in _words(one)]
                if words and not STOP_WORDS.issuperset(words):
                    self._trie.add(words, entity, weight)

    def link(self, mentions: Sequence[Mention]) -> list[list[Candidate]]:
        """See `Linker`; of a text with a mention only that is looked up."""
        return [best(list(self._candidates(mention)), self._options.depth) for mention in mentions]

    def _candidates(self, mention: Mention) -> Iterator[Candidate]:
        start = 0 if mention.span is None else mention.span[0]
        spans = list(_words(mention.surface))
        for first, end, meanings in self._trie.mentions([word for word, _, _ in spans]):
            total = sum(meanings.values())
            span = (start + spans[first][1], start + spans[end - 1][2])
            likeliest = sorted(meanings.items(), key=lambda item: (-item[1], item[0]))[: self._options.per_mention]
            for entity, weight in likeliest:
                if weight >= self._options.prior * total:
                    yield Candidate(entity, weight / total, span)


def _words(text: str) -> Iterator[tuple[str, int, int]]:
    for first, end in word_spans(text):
        yield lower_case(text[first:end]), first, end


def load(address: Address, vocabulary: EntityVocabulary) -> Any:
    """Make the linker; errors as of `parse_options`."""
    return AliasLinker(vocabulary, parse_options(AliasOptions, address.options, of="linker alias"))
