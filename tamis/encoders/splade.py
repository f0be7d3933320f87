"""``splade``: texts as weights of word pieces that a masked language model predicts (Formal et al., SIGIR 2021; v2, 2021).

A word piece weighs log(1 + relu(logit)), pooled over the tokens of the text: the largest, or in the first version the sum.
Queries are encoded as documents are, by another checkpoint (Efficient SPLADE; Lassance and Clinchant, SIGIR 2022), or without a
model: each word piece of the query has a weight of its own (Geng et al., "Towards Competitive Search Relevance For Inference-Free
Learned Sparse Retrievers", 2024), or 1 (SPLADE-doc). Some checkpoints take the logarithm twice.

A checkpoint is a masked language model, or a folder of sentence-transformers' ``SparseEncoder``, whose modules are read from its
own files. Its authors' code pools [CLS] and [SEP] as well; that of the LSR framework masks them, which is
``special_tokens=masked``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage
from tamis.encoders.batching import Inputs, Numerics
from tamis.encoders.checkpoints import find_checkpoint, load_transformer, read_json, read_state
from tamis.encoders.options import POOLINGS, SpladeOptions
from tamis.encoders.sparse_rows import Pruning
from tamis.encoders.sparse_static import bare_inputs
from tamis.encoders.sparse_transformer import (
    SparseTransformer,
    pool_logits,
    pooled_tokens,
    special_ids,
    token_names,
)
from tamis.encoders.states import numerics_of
from tamis.encoders.text import TextFormat, Tokenizer, length_limit
from tamis.encoders.transformer import make_identity
from tamis.errors import MissingResourceError, ModelError, UsageError
from tamis.families import Address
from tamis.files import sha256_json

VERSION = 1
ONES = "ones"
_ACTIVATIONS = {"relu": 1, "log1p_relu": 2}
_TRANSFORMERS = ("Transformer", "MLMTransformer")


@dataclass(frozen=True)
class Recipe:
    """What a checkpoint's files say of one side.

    Attributes:
        home: folder of the masked language model, or of the tokenizer and weights of texts encoded without one.
        static: whether they are.
        pooling: ``max`` or ``sum``.
        logarithms: how often a logit's logarithm is taken.
        max_length: tokens that are read, None where nothing is said.
        lower: whether texts are lower-cased first.
        prompt: what is put before a text.
        top: how many weights a text keeps.
    """

    home: Path
    static: bool = False
    pooling: str = "max"
    logarithms: int = 1
    max_length: int | None = None
    lower: bool = False
    prompt: str = ""
    top: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what an identity keeps."""
        return {name: value for name, value in vars(self).items() if name != "home"}


class LogitSide(nn.Module):
    """Pooled predictions of a masked language model.

    Args:
        model: the masked language model.
        recipe: how its logits are pooled.
        skipped: ids of tokens whose predictions are not pooled.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, skipped: Sequence[int] = ()) -> None:
        super().__init__()
        self.model, self._recipe = model, recipe
        self.register_buffer("skipped", torch.tensor(list(skipped), dtype=torch.int64), persistent=False)

    @property
    def dimensions(self) -> int:
        """Of the vocabulary."""
        config: Any = self.model.config
        return int(config.vocab_size)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None, types: torch.Tensor | None) -> torch.Tensor:
        """Return float32 [texts, dimensions]; see `SparseTransformer.forward`."""
        given = {} if types is None else {"token_type_ids": types}
        logits = self.model(input_ids=ids, attention_mask=mask, **given).logits
        skipped: Any = self.skipped
        return pool_logits(logits, pooled_tokens(ids, mask, skipped), self._recipe.pooling, self._recipe.logarithms)


class StaticSide(nn.Module):
    """A weight a word piece, whatever stands around it and however often it stands there.

    Args:
        weight: float32 [dimensions].
    """

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    @property
    def dimensions(self) -> int:
        """Of the vocabulary."""
        return len(self.weight)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None, types: torch.Tensor | None) -> torch.Tensor:
        """Return float32 [texts, dimensions], negative weights as 0; see `SparseTransformer.forward`."""
        there = torch.ones_like(ids) if mask is None else mask
        held = torch.zeros(len(ids), self.dimensions, device=ids.device)
        held.scatter_reduce_(1, ids, there.float(), "amax")
        return held * self.weight.relu()


class Splade(SparseTransformer):
    """A `tamis.encoders.base.SparseEncoder`.

    Args:
        identity: of the model.
        numerics: where and how it runs.
        document: encodes documents.
        query: encodes queries; `document` itself where one model does both.
        formats: how documents and queries are written.
        pruning: of documents and of queries.
    """

    exports_queries = True

    def __init__(
        self,
        identity: ModelIdentity,
        numerics: Numerics,
        document: LogitSide | StaticSide,
        query: LogitSide | StaticSide,
        formats: tuple[TextFormat, TextFormat],
        pruning: tuple[Pruning, Pruning],
    ) -> None:
        super().__init__(identity, numerics, document.dimensions, formats, pruning)
        if document.dimensions != query.dimensions or self.names() != token_names(
            formats[1].tokenizer, query.dimensions
        ):
            raise ModelError(
                f"{identity.address}: documents have {document.dimensions} dimensions and queries {query.dimensions}, or they "
                "name them differently; the two encoders need one vocabulary"
            )
        self.document, self.query = document, query

    def forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None = None,
        types: torch.Tensor | None = None,
        *,
        side: str = "document",
    ) -> torch.Tensor:
        """Return the weights of a padded batch; see `SparseTransformer.forward`."""
        found: torch.Tensor = (self.query if side == "query" else self.document)(ids, mask, types)
        return found

    @property
    def query_table(self) -> NDArray[np.float32] | None:
        """The weights of a query's tokens, where no model reads queries."""
        if not isinstance(self.query, StaticSide):
            return None
        table: NDArray[np.float32] = self.query.weight.detach().relu().float().cpu().numpy()
        return table

    def document_inputs(self, passages: Sequence[Passage]) -> Inputs:
        """Return title and text joined by a space, behind the document prompt; bare where no model reads them."""
        if isinstance(self.document, StaticSide):
            return bare_inputs(self.formats[0], [passage.joined for passage in passages])
        return super().document_inputs(passages)

    def query_inputs(self, texts: Sequence[str]) -> Inputs:
        """Return queries behind their prompt; bare where no model reads them."""
        return (
            bare_inputs(self.formats[1], texts) if isinstance(self.query, StaticSide) else super().query_inputs(texts)
        )


