"""DPR against transformers' own classes on the same random checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tamis.encoders.base import Passage
from tamis.encoders.registry import open_encoder
from tamis.errors import MissingResourceError, ModelError, UsageError

PASSAGES = [
    Passage("drum", "a drum sieve of the cook"),
    Passage("", "potato soup"),
    Passage("rank", "query term " * 60),
]
QUESTIONS = ["what is a drum sieve", "how"]
Save = Callable[..., Path]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, tiny: Save) -> tuple[Path, Path]:
    """Checkpoints as DPRContextEncoder and DPRQuestionEncoder save them."""
    import torch
    from transformers import DPRConfig, DPRContextEncoder, DPRQuestionEncoder

    base = tmp_path_factory.mktemp("dpr")
    folders = []
    for seed, (name, cls) in enumerate(
        (("my-ctx_encoder", DPRContextEncoder), ("my-question_encoder", DPRQuestionEncoder))
    ):
        folder = tiny(base / name)
        sizes = json.loads((folder / "config.json").read_text())
        kept = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        torch.manual_seed(seed)
        model = cls(DPRConfig(**{k: sizes[k] for k in kept}, max_position_embeddings=64))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(folder)
        folders.append(folder)
    return folders[0], folders[1]


def reference(folder: Path, cls: str, texts: list[tuple[str, ...]], length: int) -> np.ndarray:
    import torch
    import transformers

    model = getattr(transformers, cls).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in texts:
        inputs = tokenizer(*text, truncation=True, max_length=length, return_token_type_ids=True, return_tensors="pt")
        with torch.inference_mode():
            rows.append(model(**inputs).pooler_output[0].numpy())
    return np.array(rows)


def test_both_sides_are_transformers_own(pair: tuple[Path, Path]) -> None:
    encoder = open_encoder(f"dpr:{pair[0]}?max_length=48")
    written = [(p.title, p.text) if p.title else (p.text,) for p in PASSAGES]
    found = encoder.encode_passages(PASSAGES)
    np.testing.assert_allclose(found.vectors, reference(pair[0], "DPRContextEncoder", written, 48), atol=1e-4)
    assert found.truncated == 1
    questions = reference(pair[1], "DPRQuestionEncoder", [(q,) for q in QUESTIONS], 48)
    np.testing.assert_allclose(encoder.encode_queries(QUESTIONS).vectors, questions, atol=1e-4)
    assert (encoder.similarity, encoder.dimensions) == ("dot", 32)


def test_the_question_encoder_is_named_or_known(pair: tuple[Path, Path], tiny: Save, tmp_path: Path) -> None:
    named = open_encoder(f"dpr:{pair[0]}?query={pair[1]}&max_length=48")
    followed = open_encoder(f"dpr:{pair[0]}?max_length=48")
    np.testing.assert_array_equal(named.encode_queries(QUESTIONS).vectors, followed.encode_queries(QUESTIONS).vectors)
    lone = tiny(tmp_path / "lone")
    with pytest.raises(UsageError, match=r"\?query=ID"):
        open_encoder(f"dpr:{lone}")
    open_encoder(f"dpr:{lone}?query={lone}&max_length=48")  # a bare BERT serves too
    other = tiny(tmp_path / "other-ctx_encoder")
    with pytest.raises(MissingResourceError):
        open_encoder(f"dpr:{other}")


def test_missing_weights_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    for folder in pair:
        shutil.copytree(folder, tmp_path / folder.name)
    weights = tmp_path / pair[0].name / "model.safetensors"
    state = load_file(weights)
    name = "ctx_encoder.bert_model.encoder.layer.0.output.dense.weight"
    save_file({key: value for key, value in state.items() if key != name}, weights, {"format": "pt"})
    with pytest.raises(ModelError, match=name):
        open_encoder(f"dpr:{tmp_path / pair[0].name}")


def test_exported_graphs_read_both_sides_and_token_types(
    pair: tuple[Path, Path], runs_alike: Callable[[str], None]
) -> None:
    runs_alike(f"dpr:{pair[0]}")
