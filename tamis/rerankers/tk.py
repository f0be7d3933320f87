"""``tk`` and ``tkl``: small networks over word vectors, for passages and for long documents (see `tamis.rerankers.tk_network`).

A checkpoint is a folder of

- ``config.json``: ``model_type`` (``tk`` or ``tkl``), and of `TKGeometry` all but the vocabulary's size, where it is another than
  there;
- ``vocabulary.txt``: a word a line, in the order of the word vectors; the vectors 0 and 1 are those of padding and of words
  that are not listed, so that the first line is number 2. Or AllenNLP's ``tokens.txt``, where the line ``@@UNKNOWN@@`` is
  number 1;
- the weights, by the names of `TK`, `FirstTK` or `TKL`, with or without the ``neural_ir_model.`` before them that matchmaker
  saves. Which scorer of TK it is they tell. Kernels other than those of `MUS` are refused.

Texts are lower-cased, and words are runs of letters and digits, or single other characters. Padding counts for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.encoders.batching import Inputs, Numerics, batches_of, pad_batch, require_finite
from tamis.encoders.checkpoints import fill, find_checkpoint, read_json, read_state
from tamis.encoders.transformer import make_identity
from tamis.errors import ModelError, UsageError
from tamis.families import Address
from tamis.rerankers.base import PairScores
from tamis.rerankers.options import TKOptions
from tamis.rerankers.tk_network import BLOCK, MUS, OVERLAP, SATURATIONS, SIGMA, TK, TKL, FirstTK, TKGeometry
from tamis.stages import Evidence

VERSION = 2
UNKNOWN, FIRST = 1, 2
QUERY_WORDS = 30
DOCUMENT_WORDS = {"tk": 200, "tkl": 2000}
_UNKNOWN_LINE = "@@UNKNOWN@@"
_INNER = "neural_ir_model."
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
    released = options.padding == "released"
    if released and address.family != "tkl":
        raise UsageError(f"{address}: padding=released is of tkl; {address.family} reads all words as released too")
    words = _words(folder)
    state = _own_names(read_state(folder))
    network = _network(address.family, config, len(words) + FIRST, state, folder)
    fill(network, state, folder)
    if isinstance(network, TKL):
        network.released = released
    numerics = Numerics.of(options.device, options.dtype)
    doc_length = options.doc_length or DOCUMENT_WORDS[address.family]
    identity = make_identity(
        address, {"model": folder}, options, VERSION, doc_length=doc_length, padding=options.padding
    )
    return TKScorer(identity, numerics, network.to(numerics.device).eval(), words, doc_length).eval()


def _network(
    family: str, config: Mapping[str, Any], vocabulary: int, state: Mapping[str, torch.Tensor], folder: Path
) -> TK:
    """Return the network that a checkpoint is of, its weights still random.

    Raises:
        ModelError: it has kernels, or a saturation, that are not known here.
    """
    given = {one.name: config[one.name] for one in fields(TKGeometry) if one.name in config}
    if given.get("saturation", SATURATIONS[0]) not in SATURATIONS:
        raise ModelError(
            f"{folder}: saturation {given['saturation']!r} is none of {', '.join(SATURATIONS)}; idf and linear need weights of "
            "words that checkpoints do not hold"
        )
    for name, values in (("mu", MUS), ("sigma", (SIGMA,) * len(MUS))):
        if name in state and state[name].flatten().tolist() != torch.tensor(values).tolist():
            raise ModelError(
                f"{folder} has kernels of its own, {name} {state[name].flatten().tolist()}; known: {list(values)}"
            )
    if family == "tkl":
        return TKL(TKGeometry(vocabulary, **given))
    if "dense_comb.weight" in state:
        return FirstTK(TKGeometry(vocabulary, **{"apart": 0} | given))
    return TK(TKGeometry(vocabulary, **given))


def _own_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights as the networks here call and shape them."""
    found = {name.removeprefix(_INNER): value for name, value in state.items()}
    if "mixer" in found:
        found["mixer"] = found["mixer"].reshape(-1)
    if "positional_features_d" in found:  # of which blocks share the first
        found["positional_features_d"] = found["positional_features_d"][:, : BLOCK + 2 * OVERLAP]
    return found


def _words(folder: Path) -> list[str]:
    """Return the words from number 2 on."""
    path = next((folder / name for name in ("vocabulary.txt", "tokens.txt") if (folder / name).exists()), None)
    if path is None:
        raise ModelError(
            f"{folder} has neither vocabulary.txt nor AllenNLP's tokens.txt: the words that its vectors are of"
        )
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    lines = text.removesuffix("\n").split("\n") if text else []
    if path.name == "vocabulary.txt":
        return lines
    if lines[:1] != [_UNKNOWN_LINE]:
        raise ModelError(f"{path} does not begin with {_UNKNOWN_LINE}: it is not known which vector is of which word")
    return lines[1:]