def load(address: Address, options: SpladeOptions) -> Splade:
    """Load a masked language model, or a folder of sentence-transformers' ``SparseEncoder``.

    Raises:
        MissingResourceError: there is none.
        ModelError: it cannot be used, or lacks weights: a head that would be random is refused.
        UsageError: the options contradict each other.
    """
    if options.query is not None and options.query_weights is not None:
        raise UsageError("query= names a model for queries, and query_weights= says that there is none: give one")
    numerics = numerics_of(address, options)
    folder = find_checkpoint(address.id, address.revision)
    folders = {"model": folder}
    document, query = read_recipes(folder)
    if options.query is not None:
        folders["query"] = find_checkpoint(options.query)
        query = read_recipes(folders["query"])[1]
    document = _chosen(document, options.pooling, options.prompt)
    query = _chosen(query, options.pooling, options.query_prompt)

    tokenizer = query_tokenizer = Tokenizer(document.home)
    document_side = query_side = _side(document, tokenizer, options)
    weights = None
    if options.query_weights is not None:
        weights = read_weights(folder, options.query_weights, tokenizer, document_side.dimensions)
        query_side = StaticSide(weights)
    elif query.home != document.home:
        query_tokenizer = Tokenizer(query.home)
        query_side = _side(query, query_tokenizer, options)
    document_format = _format(document, document_side, tokenizer, options.max_length)
    query_format = _format(query, query_side, query_tokenizer, options.query_length)
    pruning = Pruning.of(options, (document.top, query.top))
    identity = make_identity(
        address,
        folders,
        options,
        VERSION,
        document=document.to_json() | document_format.to_json(),
        query=query.to_json() | query_format.to_json(),
        special_tokens=options.special_tokens,
        query_weights=None if weights is None else sha256_json(weights.tolist()),
    )
    encoder = Splade(identity, numerics, document_side, query_side, (document_format, query_format), pruning)
    encoder.limits = Pruning(document.top), Pruning(query.top)
    encoder.to(numerics.device).eval()
    if options.backend != "torch":
        sides = {"document": document_side, "query": query_side}
        encoder.export(
            options.backend, {name: side.model for name, side in sides.items() if isinstance(side, LogitSide)}
        )
    return encoder


def _chosen(recipe: Recipe, pooling: str | None, prompt: str | None) -> Recipe:
    """Return the recipe with what the options say instead."""
    return replace(
        recipe,
        pooling=pooling or recipe.pooling,
        prompt=recipe.prompt if prompt is None else prompt,
    )


def _side(recipe: Recipe, tokenizer: Tokenizer, options: SpladeOptions) -> LogitSide | StaticSide:
    if recipe.static:
        return StaticSide(_static_weights(recipe.home, tokenizer))
    model = load_transformer(recipe.home, unused=(), auto="AutoModelForMaskedLM")
    return LogitSide(model, recipe, special_ids(tokenizer) if options.special_tokens == "masked" else ())


def _format(recipe: Recipe, side: nn.Module, tokenizer: Tokenizer, wanted: int | None) -> TextFormat:
    stated = recipe.max_length or _stated_length(recipe.home)
    config = side.model.config if isinstance(side, LogitSide) else None
    return TextFormat(tokenizer, length_limit(config, stated, wanted), recipe.prompt, recipe.lower)


def _stated_length(home: Path) -> int | None:
    """What the tokenizer's files say, unless they say that there is no limit."""
    stated = read_json(home / "tokenizer_config.json", {}).get("model_max_length")
    return int(stated) if isinstance(stated, int | float) and stated < 1 << 20 else None


