"""tamis.data.passages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.data import Chunker, Document
from tamis.errors import UsageError


def words(count: int) -> str:
    return " ".join(f"w{i}" for i in range(count))


@pytest.mark.parametrize(
    ("count", "spans"),
    [
        (1, [(0, 1)]),
        (150, [(0, 150)]),
        (151, [(0, 150), (75, 151)]),
        (225, [(0, 150), (75, 225)]),
        (226, [(0, 150), (75, 225), (150, 226)]),
    ],
)
def test_windows(count: int, spans: list[tuple[int, int]]) -> None:
    document = Document("D", words(count), "title", {"k": 1})
    passages = Chunker.parse("tokens:150/75").split(document)
    expected = [" ".join(f"w{i}" for i in range(a, b)) for a, b in spans]
    assert [passage.text for passage in passages] == expected
    assert [passage.id for passage in passages] == [f"D#{i}" for i in range(len(spans))]
    assert all((passage.title, passage.metadata) == ("title", {"k": 1}) for passage in passages)


def test_white_space_inside_a_passage_stays() -> None:
    passages = Chunker(2, 2).split(Document("D", "  a\n\nb\u00a0c\td "))
    assert [passage.text for passage in passages] == ["a\n\nb", "c\td"]


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_document_gives_one_passage(text: str) -> None:
    assert Chunker(3, 1).split(Document("D", text, "t")) == [Document("D#0", text, "t")]


@given(st.integers(0, 60), st.integers(1, 12), st.data())
def test_every_word_is_covered_and_the_last_passage_brings_one(count: int, window: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, window))
    passages = [p.text.split() for p in Chunker(window, stride).split(Document("D", words(count)))]
    assert sorted({word for passage in passages for word in passage}) == sorted(words(count).split())
    assert all(len(passage) <= window for passage in passages)
    if len(passages) > 1:
        assert not set(passages[-1]) <= set(passages[-2])


@pytest.mark.parametrize(("text", "canonical"), [("tokens:200/100", "tokens:200/100"), (" tokens:50 ", "tokens:50/50")])
def test_canonical_spelling(text: str, canonical: str) -> None:
    assert str(Chunker.parse(text)) == canonical
    assert Chunker.parse(canonical) == Chunker.parse(text)


@pytest.mark.parametrize("text", ["200/100", "tokens", "tokens:", "tokens:a", "tokens:-2", "words:5", "tokens:5/"])
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected tokens:WINDOW/STRIDE, for example tokens:200/100"):
        Chunker.parse(text)


@pytest.mark.parametrize("text", ["tokens:100/101", "tokens:100/0", "tokens:0"])
def test_limits(text: str) -> None:
    with pytest.raises(UsageError, match="the stride must be at least 1 and at most the window"):
        Chunker.parse(text)
