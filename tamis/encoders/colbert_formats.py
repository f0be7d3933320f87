"""The two ways in which late-interaction checkpoints are published, read into one description.

``colbert-ir``
    weights ``bert.*`` and ``linear.weight`` in one file, lengths and markers in artifact.metadata (Stanford's ColBERT).
``sentence-transformers``
    modules.json with a transformer and ``Dense`` layers, as PyLate 1 to 3 and sentence-transformers 6 write it. PyLate keeps
    markers (``query_prefix``), lengths, filling and skipped words in config_sentence_transformers.json; sentence-transformers has
    prompts there, lengths and filling (``query_expansion``) beside the transformer, and modules of their own for the skipped
    words and the normalisation.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tamis.encoders.checkpoints import fill, load_transformer, read_config, read_json, read_state
from tamis.encoders.options import ColbertOptions
from tamis.encoders.projection import Projection, Unit, load_projection
from tamis.encoders.text import Tokenizer, length_limit
from tamis.errors import ModelError

QUERY_LENGTH, DOCUMENT_LENGTH = 32, 220
MARKERS = ("[unused0]", "[unused1]")
PUNCTUATION = tuple(string.punctuation)

_LENGTHS = ("query_length", "document_length")
_PYLATE = (
    *_LENGTHS,
    "query_expansion",
    "do_query_expansion",
    "attend_to_expansion_tokens",
    "attend_to_mask_tokens",
    "query_prefix",
    "document_prefix",
    "skiplist_words",
)
"""Entries of config_sentence_transformers.json by which PyLate's checkpoints are known."""


