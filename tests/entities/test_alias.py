"""Names in texts: longest match at word boundaries, priors by hand, and a plain scan as a second opinion."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.entities.alias import NameTrie
from tamis.entities.linking import LinkedEntities, Mention, open_linker
from tamis.entities.vocabulary import Entity, EntityVocabulary
from tamis.errors import UnknownNameError, UsageError


def linked(vocabulary: EntityVocabulary, text: str, linker: str = "alias") -> list[tuple[str, float, str]]:
    (found,) = open_linker(linker, vocabulary).link([Mention(text)])
    return [(vocabulary.id(one.entity), one.score, text[slice(*one.span)]) for one in found]


def test_the_longest_name_counts(vocabulary: EntityVocabulary) -> None:
    assert linked(vocabulary, "in New  York City now") == [("Q5", 1.0, "New  York City")]
    assert linked(vocabulary, "a new york state") == [("Q4", 1.0, "new york")]
    assert linked(vocabulary, "New Yorker, renew york, The Big Apples") == []


def test_priors(vocabulary: EntityVocabulary) -> None:
    assert linked(vocabulary, "mercury") == [("Q1", 0.6, "mercury"), ("Q2", 0.3, "mercury"), ("Q3", 0.1, "mercury")]
    assert linked(vocabulary, "Hermes") == [("Q3", 0.75, "Hermes"), ("Q1", 0.25, "Hermes")]
    both = linked(vocabulary, "Hermes is Mercury")
    assert both == [("Q3", 0.75, "Hermes"), ("Q1", 0.6, "Mercury"), ("Q2", 0.3, "Mercury")]
    assert [one[0] for one in linked(vocabulary, "Hermes is Mercury", "alias?per_mention=1")] == ["Q3", "Q1"]
    assert [one[0] for one in linked(vocabulary, "mercury", "alias?prior=0.3")] == ["Q1", "Q2"]
    assert linked(vocabulary, "mercury", "alias?brackets=false") == [("Q3", 1.0, "mercury")]
    assert [one[0] for one in linked(vocabulary, "mercury planet")] == ["Q1"]


def test_stop_words_are_no_names(vocabulary: EntityVocabulary) -> None:
    assert linked(vocabulary, "it is it") == []


def test_a_marked_mention_is_looked_up_alone(vocabulary: EntityVocabulary) -> None:
    mention = Mention.parse("New York knows [[quicksilver]] and Hermes")
    (found,) = open_linker("alias", vocabulary).link([mention])
    assert [(vocabulary.id(one.entity), mention.text[slice(*one.span)]) for one in found] == [("Q2", "quicksilver")]


@pytest.mark.parametrize("text", ["a [[b", "[[]]", "[[a]] [[b]]"])
def test_wrong_marks(text: str) -> None:
    with pytest.raises(UsageError, match="mention"):
        Mention.parse(text)


def test_names_of_linkers(vocabulary: EntityVocabulary) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'alias'"):
        open_linker("alais", vocabulary)
    with pytest.raises(UnknownNameError, match="option of linker alias"):
        open_linker("alias?dept=3", vocabulary)


def test_fingerprints_outlive_additions(vocabulary: EntityVocabulary, tmp_path: Path) -> None:
    before = {
        name: LinkedEntities(vocabulary, open_linker(name, vocabulary), 5).fingerprint for name in ("alias", "bm25")
    }
    grown = vocabulary.add([Entity("Q7", "Venus")])
    after = {name: LinkedEntities(grown, open_linker(name, grown), 5).fingerprint for name in ("alias", "bm25")}
    assert before == after
    assert open_linker("alias?prior=0.5", grown).fingerprint != open_linker("alias", grown).fingerprint
    other = EntityVocabulary.build([Entity("Q7", "Venus")], tmp_path / "other")
    assert open_linker("alias", other).fingerprint != open_linker("alias", grown).fingerprint


words = st.sampled_from("abc")


@given(st.lists(st.lists(words, min_size=1, max_size=4), max_size=8), st.lists(words, max_size=12))
def test_the_trie_finds_what_a_scan_finds(names: list[list[str]], text: list[str]) -> None:
    trie = NameTrie()
    for number, name in enumerate(names):
        trie.add(name, number, 1.0)
    expected, place = [], 0
    while place < len(text):
        ends = [place + len(name) for name in names if text[place : place + len(name)] == name]
        if ends:
            end = max(ends)
            expected.append((place, end, {i for i, name in enumerate(names) if name == text[place:end]}))
            place = end
        else:
            place += 1
    assert [(first, end, set(meanings)) for first, end, meanings in trie.mentions(text)] == expected
