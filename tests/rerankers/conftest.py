"""Tiny cross-encoders with random weights from a seed, and a cache that no test shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORDS = [
    *("a", "the", "of", "drum", "sieve", "cook", "soup", "potato", "butter", "milk", "rank", "query", "document"),
    *("term", "weight", "fine", "finer", "pass", "is", "what", "how"),
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))


def save_cross(
    folder: Path,
    *,
    labels: int = 1,
    seed: int = 0,
    length: int = 64,
    head: bool = True,
    typed: bool = True,
    **changes: Any,
) -> Path:
    """Write a two-layer BERT, 32 wide, with a classification head whose logits differ by more than rounding."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *WORDS,
        *letters,
        *(f"##{x}" for x in letters),
        *".,:?!",
    ]
    tokens = {token: number for number, token in enumerate(dict.fromkeys(vocabulary))}
    raw = Tokenizer(models.WordPiece(tokens, unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = [("[CLS]", tokens["[CLS]"]), ("[SEP]", tokens["[SEP]"])]
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep", "mask")}
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=length,
        num_labels=labels,
        **changes,
    )
    torch.manual_seed(seed)
    model = BertForSequenceClassification(config) if head else BertModel(config)
    with torch.no_grad():  # the default initialisation makes all texts alike
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        if head:
            model.classifier.weight.mul_(20)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    inputs = ["input_ids", *(["token_type_ids"] if typed else []), "attention_mask"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, model_max_length=length, model_input_names=inputs, **names
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def save() -> Callable[..., Path]:
    return save_cross


@pytest.fixture(scope="session")
def cross_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_cross(tmp_path_factory.mktemp("cross") / "model")
