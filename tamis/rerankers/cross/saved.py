"""What the files of a cross-encoder's checkpoint say besides its weights, as sentence-transformers' ``CrossEncoder`` saves it.

``modules.json`` lists what a score goes through. A folder without it is one of transformers: a causal language model is asked for
``yes`` or ``no``, as there, and anything else is a classifier. Pairs are written by the chat template where the files name
messages among what the model reads, or there is a template and no ``modules.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamis.encoders.checkpoints import read_json
from tamis.errors import ModelError

CLASSIFIER, CAUSAL, POOLED = "sequence-classification", "text-generation", "feature-extraction"
"""What a transformer does in a cross-encoder, as sentence-transformers names it."""

MONOTONE = ("Identity", "Sigmoid", "Tanh", "LogSigmoid", "Softplus", "Softsign", "Softmax", "LogSoftmax", "ReLU")
"""Activations that a checkpoint may state: none of them changes the order of the logits."""

_POOLED = ("Pooling", "Dense", "LayerNorm", "Normalize", "Dropout")


@dataclass(frozen=True)
class Part:
    """A module behind the transformer.

    Attributes:
        kind: the name of its class.
        folder: of its files.
        config: its config.json.
    """

    kind: str
    folder: Path
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Saved:
    """What the files say.

    Attributes:
        folder: of the checkpoint.
        home: of its transformer.
        task: what the transformer does: `CLASSIFIER`, `CAUSAL` or `POOLED`.
        parts: what follows it, in order.
        max_length: tokens that are read; None where the files are silent.
        prompt: that goes before a query, or is the system's message.
        lower: whether texts are lower-cased first.
        chat: arguments of the chat template that writes pairs; None where the tokenizer joins them.
    """

    folder: Path
    home: Path
    task: str
    parts: tuple[Part, ...]
    max_length: int | None
    prompt: str
    lower: bool
    chat: Mapping[str, Any] | None


def read_saved(folder: Path) -> Saved:
    """Return what the files of a checkpoint say.

    Raises:
        ModelError: they name modules that are not known here, lack one, or state an activation that changes the order.
    """
    listed = read_json(folder / "modules.json")
    home, parts = folder, list[Part]()
    for module in listed or ():
        kind, place = module["type"].rpartition(".")[2], folder / module["path"]
        if kind == "Transformer":
            home = place
        elif kind in ("LogitScore", *_POOLED):
            parts.append(Part(kind, place, read_json(place / "config.json", {})))
        else:
            raise ModelError(
                f"{folder}: cross reads classifiers, causal language models with a LogitScore, and transformers with "
                f"{', '.join(_POOLED)}; modules of type {module['type']!r} are not part of one"
            )
    config = read_json(home / "config.json", {})
    around = read_json(folder / "config_sentence_transformers.json", {})
    transformer = read_json(home / "sentence_bert_config.json", {})
    tokenizer = read_json(home / "tokenizer_config.json", {})
    _require_order(folder, config, around)
    processing = transformer.get("processing_kwargs") or {}
    text, chat = processing.get("text") or {}, processing.get("chat_template") or {}
    lengths = [
        transformer.get("max_seq_length"),
        tokenizer.get("model_max_length"),
        text.get("max_length"),
        chat.get("max_length"),
    ]
    prompts = around.get("prompts") or {}
    if listed is None:
        spoken = "chat_template" in tokenizer or (home / "chat_template.jinja").exists()
    else:
        spoken = "message" in transformer.get("modality_config", {})
    return Saved(
        folder,
        home,
        _task(folder, [part.kind for part in parts], config, transformer, plain=listed is None),
        tuple(parts),
        min((int(length) for length in lengths if length), default=None),
        prompts.get(around.get("default_prompt_name") or "", ""),
        bool(transformer.get("do_lower_case")),
        {name: value for name, value in chat.items() if name not in _SIZES} if spoken else None,
    )


_SIZES = ("padding", "truncation", "max_length", "return_tensors", "restore_suffix")
"""What is kept with the arguments of a template and is none: how much is read is said here otherwise."""


def _task(
    folder: Path, kinds: list[str], config: Mapping[str, Any], transformer: Mapping[str, Any], *, plain: bool
) -> str:
    """Return what the transformer does, by what follows it."""
    if plain:
        return CAUSAL if ((config.get("architectures") or [""])[0]).endswith("ForCausalLM") else CLASSIFIER
    found = CLASSIFIER if not kinds else CAUSAL if kinds == ["LogitScore"] else POOLED
    stated = transformer.get("transformer_task", found)
    if stated != found or (found == POOLED and "LogitScore" in kinds):
        after = ", ".join(kinds) or "nothing"
        raise ModelError(
            f"{folder}: a transformer for {stated} with {after} behind it gives no score of a pair: a language model needs a "
            "LogitScore, which names the token of its answer, a transformer for feature-extraction a Pooling and a Dense, and a "
            "classifier nothing"
        )
    return found


def _require_order(folder: Path, config: Mapping[str, Any], around: Mapping[str, Any]) -> None:
    """Check that the activation a checkpoint states leaves the order of its logits alone."""
    stated = (
        (config.get("sentence_transformers") or {}).get("activation_fn")
        or config.get("sbert_ce_default_activation_function")
        or around.get("activation_fn")
        or "Identity"
    )
    name = str(stated).rpartition(".")[2]
    if name not in MONOTONE:
        raise ModelError(
            f"{folder} states the activation {stated!r}, under which logits may not be in order; known: {', '.join(MONOTONE)}"
        )
