"""Exported sparse query encoders: the model's weights and fingerprint, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.encoders.base import SparseVectors
from tamis.encoders.exported import CARD, GRAPH
from tamis.encoders.exported_sparse import (
    TABLE,
    ExportedSparseEncoder,
    can_export_sparse,
    export_sparse_queries,
)
from tamis.encoders.registry import open_encoder
from tamis.encoders.sparse_rows import Pruning
from tamis.errors import ModelError

Save = Callable[..., Path]
TEXTS = ["what is a drum sieve", "a", "soup " * 80, "", "term weight term"]


@pytest.fixture(scope="module")
def mlm(tmp_path_factory: pytest.TempPathFactory, tiny: Save) -> Path:
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM

    folder = tiny(tmp_path_factory.mktemp("exported") / "mlm")
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(folder))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder)
    (folder / "idf.json").write_text(json.dumps({"drum": 2.5, "a": 0.25, "term": 1.5, "weight": -1.0}))
    return folder


def dense(vectors: SparseVectors, dimensions: int) -> Any:
    found = np.zeros((len(vectors.offsets) - 1, dimensions), np.float32)
    found[np.repeat(np.arange(len(found)), np.diff(vectors.offsets)), vectors.indices] = vectors.values
    return found


@pytest.mark.parametrize(
    "options",
    [
        "",
        "?pooling=sum",
        "?special_tokens=masked&query_length=16&query_prompt=the ",
        "?query_weights=idf.json",
        "?query_weights=ones&query_length=3",
    ],
)
def test_weights_and_identity_are_the_models(tmp_path: Path, mlm: Path, options: str) -> None:
    model = open_encoder(f"splade:{mlm}{options}")
    assert can_export_sparse(model)
    export_sparse_queries(model, tmp_path / "query")
    exported = ExportedSparseEncoder(tmp_path / "query")
    want, have = model.encode_queries(TEXTS), exported.encode_queries(TEXTS)
    np.testing.assert_allclose(dense(have, model.dimensions), dense(want, model.dimensions), atol=1e-4)
    assert (dense(want, model.dimensions) > 0).any(1).sum() >= 3
    assert have.truncated == want.truncated
    assert exported.identity.fingerprint == model.identity.fingerprint
    assert exported.dimensions == model.dimensions
    static = "query_weights" in options
    assert (tmp_path / "query" / TABLE).exists() == static
    assert (tmp_path / "query" / GRAPH).exists() != static
    alone = np.concatenate([dense(exported.encode_queries([text]), model.dimensions) for text in TEXTS])
    np.testing.assert_allclose(alone, dense(have, model.dimensions), atol=1e-5)
    assert exported.encode_queries([]).offsets.tolist() == [0]


def test_a_query_encoder_of_its_own_is_the_one_exported(tmp_path: Path, mlm: Path, tiny: Save) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    second = tmp_path / "second"
    shutil.copytree(mlm, second)
    state = load_file(second / "model.safetensors")
    state["cls.predictions.bias"] = state["cls.predictions.bias"].flip(0)
    save_file(state, second / "model.safetensors", {"format": "pt"})
    model = open_encoder(f"splade:{mlm}?query={second}")
    export_sparse_queries(model, tmp_path / "query")
    have = dense(ExportedSparseEncoder(tmp_path / "query").encode_queries(TEXTS), model.dimensions)
    np.testing.assert_allclose(have, dense(model.encode_queries(TEXTS), model.dimensions), atol=1e-4)
    assert not np.allclose(have, dense(open_encoder(f"splade:{mlm}").encode_queries(TEXTS), model.dimensions), atol=0.1)


def test_unicoil_adds_up_what_stands_several_times(tmp_path: Path, tiny: Save) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = tiny(tmp_path / "unicoil")
    state = {f"bert.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    generator = torch.Generator().manual_seed(5)
    state["tok_proj.weight"], state["tok_proj.bias"] = torch.randn(1, 32, generator=generator), torch.ones(1)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    model = open_encoder(f"unicoil:{folder}")
    export_sparse_queries(model, tmp_path / "query")
    have = dense(ExportedSparseEncoder(tmp_path / "query").encode_queries(TEXTS), model.dimensions)
    np.testing.assert_allclose(have, dense(model.encode_queries(TEXTS), model.dimensions), atol=1e-4)
    assert have.any()


@pytest.mark.parametrize("options", ["", "?binary=false", "?special_tokens=masked", "?winners=3"])
def test_uhd_has_the_same_winners(tmp_path: Path, tiny: Save, options: str) -> None:
    from tamis.encoders import uhd

    folder = tmp_path / "uhd"
    recipe = uhd.Recipe(layers=(1, -1), dimensions=200, winners=7, weights=(1.0, 0.5), shared=False)
    uhd.create(tiny(tmp_path / "bert"), recipe, seed=3, device="cpu").save(folder)
    model = open_encoder(f"uhd:{folder}{options}")
    export_sparse_queries(model, tmp_path / "query")
    exported = ExportedSparseEncoder(tmp_path / "query")
    want, have = model.encode_queries(TEXTS), exported.encode_queries(TEXTS)
    assert have.offsets.tolist() == want.offsets.tolist()
    assert have.indices.tolist() == want.indices.tolist()
    np.testing.assert_allclose(have.values, want.values, atol=1e-4)
    assert len(want.indices) > 50
    pruned = ExportedSparseEncoder(tmp_path / "query", Pruning(4)).encode_queries(TEXTS)
    fewer = open_encoder(f"uhd:{folder}{options}{'&' if options else '?'}query_top=4").encode_queries(TEXTS)
    assert pruned.indices.tolist() == fewer.indices.tolist()  # by the real values, before they are gone
    assert pruned.values.tolist() == pytest.approx(fewer.values.tolist(), abs=1e-4)
    assert not can_export_sparse(open_encoder(f"uhd:{folder}?query_winners=2"))


def test_equal_values_are_won_by_the_lower_dimension_in_the_graph_too(tmp_path: Path, tiny: Save) -> None:
    import torch

    from tamis.encoders import uhd

    folder = tmp_path / "uhd"
    encoder = uhd.create(tiny(tmp_path / "bert"), uhd.Recipe(dimensions=40, winners=7), seed=3, device="cpu")
    with torch.no_grad():
        head = encoder.heads["document"][0]
        head.weight.zero_()
        head.bias.fill_(0.25)
        head.bias[5] = 1.0
    encoder.save(folder)
    export_sparse_queries(open_encoder(f"uhd:{folder}"), tmp_path / "query")
    assert ExportedSparseEncoder(tmp_path / "query").encode_queries(["a"]).indices.tolist() == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("options", ["", "?query_weights=idf.json"])
def test_it_loads_neither_torch_nor_transformers(tmp_path: Path, mlm: Path, options: str) -> None:
    export_sparse_queries(open_encoder(f"splade:{mlm}{options}"), tmp_path / "query")
    unwanted = ["torch", "transformers", "sentence_transformers", "pyarrow"] + (["onnxruntime"] if options else [])
    code = (
        "import sys\nfrom pathlib import Path\nfrom tamis.encoders.exported_sparse import ExportedSparseEncoder\n"
        f"found = ExportedSparseEncoder(Path({str(tmp_path / 'query')!r})).encode_queries(['a drum'])\n"
        f"print([name for name in {unwanted!r} if name in sys.modules], len(found.indices) > 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[] True"


def test_pruning_is_the_searches_or_else_the_checkpoints(tmp_path: Path, mlm: Path) -> None:
    model = open_encoder(f"splade:{mlm}")
    model.limits = (Pruning(), Pruning(6))
    export_sparse_queries(model, tmp_path / "query")

    def lengths(pruning: Pruning | None) -> list[int]:
        found = ExportedSparseEncoder(tmp_path / "query", pruning).encode_queries(TEXTS)
        return np.diff(found.offsets).tolist()

    assert lengths(None) == [6] * len(TEXTS)
    assert lengths(Pruning(2)) == [2] * len(TEXTS)
    every = dense(model.encode_queries(TEXTS), model.dimensions)
    least = float(np.sort(every[0])[-3])
    assert lengths(Pruning(50, least + 1e-3))[0] == 2


def test_damage_is_refused(tmp_path: Path, mlm: Path) -> None:
    export_sparse_queries(open_encoder(f"splade:{mlm}"), tmp_path / "query")
    export_sparse_queries(open_encoder(f"splade:{mlm}?query_weights=ones"), tmp_path / "table")
    (tmp_path / "query" / GRAPH).write_bytes(b"not a graph")
    (tmp_path / "table" / TABLE).write_bytes(b"not an array")
    with pytest.raises(ModelError, match="damaged"):
        ExportedSparseEncoder(tmp_path / "query").encode_queries(["a"])
    with pytest.raises(ModelError, match="damaged"):
        ExportedSparseEncoder(tmp_path / "table")
    (tmp_path / "table" / CARD).unlink()
    with pytest.raises(ModelError, match="no exported"):
        ExportedSparseEncoder(tmp_path / "table")


def test_an_export_that_computes_something_else_is_refused(tmp_path: Path, mlm: Path) -> None:
    model = open_encoder(f"splade:{mlm}")
    own = model.grade_queries
    model.grade_queries = lambda texts: own([f"{text} drum" for text in texts])
    with pytest.raises(ModelError, match="differs"):
        export_sparse_queries(model, tmp_path / "query")
