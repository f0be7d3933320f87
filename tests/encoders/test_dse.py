"""DSE: the head against hand-worked values, a whole checkpoint against the formulas written out."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tamis.encoders.base import PairEncoder, Passage
from tamis.encoders.dse import PairHead
from tamis.encoders.registry import open_encoder
from tamis.errors import ModelError, UsageError

Save = Callable[..., Path]
TEXTS = ["drum sieve", "", "the cook pass potato soup through a finer sieve"]
PASSAGES = [Passage("fine", "drum sieve"), Passage("", "soup"), Passage("", "term weight " * 40)]


def save_dse(
    folder: Path, tiny: Save, *, sizes: tuple[int, ...] = (256, 8, 1), layer: bool = False, **card: Any
) -> Path:
    """The tiny BERT under the names of the authors' state dictionary, with a head of layers of these widths."""
    tiny(folder)
    state = {f"dse_model.bert.bert.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    torch.manual_seed(7)
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        state[f"siamese_head.fc_layers.{number}.weight"] = torch.randn(outputs, inputs) / inputs**0.5
        state[f"siamese_head.fc_layers.{number}.bias"] = torch.randn(outputs)
    if layer:
        state["dse_model.bert.classifier.weight"] = torch.randn(4, 64)
        state["dse_model.bert.classifier.bias"] = torch.randn(4)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    (folder / "tamis.json").write_text(json.dumps({"family": "dse", "layers": 2, **card}))
    return folder


def vector_by_hand(folder: Path, text: str, *, layers: int = 2, skip: int = 1, length: int = 64) -> torch.Tensor:
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    state, prefix = load_file(folder / "model.safetensors"), "dse_model.bert.bert."
    model = BertModel(BertConfig.from_pretrained(folder), add_pooling_layer=False).eval()
    model.load_state_dict({n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)})
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
    ids = ids if len(ids) <= length else [*ids[: length - 1], ids[-1]]
    with torch.inference_mode():
        states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    vector = torch.cat([one[0, skip:].mean(0) for one in states[-layers:]])
    if "dse_model.bert.classifier.weight" in state:
        vector = state["dse_model.bert.classifier.weight"] @ vector + state["dse_model.bert.classifier.bias"]
    return vector


