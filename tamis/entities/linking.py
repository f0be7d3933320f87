"""What a linker is, and how one is named: texts in, candidate entities out.

A linker is named like a model: ``alias``, ``bm25?depth=20``, ``dense:minilm?cross=cross:MODEL``, ``genre:MODEL``, ``given:FILE``.
Options come from a dataclass of each; in ``dense`` those that are not its own belong to the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from tamis.entities.vocabulary import EntityVocabulary
from tamis.errors import UnknownNameError, UsageError
from tamis.families import Address
from tamis.files import sha256_json

MARKS = ("[[", "]]")

_LINKERS = {
    "alias": "tamis.entities.alias",
    "bm25": "tamis.entities.bm25",
    "dense": "tamis.entities.dense",
    "genre": "tamis.entities.genre",
    "given": "tamis.entities.given",
}


class Candidate(NamedTuple):
    """A proposal.

    Attributes:
        entity: number of the entity.
        score: larger is likelier; comparable within one linker.
        span: (first, end) characters of the text that are about it; None: the text as a whole.
    """

    entity: int
    score: float
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Mention:
    """A text, perhaps with a span that is known to name an entity.

    Attributes:
        text: the whole.
        span: (first, end) characters of the mention.
    """

    text: str
    span: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> Mention:
        """Read ``the [[Paris]] of the north``; without marks no span is known.

        Raises:
            UsageError: a mark is not closed, or there are several.
        """
        before, opened, rest = text.partition(MARKS[0])
        inner, closed, after = rest.partition(MARKS[1])
        if not opened:
            return cls(text)
        if not closed or not inner or MARKS[0] in after:
            raise UsageError(f"{text!r}: one mention can be marked, as in  the [[Paris]] of the north")
        return cls(before + inner + after, (len(before), len(before) + len(inner)))

    @property
    def surface(self) -> str:
        """The mention, or the whole text where none is known."""
        return self.text if self.span is None else self.text[self.span[0] : self.span[1]]


class Linker(Protocol):
    """Proposes entities.

    Attributes:
        fingerprint: hex; equal ones propose the same over the same vocabulary. What is added to the vocabulary later does not
            change it.
    """

    fingerprint: str

    def link(self, mentions: Sequence[Mention]) -> list[list[Candidate]]:
        """Return the candidates of each text, best first; an entity stands at most once in each list."""


def linker_families() -> list[str]:
    """Return the names of all linkers."""
    return sorted(_LINKERS)


def open_linker(name: str, vocabulary: EntityVocabulary) -> Linker:
    """Open a linker over a vocabulary.

    Raises:
        UnknownNameError: no such linker or option.
        MissingResourceError: a model or file that it needs is not there.
    """
    address = Address.parse(name)
    if address.family not in _LINKERS:
        raise UnknownNameError("linker", address.family, _LINKERS)
    linker: Linker = import_module(_LINKERS[address.family]).load(address, vocabulary)
    return linker


def linker_fingerprint(vocabulary: EntityVocabulary, family: str, version: int, **settings: Any) -> str:
    """Return the fingerprint of a linker: of what it is, and of the vocabulary as it began."""
    return sha256_json({"vocabulary": vocabulary.identity, "family": family, "version": version, **settings})


def best(candidates: Sequence[Candidate], depth: int) -> list[Candidate]:
    """Return the best candidates, each entity once with its best score; equal scores by number."""
    found = dict[int, Candidate]()
    for one in candidates:
        held = found.get(one.entity)
        if held is None or one.score > held.score:
            found[one.entity] = one
    return sorted(found.values(), key=lambda one: (-one.score, one.entity))[:depth]


class LinkedEntities:
    """A linker as the encoders take it (`tamis.encoders.dyvo.Candidates`): texts in, ids of entities out.

    Args:
        vocabulary: of the linker.
        linker: it.
        depth: how many entities a text gets at most.
    """

    def __init__(self, vocabulary: EntityVocabulary, linker: Linker, depth: int) -> None:
        self._vocabulary, self._linker, self._depth = vocabulary, linker, depth
        self.fingerprint = sha256_json({"linker": linker.fingerprint, "depth": depth})

    def numbers(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the numbers of the entities of each text, best first."""
        found = self._linker.link([Mention(text) for text in texts])
        return [[one.entity for one in own[: self._depth]] for own in found]

    def __call__(self, texts: Sequence[str]) -> list[list[str]]:
        """Return their ids."""
        return [[self._vocabulary.id(number) for number in own] for own in self.numbers(texts)]
