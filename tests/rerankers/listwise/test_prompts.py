"""Prompts, to the letter."""

from __future__ import annotations

from tamis.encoders.base import Passage
from tamis.rerankers.listwise.prompts import SETWISE, STYLES, Messages, Question, Style, is_cut, shown

PASSAGES = [Passage("", "a drum  sieve [12]"), Passage("Soup", "of\npotatoes")]


def prompt(style: str | Style, query: str, passages: list[Passage], words: int) -> Messages:
    return Question(STYLES[style] if isinstance(style, str) else style, query, passages, words).messages()


def test_rankgpt_hands_over_one_passage_at_a_time() -> None:
    messages = prompt("rankgpt", "what [3] is it", PASSAGES, 300)
    assert [m["role"] for m in messages] == ["system", "user", "assistant", *["user", "assistant"] * 2, "user"]
    assert messages[1]["content"] == (
        "I will provide you with 2 passages, each indicated by number identifier []. \n"
        "Rank the passages based on their relevance to query: what (3) is it."
    )
    assert messages[2]["content"] == "Okay, please provide the passages."
    assert [m["content"] for m in messages[3:7]] == [
        "[1] a drum sieve (12)",
        "Received passage [1].",
        "[2] Title: Soup Content: of potatoes",
        "Received passage [2].",
    ]
    assert messages[-1]["content"].startswith("Search Query: what (3) is it. \nRank the 2 passages above based on")
    assert messages[-1]["content"].endswith("Only response the ranking results, do not say any word or explain.")


def test_rankzephyr_says_it_in_one_message() -> None:
    system, user = prompt("rankzephyr", " sieves\n", PASSAGES, 300)
    assert system["content"].startswith("You are RankLLM, an intelligent assistant")
    assert user["content"] == (
        "I will provide you with 2 passages, each indicated by a numerical identifier []. Rank the passages based on their "
        "relevance to the search query: sieves.\n"
        "[1] a drum sieve (12)\n[2] Title: Soup Content: of potatoes\n"
        "Search Query: sieves.\nRank the 2 passages above based on their relevance to the search query. All the passages "
        "should be included and listed using identifiers, in descending order of relevance. The output format should be "
        "[] > [], e.g., [2] > [1], Answer concisely and directly and only respond with the ranking results, do not say any "
        "word or explain."
    )


def test_long_passages_are_cut_by_words() -> None:
    assert shown(Passage("", "a b c d"), 3) == "a b c"
    assert [is_cut(Passage("", "a b c d"), n) for n in (3, 4)] == [True, False]
    titled = Passage("t", "a b")
    assert shown(titled, 5) == "Title: t Content: a b"
    assert [is_cut(titled, n) for n in (4, 5)] == [True, False]


def test_first_calls_passages_by_letters() -> None:
    system, user = prompt("first", "sieves [B]", [Passage("", "see [A] and [12]"), *PASSAGES], 300)
    assert system == prompt("rankzephyr", "", [], 300)[0]
    assert user["content"].startswith(
        "I will provide you with 3 passages, each indicated by a alphabetical identifier []. Rank the passages based on their "
        "relevance to the search query: sieves (B).\n[A] see (A) and (12)\n[B] a drum sieve (12)\n[C] Title: Soup"
    )
    assert "e.g., [B] > [A], Answer concisely" in user["content"]


def test_chat_has_no_system_message() -> None:
    (user,) = prompt("chat", "sieves", PASSAGES, 300)
    assert user["role"] == "user"
    assert "\n[1] a drum sieve (12)\n[2] Title: Soup Content: of potatoes\n\nSearch query: sieves\n" in user["content"]


def test_setwise_asks_for_the_best() -> None:
    (user,) = prompt(SETWISE, "sieves", PASSAGES, 300)
    assert user["content"] == (
        'Given a query "sieves", which of the following passages is the most relevant one to the query?\n\n'
        'Passage A: "a drum sieve (12)"\n\nPassage B: "Title: Soup Content: of potatoes"\n\n'
        "Output only the passage label of the most relevant passage:"
    )


def test_fewer_words_can_be_shown_than_were_asked_for() -> None:
    question = Question(STYLES["chat"], "q", [Passage("", "a b c d")], 3)
    assert "[1] a b c\n" in question.messages()[0]["content"]
    assert "[1] a\n" in question.messages(1)[0]["content"]
    assert question.labels == ["1"]
