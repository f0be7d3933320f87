"""Changes of the order of words, before any tokenizer sees them, so that the pieces of a word stay together.

A shuffle depends on the seed and the text alone: equal texts are shuffled alike.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import numpy as np

from tamis.encoders.base import Passage

Shuffle = Callable[[str], str]


def shuffled(text: str, seed: int, repeat: int = 0) -> str:
    """Return the words of a text in an order that the seed decides."""
    words = text.split()
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    generator = np.random.default_rng([seed, repeat, int.from_bytes(digest)])
    return " ".join(words[i] for i in generator.permutation(len(words)).tolist())


def in_alphabet(text: str) -> str:
    """Return the words of a text in the order of their letters, without regard to case."""
    return " ".join(sorted(text.split(), key=lambda word: (word.casefold(), word)))


def backwards(text: str) -> str:
    """Return the words of a text from last to first."""
    return " ".join(reversed(text.split()))


def whole(change: Shuffle) -> Callable[[Passage], Passage]:
    """Return a change of title and text together, as the model reads them; the title's place is lost with the order."""
    return lambda passage: Passage("", change(passage.joined))
