"""``dense``: any sentence-transformers checkpoint (Reimers and Gurevych, "Sentence-BERT", 2019), read from its own files.

``modules.json`` lists what follows the transformer: pooling, linear layers, normalisation. Prompts, the maximum length and the
similarity are the checkpoint's own, unless an option says otherwise. ``dense:minilm`` is the offline default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage, Similarity
from tamis.encoders.batching import Inputs, Numerics
from tamis.encoders.checkpoints import find_checkpoint, load_transformer, read_json
from tamis.encoders.options import DenseOptions
from tamis.encoders.pooling import POOLINGS, pool
from tamis.encoders.projection import load_projection
from tamis.encoders.states import numerics_of
from tamis.encoders.text import TextFormat, Tokenizer, length_limit
from tamis.encoders.transformer import DenseTransformer, make_identity, ready
from tamis.errors import ModelError, UnknownNameError
from tamis.families import Address

VERSION = 1


@dataclass(frozen=True)
class Recipe:
    """What a checkpoint's files say besides weights.

    Attributes:
        pooling: names of poolings, whose results are joined.
        linears: folders of linear layers, with their configurations, in order.
        normalise: whether vectors get unit length.
        max_length: tokens that the model reads.
        lower: whether texts are lower-cased first.
        similarity: of the checkpoint.
        prompts: what is put before a ``query`` and a ``document``.
    """

    pooling: tuple[str, ...]
    linears: tuple[tuple[Path, Mapping[str, Any]], ...]
    normalise: bool
    max_length: int | None
    lower: bool
    similarity: Similarity
    prompts: Mapping[str, str]


class SentenceEncoder(DenseTransformer):
    """A `DenseEncoder` that a sentence-transformers checkpoint describes; one model for both sides."""

    def __init__(
        self,
        identity: ModelIdentity,
        numerics: Numerics,
        transformer: nn.Module,
        tokenizer: Tokenizer,
        linears: nn.Module,
        recipe: Recipe,
        max_length: int,
    ) -> None:
        config: Any = transformer.config
        dimensions = config.hidden_size * len(recipe.pooling)
        for layer in linears.modules():
            dimensions = layer.out_features if isinstance(layer, nn.Linear) else dimensions
        super().__init__(identity, numerics, dimensions, "cosine" if recipe.normalise else recipe.similarity)
        self.transformer, self.linears = transformer, linears
        self._recipe = recipe
        self.query_format = TextFormat(tokenizer, max_length, recipe.prompts["query"], recipe.lower)
        self._document_format = TextFormat(tokenizer, max_length, recipe.prompts["document"], recipe.lower)
        self.normalise = recipe.normalise or recipe.similarity == "cosine"

    def finish(self, states: torch.Tensor, mask: torch.Tensor | None, side: str) -> torch.Tensor:
        """Return pooled, projected and perhaps normalised states; see `DenseTransformer.finish`."""
        vectors = torch.cat([pool(states, mask, how) for how in self._recipe.pooling], 1)
        vectors = self.linears(vectors).float()
        return nn.functional.normalize(vectors, dim=1) if self.normalise else vectors

    @property
    def pad(self) -> int:
        """Id of the padding token."""
        return self._document_format.tokenizer.pad

    def document_inputs(self, passages: Sequence[Passage]) -> Inputs:
        """Return title and text joined by a space, behind the document prompt."""
        return self._document_format.inputs([passage.joined for passage in passages])

    def query_inputs(self, texts: Sequence[str]) -> Inputs:
        """Return the query behind its prompt."""
        assert self.query_format is not None  # noqa: S101 - set above
        return self.query_format.inputs(texts)


def load(address: Address, options: DenseOptions) -> SentenceEncoder:
    """Load a sentence-transformers checkpoint.

    Raises:
        MissingResourceError: there is none.
        ModelError: it cannot be used, or not be exported.
        UsageError: the backend cannot run in that precision, or on that device.
        PrerequisiteError: its package is missing, or the processor lacks the precision.
    """
    numerics = numerics_of(address, options)
    folder = find_checkpoint(address.id, address.revision)
    home, recipe = read_recipe(folder, options)
    transformer = load_transformer(home, unused=("pooler.",))
    linears = nn.Sequential(*(load_projection(place, config) for place, config in recipe.linears))
    max_length = length_limit(transformer.config, recipe.max_length, options.max_length)
    identity = make_identity(
        address,
        {"model": folder},
        options,
        VERSION,
        pooling=list(recipe.pooling),
        normalise=recipe.normalise,
        similarity=recipe.similarity,
        max_length=max_length,
        prompts=dict(recipe.prompts),
    )
    encoder = SentenceEncoder(identity, numerics, transformer, Tokenizer(home), linears, recipe, max_length)
    return ready(encoder, options)


def read_recipe(folder: Path, options: DenseOptions) -> tuple[Path, Recipe]:
    """Return the folder of the transformer, and what follows it.

    A folder without ``modules.json`` is a bare transformer: its vectors are means of the last states, unless options say
    otherwise.

    Raises:
        ModelError: the checkpoint needs a module that is not known here.
        UnknownNameError: an option names no pooling.
    """
    modules = read_json(folder / "modules.json", [{"path": "", "type": "Transformer"}])
    home, linears, normalise = folder, [], False
    pooling: tuple[str, ...] = ("mean",)
    for module in modules:
        kind, place = module["type"].rpartition(".")[2], folder / module["path"]
        if kind == "Transformer":
            home = place
        elif kind == "Pooling":
            pooling = stated_poolings(read_json(place / "config.json", {}))
        elif kind == "Dense":
            linears.append((place, read_json(place / "config.json", {})))
        elif kind == "Normalize":
            normalise = True
        elif kind != "Dropout":
            raise ModelError(f"{folder}: modules of type {module['type']!r} are not known to dense")
    if options.pooling is not None:
        pooling = (options.pooling,)
    for name in pooling:
        if name not in POOLINGS:
            raise UnknownNameError("pooling", name, POOLINGS)
    settings = read_json(folder / "config_sentence_transformers.json", {})
    transformer = read_json(home / "sentence_bert_config.json", {})
    named = str(options.similarity or settings.get("similarity_fn_name") or "cosine")
    if named not in ("cosine", "dot"):
        raise ModelError(f"{folder}: similarity {named!r} is neither an inner product nor a cosine")
    prompts = settings.get("prompts") or {}
    default = prompts.get(settings.get("default_prompt_name") or "", "")
    return home, Recipe(
        pooling,
        tuple(linears),
        normalise,
        transformer.get("max_seq_length"),
        bool(transformer.get("do_lower_case")),
        "cosine" if named == "cosine" else "dot",
        {
            "query": options.query_prompt if options.query_prompt is not None else prompts.get("query", default),
            "document": options.prompt
            if options.prompt is not None
            else prompts.get("document", prompts.get("passage", default)),
        },
    )


def stated_poolings(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the poolings that the config.json of a ``Pooling`` module states, in either of its forms."""
    if "pooling_mode" in config:  # as sentence-transformers 6 writes it
        modes = config["pooling_mode"]
        return tuple([modes] if isinstance(modes, str) else modes)
    names = {
        "pooling_mode_cls_token": "cls",
        "pooling_mode_max_tokens": "max",
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
        "pooling_mode_weightedmean_tokens": "weightedmean",
        "pooling_mode_lasttoken": "lasttoken",
    }
    return tuple(name for key, name in names.items() if config.get(key)) or ("mean",)
