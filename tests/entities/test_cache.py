"""What is kept is what was found; only new texts are asked for, and another vocabulary is another cache."""

from __future__ import annotations

from collections.abc import Sequence

from tamis.entities.cache import FOLDER, CachedLinker
from tamis.entities.linking import Candidate, Mention
from tamis.entities.vocabulary import Entity, EntityVocabulary


class Counting:
    """Finds as many entities as a text has letters, and remembers what it was asked."""

    fingerprint = "c" * 64

    def __init__(self) -> None:
        self.asked: list[Mention] = []

    def link(self, mentions: Sequence[Mention]) -> list[list[Candidate]]:
        self.asked += mentions
        return [[Candidate(i, 1 / (i + 3), m.span) for i in range(len(m.text))] for m in mentions]


def test_only_new_texts_are_asked_for(vocabulary: EntityVocabulary) -> None:
    texts = [Mention("ab"), Mention("abc", (0, 1)), Mention("ab"), Mention("")]
    first, wanted = Counting(), Counting().link(texts)
    assert CachedLinker(first, vocabulary).link(texts) == wanted
    assert first.asked == [texts[0], texts[1], texts[3]]
    second = Counting()
    again = CachedLinker(second, EntityVocabulary(vocabulary.folder))
    assert again.fingerprint == second.fingerprint
    assert again.link([*texts, Mention("abc"), Mention("\ud800")]) == [
        *wanted,
        *Counting().link([Mention("abc"), Mention("x")]),
    ]
    assert second.asked == [Mention("abc"), Mention("\ud800")]
    third = Counting()
    CachedLinker(third, vocabulary.add([Entity("Q7", "Venus")])).link(texts[:1])
    assert third.asked == texts[:1]


def test_a_vocabulary_that_cannot_be_written(vocabulary: EntityVocabulary) -> None:
    (vocabulary.folder / FOLDER).write_text("in the way")
    linker = Counting()
    for _ in range(2):
        assert CachedLinker(linker, vocabulary).link([Mention("a")]) == [[Candidate(0, 1 / 3)]]
    assert len(linker.asked) == 2
