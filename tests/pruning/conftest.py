"""A small index to prune, texts apart from an index, and tiny checkpoints with random weights."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tamis
from tamis.encoders.base import Passage
from tamis.indexer import compaction, jobs
from tamis.indexer.encoded import job

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(60)), "the", "of", "a"]
TOPICS = {"q1": "w1 w5 w9", "q2": "w2 w30 w31", "q3": "w40", "q4": "w7 w12 w3", "q5": "w0 w17", "q6": "w22 w23"}


def generate(count: int, *, seed: int = 1, words: int = 30) -> list[dict[str, Any]]:
    """Documents of Zipf-like text; the one numbered 7 is blank."""
    rng = random.Random(seed)
    names = [f"w{i}" for i in range(60)] + ["the", "of"]
    weights = [1 / (i + 1) for i in range(60)] + [0.5, 0.5]
    documents = []
    for i in range(count):
        text = " ".join(rng.choices(names, weights, k=rng.randrange(3, words)))
        documents.append({"id": f"d{i}", "title": "" if i == 7 else f"w{i % 50}", "text": "" if i == 7 else text})
    return documents


@pytest.fixture(scope="session")
def make_documents() -> Callable[..., list[dict[str, Any]]]:
    return generate


@pytest.fixture(scope="session")
def topics() -> dict[str, str]:
    return TOPICS


@dataclass
class Given:
    """`tamis.indexer.encoded.kinds.Texts` of a list."""

    ids: list[str]
    passages: list[Passage]

    @property
    def blank(self) -> NDArray[np.bool_]:
        return np.array([not passage.joined.strip() for passage in self.passages], np.bool_)


@pytest.fixture
def given() -> Callable[[Sequence[str]], Given]:
    return lambda texts: Given([f"d{i}" for i in range(len(texts))], [Passage("", text) for text in texts])


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several segments, several chunks of work a segment, several compacted segments."""
    monkeypatch.setattr(jobs, "CHUNK_DOCUMENTS", 40)
    monkeypatch.setattr(compaction, "SEGMENT_ROWS", 70)
    monkeypatch.setattr(job, "CHUNK_ROWS", 16)


@pytest.fixture
def index(tmp_path: Path, small_chunks: None) -> Iterator[tamis.Index]:
    """120 documents in three segments."""
    with tamis.Index.create(tmp_path / "index") as made:
        made.add(generate(120))
        yield made


def save_tokenizer(folder: Path, *, cls: bool = True) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    if cls:
        raw.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    raw.save(str(folder / "tokenizer.json"))


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a tiny BERT with a classification head."""

    def make(labels: int = 1) -> Path:
        import torch
        from transformers import BertConfig, BertForSequenceClassification

        folder = tmp_path_factory.mktemp("classifier")
        torch.manual_seed(labels)
        config = BertConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            num_labels=labels,
        )
        BertForSequenceClassification(config).eval().save_pretrained(folder)
        save_tokenizer(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a tiny GPT-2."""

    def make(bos: int | None = 2) -> Path:
        import torch
        from transformers import GPT2Config, GPT2LMHeadModel

        folder = tmp_path_factory.mktemp("gpt2")
        torch.manual_seed(3)
        config = GPT2Config(
            vocab_size=len(VOCABULARY), n_embd=16, n_layer=2, n_head=2, n_positions=48, bos_token_id=bos, eos_token_id=3
        )
        GPT2LMHeadModel(config).eval().save_pretrained(folder)
        save_tokenizer(folder, cls=False)
        return folder

    return make