@dataclass(frozen=True)
class Recipe:
    """What a checkpoint's files say besides weights.

    Attributes:
        prompts: what is put before a query and before a document.
        markers: beginnings of prompts that are one token, where the vocabulary has it, even if the tokenizer would split them.
        query_length: tokens that are read of a query.
        document_length: tokens that are read of a document.
        filled: tokens that a query is filled to; 0: it is not filled.
        filler: the token that fills; None: the tokenizer's mask, or else its end.
        attend_to_filling: whether other tokens may attend to the filling.
        skipped: tokens that lose their vectors.
        skipped_in: of which sides, ``query`` and ``document``.
        kept: ids of the only tokens of a document that keep their vectors; None: all.
        lower: whether texts are lower-cased first.
    """

    prompts: tuple[str, str]
    markers: tuple[str, ...]
    query_length: int
    document_length: int
    filled: int
    filler: str | None = None
    attend_to_filling: bool = False
    skipped: tuple[str, ...] = PUNCTUATION
    skipped_in: tuple[str, ...] = ("document",)
    kept: tuple[int, ...] | None = None
    lower: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, read.

    Attributes:
        transformer: makes a state of every token.
        head: makes a vector of every state.
        dimensions: of the vectors.
        home: folder of the transformer's tokenizer.
        recipe: the rest.
    """

    transformer: nn.Module
    head: nn.Module
    dimensions: int
    home: Path
    recipe: Recipe


def read_checkpoint(folder: Path, options: ColbertOptions) -> Checkpoint:
    """Read a checkpoint of either format; what the options say counts for more than what its files say.

    Raises:
        ModelError: it cannot be used, or lacks weights.
    """
    read = _read_modules if (folder / "modules.json").exists() else _read_colbert_ir
    found = read(folder, options)
    if found.recipe.filled > length_limit(found.transformer.config, None, None):
        raise ModelError(
            f"{folder}: queries are filled to {found.recipe.filled} tokens, more than the model has positions; give query_length="
        )
    return found


def _read_colbert_ir(folder: Path, options: ColbertOptions) -> Checkpoint:
    from transformers import BertConfig, BertModel

    state = {name.removeprefix("model."): value for name, value in read_state(folder).items()}
    if "linear.weight" not in state:
        raise ModelError(f"{folder} has no weight linear.weight, ColBERT's projection: it is no ColBERT checkpoint")
    transformer: nn.Module = BertModel(read_config(folder, BertConfig), add_pooling_layer=False)
    fill(transformer, state, folder, "bert.")
    outputs, inputs = state["linear.weight"].shape
    linear = Projection(inputs, outputs, bias=False, activation=nn.Identity())
    fill(linear, state, folder)
    stated = read_json(folder / "artifact.metadata", {})
    markers = (str(stated.get("query_token_id", MARKERS[0])), str(stated.get("doc_token_id", MARKERS[1])))
    tokenizer = Tokenizer(folder)
    for marker in markers:
        tokenizer.id_of(marker)
    length = options.query_length or int(stated.get("query_maxlen", QUERY_LENGTH))
    recipe = Recipe(
        (f"{markers[0]} ", f"{markers[1]} "),
        markers,
        length,
        length_limit(transformer.config, int(stated.get("doc_maxlen", DOCUMENT_LENGTH)), options.max_length),
        filled=length,
        filler="[MASK]",
        attend_to_filling=bool(stated.get("attend_to_mask_tokens", False)),
        skipped=PUNCTUATION if stated.get("mask_punctuation", True) else (),
    )
    return Checkpoint(transformer, nn.Sequential(linear, Unit()), outputs, folder, recipe)


def _read_modules(folder: Path, options: ColbertOptions) -> Checkpoint:
    config = read_json(folder / "config_sentence_transformers.json", {})
    native = config.get("model_type") == "MultiVectorEncoder"
    home, head, mask = folder, nn.Sequential(), None
    for module in read_json(folder / "modules.json"):
        kind, place = module["type"].rpartition(".")[2], folder / module["path"]
        own = read_json(place / "config.json", {})
        if kind == "Transformer":
            home = place
        elif kind == "Dense" and own.get("module_input_name", "token_embeddings") == "token_embeddings":
            head.append(load_projection(place, own))
        elif kind == "Normalize" and own.get("module_input_name") == "token_embeddings":
            head.append(Unit())
        elif kind == "MultiVectorMask":
            mask = own
        elif kind != "Dropout":
            raise ModelError(
                f"{folder}: a module of type {module['type']!r} makes no vectors of tokens; is this a checkpoint for dense:?"
            )
    if not native:
        if not len(head):
            raise ModelError(f"{folder} has no Dense module, ColBERT's projection: it is no ColBERT checkpoint")
        head.append(Unit())  # PyLate normalises without saying so
    transformer = load_transformer(home)
    dimensions = int(transformer.config.hidden_size)  # type: ignore[union-attr, arg-type]
    for layer in head:
        dimensions = layer.linear.out_features if isinstance(layer, Projection) else dimensions
    recipe = _read_recipe(
        config, read_json(home / "sentence_bert_config.json", {}), mask, home, transformer.config, options
    )
    return Checkpoint(transformer, head, dimensions, home, recipe)


def _read_recipe(
    config: Mapping[str, Any],
    beside: Mapping[str, Any],
    mask: Mapping[str, Any] | None,
    home: Path,
    transformer: Any,
    options: ColbertOptions,
) -> Recipe:
    """Put together what the files say.

    Args:
        config: config_sentence_transformers.json.
        beside: sentence_bert_config.json, which counts for more.
        mask: config.json of the ``MultiVectorMask`` module; None: there is none.
        home: folder of the transformer.
        transformer: its configuration.
        options: which count for most.
    """
    legacy = any(name in config for name in _PYLATE)
    stated = {name: config[name] for name in _LENGTHS if config.get(name) is not None}
    expansion = config.get("query_expansion")
    if legacy and "query_expansion" not in config and config.get("do_query_expansion") is not False:
        attend = config.get("attend_to_expansion_tokens", config.get("attend_to_mask_tokens"))
        expansion = {"strategy": "fixed", "attend": bool(attend), "length": stated.pop("query_length", QUERY_LENGTH)}
    expansion = beside.get("query_expansion") or expansion
    stated |= {name: beside[name] for name in _LENGTHS if beside.get(name) is not None}
    tokenizer = read_json(home / "tokenizer_config.json", {})
    longest = beside.get("max_seq_length") or min(int(tokenizer.get("model_max_length") or 1 << 20), 1 << 20)
    query_length = length_limit(transformer, stated.get("query_length") or longest, options.query_length)
    if expansion is not None:
        filled = options.query_length or int(expansion["length"])
        fixed = expansion.get("strategy", "fixed") == "fixed" or options.query_length is not None
        query_length = filled if fixed else max(query_length, filled)
    saved = dict(config.get("prompts") or {})
    prefixes = {side: str(config.get(f"{side}_prefix") or "") for side in ("query", "document")}
    prompts = {side: prefix + str(saved.get(side) or "").removeprefix(prefix) for side, prefix in prefixes.items()}
    if mask is None:
        words = config.get("skiplist_words")
        assumed = PUNCTUATION if config.get("model_type") == "ColBERT" or any(prefixes.values()) else ()
        mask = {"skiplist_words": assumed if words is None else words}
    kept = mask.get("keep_only_token_ids")
    return Recipe(
        (prompts["query"], prompts["document"]),
        tuple(prefix for prefix in prefixes.values() if prefix),
        query_length,
        length_limit(transformer, stated.get("document_length") or longest, options.max_length),
        filled=0 if expansion is None else filled,
        filler=None if expansion is None else expansion.get("token"),
        attend_to_filling=expansion is not None and bool(expansion.get("attend", False)),
        skipped=tuple(mask.get("skiplist_words") or ()),
        skipped_in=tuple(mask.get("skiplist_tasks") or ("document",)),
        kept=tuple(kept) if kept else None,
        lower=bool(beside.get("do_lower_case", False)),
    )
