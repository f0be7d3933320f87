"""Prompts that are longer than a model reads: fewer words are shown of every passage, as RankLLM does.

Where a word of each is too much there are too many passages: see `tamis.rerankers.listwise.parts`.
"""

from __future__ import annotations

from collections.abc import Callable

from tamis.errors import ModelError
from tamis.rerankers.listwise.calls import FEWEST, TooManyError
from tamis.rerankers.listwise.prompts import Question, shown


def most_words(question: Question) -> int:
    """Return how many words are shown of the longest passage of a question, at least 1."""
    longest = max((len(shown(passage, question.words).split()) for passage in question.passages), default=1)
    return max(longest, 1)


def fewer_words(question: Question, overflow: Callable[[int], int], reader: str) -> int:
    """Return how many words of a passage may be shown, all if they fit.

    Args:
        question: what is asked.
        overflow: how many tokens too many a number of words comes to; 0 or less where it fits.
        reader: who reads it, for the message.

    Raises:
        TooManyError: not even one word of every passage fits.
        ModelError: so it is with two passages.
    """
    words = most_words(question)
    while (over := overflow(words)) > 0:
        if words == 1:
            kind = TooManyError if len(question.passages) > FEWEST else ModelError
            raise kind(
                f"{reader} reads {over} tokens less than a prompt of {len(question.passages)} passages takes, though it shows "
                "a word of each"
            )
        # a word is a token or more, so this never takes more than it must but for the rounding
        words -= min(words - 1, max(1, over // (4 * len(question.passages))))
    return words
