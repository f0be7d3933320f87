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


T5_FALSE, T5_TRUE = 6136, 1176


def save_t5(
    folder: Path,
    *,
    kind: str = "t5",
    seed: int = 0,
    gated: bool = False,
    untied: bool = False,
    words: dict[int, str] | None = None,
    **changes: Any,
) -> Path:
    """Write a two-layer T5, 32 wide, whose answers differ by more than rounding.

    Args:
        folder: where to.
        kind: ``t5`` or ``mt5``.
        seed: of the weights.
        gated: whether feed-forward layers are those of v1.1 and mT5.
        untied: whether the output matrix is one of its own.
        words: tokens by their ids; those of the T5 vocabulary that rerankers ask for if none.
        changes: of the configuration.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        MT5Config,
        MT5ForConditionalGeneration,
        PreTrainedTokenizerFast,
        T5Config,
        T5ForConditionalGeneration,
    )

    fixed = {0: "<pad>", 1: "</s>", 2: "<unk>"} | (words or {T5_FALSE: "▁false", T5_TRUE: "▁true"})
    known = ["▁Query", "▁Document", "▁Relevant", *(f"▁{word}" for word in WORDS), "▁"]
    free = iter([*known, *"abcdefghijklmnopqrstuvwxyz0123456789.,:?!QDR"])
    size = max(fixed) + len(known) + 64
    tokens = [fixed.get(i) or next(free, f"<unused {i}>") for i in range(size)]
    score = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0}
    raw = Tokenizer(
        models.Unigram([(token, score.get(token, -3.0 if len(token) > 1 else -9.0)) for token in tokens], unk_id=2)
    )
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    values = {
        "vocab_size": size,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 2,
        "num_decoder_layers": 3,
        "num_heads": 4,
        "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 20,
        "feed_forward_proj": "gated-gelu" if gated else "relu",
        "tie_word_embeddings": not untied,
        "decoder_start_token_id": 0,
        **changes,
    }
    torch.manual_seed(seed)
    config = (T5Config if kind == "t5" else MT5Config)(**values)
    model = (T5ForConditionalGeneration if kind == "t5" else MT5ForConditionalGeneration)(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layer_norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
            elif "shared" not in name:
                parameter.mul_(1.5)
        if untied:
            model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) * 0.2)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=512, **names).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def save_t5_model() -> Callable[..., Path]:
    return save_t5


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_t5(tmp_path_factory.mktemp("t5") / "model")
