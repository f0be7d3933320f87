"""uniCOIL: weights worked out token by token on a checkpoint with the names that its authors' code gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tamis.encoders.base import Passage, SparseEncoder, SparseVectors
from tamis.encoders.registry import open_encoder
from tamis.errors import ModelError

Save = Callable[..., Path]
TEXTS = ["the drum of the drum of the cook", "a sieve", "zebra drum drum", ""]


def save_unicoil(folder: Path, tiny: Save, prefix: str = "coil_encoder.") -> Path:
    import torch
    from safetensors.torch import load_file, save_file

    tiny(folder)
    state = {f"{prefix}bert.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    torch.manual_seed(5)
    state |= {f"{prefix}tok_proj.weight": torch.randn(1, 32), f"{prefix}tok_proj.bias": torch.tensor([0.5])}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return folder


def by_hand(folder: Path, text: str, *, query: bool, skipped: set[str]) -> dict[str, float]:
    import torch
    from safetensors.torch import load_file
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    state = {n.removeprefix("coil_encoder."): v for n, v in load_file(folder / "model.safetensors").items()}
    model = BertModel(BertConfig.from_pretrained(folder), add_pooling_layer=False).eval()
    model.load_state_dict({n.removeprefix("bert."): v for n, v in state.items() if n.startswith("bert.")})
    encoding = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text)
    with torch.inference_mode():
        states = model(torch.tensor([encoding.ids])).last_hidden_state[0].double()
        weights = (states @ state["tok_proj.weight"][0].double() + 0.5).clamp(min=0).tolist()
    found: dict[str, float] = {}
    for token, weight in zip(encoding.tokens, weights, strict=True):
        if token not in skipped:
            held = found.get(token, 0.0)
            found[token] = held + weight if query else max(held, weight)
    return {token: weight for token, weight in found.items() if weight > 0}


def named(vectors: SparseVectors, names: list[str]) -> list[dict[str, float]]:
    spans = zip(vectors.offsets, vectors.offsets[1:], strict=False)
    return [
        dict(zip([names[i] for i in vectors.indices[a:b]], vectors.values[a:b].tolist(), strict=True)) for a, b in spans
    ]


@pytest.mark.parametrize("special_tokens", ["pooled", "masked"])
def test_repeats_add_up_in_queries_and_compete_in_documents(tmp_path: Path, tiny: Save, special_tokens: str) -> None:
    folder = save_unicoil(tmp_path / "model", tiny)
    encoder = open_encoder(f"unicoil:{folder}?special_tokens={special_tokens}")
    assert isinstance(encoder, SparseEncoder)
    skipped = {"[CLS]"} if special_tokens == "pooled" else {"[CLS]", "[SEP]"}
    documents = named(encoder.encode_passages([Passage("", text) for text in TEXTS]), encoder.names())
    queries = named(encoder.encode_queries(TEXTS), encoder.names())
    assert documents != queries
    for found, query in ((documents, False), (queries, True)):
        for text, weights in zip(TEXTS, found, strict=True):
            assert weights == pytest.approx(by_hand(folder, text, query=query, skipped=skipped), abs=1e-5)
    assert any("[SEP]" in weights for weights in documents) == (special_tokens == "pooled")


def test_forward_has_gradients_and_names_without_the_prefix_are_read(tmp_path: Path, tiny: Save) -> None:
    import torch

    encoder = open_encoder(f"unicoil:{save_unicoil(tmp_path / 'model', tiny, prefix='')}")
    with_prefix = open_encoder(f"unicoil:{save_unicoil(tmp_path / 'other', tiny)}")
    found, wanted = encoder.encode_queries(TEXTS), with_prefix.encode_queries(TEXTS)
    np.testing.assert_array_equal(found.values, wanted.values)
    for side in ("query", "document"):
        encoder.zero_grad()
        encoder(torch.tensor(encoder.query_inputs(TEXTS[:1]).ids), side=side).sum().backward()
        assert encoder.tok_proj.weight.grad.abs().sum() > 0


def test_a_checkpoint_without_its_projection_is_refused(tmp_path: Path, tiny: Save) -> None:
    from safetensors.torch import load_file, save_file

    with pytest.raises(ModelError, match=r"tok_proj\.weight"):
        open_encoder(f"unicoil:{tiny(tmp_path / 'plain')}")
    folder = save_unicoil(tmp_path / "model", tiny)
    state = load_file(folder / "model.safetensors")
    del state["coil_encoder.tok_proj.bias"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"tok_proj\.bias.*random"):
        open_encoder(f"unicoil:{folder}")
