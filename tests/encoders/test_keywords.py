"""Keywords: hand-worked queries, and a query encoder over an ELECTRA of its own in a DyVo model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.encoders import dyvo
from tamis.encoders.base import Passage
from tamis.encoders.keywords import KeywordChooser, keyword_net
from tamis.encoders.registry import open_encoder
from tamis.encoders.sparse_entities import Entities
from tamis.errors import ModelError, UsageError

Save = Callable[..., Path]
WORDS = 20
START, END = 20, 21


def weights(chooser: KeywordChooser, ids: list[int], logits: list[float], kept: list[bool] | None = None) -> Any:
    import torch

    mask = None if kept is None else torch.tensor([kept])
    found = chooser.weights(torch.tensor([ids]), torch.tensor([logits]), mask, WORDS)[0]
    return {i: found[i].item() for i in found.nonzero().flatten().tolist()}


def test_the_distinct_tokens_of_the_largest_logits_weigh_one() -> None:
    chooser = KeywordChooser(2, [], None)
    # token 5 stands twice: its better logit counts, and it takes one place
    assert weights(chooser, [5, 7, 5, 9], [0.1, 0.3, 0.9, -0.5]) == {5: 1.0, 7: 1.0}
    assert weights(chooser, [5, 7], [-3.0, -4.0]) == {5: 1.0, 7: 1.0}  # however unlikely, as by the authors' code
    assert weights(chooser, [8, 4, 6], [1.0, 1.0, 1.0]) == {4: 1.0, 6: 1.0}  # of equals the lower ids
    assert weights(chooser, [5, 7, 9], [1, 2, 3], [True, True, False]) == {5: 1.0, 7: 1.0}
    assert weights(chooser, [5], [1.0], [False]) == {}


def test_stopped_tokens_and_what_the_vocabulary_lacks_are_not_chosen() -> None:
    chooser = KeywordChooser(2, [7], None)
    assert weights(chooser, [5, 7, 9, 25], [0.1, 0.9, 0.2, 5.0]) == {5: 1.0, 9: 1.0}


def test_the_tokens_of_the_mention_are_added() -> None:
    chooser = KeywordChooser(1, [3], (START, END))
    ids = [5, START, 7, 3, 7, END, 9]
    assert weights(chooser, ids, [0.1, 9.0, 0.3, 0.8, 0.2, 9.0, 2.0]) == {9: 1.0, 7: 2.0, 3: 1.0}
    assert weights(chooser, ids, [0.1, 9.0, 3.0, 0.8, 0.2, 9.0, 2.0]) == {
        7: 3.0,
        3: 1.0,
    }  # a keyword and twice mentioned


def test_gradients_are_those_of_the_probability_of_the_best_token() -> None:
    import torch

    logits = torch.tensor([[0.5, 2.0, -1.0]], requires_grad=True)
    found = KeywordChooser(1, [], None).weights(torch.tensor([[5, 5, 6]]), logits, None, WORDS)
    assert found.detach().sum() == 1
    (3 * found[0, 5] + 5 * found[0, 6]).backward()
    likely = torch.sigmoid(torch.tensor(2.0))
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([0.0, float(3 * likely * (1 - likely)), 0.0])


def test_the_classifier_is_as_by_hand() -> None:
    import torch

    net = keyword_net(2).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net[1].weight[0] = torch.tensor([1.0, 2.0])
        net[1].bias[1] = 1.0
        net[3].weight.fill_(1.0)
        net[5].weight[0, :2] = torch.tensor([2.0, -1.0])
        net[5].bias[0] = 0.25
        # hidden = relu([5, 1, 0 …]): mean 6/128, variance 26/128 - mean²
        mean = 6 / 128
        deviation = np.sqrt(26 / 128 - mean**2 + 1e-5)
        found = float(net(torch.tensor([1.0, 2.0])))
    assert found == pytest.approx(2 * (5 - mean) / deviation - (1 - mean) / deviation + 0.25, rel=1e-5)
    assert list(net.state_dict()) == ["1.weight", "1.bias", "3.weight", "3.bias", "5.weight", "5.bias"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny: Save) -> tuple[Path, Path]:
    """A masked language model, and an ELECTRA whose vocabulary has two marks more."""
    import torch
    from tokenizers import AddedToken
    from transformers import AutoConfig, AutoModelForMaskedLM, ElectraConfig, ElectraModel, PreTrainedTokenizerFast

    place = tmp_path_factory.mktemp("keywords")
    mlm, electra = tiny(place / "mlm"), tiny(place / "electra")
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(mlm))
    model.save_pretrained(mlm)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(electra)
    tokenizer.add_tokens([AddedToken("[e1]", special=True), AddedToken("[\\e1]", special=True)], special_tokens=True)
    tokenizer.save_pretrained(electra)
    sizes = {"hidden_size": 24, "embedding_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = ElectraConfig(vocab_size=len(tokenizer), intermediate_size=32, max_position_embeddings=64, **sizes)
    (electra / "model.safetensors").unlink()
    (electra / "config.json").unlink()
    ElectraModel(config).save_pretrained(electra)
    return mlm, electra


def build(folders: tuple[Path, Path], **recipe: Any) -> dyvo.Dyvo:
    import torch

    table = torch.randn(3, 24, generator=torch.Generator().manual_seed(2))
    entities = Entities(["Drum", "Cook", "Sieve"], table)
    encoder = dyvo.create(
        folders[0], dyvo.Recipe(query="keywords", **recipe), entities, query=folders[1], seed=1, device="cpu"
    )

    def propose(texts: Any) -> Any:
        return [["Drum", "Sieve"] for _ in texts]

    propose.fingerprint = "two"  # type: ignore[attr-defined]
    encoder.link(propose, propose)  # type: ignore[arg-type]
    return encoder


def queries_of(encoder: dyvo.Dyvo, texts: list[str]) -> list[dict[str, float]]:
    names, vectors = encoder.names(), encoder.encode_queries(texts)
    spans = [slice(a, b) for a, b in zip(vectors.offsets, vectors.offsets[1:], strict=False)]
    return [dict(zip([names[i] for i in vectors.indices[s]], vectors.values[s].tolist(), strict=True)) for s in spans]


TEXT = "what is a [e1] drum sieve [\\e1] of the cook and the soup"


def test_a_query_is_its_keywords_its_mention_and_its_entities(folders: tuple[Path, Path]) -> None:
    import torch

    encoder = build(folders, keywords=3, stop=("the", "not in the vocabulary"))
    found, short = queries_of(encoder, [TEXT, "a soup"])
    words = {name: weight for name, weight in found.items() if not name.startswith("entity:")}
    tokenizer = encoder.formats[1].tokenizer
    encoding = tokenizer.raw.encode(TEXT)
    with torch.inference_mode():
        states, _ = encoder.query.states(torch.tensor([encoding.ids]), None, None)
        logits = encoder.query.keyword_logits(states)[0].tolist()
    best: dict[str, float] = {}
    for token, logit in zip(encoding.tokens, logits, strict=True):
        if token not in ("[CLS]", "[SEP]", "[e1]", "[\\e1]", "the"):
            best[token] = max(best.get(token, -np.inf), logit)
    wanted = dict.fromkeys(sorted(best, key=lambda token: -best[token])[:3], 1.0)
    for token in ("drum", "sieve"):
        wanted[token] = wanted.get(token, 0.0) + 1
    assert words == wanted
    assert {name for name in found if name.startswith("entity:")} <= {"entity:Drum", "entity:Sieve"}
    assert {name: w for name, w in short.items() if "entity" not in name} == {"a": 1.0, "soup": 1.0}
    marked, unknown = (encoder.encode_passages([Passage("", f"drum {word} sieve")]) for word in ("[e1]", "§"))
    assert marked.indices.tolist() == unknown.indices.tolist()  # marks mean nothing to the documents' model
    assert marked.indices.max() < encoder.dimensions


def test_it_is_saved_and_loaded_and_refuses_missing_weights(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    from safetensors.torch import load_file, save_file

    encoder = build(folders, keywords=2, entity_bias=True)
    encoder.save(tmp_path / "model")
    assert (tmp_path / "model" / "query.json").exists()
    again = open_encoder(f"dyvo:{tmp_path / 'model'}")
    again.link(*[encoder._candidates["document"]] * 2)
    assert queries_of(again, [TEXT]) == queries_of(encoder, [TEXT])
    assert again.recipe == encoder.recipe
    state = load_file(tmp_path / "model" / "query.safetensors")
    assert {"net.1.weight", "net.3.weight", "net.5.bias", "ent_weight", "entity_bias"} <= set(state)
    assert "model.embeddings.word_embeddings.weight" in state
    for name in ("net.3.weight", "entity_bias", "model.embeddings.word_embeddings.weight"):
        broken = tmp_path / f"without-{name}"
        shutil.copytree(tmp_path / "model", broken)
        save_file({key: value for key, value in state.items() if key != name}, broken / "query.safetensors")
        with pytest.raises(ModelError, match=rf"{name}.*random"):
            open_encoder(f"dyvo:{broken}")


def test_the_classifier_learns_from_labels(folders: tuple[Path, Path]) -> None:
    import torch

    encoder = build(folders)
    ids = torch.tensor(encoder.query_inputs([TEXT]).ids)
    states, _ = encoder.query.states(ids, None, None)
    logits = encoder.query.keyword_logits(states)
    labels = torch.zeros_like(logits)
    labels[0, 5] = 1
    torch.nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
    assert encoder.query.net[1].weight.grad.abs().sum() > 0
    assert encoder.query.model.embeddings.word_embeddings.weight.grad.abs().sum() > 0


def test_what_cannot_be_meant_is_refused() -> None:
    for change, error in (
        ({"document": "keywords"}, "one of mlm, mlp"),
        ({"keywords": 0}, "at least 1"),
        ({"activation": "gelu"}, "one of relu"),
        ({"states": "last"}, "one of tokens"),
    ):
        with pytest.raises(UsageError, match=error):
            dyvo.Recipe(**change)