def _static_weights(home: Path, tokenizer: Tokenizer) -> torch.Tensor:
    """Return the table of a ``SparseStaticEmbedding``."""
    path = read_json(home / "config.json", {}).get("path")
    if path is not None:
        return read_weights(home, str(path), tokenizer, tokenizer.raw.get_vocab_size(True))
    state = read_state(home)
    if "weight" not in state:
        raise ModelError(f"{home} lacks its table of token weights, weight")
    return state["weight"].float()


def read_weights(folder: Path, name: str, tokenizer: Tokenizer, dimensions: int) -> torch.Tensor:
    """Return a weight a token.

    Args:
        folder: of the checkpoint, where `name` is looked for first.
        name: a JSON file, token → weight; or ``ones``: all weigh 1.
        tokenizer: knows the tokens' ids.
        dimensions: length of the result.

    Returns:
        float32 [dimensions]; tokens that the file leaves out weigh 0.

    Raises:
        MissingResourceError: there is no such file.
        ModelError: it is no such table, or names a token that the vocabulary lacks.
    """
    if name == ONES:
        return torch.ones(dimensions)
    path = next((p for p in (folder / name, Path(name).expanduser()) if p.is_file()), None)
    if path is None:
        raise MissingResourceError(f"no file of token weights {name!r}, neither in {folder} nor here")
    table = read_json(path)
    weights = torch.zeros(dimensions)
    if not isinstance(table, dict) or not all(isinstance(weight, int | float) for weight in table.values()):
        raise ModelError(f"{path} is not a table of token weights: a JSON object of numbers is wanted")
    for token, weight in table.items():
        number = tokenizer.raw.token_to_id(token)
        if number is None or number >= dimensions:
            raise ModelError(f"{path} weighs the token {token!r}, which the vocabulary lacks")
        weights[number] = weight
    return weights


def read_recipes(folder: Path) -> tuple[Recipe, Recipe]:
    """Return what a checkpoint says of documents and of queries.

    A folder without ``modules.json`` is a masked language model whose logits are pooled by their maximum.

    Raises:
        ModelError: it has modules that make no such encoder.
    """
    modules = read_json(folder / "modules.json")
    settings = read_json(folder / "config_sentence_transformers.json", {})
    if modules is None:
        sides = Recipe(folder), Recipe(folder)
    else:
        listed = [(str(module["type"]), folder / str(module["path"])) for module in modules]
        if len(listed) == 1 and listed[0][0].endswith("Router"):
            sides = _routes(listed[0][1])
        else:
            sides = _recipe(folder, listed), _recipe(folder, listed)
    prompts = settings.get("prompts") or {}
    default = prompts.get(settings.get("default_prompt_name") or "", "")
    top = settings.get("max_active_dims")
    return (
        replace(sides[0], top=top, prompt=prompts.get("document", prompts.get("passage", default))),
        replace(sides[1], top=top, prompt=prompts.get("query", default)),
    )


def _routes(folder: Path) -> tuple[Recipe, Recipe]:
    """What a ``Router`` does with documents and with queries."""
    config = read_json(folder / "router_config.json", read_json(folder / "config.json", {}))
    kinds, routes = config.get("types", {}), config.get("structure", {})
    missing = [side for side in ("document", "query") if side not in routes]
    if missing:
        raise ModelError(f"{folder}: its router has no route for {' and '.join(missing)}; it has {sorted(routes)}")
    document, query = (
        _recipe(folder, [(str(kinds[name]), folder / name) for name in routes[side]]) for side in ("document", "query")
    )
    return document, query


def _recipe(folder: Path, modules: Sequence[tuple[str, Path]]) -> Recipe:
    """What a sequence of modules does."""
    kinds = [kind.rpartition(".")[2] for kind, _ in modules]
    if kinds == ["SparseStaticEmbedding"]:
        return Recipe(modules[0][1], static=True)
    if len(kinds) != 2 or kinds[0] not in _TRANSFORMERS or kinds[1] != "SpladePooling":
        raise ModelError(
            f"{folder}: modules {', '.join(kinds) or 'none'} make no SPLADE: a masked language model and SpladePooling are "
            "wanted, or SparseStaticEmbedding"
        )
    home, pooling = modules[0][1], _pooling(modules[1][1])
    own = read_json(home / "sentence_bert_config.json", {})
    return replace(
        pooling, home=home, max_length=own.get("max_seq_length"), lower=bool(own.get("do_lower_case", False))
    )


def _pooling(folder: Path) -> Recipe:
    config: Mapping[str, Any] = read_json(folder / "config.json", {})
    how, activation = config.get("pooling_strategy", "max"), config.get("activation_function", "relu")
    if how not in POOLINGS or activation not in _ACTIVATIONS:
        raise ModelError(
            f"{folder}: pooling {how!r} of {activation!r} is not known; known: {', '.join(POOLINGS)} of "
            f"{', '.join(_ACTIVATIONS)}"
        )
    return Recipe(folder, pooling=str(how), logarithms=_ACTIVATIONS[activation])
