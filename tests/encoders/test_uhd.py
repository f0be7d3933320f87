"""UHD: exactly k winners, sets that meet, gradients of winners only, against the dense arithmetic that the method abridges."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.encoders import batching, uhd
from tamis.encoders.base import Passage, SparseEncoder, SparseVectors
from tamis.encoders.registry import open_encoder
from tamis.errors import ModelError, UsageError

Save = Callable[..., Path]
TEXTS = [
    "what is a drum sieve",
    "a",
    "the cook pass potato soup through a finer sieve of butter milk and the fine rank of a query term and more of it here",
    "zebra 123",
    "",
]
WIDTH, K = 200, 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Save) -> Path:
    place = tmp_path_factory.mktemp("uhd")
    recipe = uhd.Recipe(layers=(1, -1), dimensions=WIDTH, winners=K, weights=(1.0, 0.5), shared=False)
    uhd.create(tiny(place / "bert"), recipe, seed=3, device="cpu").save(place / "model")
    return place / "model"


def sets(vectors: SparseVectors) -> list[dict[int, float]]:
    spans = [slice(a, b) for a, b in zip(vectors.offsets, vectors.offsets[1:], strict=False)]
    return [dict(zip(vectors.indices[s].tolist(), vectors.values[s].tolist(), strict=True)) for s in spans]


def dense_pool(encoder: uhd.Uhd, text: str, k: int, side: str = "document") -> object:
    """Every value of every token and dimension, all but the k largest set to 0, and the maximum over tokens."""
    import torch

    ids = torch.tensor(encoder.query_inputs([text]).ids)
    states = encoder.transformer(input_ids=ids, output_hidden_states=True).hidden_states
    found = []
    for layer, head in zip((1, 2), encoder.heads[side], strict=True):
        values = head(states[layer][0])
        order = torch.from_numpy(np.argsort(-values.detach().numpy(), axis=1, kind="stable")[:, :k].copy())
        mask = torch.zeros_like(values).scatter(1, order, 1.0)
        assert (mask.sum(1) == k).all()
        found.append((values * mask).amax(0))
    return torch.cat(found)


def test_the_winners_of_a_worked_example() -> None:
    import torch

    values = torch.tensor([[0.9, 0.1, 0.8, 0, 0, -1], [0, 0.7, 0.2, 0.6, 0, 0]])
    largest, dimensions = uhd.k_winners(values, 2)
    assert [set(row) for row in dimensions.tolist()] == [{0, 2}, {1, 3}]
    pooled = uhd.pool_winners(largest, dimensions, torch.tensor([0, 0]), 6)
    assert pooled.dimensions.tolist() == [0, 1, 2, 3]
    assert pooled.tokens.tolist() == [0, 1, 0, 1]
    assert pooled.values.tolist() == pytest.approx([0.9, 0.7, 0.8, 0.6])
    # six winners a token: the sign pattern of the plain maximum
    all_of_them = uhd.pool_winners(*uhd.k_winners(values, 6), torch.tensor([0, 0]), 6)
    assert all_of_them.dimensions.tolist() == (values.amax(0) > 0).nonzero().flatten().tolist()


def test_what_is_not_a_number_wins_and_is_seen() -> None:
    import torch

    largest, _ = uhd.k_winners(torch.tensor([[1.0, 1.0, float("nan"), 1.0], [2.0, 2.0, 2.0, 2.0]]), 2)
    assert largest[0].isnan().any()
    assert largest[1].tolist() == [2.0, 2.0]


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_equal_values_are_won_by_lower_dimensions(data: st.DataObject) -> None:
    import torch

    width = data.draw(st.integers(1, 12))
    k = data.draw(st.integers(1, width))
    rows = data.draw(st.lists(st.lists(st.integers(-2, 2), min_size=width, max_size=width), min_size=1, max_size=6))
    owners = sorted(data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows))))
    largest, dimensions = uhd.k_winners(torch.tensor(rows, dtype=torch.float32), k)
    wanted: dict[tuple[int, int], tuple[int, int]] = {}
    for token, row in enumerate(rows):
        won = sorted(range(width), key=lambda i, row=row: (-row[i], i))[:k]
        assert sorted(dimensions[token].tolist()) == sorted(won)
        assert [row[i] for i in dimensions[token].tolist()] == largest[token].tolist()
        for i in won:
            if row[i] > wanted.get((owners[token], i), (0, 0))[0]:
                wanted[owners[token], i] = row[i], token
    pooled = uhd.pool_winners(largest, dimensions, torch.tensor(owners), width)
    found = zip(*(column.tolist() for column in pooled), strict=True)
    assert {(owner, i): (value, token) for owner, i, token, value in found} == wanted
    assert list(zip(pooled.owners.tolist(), pooled.dimensions.tolist(), strict=True)) == sorted(wanted)


def test_vectors_are_those_of_the_dense_arithmetic(folder: Path) -> None:
    import torch

    encoder = open_encoder(f"uhd:{folder}?binary=false")
    assert isinstance(encoder, SparseEncoder)
    assert encoder.dimensions == 2 * WIDTH
    assert encoder.names() is None
    documents = sets(encoder.encode_passages([Passage("", text) for text in TEXTS]))
    queries = sets(encoder.encode_queries(TEXTS))
    binary = sets(open_encoder(f"uhd:{folder}").encode_passages([Passage("", text) for text in TEXTS]))
    with torch.inference_mode():
        for text, document, query, ones in zip(TEXTS, documents, queries, binary, strict=True):
            for found, side in ((document, "document"), (query, "query")):
                pooled = dense_pool(encoder, text, K, side).numpy()
                wanted = {i: float(pooled[i]) for i in np.flatnonzero(pooled > 0).tolist()}
                if side == "query":
                    wanted = {i: value * (0.5 if i >= WIDTH else 1) for i, value in wanted.items()}
                assert found == pytest.approx(wanted, abs=1e-5)
            assert ones == dict.fromkeys(document, 1.0)


def test_scores_count_what_two_sets_share(folder: Path) -> None:
    encoder = open_encoder(f"uhd:{folder}")
    documents = sets(encoder.encode_passages([Passage("", text) for text in TEXTS]))
    queries = sets(encoder.encode_queries(TEXTS))
    assert all(set(query.values()) <= {1.0, 0.5} for query in queries)
    for query in queries:
        for document in documents:
            score = sum(weight * document.get(i, 0) for i, weight in query.items())
            shared = [query.keys() & document.keys() & set(range(b * WIDTH, (b + 1) * WIDTH)) for b in (0, 1)]
            assert score == len(shared[0]) + 0.5 * len(shared[1])


def test_shared_heads_and_equal_weights_are_symmetric(tmp_path: Path, tiny: Save) -> None:
    recipe = uhd.Recipe(layers=(2,), dimensions=WIDTH, winners=K)
    encoder = uhd.create(tiny(tmp_path / "bert"), recipe, device="cpu")
    documents, queries = encoder.encode_passages([Passage("", t) for t in TEXTS]), encoder.encode_queries(TEXTS)
    assert sets(documents) == sets(queries)
    assert np.diff(documents.offsets).max() <= K * 40


def test_sets_do_not_depend_on_what_runs_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = open_encoder(f"uhd:{folder}?binary=false")
    together = sets(encoder.encode_queries(TEXTS))
    alone = [sets(encoder.encode_queries([text]))[0] for text in TEXTS]
    assert [found.keys() for found in together] == [found.keys() for found in alone]
    for found, wanted in zip(together, alone, strict=True):
        assert found == pytest.approx(wanted, abs=1e-5)
    monkeypatch.setattr(batching, "CPU_TOKENS", 30)
    monkeypatch.setattr(uhd, "_AT_ONCE", 3 * WIDTH)
    monkeypatch.setattr(uhd, "_TOKENS", 1)
    for found, wanted in zip(sets(encoder.encode_queries(TEXTS)), alone, strict=True):
        assert found == pytest.approx(wanted, abs=1e-5)


def test_only_winners_have_gradients(folder: Path) -> None:
    import torch

    encoder = open_encoder(f"uhd:{folder}")
    ids = torch.tensor(encoder.query_inputs(TEXTS[:1]).ids)
    weights = torch.rand(2 * WIDTH, generator=torch.Generator().manual_seed(1))
    found = encoder(ids)
    (found[0] * weights).sum().backward()
    parameters = {name: value.grad.clone() for name, value in encoder.named_parameters() if value.grad is not None}
    encoder.zero_grad()
    wanted = dense_pool(encoder, TEXTS[0], K)
    np.testing.assert_allclose(found[0].detach().numpy(), wanted.detach().clamp(min=0).numpy(), atol=1e-5)
    (wanted.clamp(min=0) * weights).sum().backward()
    for name, value in encoder.named_parameters():
        if value.grad is not None:
            np.testing.assert_allclose(parameters[name].numpy(), value.grad.numpy(), atol=1e-5, err_msg=name)
    for bucket in range(2):
        touched = parameters[f"heads.document.{bucket}.weight"].abs().sum(1).nonzero().flatten().tolist()
        won = [i - bucket * WIDTH for i in found[0].nonzero().flatten().tolist() if i // WIDTH == bucket]
        assert touched == won
    assert parameters["transformer.embeddings.word_embeddings.weight"].abs().sum() > 0


def test_straight_through_is_binary_forward_and_real_backward(tmp_path: Path, tiny: Save) -> None:
    import torch

    bert, gradients = tiny(tmp_path / "bert"), []
    for gradient in uhd.GRADIENTS:
        recipe = uhd.Recipe(layers=(2,), dimensions=WIDTH, winners=K, gradient=gradient)
        encoder = uhd.create(bert, recipe, seed=4, device="cpu")
        found = encoder(torch.tensor(encoder.query_inputs(TEXTS[:1]).ids))
        if gradient == "straight-through":
            assert set(found.detach().unique().tolist()) == {0.0, 1.0}
            assert found[0].detach().nonzero().flatten().tolist() == list(sets(encoder.encode_queries(TEXTS[:1]))[0])
        found.sum().backward()
        gradients.append(encoder.heads["document"][0].weight.grad.numpy())
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-6)


def test_queries_may_be_sparser_than_documents(folder: Path) -> None:
    whole = open_encoder(f"uhd:{folder}")
    fewer = open_encoder(f"uhd:{folder}?query_winners=2")
    assert fewer.identity == whole.identity  # its documents are the same
    passages = [Passage("", text) for text in TEXTS]
    assert sets(fewer.encode_passages(passages)) == sets(whole.encode_passages(passages))
    real = sets(open_encoder(f"uhd:{folder}?binary=false").encode_queries(TEXTS))
    few, all_of_them = sets(fewer.encode_queries(TEXTS)), sets(whole.encode_queries(TEXTS))
    for some, every in zip(few, all_of_them, strict=True):
        assert some.keys() < every.keys()
    largest = sets(open_encoder(f"uhd:{folder}?query_top=3").encode_queries(TEXTS))
    for kept, values, every in zip(largest, real, all_of_them, strict=True):
        best = sorted(values, key=lambda i, values=values: (-values[i], i))[:3]
        assert kept == {i: every[i] for i in best}  # chosen by real value, then binary
    assert open_encoder(f"uhd:{folder}?winners=3").identity.fingerprint != whole.identity.fingerprint


def test_masked_special_tokens_win_nothing(folder: Path) -> None:
    pooled, masked = open_encoder(f"uhd:{folder}"), open_encoder(f"uhd:{folder}?special_tokens=masked")
    assert sets(masked.encode_queries(["", "a"]))[0] == {}
    assert sets(pooled.encode_queries([""]))[0]
    assert sets(masked.encode_queries(["a"]))[0].keys() < sets(pooled.encode_queries(["a"]))[0].keys()
    assert max(len(found) for found in sets(masked.encode_queries(["a"]))) <= 2 * K


def test_what_is_saved_is_what_is_loaded(tmp_path: Path, folder: Path) -> None:
    first = open_encoder(f"uhd:{folder}")
    first.save(tmp_path / "again")
    second = open_encoder(str(tmp_path / "again"))  # the folder itself says of which family it is
    assert sets(second.encode_queries(TEXTS)) == sets(first.encode_queries(TEXTS))
    assert second.recipe == first.recipe
    assert first.encode_queries(TEXTS).truncated == 0
    assert open_encoder(f"uhd:{folder}?query_length=8").encode_queries(TEXTS).truncated == 1


def test_what_cannot_be_meant_is_refused(tmp_path: Path, tiny: Save, folder: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    for change, error in (
        ({"layers": ()}, "at least one"),
        ({"layers": (0,)}, "the first is 1"),
        ({"winners": 0}, "winners=0"),
        ({"dimensions": 5}, "winners=80"),
        ({"dimensions": 1 << 31}, "room for"),
        ({"weights": (1.0, 1.0)}, "2 weights for 1"),
        ({"weights": (0.0,)}, "above 0"),
        ({"gradient": "none"}, "gradient='none'"),
    ):
        with pytest.raises(UsageError, match=error):
            uhd.Recipe(**change)
    with pytest.raises(UsageError, match="layer 3"):
        uhd.create(tiny(tmp_path / "bert"), uhd.Recipe(layers=(3,), dimensions=9, winners=2), device="cpu")
    with pytest.raises(UsageError, match="query_winners=201"):
        open_encoder(f"uhd:{folder}?query_winners=201")
    with pytest.raises(ModelError, match=r"tamis\.json"):
        open_encoder(f"uhd:{tmp_path / 'bert'}")

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    card = json.loads((broken / "tamis.json").read_text())
    (broken / "tamis.json").write_text(json.dumps(card | {"colour": "red"}))
    with pytest.raises(ModelError, match="colour"):
        open_encoder(f"uhd:{broken}")
    (broken / "tamis.json").write_text(json.dumps(card))
    state = load_file(broken / "model.safetensors")
    save_file({n: v for n, v in state.items() if n != "query.1.bias"}, broken / "model.safetensors")
    with pytest.raises(ModelError, match=r"query\.1\.bias.*random"):
        open_encoder(f"uhd:{broken}")
    save_file(state | {"query.1.bias": state["query.1.bias"][:9]}, broken / "model.safetensors")
    with pytest.raises(ModelError, match=r"\[9\], not \[200\]"):
        open_encoder(f"uhd:{broken}")
    save_file(state | {"query.1.bias": state["query.1.bias"] * float("nan")}, broken / "model.safetensors")
    with pytest.raises(ModelError, match="not finite"):
        open_encoder(f"uhd:{broken}").encode_queries(["a"])
    transformer = load_file(broken / "transformer" / "model.safetensors")
    del transformer["encoder.layer.0.output.dense.weight"]
    save_file(transformer, broken / "transformer" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"encoder\.layer\.0\.output\.dense\.weight"):
        open_encoder(f"uhd:{broken}")