def outputs_by_hand(folder: Path, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    state = load_file(folder / "model.safetensors")
    x, number = torch.cat([u, v, u * v, (u - v).abs()]), 0
    while f"siamese_head.fc_layers.{number}.weight" in state:
        x = torch.relu(x) if number else x
        x = state[f"siamese_head.fc_layers.{number}.weight"] @ x + state[f"siamese_head.fc_layers.{number}.bias"]
        number += 1
    return x


def test_a_head_worked_out() -> None:
    """u = (1, 2), v = (3, -1): u*v = (3, -2), |u-v| = (2, 3)."""
    head = PairHead(2, [8, 2, 1])
    first, last = head.fc_layers
    first.weight.data = torch.tensor([[1.0, 0, 0, 1, 1, 0, 0, 1], [0, 0, 0, 0, 0, 1, 1, 0]])
    first.bias.data = torch.tensor([0.5, -1.0])
    last.weight.data, last.bias.data = torch.tensor([[1.0, 10.0]]), torch.tensor([-0.25])
    u, v = torch.tensor([1.0, 2.0]), torch.tensor([[3.0, -1.0], [1.0, 2.0]])
    # between the layers: 1 - 1 + 3 + 3 + .5 and nothing, since -2 + 2 - 1 is below 0; then 1 + 2 + 1 + 0 + .5 and 4 + 0 - 1
    assert head(u, v).tolist() == [[6.5 - 0.25], [4.5 + 30 - 0.25]]


def test_a_head_over_the_inner_product() -> None:
    head = PairHead(2, [1, 1])
    head.fc_layers[0].weight.data, head.fc_layers[0].bias.data = torch.tensor([[2.0]]), torch.tensor([1.0])
    assert head(torch.tensor([1.0, 2.0]), torch.tensor([[3.0, -1.0], [0.0, 4.0]])).tolist() == [[3.0], [17.0]]


@pytest.mark.parametrize(
    ("card", "sizes", "layer"),
    [
        ({}, (256, 8, 1), False),
        ({"layers": 1, "cls": True}, (128, 5, 3, 1), False),
        ({}, (16, 1), True),
    ],
)
def test_a_checkpoint_is_the_formulas_written_out(
    tmp_path: Path, tiny: Save, card: dict[str, Any], sizes: tuple[int, ...], layer: bool
) -> None:
    folder = save_dse(tmp_path / "model", tiny, sizes=sizes, layer=layer, **card)
    encoder = open_encoder(f"dse:{folder}")
    assert isinstance(encoder, PairEncoder)
    assert (encoder.dimensions, encoder.similarity, encoder.outputs) == (sizes[0] // 4, "pair", 1)
    found, texts = encoder.encode_queries(TEXTS), encoder.encode_passages(PASSAGES)
    assert (found.truncated, texts.truncated) == (0, 1)
    how = {"layers": card.get("layers", 2), "skip": int(not card.get("cls"))}
    queries = [vector_by_hand(folder, text, **how) for text in TEXTS]
    documents = [vector_by_hand(folder, passage.joined, **how) for passage in PASSAGES]
    np.testing.assert_allclose(found.vectors, torch.stack(queries), atol=1e-5)
    np.testing.assert_allclose(texts.vectors, torch.stack(documents), atol=1e-5)
    for query, vector in zip(queries, found.vectors, strict=True):
        want = [float(outputs_by_hand(folder, query, document)) for document in documents]
        np.testing.assert_allclose(encoder.score(vector, texts.vectors), want, atol=1e-5)


def test_of_several_outputs_one_means_relevant(tmp_path: Path, tiny: Save) -> None:
    folder = save_dse(tmp_path / "model", tiny, sizes=(256, 8, 3))
    encoder = open_encoder(f"dse:{folder}")
    u, v = encoder.encode_queries(TEXTS[:1]).vectors[0], encoder.encode_passages(PASSAGES).vectors
    logits = torch.stack([outputs_by_hand(folder, torch.tensor(u), torch.tensor(one)) for one in v]).double()
    p = torch.softmax(logits, 1)[:, 2]
    np.testing.assert_allclose(encoder.score(u, v, positive=2), torch.log(p / (1 - p)), atol=1e-4)
    for positive in (None, 3):
        with pytest.raises(UsageError, match=r"3 outputs.*\?positive="):
            encoder.score(u, v, positive=positive)


def test_gradients_reach_all_weights(tmp_path: Path, tiny: Save) -> None:
    encoder = open_encoder(f"dse:{save_dse(tmp_path / 'model', tiny)}")
    query, documents = encoder(torch.tensor([[2, 7, 3]])), encoder(torch.tensor([[2, 8, 9, 3]]))
    encoder.siamese_head(query[0], documents).sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_what_is_missing_is_refused(tmp_path: Path, tiny: Save) -> None:
    folder = save_dse(tmp_path / "model", tiny)
    state, path = load_file(folder / "model.safetensors"), folder / "model.safetensors"
    names = ["siamese_head.fc_layers.0.weight", "siamese_head.fc_layers.1.bias"]
    for name in [*names, "dse_model.bert.bert.encoder.layer.1.output.dense.weight"]:
        save_file({key: value for key, value in state.items() if key != name}, path)
        with pytest.raises(ModelError, match=name.replace(".", r"\.")):
            open_encoder(f"dse:{folder}")
    save_file(state, path)
    (folder / "tamis.json").write_text(json.dumps({"layers": 1}))
    with pytest.raises(ModelError, match="reads 256 numbers, and two vectors of 32 make 128"):
        open_encoder(f"dse:{folder}")
    (folder / "tamis.json").write_text(json.dumps({"layers": 4}))
    with pytest.raises(ModelError, match="last 4 layers"):
        open_encoder(f"dse:{folder}")
