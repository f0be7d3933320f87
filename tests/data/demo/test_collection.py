"""The demo's topics and judgements, against the passages that this Python holds."""

from __future__ import annotations

import re

import pytest

from tamis.data.demo import demo_qrels, demo_topics, passages

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a after all an and are as at be before but by can did do does for from get have his how i if in into is it its many me
        my need not of off on one or set so some something than that the their them then there these this to two use want was
        what when where which who why will with without you your
        """,
    )
)


def content_words(text: str) -> set[str]:
    """Lower-case words without stop words, endings cut roughly, so that "copying" and "copies" meet."""
    words = set(re.findall(r"[a-z]+|\d+", text.lower())) - STOP_WORDS
    return {re.sub(r"(ies|ing|ed|es|s|e|y)$", "", word) if len(word) > 4 else word.rstrip("s") for word in words}


@pytest.fixture(scope="module")
def contents() -> dict[str, str]:
    return {document.id: document.contents for document in passages()}


@pytest.fixture(scope="module")
def topics() -> dict[str, str]:
    queries = demo_topics()
    return dict(zip(queries.ids, queries.texts, strict=True))


def test_enough_topics_all_judged(topics):
    assert len(topics) >= 80
    assert list(demo_qrels()) == list(topics)
    assert len({text.lower() for text in topics.values()}) == len(topics)


def test_every_topic_has_an_answer_and_only_grades_1_and_2():
    for query, judged in demo_qrels().items():
        assert 2 in judged.values(), query
        assert set(judged.values()) <= {1, 2}, query


def test_every_judged_passage_exists(contents):
    missing = {(query, name) for query, judged in demo_qrels().items() for name in judged if name not in contents}
    assert not missing


def test_no_topic_is_copied_from_the_documentation(topics, contents):
    prose = "\n".join(" ".join(text.lower().split()) for text in contents.values())
    assert [text for text in topics.values() if len(text.split()) > 3 and text.lower() in prose] == []


def test_some_topics_share_no_word_with_any_answer(topics, contents):
    qrels = demo_qrels()
    disjoint = [
        query
        for query, text in topics.items()
        if not any(
            content_words(text) & content_words(contents[name]) for name, grade in qrels[query].items() if grade > 1
        )
    ]
    assert len(disjoint) >= 10


def test_most_topics_share_a_word_with_an_answer(topics, contents):
    qrels = demo_qrels()
    sharing = [
        query
        for query, text in topics.items()
        if any(content_words(text) & content_words(contents[name]) for name, grade in qrels[query].items() if grade > 1)
    ]
    assert len(sharing) >= len(topics) / 2
