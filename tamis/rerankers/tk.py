"""``tk`` and ``tkl``: small networks over word vectors, for passages and for long documents (see `tamis.rerankers.tk_network`).

A checkpoint is a folder of

- ``config.json``: ``model_type`` (``tk`` or ``tkl``), ``width``, ``heads``, ``layers``, ``inner``;
- ``vocabulary.txt``: a word a line, in the order of the word vectors; the vectors 0 and 1 are those of padding and of words
  that are not listed, so that the first line is number 2;
- the weights, by the names of `TK` or `TKL`.

Texts are lower-cased, and words are runs of letters and digits, or single other characters. Padding counts for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.encoders.batching import Inputs, Numerics, batches_of, pad_batch, require_finite
from tamis.encoders.checkpoints import fill, find_checkpoint, read_json, read_state
from tamis.encoders.transformer import make_identity
from tamis.errors import ModelError
from tamis.families import Address
from tamis.rerankers.base import PairScores
from tamis.rerankers.options import TKOptions
from tamis.rerankers.tk_network import TK, TKL, TKGeometry
from tamis.stages import Evidence

VERSION = 1
UNKNOWN, FIRST = 1, 2
QUERY_WORDS = 30
DOCUMENT_WORDS = {"tk": 200, "tkl": 2000}
_WORD = re.compile(r"\w+|[^\w\s]")


class TKScorer(nn.Module):
    """A `tamis.rerankers.base.PairScorer`.

    Args:
        identity: of the model.
        numerics: where and how it runs.
        network: `TK` or `TKL`.
        words: the vocabulary, in order.
        doc_length: words that are read of a document.

    Attributes:
        tokens: how many words the model has read so far.
    """

    def __init__(
        self, identity: ModelIdentity, numerics: Numerics, network: TK, words: Sequence[str], doc_length: int
    ) -> None:
        super().__init__()
        self.identity, self.numerics, self.network = identity, numerics, network
        self._numbers = {word: number for number, word in enumerate(words, FIRST)}
        self._doc_length = doc_length
        self.tokens = 0

    def score_pairs(self, queries: Sequence[str], passages: Sequence[Passage], *, tick: Tick = no_tick) -> PairScores:
        """Score query i with passage i; see `tamis.rerankers.base.PairScorer`."""
        asked = [self.numbers(query) for query in queries]
        texts = [self.numbers(passage.joined) for passage in passages]
        truncated = sum(len(q) > QUERY_WORDS or len(d) > self._doc_length for q, d in zip(asked, texts, strict=True))
        query = Inputs([ids[:QUERY_WORDS] or [0] for ids in asked])
        document = Inputs([ids[: self._doc_length] or [0] for ids in texts])
        found = np.empty(len(asked), np.float32)
        lengths = np.array([len(ids) for ids in document.ids], np.int64)
        query_lengths = np.array([len(ids) for ids in query.ids], np.int64)
        with torch.inference_mode(), self.numerics.running():
            for places in batches_of(lengths + QUERY_WORDS, self.numerics.budget):
                batch = (
                    pad_batch(inputs, places, own, 0, self.numerics.device)[0]
                    for inputs, own in ((query, query_lengths), (document, lengths))
                )
                found[places] = self.network(*batch).float().cpu().numpy()
                tick(len(places))
        self.tokens += int(lengths.sum() + query_lengths.sum())
        require_finite(self.identity.address, found)
        return PairScores(found, truncated)

    def explain_pair(self, query: str, passage: Passage) -> list[Evidence]:
        """Return what kernels (TK) or regions (TKL) add; see `tamis.rerankers.base.PairExplainer`."""
        asked, text = self.numbers(query)[:QUERY_WORDS] or [0], self.numbers(passage.joined)[: self._doc_length] or [0]
        given = (torch.tensor([ids], device=self.numerics.device) for ids in (asked, text))
        with torch.inference_mode(), self.numerics.running():
            return [Evidence(name, value) for name, value in self.network.parts(*given).items()]

    def numbers(self, text: str) -> list[int]:
        """Return the numbers of a text's words."""
        return [self._numbers.get(word, UNKNOWN) for word in _WORD.findall(text.lower())]


def load(address: Address, options: TKOptions) -> TKScorer:
    """Load a checkpoint of either family.

    Raises:
        MissingResourceError: there is no such checkpoint.
        ModelError: it is of another family, or lacks weights or words.
    """
    folder = find_checkpoint(address.id, address.revision)
    config = read_json(folder / "config.json", {})
    if config.get("model_type") != address.family:
        raise ModelError(f"{folder} is a model of type {config.get('model_type')!r}, not {address.family!r}")
    words = _words(folder)
    sizes = {name: config[name] for name in ("width", "heads", "layers", "inner") if name in config}
    network = (TKL if address.family == "tkl" else TK)(TKGeometry(len(words) + FIRST, **sizes))
    fill(network, read_state(folder), folder)
    numerics = Numerics.of(options.device, options.dtype)
    doc_length = options.doc_length or DOCUMENT_WORDS[address.family]
    identity = make_identity(address, {"model": folder}, options, VERSION, doc_length=doc_length)
    return TKScorer(identity, numerics, network.to(numerics.device).eval(), words, doc_length).eval()


def _words(folder: Path) -> list[str]:
    try:
        return (folder / "vocabulary.txt").read_text("utf-8").split("\n")[:-1]
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} has no vocabulary.txt that can be read: {error}") from error
