"""What listwise models are asked, to the letter of what they were trained on or first shown.

- ``rankgpt``: Sun et al., "Is ChatGPT Good at Search?", 2023: a conversation that hands over one passage at a time.
- ``rankzephyr``: Pradeep et al., "RankZephyr", 2023, and RankVicuna before it: one message.

Of a passage so many words are shown; what looks like an identifier in it is written with other brackets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tamis.encoders.base import Passage

Messages = list[dict[str, str]]
"""A conversation: ``role`` and ``content`` of each message."""

_IDENTIFIER = re.compile(r"\[(\d+)\]")


def shown(passage: Passage, words: int) -> str:
    """Return what is shown of a passage."""
    text = f"Title: {passage.title} Content: {passage.text}" if passage.title else passage.text
    return _IDENTIFIER.sub(r"(\1)", " ".join(text.split()[:words]))


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
    count = len(passages)
    listed = "".join(f"[{i}] {passage}\n" for i, passage in enumerate(passages, 1))
    return [
        _message(
            "system",
            "You are RankLLM, an intelligent assistant that can rank passages based on their relevancy to the query",
        ),
        _message(
            "user",
            f"I will provide you with {count} passages, each indicated by a numerical identifier []. "
            f"Rank the passages based on their relevance to the search query: {query}.\n"
            f"{listed}"
            f"Search Query: {query}.\nRank the {count} passages above based on their relevance to the search query. "
            "All the passages should be included and listed using identifiers, in descending order of relevance. "
            "The output format should be [] > [], e.g., [2] > [1], Answer concisely and directly and only respond with the "
            "ranking results, do not say any word or explain.",
        ),
    ]


STYLES: dict[str, Callable[[str, Sequence[str]], Messages]] = {"rankgpt": rankgpt, "rankzephyr": rankzephyr}
"""Prompts by name."""


def prompt(style: str, query: str, passages: Sequence[Passage], words: int) -> Messages:
    """Return the conversation that asks for an order of passages."""
    return STYLES[style](
        _IDENTIFIER.sub(r"(\1)", " ".join(query.split())), [shown(passage, words) for passage in passages]
    )


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
