"""Exported graphs: the model's scores to 1e-4, or as bfloat16 allows, kept between processes, without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tamis.encoders import graphs, runners
from tamis.encoders.base import Passage
from tamis.errors import ModelError, UsageError
from tamis.rerankers.base import PairScorer
from tamis.rerankers.cross import backends
from tamis.rerankers.registry import open_reranker

QUERIES = ["what is a drum sieve", "soup", "butter", "", "the cook"]
Require = Callable[..., None]
PASSAGES = [Passage("", text) for text in ("a drum sieve", "", "milk " * 90, "of", "pass the potato through a sieve")]


@pytest.mark.parametrize("backend", runners.PRECISIONS)
@pytest.mark.parametrize(("labels", "typed"), [(1, True), (2, True), (1, False)])
def test_scores_are_the_models(
    tmp_path: Path, save: Callable[..., Path], labels: int, typed: bool, backend: str, require: Require
) -> None:
    require(backend)
    folder = save(tmp_path / "model", labels=labels, typed=typed)
    torch, other = open_reranker(f"cross:{folder}"), open_reranker(f"cross:{folder}?backend={backend}")
    assert isinstance(other, PairScorer)
    want, have = (model.score_pairs(QUERIES, PASSAGES) for model in (torch, other))
    np.testing.assert_allclose(have.scores, want.scores, atol=1e-4)
    assert have.truncated == want.truncated == 1
    assert other.tokens == torch.tokens
    assert other.identity.fingerprint != torch.identity.fingerprint
    other.numerics = backends.Numerics(tokens=8)
    np.testing.assert_allclose(other.score_pairs(QUERIES, PASSAGES).scores, have.scores, atol=1e-5)
    assert len(other.score_pairs([], []).scores) == 0


def test_bfloat16_is_another_model_of_nearly_the_same_scores(cross_folder: Path, require: Require) -> None:
    require("openvino", "bfloat16")
    full, half = (open_reranker(f"cross:{cross_folder}?backend=openvino&dtype={d}") for d in ("float32", "bfloat16"))
    assert full.identity.fingerprint != half.identity.fingerprint
    assert half.identity.settings["dtype"] == half.numerics.dtype == "bfloat16"
    want, have = (model.score_pairs(QUERIES, PASSAGES).scores for model in (full, half))
    np.testing.assert_allclose(have, want, rtol=0.03)
    assert not np.allclose(have, want, atol=1e-6)  # the hint was heard
    rounded = np.frombuffer((have.view(np.uint32) & 0xFFFF0000).tobytes(), np.float32)
    assert (rounded != have).sum() >= 4  # the logits themselves are not of bfloat16, in which many would tie


def test_backends_share_an_export(cross_folder: Path, tmp_path: Path, require: Require) -> None:
    require("openvino")
    first, second = (open_reranker(f"cross:{cross_folder}?backend={backend}") for backend in runners.PRECISIONS)
    assert first.folder == second.folder
    assert first.identity.fingerprint != second.identity.fingerprint
    assert len(list((tmp_path / "cache" / "onnx").iterdir())) == 1


def test_attention_is_fused_for_onnx_runtime_only(cross_folder: Path) -> None:
    import onnx

    folder = open_reranker(f"cross:{cross_folder}?backend=onnx").folder
    plain, fused = (
        [node.op_type for node in onnx.load(folder / name).graph.node] for name in (backends.GRAPH, graphs.FUSED)
    )
    assert fused.count("Attention") == 2  # one a layer
    assert "Attention" not in plain


def test_a_backend_that_scores_otherwise_is_refused(cross_folder: Path) -> None:
    model = open_reranker(f"cross:{cross_folder}?backend=onnx")
    (model.folder / "onnx.float32").unlink()
    card = backends.read_json(model.folder / backends.CARD)
    backends.write_json(model.folder / backends.CARD, {**card, "probed": [score + 1 for score in card["probed"]]})
    for _ in range(2):
        with pytest.raises(ModelError, match="scores otherwise"):
            open_reranker(f"cross:{cross_folder}?backend=onnx")


SCORE = """
import sys
from pathlib import Path
from tamis.encoders.base import Passage
from tamis.rerankers.registry import open_reranker
model = open_reranker(sys.argv[1])
score = float(model.score_pairs(["soup"], [Passage("", "milk")]).scores[0])
told = [name for name in sys.modules if name.startswith("openvino_telemetry")]
print(score, "torch" in sys.modules, told, (Path.home() / "intel").exists())
"""


@pytest.mark.parametrize("backend", runners.PRECISIONS)
def test_a_later_process_does_without_torch_and_tells_nobody(
    cross_folder: Path, tmp_path: Path, backend: str, require: Require
) -> None:
    require(backend)
    address = f"cross:{cross_folder}?backend={backend}"
    want = open_reranker(address).score_pairs(["soup"], [Passage("", "milk")]).scores[0]
    (tmp_path / "home").mkdir()
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", SCORE, address], env=here, capture_output=True, text=True, check=True)
    score, torch, *told = done.stdout.split()
    assert float(score) == pytest.approx(float(want), abs=1e-6)
    assert torch == "False"
    assert told == ["[]", "False"]  # OpenVINO's telemetry keeps an id in ~/intel


def test_few_exports_are_kept(tmp_path: Path, cross_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "KEPT", 2)
    for length in (16, 17, 18):
        open_reranker(f"cross:{cross_folder}?backend=onnx&max_length={length}")
    kept = list((tmp_path / "cache" / "onnx").iterdir())
    assert len(kept) == 2
    lengths = {backends.read_json(path / backends.CARD)["format"]["max_length"] for path in kept}
    assert lengths == {17, 18}
    (kept[0] / graphs.FUSED).write_bytes(b"damaged")
    with pytest.raises(ModelError, match="exported anew"):
        backends.ExportedCrossEncoder(kept[0], backends.Address("cross", "x"), "onnx", "float32")


def test_without_a_cache_it_lives_with_the_model(cross_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_CACHE", "off")
    model = open_reranker(f"cross:{cross_folder}?backend=onnx")
    folder = Path(model._keep.name)
    assert (folder / backends.GRAPH).exists()
    assert np.isfinite(model.score_pairs(QUERIES, PASSAGES).scores).all()
    del model
    assert not folder.exists()


def test_other_precisions_are_refused(cross_folder: Path) -> None:
    refused = ["onnx&dtype=bfloat16", "onnx&device=cuda", "openvino&dtype=float16", "openvino&device=cuda"]
    for option in refused:
        with pytest.raises(UsageError, match=r"on a processor; take backend=torch"):
            open_reranker(f"cross:{cross_folder}?backend={option}")
