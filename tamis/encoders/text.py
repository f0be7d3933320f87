"""Tokenising with a checkpoint's own fast tokenizer, and counting what is cut."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamis.encoders.batching import Inputs
from tamis.encoders.checkpoints import read_json
from tamis.errors import ModelError

_AT_ONCE = 4096
_VOCABULARIES = ("vocab.*", "*.vocab", "*.model")


class Tokenizer:
    """A checkpoint's tokenizer.

    Args:
        folder: of the checkpoint.

    Attributes:
        raw: the `tokenizers.Tokenizer`, without truncation and padding of its own.
        pad: id of the padding token, 0 where there is none.

    Raises:
        ModelError: the folder holds no tokenizer.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.raw = _load(folder)
        self.raw.no_truncation()
        self.raw.no_padding()
        self._lock = threading.Lock()
        config = read_json(folder / "config.json", {})
        self.pad = int(config.get("pad_token_id") or 0)

    def source(self, scratch: Path) -> Path:
        """Return a file that this tokenizer can be read from again, written to `scratch` if there is none."""
        own = self._folder / "tokenizer.json"
        if own.exists():
            return own
        path = scratch / "tokenizer.full.json"
        self.raw.save(str(path))
        return path

    def id_of(self, token: str) -> int:
        """Return the id of a token.

        Raises:
            ModelError: the vocabulary lacks it.
        """
        found = self.raw.token_to_id(token)
        if found is None:
            raise ModelError(f"the tokenizer has no token {token!r}, which this model's input needs")
        return int(found)

    def bare(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of texts without special tokens."""
        with self._lock:
            return [encoding.ids for encoding in self._encode(texts, special=False)]

    def spans(self, texts: Sequence[str]) -> list[tuple[list[tuple[int, int]], list[int | None]]]:
        """Return for each text where its tokens stand, as (first, end) characters, and the number of each token's word."""
        found: list[tuple[list[tuple[int, int]], list[int | None]]] = []
        with self._lock:
            for first in range(0, len(texts), _AT_ONCE):
                batch = self.raw.encode_batch(list(texts[first : first + _AT_ONCE]), add_special_tokens=False)
                found += [(encoding.offsets, encoding.word_ids) for encoding in batch]
        return found

    def texts(self, texts: Sequence[str], max_length: int, *, type_id: int = 0) -> Inputs:
        """Return texts with the tokenizer's special tokens, cut to `max_length` tokens; all of token type `type_id`."""
        ids, cut = self._cut(list(texts), max_length)
        types = None if type_id == 0 else [[type_id] * len(one.ids) for one in ids]
        return Inputs([one.ids for one in ids], types, truncated=cut)

    def pairs(self, pairs: Sequence[tuple[str, str]], max_length: int) -> Inputs:
        """Return pairs of texts, cut to `max_length` tokens, the longer one first; a pair with a blank side is a single text."""
        values = [pair if pair[0] and pair[1] else pair[0] or pair[1] for pair in pairs]
        encodings, cut = self._cut(values, max_length)
        return Inputs([one.ids for one in encodings], [one.type_ids for one in encodings], truncated=cut)

    def _cut(self, values: list[Any], max_length: int) -> tuple[list[Any], int]:
        with self._lock:  # truncation is a state of the tokenizer
            self.raw.enable_truncation(max_length)
            try:
                encodings = self._encode(values, special=True)
            finally:
                self.raw.no_truncation()
        return encodings, sum(1 for one in encodings if one.overflowing)

    def _encode(self, values: Sequence[Any], *, special: bool) -> list[Any]:
        found: list[Any] = []
        for first in range(0, len(values), _AT_ONCE):
            found += self.raw.encode_batch_fast(values[first : first + _AT_ONCE], add_special_tokens=special)
        return found


@dataclass(frozen=True)
class TextFormat:
    """How a text is written for a model, apart from the model: enough to do it again where the model is not loaded.

    Attributes:
        tokenizer: the model's.
        max_length: tokens that are read.
        prompt: what is put before a text.
        lower: whether the text is lower-cased first.
    """

    tokenizer: Tokenizer
    max_length: int
    prompt: str = ""
    lower: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return all but the tokenizer."""
        return {"max_length": self.max_length, "prompt": self.prompt, "lower": self.lower}

    def inputs(self, texts: Sequence[str]) -> Inputs:
        """Return texts as the model reads them."""
        written = [self.prompt + text.strip() for text in texts]
        return self.tokenizer.texts([t.lower() for t in written] if self.lower else written, self.max_length)


def length_limit(config: Any, stated: int | None, wanted: int | None) -> int:
    """Return how many tokens of a text a model reads.

    Args:
        config: the transformer's.
        stated: by the checkpoint's files; None where they are silent.
        wanted: by the user; None leaves it to the checkpoint.

    Raises:
        ModelError: more is wanted than the model has positions.
    """
    limit = int(getattr(config, "max_position_embeddings", 0) or 1 << 20)
    if getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        limit -= 2  # positions begin behind the padding token's
    if wanted is not None and wanted > limit:
        raise ModelError(f"max_length={wanted}: the model has {limit} positions")
    return wanted or min(stated or limit, limit)


def _load(folder: Path) -> Any:
    from tokenizers import Tokenizer as Raw

    if (folder / "tokenizer.json").exists():
        try:
            return Raw.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises no narrower one
            raise ModelError(f"{folder / 'tokenizer.json'} is damaged: {error}") from error
    from transformers import AutoTokenizer

    if not any(any(folder.glob(pattern)) for pattern in _VOCABULARIES):  # transformers would make up an empty one
        raise ModelError(
            f"{folder} holds no tokenizer: neither tokenizer.json nor a vocabulary ({', '.join(_VOCABULARIES)})"
        )
    try:
        return AutoTokenizer.from_pretrained(folder, use_fast=True).backend_tokenizer
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder} holds no tokenizer that can be read: {error}") from error
