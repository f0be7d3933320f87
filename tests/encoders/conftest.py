"""A tiny BERT with random weights from a seed, saved as a sentence-transformers checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORDS = [
    "a",
    "the",
    "of",
    "drum",
    "sieve",
    "cook",
    "soup",
    "potato",
    "butter",
    "milk",
    "rank",
    "query",
    "document",
    "term",
    "weight",
    "fine",
    "finer",
    "pass",
    "through",
    "is",
    "what",
    "how",
]


def save_tiny(folder: Path, *, seed: int = 0, model_type: str = "bert", pooler: bool = False, **changes: Any) -> Path:
    """Write config, weights and tokenizer of a two-layer model, 32 wide."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *"abcdefghijklmnopqrstuvwxyz", "[", "]"]
    vocabulary += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    tokens = {token: number for number, token in enumerate(dict.fromkeys(vocabulary))}
    raw = Tokenizer(models.WordPiece(tokens, unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = [("[CLS]", tokens["[CLS]"]), ("[SEP]", tokens["[SEP]"])]
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks
    )
    names = {
        "unk_token": "[UNK]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=64, **names)
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        **changes,
    )
    torch.manual_seed(seed)
    model = BertModel(config, add_pooling_layer=pooler)
    with torch.no_grad():  # the default initialisation makes all texts alike
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_sentence_model(
    folder: Path, *, pooling: str = "mean", normalise: bool = True, seed: int = 0, **settings: Any
) -> Path:
    """The same, with the files by which sentence-transformers knows a checkpoint."""
    save_tiny(folder, seed=seed)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] if normalise else [])]
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 20, "do_lower_case": False}))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    (folder / "1_Pooling").mkdir()
    keys = {
        "cls": "cls_token",
        "max": "max_tokens",
        "mean": "mean_tokens",
        "lasttoken": "lasttoken",
        "weightedmean": "weightedmean_tokens",
    }
    values = {f"pooling_mode_{name}": kind == pooling for kind, name in keys.items()}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **values}))
    if normalise:
        (folder / "2_Normalize").mkdir()
    return folder


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Path]:
    return save_tiny


@pytest.fixture(scope="session")
def sentence_model() -> Callable[..., Path]:
    return save_sentence_model
