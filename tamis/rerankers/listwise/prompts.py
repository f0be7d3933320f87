"""What listwise models are asked, to the letter of what they were trained on or first shown.

- ``rankgpt``: Sun et al., "Is ChatGPT Good at Search?", 2023: a conversation that hands over one passage at a time.
- ``rankzephyr``: Pradeep et al., "RankZephyr", 2023, and RankVicuna before it: one message.
- ``first``: Gangi Reddy et al., "FIRST", 2024: the same with letters, each of which is one token.
- ``chat``: no model's own: a short instruction without a system message, for chat models of any kind.
- ``setwise``: Zhuang et al., "A Setwise Approach for Effective and Highly Efficient Zero-shot Ranking with Large Language
  Models", 2024: which of a few passages is the best.
- ``attended``: passages first and the query last, which is not answered but looked at (`tamis.rerankers.listwise.attention`).

Of a passage so many words are shown; what looks like an identifier in it is written with other brackets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from tamis.encoders.base import Passage

Messages = list[dict[str, str]]
"""A conversation: ``role`` and ``content`` of each message."""

_IDENTIFIER = re.compile(r"\[(\d+)\]")
_LETTERED = re.compile(r"\[(\d+|[A-Z])\]")


@dataclass(frozen=True)
class Style:
    """A way to ask.

    Attributes:
        write: makes the conversation of a query and passages as they are shown.
        letters: whether passages are called A, B, C … and not 1, 2, 3 …
        answer: an answer that begins with a passage, with ``{}`` for what it is called.
        item: how a passage stands in the conversation, with ``{}`` for what it is called and for itself.
    """

    write: Callable[[str, Sequence[str]], Messages]
    letters: bool = False
    answer: str = "[{}]"
    item: str = "[{}] {}"

    def labels(self, count: int) -> list[str]:
        """Return what passages are called; too few where there are more of them than letters."""
        return list(ascii_uppercase[:count]) if self.letters else [str(i) for i in range(1, count + 1)]

    def clean(self, text: str) -> str:
        """Return a text in which nothing looks like an identifier."""
        return (_LETTERED if self.letters else _IDENTIFIER).sub(r"(\1)", text)


def shown(passage: Passage, words: int) -> str:
    """Return what is shown of a passage."""
    text = f"Title: {passage.title} Content: {passage.text}" if passage.title else passage.text
    return " ".join(text.split()[:words])


def is_cut(passage: Passage, words: int) -> bool:
    """Whether a passage has more words than are shown."""
    return len(f"{passage.title} {passage.text}".split()) > words - 2 * bool(passage.title)


def rankgpt(query: str, passages: Sequence[str]) -> Messages:
    """The prompt of RankGPT."""
    count = len(passages)
    messages = [
        _message(
            "system",
            "You are RankGPT, an intelligent assistant that can rank passages based on their relevancy to the query.",
        ),
        _message(
            "user",
            f"I will provide you with {count} passages, each indicated by number identifier []. \n"
            f"Rank the passages based on their relevance to query: {query}.",
        ),
        _message("assistant", "Okay, please provide the passages."),
    ]
    for i, passage in enumerate(passages, 1):
        messages.append(_message("user", f"[{i}] {passage}"))
        messages.append(_message("assistant", f"Received passage [{i}]."))
    messages.append(
        _message(
            "user",
            f"Search Query: {query}. \nRank the {count} passages above based on their relevance to the search query. "
            "The passages should be listed in descending order using identifiers. The most relevant passages should be listed "
            "first. The output format should be [] > [], e.g., [1] > [2]. Only response the ranking results, do not say any "
            "word or explain.",
        )
    )
    return messages


def rankzephyr(query: str, passages: Sequence[str]) -> Messages:
    """The prompt of RankZephyr and RankVicuna."""
    return _rank_llm(query, passages, list(map(str, range(1, len(passages) + 1))), "a numerical", "[2] > [1]")


def first(query: str, passages: Sequence[str]) -> Messages:
    """The prompt of FIRST."""
    return _rank_llm(query, passages, list(ascii_uppercase[: len(passages)]), "a alphabetical", "[B] > [A]")


def _rank_llm(query: str, passages: Sequence[str], labels: Sequence[str], kind: str, example: str) -> Messages:
    count = len(passages)
    listed = "".join(f"[{label}] {passage}\n" for label, passage in zip(labels, passages, strict=True))
    return [
        _message(
            "system",
            "You are RankLLM, an intelligent assistant that can rank passages based on their relevancy to the query",
        ),
        _message(
            "user",
            f"I will provide you with {count} passages, each indicated by {kind} identifier []. "
            f"Rank the passages based on their relevance to the search query: {query}.\n"
            f"{listed}"
            f"Search Query: {query}.\nRank the {count} passages above based on their relevance to the search query. "
            "All the passages should be included and listed using identifiers, in descending order of relevance. "
            f"The output format should be [] > [], e.g., {example}, Answer concisely and directly and only respond with the "
            "ranking results, do not say any word or explain.",
        ),
    ]


def chat(query: str, passages: Sequence[str]) -> Messages:
    """A prompt for any chat model."""
    listed = "\n".join(f"[{i}] {passage}" for i, passage in enumerate(passages, 1))
    return [
        _message(
            "user",
            f"Below are {len(passages)} passages, each with a number in brackets.\n\n{listed}\n\nSearch query: {query}\n\n"
            "Put all of the passages in order of how well they answer the search query, the best one first. Write their numbers "
            f"as in [2] > [1], each of the {len(passages)} once, and nothing else.",
        )
    ]


def setwise(query: str, passages: Sequence[str]) -> Messages:
    """The prompt of the setwise approach."""
    listed = "\n\n".join(
        f'Passage {label}: "{passage}"' for label, passage in zip(ascii_uppercase, passages, strict=False)
    )
    return [
        _message(
            "user",
            f'Given a query "{query}", which of the following passages is the most relevant one to the query?\n\n{listed}\n\n'
            "Output only the passage label of the most relevant passage:",
        )
    ]


def attended(query: str, passages: Sequence[str]) -> Messages:
    """A prompt in which the query comes last."""
    listed = "\n\n".join(f"[{i}] {passage}" for i, passage in enumerate(passages, 1))
    return [
        _message(
            "user",
            f"Here are some paragraphs:\n\n{listed}\n\nPlease find information that is relevant to the following query in the "
            f"paragraphs above.\n\n{QUERY} {query}",
        )
    ]


QUERY = "Query:"
"""What stands before the query of `attended`, and a space."""

STYLES: dict[str, Style] = {
    "rankgpt": Style(rankgpt),
    "rankzephyr": Style(rankzephyr),
    "first": Style(first, letters=True),
    "chat": Style(chat),
}
"""How an order is asked for, by name."""

SETWISE = Style(setwise, letters=True, answer="Passage {}", item='Passage {}: "{}"')
"""How the best of a few is asked for."""

ATTENDED = Style(attended)
"""How a model is shown passages where its attention is all that is asked for."""


@dataclass(frozen=True)
class Question:
    """What is put to a model once.

    Attributes:
        style: how.
        query: its text.
        passages: those that it sees, in the order in which it sees them.
        words: how many are shown of a passage.
        best: whether it is asked for the best passage only, and not for an order.
    """

    style: Style
    query: str
    passages: Sequence[Passage]
    words: int
    best: bool = False

    def messages(self, words: int | None = None) -> Messages:
        """Return the conversation, with another number of words of a passage if one is given."""
        return self.style.write(self.clean_query, self.texts(words))

    def items(self, words: int | None = None) -> list[str]:
        """Return the passages as they stand in the conversation."""
        return [self.style.item.format(label, text) for label, text in zip(self.labels, self.texts(words), strict=True)]

    @property
    def clean_query(self) -> str:
        """The query as it stands in the conversation."""
        return self.style.clean(" ".join(self.query.split()))

    def texts(self, words: int | None = None) -> list[str]:
        """Return what is shown of the passages."""
        return [self.style.clean(shown(passage, words or self.words)) for passage in self.passages]

    @property
    def labels(self) -> list[str]:
        """What the passages are called."""
        return self.style.labels(len(self.passages))


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
