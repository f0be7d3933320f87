"""The exported query encoder: the model's vectors and fingerprint, without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tamis.encoders.exported import CARD, GRAPH, ExportedEncoder, export_query_encoder
from tamis.encoders.onnx_graph import WEIGHTS
from tamis.encoders.registry import open_encoder
from tamis.errors import ModelError

TEXTS = ["what is a drum sieve", "a", "soup " * 40, ""]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, sentence_model: Callable[..., Path]) -> tuple[Path, str]:
    folder = sentence_model(tmp_path_factory.mktemp("model") / "model", prompts={"query": "the "})
    address = f"dense:{folder}"
    out = tmp_path_factory.mktemp("exported") / "query"
    export_query_encoder(open_encoder(address), out)
    return out, address


def test_vectors_and_identity_are_the_models(exported: tuple[Path, str]) -> None:
    folder, address = exported
    encoder, model = ExportedEncoder(folder), open_encoder(address)
    have, want = encoder.encode_queries(TEXTS), model.encode_queries(TEXTS)
    np.testing.assert_allclose(have.vectors, want.vectors, atol=1e-4)
    assert have.truncated == want.truncated == 1
    assert encoder.identity.fingerprint == model.identity.fingerprint
    assert (encoder.dimensions, encoder.similarity) == (model.dimensions, model.similarity)


def test_it_loads_neither_torch_nor_transformers(exported: tuple[Path, str]) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom tamis.encoders.exported import ExportedEncoder\n"
        f"ExportedEncoder(Path({str(exported[0])!r})).encode_queries(['soup'])\n"
        "print([name for name in ('torch', 'transformers', 'sentence_transformers', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_weights_lie_beside_the_graph_and_belong_to_it(exported: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(exported[0], folder)
    assert {path.name for path in folder.iterdir()} == {CARD, GRAPH, WEIGHTS, "tokenizer.json"}
    assert (folder / WEIGHTS).stat().st_size > (folder / GRAPH).stat().st_size
    moved, model = ExportedEncoder(folder), open_encoder(exported[1])
    np.testing.assert_allclose(moved.encode_queries(TEXTS).vectors, model.encode_queries(TEXTS).vectors, atol=1e-4)
    (folder / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="damaged"):
        ExportedEncoder(folder).encode_queries(TEXTS)


def test_damage_is_refused(exported: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no exported"):
        ExportedEncoder(tmp_path)
    for name in (CARD, GRAPH, "tokenizer.json"):
        (tmp_path / name).write_bytes((exported[0] / name).read_bytes())
    (tmp_path / GRAPH).write_bytes(b"not a graph")
    with pytest.raises(ModelError, match="damaged"):
        ExportedEncoder(tmp_path).encode_queries(["soup"])
    card = json.loads((tmp_path / CARD).read_text())
    assert card["identity"]["address"] == exported[1]
