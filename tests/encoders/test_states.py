"""Token states by an exported graph: the model's vectors, on every backend, from one export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import tamis
from tamis.encoders import graphs, runners, states
from tamis.encoders.base import Passage
from tamis.encoders.registry import open_encoder
from tamis.errors import ModelError, UsageError

Require = Callable[..., None]
PASSAGES = [Passage("", text) for text in ("a drum sieve", "", "milk " * 90, "of", "pass the potato through a sieve")]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "onnx"


@pytest.mark.parametrize("backend", runners.PRECISIONS)
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_vectors_are_the_models(
    tmp_path: Path, sentence_model: Callable[..., Path], backend: str, pooling: str, require: Require
) -> None:
    require(backend)
    folder = sentence_model(tmp_path / "model")
    torch, other = (open_encoder(f"dense:{folder}?pooling={pooling}{more}") for more in ("", f"&backend={backend}"))
    want, have = torch.encode_passages(PASSAGES), other.encode_passages(PASSAGES)
    np.testing.assert_allclose(have.vectors, want.vectors, atol=1e-5)
    assert have.truncated == want.truncated == 1
    assert other.tokens == torch.tokens
    assert other.identity == torch.identity  # float32 vectors are the model's, whatever runs it
    other.numerics = type(other.numerics)(tokens=8)
    np.testing.assert_allclose(other.encode_passages(PASSAGES).vectors, have.vectors, atol=1e-5)
    np.testing.assert_allclose(
        other.encode_queries(["soup"]).vectors, torch.encode_queries(["soup"]).vectors, atol=1e-5
    )
    assert len(other.encode_passages([]).vectors) == 0


def test_bfloat16_is_heard(tmp_path: Path, sentence_model: Callable[..., Path], require: Require) -> None:
    require("openvino", "bfloat16")
    folder = sentence_model(tmp_path / "model")
    full, half = (open_encoder(f"dense:{folder}?backend=openvino&dtype={d}") for d in ("float32", "bfloat16"))
    assert full.identity.fingerprint != half.identity.fingerprint
    want, have = full.encode_passages(PASSAGES).vectors, half.encode_passages(PASSAGES).vectors
    assert (want * have).sum(1).min() > 0.999
    assert not np.allclose(want, have, atol=1e-5)


def test_one_export_serves_backends_and_later_models(
    tmp_path: Path, sentence_model: Callable[..., Path], cache: Path, monkeypatch: pytest.MonkeyPatch, require: Require
) -> None:
    require("openvino")
    folder = sentence_model(tmp_path / "model")
    for backend in runners.PRECISIONS:
        open_encoder(f"dense:{folder}?backend={backend}")
        monkeypatch.setattr(states, "_export", None)  # a second one would fail
    (kept,) = cache.iterdir()
    plain, fused = (
        [node.op_type for node in onnx.load(kept / name).graph.node] for name in (states.GRAPH, graphs.FUSED)
    )
    assert "Attention" not in plain
    assert "Attention" in fused


def test_training_and_the_query_encoder_of_a_part_have_the_model_itself(
    tmp_path: Path, sentence_model: Callable[..., Path]
) -> None:
    folder = sentence_model(tmp_path / "model")
    with tamis.Index.create(tmp_path / "index", threads=1) as index:
        index.add([{"id": "a", "text": "a drum sieve"}, {"id": "b", "text": "milk soup"}])
        index.add_part(f"dense:{folder}?backend=onnx")
        found = index.search("a drum sieve", pipeline=f"dense:{folder}")
        assert [hit.id for hit in found] == ["a", "b"]
        assert found[0].score == pytest.approx(1, abs=1e-5)
    assert list((tmp_path / "index").rglob("query.onnx"))
    import torch

    encoder = open_encoder(f"dense:{folder}?backend=onnx")
    encoder(torch.tensor([[2, 7, 8, 3]])).sum().backward()
    assert encoder.transformer.embeddings.word_embeddings.weight.grad.abs().sum() > 0


def test_another_model_under_the_name_is_refused(
    tmp_path: Path, sentence_model: Callable[..., Path], cache: Path
) -> None:
    one, other = (sentence_model(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 1)))
    open_encoder(f"dense:{one}?backend=onnx")
    (first,) = cache.iterdir()
    open_encoder(f"dense:{other}?backend=onnx")
    (second,) = set(cache.iterdir()) - {first}
    (first / graphs.FUSED).write_bytes((second / graphs.FUSED).read_bytes())
    with pytest.raises(ModelError, match=r"computes something else .*: take backend=torch"):
        open_encoder(f"dense:{one}?backend=onnx")
    (first / graphs.FUSED).write_bytes(b"damaged")
    with pytest.raises(ModelError, match="exported anew"):
        open_encoder(f"dense:{one}?backend=onnx")


def test_what_a_backend_cannot_do_is_refused(tmp_path: Path, sentence_model: Callable[..., Path], cache: Path) -> None:
    folder = sentence_model(tmp_path / "model")
    for options in ("onnx&dtype=bfloat16", "onnx&device=cuda", "openvino&dtype=float16", "openvino&device=cuda"):
        with pytest.raises(UsageError, match="on a processor; take backend=torch"):
            open_encoder(f"dense:{folder}?backend={options}")
    assert not cache.exists()
