"""ONNX Runtime: the model's scores to 1e-4, kept between processes, without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tamis.encoders.base import Passage
from tamis.errors import ModelError, UsageError
from tamis.rerankers import backends
from tamis.rerankers.base import PairScorer
from tamis.rerankers.registry import open_reranker

QUERIES = ["what is a drum sieve", "soup", "butter", "", "the cook"]
PASSAGES = [Passage("", text) for text in ("a drum sieve", "", "milk " * 90, "of", "pass the potato through a sieve")]


@pytest.mark.parametrize(("labels", "typed"), [(1, True), (2, True), (1, False)])
def test_scores_are_the_models(tmp_path: Path, save: Callable[..., Path], labels: int, typed: bool) -> None:
    folder = save(tmp_path / "model", labels=labels, typed=typed)
    torch, onnx = open_reranker(f"cross:{folder}"), open_reranker(f"cross:{folder}?backend=onnx")
    assert isinstance(onnx, PairScorer)
    want, have = (model.score_pairs(QUERIES, PASSAGES) for model in (torch, onnx))
    np.testing.assert_allclose(have.scores, want.scores, atol=1e-4)
    assert have.truncated == want.truncated == 1
    assert onnx.tokens == torch.tokens
    assert onnx.identity.fingerprint != torch.identity.fingerprint
    onnx.numerics = backends.Numerics(tokens=8)
    np.testing.assert_allclose(onnx.score_pairs(QUERIES, PASSAGES).scores, have.scores, atol=1e-5)
    assert len(onnx.score_pairs([], []).scores) == 0


SCORE = """
import sys
from tamis.encoders.base import Passage
from tamis.rerankers.registry import open_reranker
model = open_reranker(sys.argv[1])
print(float(model.score_pairs(["soup"], [Passage("", "milk")]).scores[0]), "torch" in sys.modules)
"""


def test_a_later_process_does_without_torch(cross_folder: Path) -> None:
    address = f"cross:{cross_folder}?backend=onnx"
    want = open_reranker(address).score_pairs(["soup"], [Passage("", "milk")]).scores[0]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", SCORE, address], env=here, capture_output=True, text=True, check=True)
    score, torch = done.stdout.split()
    assert float(score) == pytest.approx(float(want), abs=1e-6)
    assert torch == "False"


def test_few_exports_are_kept(tmp_path: Path, cross_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "KEPT", 2)
    for length in (16, 17, 18):
        open_reranker(f"cross:{cross_folder}?backend=onnx&max_length={length}")
    kept = list((tmp_path / "cache" / "onnx").iterdir())
    assert len(kept) == 2
    lengths = {backends.read_json(path / backends.CARD)["format"]["max_length"] for path in kept}
    assert lengths == {17, 18}
    (kept[0] / backends.GRAPH).write_bytes(b"damaged")
    with pytest.raises(ModelError, match="exported anew"):
        backends.ExportedCrossEncoder(kept[0], backends.Address("cross", "x"))


def test_without_a_cache_it_lives_with_the_model(cross_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_CACHE", "off")
    model = open_reranker(f"cross:{cross_folder}?backend=onnx")
    folder = Path(model._keep.name)
    assert (folder / backends.GRAPH).exists()
    assert np.isfinite(model.score_pairs(QUERIES, PASSAGES).scores).all()
    del model
    assert not folder.exists()


def test_other_precisions_are_refused(cross_folder: Path) -> None:
    for option in ("dtype=bfloat16", "device=cuda"):
        with pytest.raises(UsageError, match="float32 on a processor"):
            open_reranker(f"cross:{cross_folder}?backend=onnx&{option}")
