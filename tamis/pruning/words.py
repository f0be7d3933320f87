"""The words of a text, as the lexical quality models count them: runs of letters and digits in lower case, every one of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tamis.encoders.base import ModelIdentity
from tamis.families import Address

VERSION = 1
"""Of `words_of`; raised when it finds other words."""

_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """Return the words of a text in order."""
    return _WORD.findall(text.lower())


def lexical_identity(address: Address, **settings: Any) -> ModelIdentity:
    """Return the identity of a model that counts words."""
    stated: Mapping[str, Any] = {"family": address.family, "words": VERSION, **settings}
    return ModelIdentity(str(address), {}, stated)
