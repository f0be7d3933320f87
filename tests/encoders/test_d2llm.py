"""D2LLM: pooling and interaction against hand-worked values, a whole checkpoint against the formulas written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tamis.encoders.base import PairEncoder, Passage
from tamis.encoders.d2llm import AttentionPooling, Interaction
from tamis.encoders.registry import open_encoder
from tamis.errors import ModelError, UnknownNameError

WORDS = ["[PAD]", "[UNK]", "a", "the", "drum", "sieve", "cook", "soup", "query", "term", "weight", "fine"]


def save_d2llm(folder: Path, *, norms: bool = True, **card: Any) -> Path:
    """A tiny language model whose tokenizer adds nothing, as Qwen's, and the authors' weights beside it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2Model

    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "max_position_embeddings": 64}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = Qwen2Config(vocab_size=len(WORDS), **sizes, **heads, bos_token_id=None, eos_token_id=None, pad_token_id=0)
    torch.manual_seed(0)
    model = Qwen2Model(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    pooling, interaction = AttentionPooling(16, 4, norms=norms), Interaction(16, 6)
    state = {f"mha_pma.{name}": value for name, value in pooling.state_dict().items()}
    state |= {f"iem.{name}": value for name, value in interaction.state_dict().items()}
    save_file(
        {name: value + 0.3 * torch.randn_like(value) for name, value in state.items()}, folder / "d2llm.safetensors"
    )
    (folder / "tamis.json").write_text(json.dumps({"family": "d2llm", "heads": 4, "max_length": 8, **card}))
    return folder


def by_hand(folder: Path, query: str, text: str, *, heads: int = 4, branch: str = "proj1", unit: bool = False) -> float:
    """The logit of a pair, head by head and layer by layer."""
    from transformers import AutoModel

    model, state = (
        AutoModel.from_pretrained(folder, dtype=torch.float32).eval(),
        load_file(folder / "d2llm.safetensors"),
    )

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        if f"mha_pma.mab.{name}.weight" not in state:
            return x
        scaled = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()
        return scaled * state[f"mha_pma.mab.{name}.weight"] + state[f"mha_pma.mab.{name}.bias"]

    def pooled(words: str) -> torch.Tensor:
        ids = [WORDS.index(word) if word in WORDS else 1 for word in words.split()][:8] or [0]
        states = model(torch.tensor([ids])).last_hidden_state[0]
        seed = state["mha_pma.S"][0, 0]
        q, k, v = (
            linear("mha_pma.mab.fc_q", seed),
            linear("mha_pma.mab.fc_k", states),
            linear("mha_pma.mab.fc_v", states),
        )
        seen = []
        for head in range(heads):
            part = slice(head * 16 // heads, (head + 1) * 16 // heads)
            weights = torch.softmax(k[:, part] @ q[part] / 16**0.5, 0)
            seen.append(weights @ v[:, part])
        x = norm("ln0", seed + torch.cat(seen))
        x = norm("ln1", x + torch.relu(linear("mha_pma.mab.fc_o", x)))
        return x / x.norm() if unit else x

    with torch.inference_mode():
        x = torch.relu(linear("iem.linear1", torch.cat([pooled(query), pooled(text)])))
        return float(linear("iem.linear2", torch.relu(linear(f"iem.{branch}", x))))


def test_a_pooling_without_weights_is_the_seed() -> None:
    pooling = AttentionPooling(4, 2, norms=False)
    for parameter in pooling.parameters():
        torch.nn.init.zeros_(parameter)
    pooling.S.data[:] = torch.tensor([1.0, -2.0, 3.0, 4.0])
    assert pooling(torch.randn(3, 5, 4)).tolist() == [[1.0, -2.0, 3.0, 4.0]] * 3


def test_a_pooling_worked_out() -> None:
    """One head: softmax of (1/√2, 0) is (.669762, .330238)."""
    pooling = AttentionPooling(2, 1, norms=False)
    for name in ("fc_q", "fc_k", "fc_v"):
        pooling.mab[name].weight.data = torch.eye(2)
        torch.nn.init.zeros_(pooling.mab[name].bias)
    pooling.mab["fc_o"].weight.data = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    pooling.mab["fc_o"].bias.data = torch.tensor([-1.0, -1.0])
    pooling.S.data[:] = torch.tensor([1.0, 0.0])
    found = pooling(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
    np.testing.assert_allclose(found.detach(), [[1.669762, 0.330238 + 0.669762]], atol=1e-6)


def test_a_pooling_does_not_mind_order_and_padding() -> None:
    torch.manual_seed(0)
    pooling, states = AttentionPooling(8, 4), torch.randn(1, 5, 8)
    torch.nn.init.normal_(pooling.S)
    found = pooling(states)
    torch.testing.assert_close(pooling(states[:, [3, 1, 4, 0, 2]]), found)
    padded = torch.cat([states, torch.full((1, 2, 8), 9.0)], 1)
    torch.testing.assert_close(pooling(padded, torch.tensor([[1, 1, 1, 1, 1, 0, 0]])), found)
    assert (pooling(padded) - found).abs().max() > 0.01
    with pytest.raises(ModelError, match="3 heads"):
        AttentionPooling(8, 3)


def test_an_interaction_worked_out() -> None:
    """x = relu([1 0; 0 1] [a; b] + (0, -1)), branches (x1, x0) and (2 x0, x1 - 1), logit x0 - x1 + .5."""
    module = Interaction(1, 2)
    values = {
        "linear1.weight": [[1, 0], [0, 1]],
        "linear1.bias": [0, -1],
        "proj0.weight": [[0, 1], [1, 0]],
        "proj0.bias": [0, 0],
        "proj1.weight": [[2, 0], [0, 1]],
        "proj1.bias": [0, -1],
        "linear2.weight": [[1, -1]],
        "linear2.bias": [0.5],
    }
    module.load_state_dict({name: torch.tensor(value, dtype=torch.float32) for name, value in values.items()})

    def logit(a: float, b: float, task: str) -> float:
        query, document = torch.tensor([float(a)]), torch.tensor([float(b)])
        return float(module(module.term(query, "query"), module.term(document, "document"), task).detach())

    assert logit(2, 4, "asymmetric") == 4 - 2 + 0.5  # x = (2, 3); (4, 2)
    assert logit(4, 2, "asymmetric") == 8 - 0 + 0.5  # x = (4, 1); (8, 0): the sides are not alike
    assert logit(2, 4, "symmetric") == 3 - 2 + 0.5


@pytest.mark.parametrize(("norms", "unit"), [(True, False), (False, True)])
def test_a_checkpoint_is_the_formulas_written_out(tmp_path: Path, norms: bool, unit: bool) -> None:
    folder = save_d2llm(tmp_path / "model", norms=norms, normalise=unit)
    encoder = open_encoder(f"d2llm:{folder}")
    assert isinstance(encoder, PairEncoder)
    assert (encoder.dimensions, encoder.similarity) == (6, "pair")
    queries = ["drum sieve", "", "the weight of a query term and more than it reads"]
    passages = [Passage("fine", "drum sieve"), Passage("", "soup"), Passage("", "a cook " * 10)]
    found, texts = encoder.encode_queries(queries), encoder.encode_passages(passages)
    assert (found.truncated, texts.truncated) == (1, 1)
    for query, vector in zip(queries, found.vectors, strict=True):
        for task, branch in (("asymmetric", "proj1"), ("symmetric", "proj0")):
            want = [by_hand(folder, query, p.joined, branch=branch, unit=unit) for p in passages]
            np.testing.assert_allclose(encoder.score(vector, texts.vectors, task=task), want, atol=1e-5)
    np.testing.assert_array_equal(
        encoder.score(found.vectors[0], texts.vectors),
        encoder.score(found.vectors[0], texts.vectors, task="asymmetric"),
    )
    with pytest.raises(UnknownNameError, match="asymmetric"):
        encoder.score(found.vectors[0], texts.vectors, task="summary")


def test_gradients_reach_all_weights(tmp_path: Path) -> None:
    encoder = open_encoder(f"d2llm:{save_d2llm(tmp_path / 'model')}")
    ids = torch.tensor([[2, 3, 4]])
    encoder.iem(encoder(ids, side="query"), encoder(ids)).sum().backward()
    untouched = {name for name, parameter in encoder.named_parameters() if parameter.grad is None}
    assert untouched == {"iem.proj0.weight", "iem.proj0.bias"}  # the other task's


def test_what_is_missing_is_refused(tmp_path: Path) -> None:
    folder = save_d2llm(tmp_path / "model")
    path = folder / "d2llm.safetensors"
    state = load_file(path)
    for name in (
        "mha_pma.S",
        "mha_pma.mab.fc_o.bias",
        "mha_pma.mab.ln1.weight",
        "iem.proj0.weight",
        "iem.linear1.weight",
    ):
        save_file({key: value for key, value in state.items() if key != name}, path)
        with pytest.raises(ModelError, match=name.replace(".", r"\.")):
            open_encoder(f"d2llm:{folder}")
    save_file({**state, "iem.linear1.weight": torch.zeros(6, 30)}, path)
    with pytest.raises(ModelError, match=r"\[6, 30\], not \[6, 32\]"):
        open_encoder(f"d2llm:{folder}")
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be read"):
        open_encoder(f"d2llm:{folder}")
    path.unlink()
    with pytest.raises(ModelError, match="no D2LLM checkpoint"):
        open_encoder(f"d2llm:{folder}")


def test_the_fingerprint_knows_the_recipe(tmp_path: Path) -> None:
    folder = save_d2llm(tmp_path / "model")
    before = open_encoder(f"d2llm:{folder}").identity.fingerprint
    assert open_encoder(f"d2llm:{folder}?max_length=9").identity.fingerprint != before
    save_file(
        {**load_file(folder / "d2llm.safetensors"), "iem.linear2.bias": torch.zeros(1)}, folder / "d2llm.safetensors"
    )
    assert open_encoder(f"d2llm:{folder}").identity.fingerprint != before
