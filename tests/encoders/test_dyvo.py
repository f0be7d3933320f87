"""DyVo: hand-worked weights in both variants, one joint space, and entities that come later without disturbing anything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.encoders import batching, dyvo
from tamis.encoders.base import Passage, SparseEncoder, SparseVectors
from tamis.encoders.registry import open_encoder
from tamis.encoders.sparse_entities import Entities
from tamis.errors import DataError, ModelError, UsageError

Save = Callable[..., Path]
TEXTS = [
    "what is a drum sieve",
    "the cook pass potato soup through a finer sieve of butter milk and the fine rank of a query term and more of it here",
    "drum drum 123",
    "",
]
PROPOSED = [["Sieve", "Drum", "Sieve", "nobody"], ["Cook", "Butter", "Potato"], [], ["Drum"]]
IDS = ["Drum", "Cook", "Butter", "Potato", "Sieve", "Soup (dish)"]
WIDTH = 24


class Proposed:
    """What was written down for each text."""

    def __init__(self, texts: Sequence[str] = TEXTS, names: Sequence[Sequence[str]] = PROPOSED) -> None:
        self.fingerprint, self._names = "proposed", dict(zip(texts, names, strict=True))

    def __call__(self, texts: Sequence[str]) -> Sequence[Sequence[str]]:
        return [self._names.get(text, []) for text in texts]


def table(count: int = len(IDS), width: int = WIDTH, seed: int = 2) -> Any:
    import torch

    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def mlm(tmp_path_factory: pytest.TempPathFactory, tiny: Save) -> Path:
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM

    folder = tiny(tmp_path_factory.mktemp("dyvo") / "mlm")
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(folder))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return folder


def build(mlm: Path, entities: Entities | None = None, *, proposed: bool = True, **recipe: Any) -> dyvo.Dyvo:
    entities = entities or Entities(IDS, table())
    encoder = dyvo.create(mlm, dyvo.Recipe(**recipe), entities, seed=1, device="cpu")
    if proposed:
        encoder.link(Proposed(), Proposed())
    return encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, mlm: Path) -> Path:
    place = tmp_path_factory.mktemp("dyvo") / "model"
    build(mlm, query_length=32).save(place)
    return place


def named(vectors: SparseVectors, names: Sequence[str]) -> list[dict[str, float]]:
    spans = [slice(a, b) for a, b in zip(vectors.offsets, vectors.offsets[1:], strict=False)]
    return [dict(zip([names[i] for i in vectors.indices[s]], vectors.values[s].tolist(), strict=True)) for s in spans]


def documents_of(encoder: dyvo.Dyvo, texts: Sequence[str] = TEXTS) -> list[dict[str, float]]:
    return named(encoder.encode_passages([Passage("", text) for text in texts]), encoder.names())


def queries_of(encoder: dyvo.Dyvo, texts: Sequence[str] = TEXTS) -> list[dict[str, float]]:
    return named(encoder.encode_queries(texts), encoder.names())


@pytest.mark.parametrize(("variant", "weight"), [("released", 0.139762), ("paper", 0.069315)])
def test_the_scale_stands_inside_or_outside_the_logarithm(variant: str, weight: float) -> None:
    import torch

    states, scale = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), torch.tensor(0.05)
    embeddings = torch.tensor([[[3.0, -1.0], [-1.0, -1.0]]])
    found = dyvo.entity_weights(states, embeddings, scale, None, variant)
    assert found[0].tolist() == pytest.approx([weight, 0.0], abs=1e-6)
    second = dyvo.entity_weights(states, embeddings, scale, torch.tensor([[False, True]]), variant)
    assert second[0].tolist() == [0.0, 0.0]


def by_hand(encoder: dyvo.Dyvo, text: str, names: Sequence[str], side: str) -> dict[str, float]:
    """Weights token by token, in Python."""
    import torch

    encoding = encoder.formats[0].tokenizer.raw.encode(text)
    pieces, found = encoder.names(), {}
    own = encoder.document if side == "document" else encoder.query
    with torch.inference_mode():
        states, logits = own.states(torch.tensor([encoding.ids]), None, None)
        inner = range(1, len(encoding.ids) - 1)
        if side == "document":
            for j in inner:
                for word, logit in enumerate(logits[0, j].tolist()):
                    found[pieces[word]] = max(found.get(pieces[word], 0), np.log1p(max(logit, 0)))
        else:
            for j in inner:
                weight = np.log1p(max(float(states[0, j] @ own.linear.weight[0] + own.linear.bias), 0))
                found[encoding.tokens[j]] = found.get(encoding.tokens[j], 0) + weight
        for name in set(names) & set(IDS):
            projected = own.entity_proj(encoder.entities.embeddings(torch.tensor(encoder.entities.rows([name]))))[0]
            scale, logits = float(own.ent_weight), (states[0] @ projected).tolist()
            if encoder.recipe.variant == "paper":
                found[f"entity:{name}"] = scale * max(np.log1p(max(logit, 0)) for logit in logits)
            else:
                found[f"entity:{name}"] = max(np.log1p(max(scale * logit, 0)) for logit in logits)
    return {name: float(weight) for name, weight in found.items() if weight > 0}


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_words_and_entities_are_weighed_as_by_hand(mlm: Path, variant: str) -> None:
    encoder = build(mlm, variant=variant)
    assert isinstance(encoder, SparseEncoder)
    for side, found in (("document", documents_of(encoder)), ("query", queries_of(encoder))):
        for text, names, weights in zip(TEXTS, PROPOSED, found, strict=True):
            assert weights == pytest.approx(by_hand(encoder, text, names, side), abs=1e-5)
        entities = {name for weights in found for name in weights if name.startswith("entity:")}
        assert len(entities) >= 3
        assert entities <= {f"entity:{name}" for names in PROPOSED for name in names}
    assert encoder.dimensions == encoder.words + len(IDS)
    assert len(set(encoder.names())) == encoder.dimensions


def test_heads_may_be_exchanged_and_words_need_no_entities(mlm: Path) -> None:
    import torch

    both = build(mlm, document="mlm", query="mlm", proposed=False)
    assert documents_of(both) == queries_of(both)
    assert not any(name.startswith("entity:") for weights in documents_of(both) for name in weights)
    flat = build(mlm, document="mlp", query="mlp", proposed=False)
    with torch.no_grad():
        for side in (flat.query, flat.document):
            side.linear.weight.zero_()
            side.linear.bias.fill_(1.0)
    one = np.log(2)  # of log(1 + relu(1))
    assert documents_of(flat)[2] == pytest.approx({"drum": one, "[UNK]": one})
    assert queries_of(flat)[2] == pytest.approx({"drum": 2 * one, "[UNK]": one})


def test_weights_do_not_depend_on_what_runs_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = open_encoder(f"dyvo:{folder}")
    encoder.link(Proposed(), Proposed())
    for encode in (documents_of, queries_of):
        together = encode(encoder)
        for tokens in (1024, 30):
            monkeypatch.setattr(batching, "CPU_TOKENS", tokens)
            for text, found in zip(TEXTS, together, strict=True):
                assert encode(encoder, [text])[0] == pytest.approx(found, abs=1e-5)
            for again, found in zip(encode(encoder), together, strict=True):
                assert again == pytest.approx(found, abs=1e-5)


def test_entities_may_be_added_and_nothing_else_changes(tmp_path: Path, mlm: Path) -> None:
    encoder = build(mlm)
    before = encoder.encode_passages([Passage("", text) for text in TEXTS])
    identity, names = encoder.identity, encoder.names()
    encoder.save(tmp_path / "before")
    encoder.add_entities(["Colander", "nobody"], table(2, seed=9))
    after = encoder.encode_passages([Passage("", text) for text in TEXTS])
    assert encoder.identity == identity
    assert encoder.names() == [*names, "entity:Colander", "entity:nobody"]
    assert encoder.dimensions == len(names) + 2
    new = named(after, encoder.names())
    old = [{k: v for k, v in weights.items() if k != "entity:nobody"} for weights in new]
    for found, wanted in zip(old, named(before, names), strict=True):
        assert found == pytest.approx(wanted, abs=1e-6)

    encoder.save(tmp_path / "after")
    assert sorted(path.name for path in (tmp_path / "after" / "entities").glob("*.txt")) == ["0000.txt", "0001.txt"]
    first, second = (open_encoder(f"dyvo:{tmp_path / name}") for name in ("before", "after"))
    assert first.identity.fingerprint == second.identity.fingerprint
    second.link(Proposed(), None)
    assert documents_of(second) == new
    shutil.copy(tmp_path / "after" / "entities" / "0001.txt", tmp_path / "other.txt")
    encoder = build(mlm, Entities(IDS, table(seed=3)))
    encoder.save(tmp_path / "other")
    assert open_encoder(f"dyvo:{tmp_path / 'other'}").identity.fingerprint != first.identity.fingerprint


def test_who_proposes_for_documents_is_part_of_the_identity(folder: Path) -> None:
    encoder = open_encoder(f"dyvo:{folder}")
    bare = encoder.identity.fingerprint
    encoder.link(None, Proposed())
    assert encoder.identity.fingerprint == bare
    assert not any("entity:" in name for weights in documents_of(encoder) for name in weights)
    assert any("entity:" in name for weights in queries_of(encoder) for name in weights)
    encoder.link(Proposed(), None)
    assert encoder.identity.fingerprint != bare
    assert open_encoder(f"dyvo:{folder}?variant=released").identity.fingerprint != bare


def test_inner_products_are_those_of_the_sparse_vectors(mlm: Path) -> None:
    import torch

    encoder = build(mlm)
    padded = {}
    for side, inputs in (("query", encoder.query_inputs(TEXTS)), ("document", encoder.query_inputs(TEXTS))):
        lengths = np.array([len(ids) for ids in inputs.ids])
        ids, mask, _ = batching.pad_batch(
            inputs, np.arange(len(lengths)), lengths, encoder.formats[0].tokenizer.pad, "cpu"
        )
        rows = torch.full((len(TEXTS), 4), -1)
        for row, names in zip(rows, PROPOSED, strict=True):
            own = encoder.entities.rows(names)
            row[: len(own)] = torch.tensor(own)
        padded[side] = encoder(ids, mask, side=side, candidates=rows), rows
    found = encoder.inner_products(*padded["query"], *padded["document"])
    wanted = [
        [sum(w * document.get(name, 0) for name, w in query.items()) for document in documents_of(encoder)]
        for query in queries_of(encoder)
    ]
    np.testing.assert_allclose(found.detach().numpy(), wanted, atol=1e-4)
    found.sum().backward()
    for side in (encoder.query, encoder.document):
        assert side.ent_weight.grad.abs() > 0
        assert side.entity_proj.weight.grad.abs().sum() > 0
    assert encoder.query.linear.weight.grad.abs().sum() > 0
    assert encoder.document.model.bert.embeddings.word_embeddings.weight.grad.abs().sum() > 0
    assert not any(value.shape == (len(IDS), WIDTH) for value in encoder.state_dict().values())  # the table is frozen


def test_masked_special_tokens_have_no_part_in_entities(mlm: Path) -> None:
    pooled, masked = build(mlm), build(mlm, special_tokens="masked")
    some = [documents_of(encoder)[3] for encoder in (pooled, masked)]
    assert some[1] == {}
    assert some[0].keys() <= {"entity:Drum"}
    entity = "entity:Cook"
    assert documents_of(masked)[1].get(entity, 0) <= documents_of(pooled)[1].get(entity, 0) + 1e-6


def test_a_table_as_wide_as_the_model_needs_no_projection(tmp_path: Path, mlm: Path) -> None:
    encoder = build(mlm, Entities(IDS, table(width=32).half()))
    assert encoder.document.entity_proj is None
    encoder.save(tmp_path / "model")
    again = open_encoder(f"dyvo:{tmp_path / 'model'}")
    again.link(Proposed(), Proposed())
    assert documents_of(again) == documents_of(encoder)
    assert queries_of(again) == queries_of(encoder)


def test_pruning_and_lengths(folder: Path) -> None:
    encoder = open_encoder(f"dyvo:{folder}?query_top=2&top=3&max_length=8")
    encoder.link(Proposed(), Proposed())
    assert max(map(len, queries_of(encoder))) == 2
    assert max(map(len, documents_of(encoder))) == 3
    assert encoder.encode_passages([Passage("", text) for text in TEXTS]).truncated == 1
    whole = open_encoder(f"dyvo:{folder}")
    whole.link(Proposed(), Proposed())
    for kept, every in zip(queries_of(encoder), queries_of(whole), strict=True):
        assert kept == dict(sorted(every.items(), key=lambda item: -item[1])[:2])


def test_what_cannot_be_meant_is_refused(tmp_path: Path, tiny: Save, mlm: Path, folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    for change in ({"document": "cnn"}, {"variant": "code"}, {"special_tokens": "none"}):
        with pytest.raises(UsageError, match="one of"):
            dyvo.Recipe(**change)
    for ids, rows, error in (
        (["a", "a"], table(2), "distinct"),
        (["a\nb"], table(1), "one line"),
        ([""], table(1), "one line"),
        (["a"], table(2), "for 1 ids"),
        (["a"], table(1)[0], "is wanted"),
    ):
        with pytest.raises(DataError, match=error):
            Entities(ids, rows)
    encoder = build(mlm)
    for ids, rows, error in ((["Drum"], table(1), "'Drum' is there"), (["x"], table(1, 7), "width 24")):
        with pytest.raises(DataError, match=error):
            encoder.add_entities(ids, rows)
    encoder.link(Proposed(), lambda texts: [])
    with pytest.raises(DataError, match="candidates for 0 texts where there are 1"):
        encoder.encode_queries(["a"])
    with pytest.raises(ModelError, match=r"cls\.predictions"):
        build(tiny(tmp_path / "headless"))
    with pytest.raises(ModelError, match=r"tamis\.json"):
        open_encoder(f"dyvo:{mlm}")

    def broken(**changed: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
        place = tmp_path / f"broken-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(folder, place)
        for side, change in changed.items():
            save_file(change(load_file(place / f"{side}.safetensors")), place / f"{side}.safetensors")
        return f"dyvo:{place}"

    def without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda state: {key: value for key, value in state.items() if key != name}

    for address, error in (
        (broken(document=without("ent_weight")), "ent_weight.*random"),
        (broken(query=without("linear.bias")), r"linear\.bias.*random"),
        (broken(query=without("entity_proj.weight")), r"entity_proj\.weight.*random"),
        (broken(document=without("model.cls.predictions.transform.dense.weight")), r"transform\.dense\.weight"),
        (broken(document=without("model.bert.embeddings.word_embeddings.weight")), "word_embeddings"),
    ):
        with pytest.raises(ModelError, match=error):
            open_encoder(address)
    address = broken()
    (Path(address.partition(":")[2]) / "entities" / "0000.txt").write_text("Drum\n")
    with pytest.raises(ModelError, match="for 1 ids"):
        open_encoder(address)
    shutil.rmtree(Path(address.partition(":")[2]) / "entities")
    with pytest.raises(ModelError, match="no entities"):
        open_encoder(address)
    card = Path(broken().partition(":")[2]) / "tamis.json"
    card.write_text(json.dumps({"family": "dyvo", "query": "cnn"}))
    with pytest.raises(ModelError, match="cnn"):
        open_encoder(f"dyvo:{card.parent}")


@pytest.mark.parametrize(
    ("variant", "activation", "bias", "weight"),
    [
        # E · h is 3 at the first token and -2 at the second; the scale is 0.05
        ("released", "softplus", None, 0.571520),  # log(1 + log(1 + exp(0.15)))
        ("released", "sigmoid", None, 0.537430),  # 1 / (1 + exp(-0.15))
        ("released", "none", None, 0.15),
        ("released", "relu", 0.5, 0.500775),  # log(1 + 0.65)
        ("paper", "softplus", None, 0.069918),  # 0.05 log(1 + log(1 + exp(3)))
        ("paper", "sigmoid", None, 0.047629),
        ("paper", "none", None, 0.15),
        ("paper", "relu", -1.0, 0.054931),  # 0.05 log(1 + 2)
    ],
)
def test_what_the_released_code_has_beside_the_paper(
    variant: str, activation: str, bias: float | None, weight: float
) -> None:
    import torch

    states, scale = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), torch.tensor(0.05)
    embeddings = torch.tensor([[[3.0, -1.0]]])
    added = None if bias is None else torch.tensor(bias)
    found = dyvo.entity_weights(states, embeddings, scale, None, variant, activation, added)
    assert found[0].tolist() == pytest.approx([weight], abs=1e-6)
    padded = torch.cat([states, torch.tensor([[[9.0, -9.0]]])], 1)
    kept = torch.tensor([[True, True, False]])
    again = dyvo.entity_weights(padded, embeddings, scale, kept, variant, activation, added)
    assert again[0].tolist() == pytest.approx([weight], abs=1e-6)
    nothing = dyvo.entity_weights(
        padded, embeddings, scale, torch.zeros(1, 3, dtype=torch.bool), variant, activation, added
    )
    assert nothing[0].tolist() == [0.0]


def test_entities_may_meet_the_first_state_alone(mlm: Path) -> None:
    import torch

    encoder = build(mlm, states="cls", activation="sigmoid", variant="released")
    found = documents_of(encoder)[0]
    ids = encoder.formats[0].tokenizer.raw.encode(TEXTS[0]).ids
    with torch.inference_mode():
        states, _ = encoder.document.states(torch.tensor([ids]), None, None)
        for name in ("Sieve", "Drum"):
            projected = encoder.document.entity_proj(
                encoder.entities.embeddings(torch.tensor(encoder.entities.rows([name])))
            )
            logit = float(states[0, 0] @ projected[0]) * float(encoder.document.ent_weight)
            assert found[f"entity:{name}"] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)
    for text, weights in zip(TEXTS, documents_of(encoder), strict=True):  # and not what runs beside it
        assert documents_of(encoder, [text])[0] == pytest.approx(weights, abs=1e-5)


def test_newer_entries_of_a_recipe_leave_older_models_what_they_were(tmp_path: Path, folder: Path) -> None:
    place = tmp_path / "older"
    shutil.copytree(folder, place)
    card = json.loads((place / "tamis.json").read_text())
    older = {
        key: value
        for key, value in card.items()
        if key not in ("activation", "states", "entity_bias", "keywords", "stop")
    }
    assert len(older) < len(card)
    (place / "tamis.json").write_text(json.dumps(older))
    assert documents_of(open_encoder(f"dyvo:{place}")) == documents_of(open_encoder(f"dyvo:{folder}"))
    settings = open_encoder(f"dyvo:{place}").identity.settings["recipe"]
    assert set(settings) == {"document", "query", "variant", "special_tokens", "max_length", "query_length"}


def test_what_a_released_file_has_besides_is_passed_over(tmp_path: Path, folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    place = tmp_path / "released"
    shutil.copytree(folder, place)
    for side in ("document", "query"):
        state = load_file(place / f"{side}.safetensors")
        state |= {"tok_weight": torch.tensor(0.5), "scale": torch.tensor(1.0), "entity_bias": torch.tensor(3.0)}
        save_file(state, place / f"{side}.safetensors")
    released, plain = open_encoder(f"dyvo:{place}"), open_encoder(f"dyvo:{folder}")
    for encoder in (released, plain):
        encoder.link(Proposed(), Proposed())
    assert documents_of(released) == documents_of(plain)
    assert queries_of(released) == queries_of(plain)
