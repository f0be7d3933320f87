"""SPLADE: sentence-transformers' weights, whatever runs together; heads that would be random are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.encoders import batching
from tamis.encoders.base import Passage, SparseEncoder, SparseVectors
from tamis.encoders.registry import open_encoder
from tamis.errors import MissingResourceError, ModelError, UsageError

TEXTS = [
    "what is a drum sieve",
    "a",
    "the cook pass potato soup through a finer sieve of butter milk and the fine rank of a query term and more of it here",
    "zebra 123",
    "",
    "drum " * 70 + "sieve",
    "term weight term",
]
Save = Callable[..., Path]


def save_mlm(folder: Path, tiny: Save, *, seed: int = 0, model_type: str = "bert", **changes: Any) -> Path:
    """The tiny BERT's tokenizer with a masked language model whose predictions differ from text to text."""
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM

    tiny(folder)
    if model_type != "bert":
        small = {"vocab_size": 80, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
        AutoConfig.for_model(model_type, **small, max_position_embeddings=64).save_pretrained(folder)
    torch.manual_seed(seed)
    model = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(folder, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def mlm(tmp_path_factory: pytest.TempPathFactory, tiny: Save) -> Path:
    return save_mlm(tmp_path_factory.mktemp("splade") / "mlm", tiny)


def dense(vectors: SparseVectors, dimensions: int) -> np.ndarray:
    found = np.zeros((len(vectors.offsets) - 1, dimensions), np.float32)
    for i in range(len(found)):
        span = slice(vectors.offsets[i], vectors.offsets[i + 1])
        assert (np.diff(vectors.indices[span]) > 0).all()
        assert (vectors.values[span] > 0).all()
        found[i, vectors.indices[span]] = vectors.values[span]
    return found


def reference(folder: Path, texts: Sequence[str], side: str = "document") -> np.ndarray:
    from sentence_transformers import SparseEncoder as Reference

    model = Reference(str(folder), device="cpu")
    encode = model.encode_query if side == "query" else model.encode_document
    return encode(list(texts), convert_to_sparse_tensor=False).numpy()


def queries_of(address: str, texts: Sequence[str] = TEXTS) -> np.ndarray:
    encoder = open_encoder(address)
    return dense(encoder.encode_queries(texts), encoder.dimensions)


def save_reference(folder: Path, modules: list[Any], **settings: Any) -> Path:
    from sentence_transformers import SparseEncoder as Reference

    Reference(modules=modules, device="cpu", **settings).save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
def test_a_bare_masked_language_model_is_pooled_as_by_sentence_transformers(
    tmp_path: Path, tiny: Save, model_type: str
) -> None:
    folder = save_mlm(tmp_path / "model", tiny, model_type=model_type)
    encoder = open_encoder(f"splade:{folder}")
    assert isinstance(encoder, SparseEncoder)
    found = encoder.encode_passages([Passage("", text) for text in TEXTS])
    wanted = reference(folder, TEXTS)
    assert 0.05 < (wanted > 0).mean() < 0.95
    np.testing.assert_allclose(dense(found, encoder.dimensions), wanted, atol=1e-4)
    np.testing.assert_allclose(queries_of(f"splade:{folder}"), wanted, atol=1e-4)
    assert found.truncated == 1
    assert open_encoder(f"splade:{folder}?max_length=8").encode_passages([Passage("", t) for t in TEXTS]).truncated == 2


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
def test_folders_of_sentence_transformers_say_how_they_pool(
    tmp_path: Path, mlm: Path, pooling: Any, activation: Any
) -> None:
    from sentence_transformers.sparse_encoder.modules import MLMTransformer, SpladePooling

    modules = [MLMTransformer(str(mlm)), SpladePooling(pooling, activation_function=activation)]
    folder = save_reference(tmp_path / "st", modules, prompts={"query": "what is ", "document": "a fine "})
    encoder = open_encoder(f"splade:{folder}")
    found = encoder.encode_passages([Passage("", text) for text in TEXTS])
    np.testing.assert_allclose(dense(found, encoder.dimensions), reference(folder, TEXTS), atol=1e-4)
    np.testing.assert_allclose(queries_of(f"splade:{folder}"), reference(folder, TEXTS, "query"), atol=1e-4)
    other = "sum" if pooling == "max" else "max"
    assert not np.allclose(queries_of(f"splade:{folder}?pooling={other}"), reference(folder, TEXTS, "query"), atol=1e-2)


def save_router(folder: Path, mlm: Path, query: Any) -> Path:
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sparse_encoder.modules import MLMTransformer, SpladePooling

    document = [MLMTransformer(str(mlm)), SpladePooling("max")]
    return save_reference(folder, [Router.for_query_document(query_modules=query, document_modules=document)])


def test_queries_without_a_model_are_sentence_transformers_own(tmp_path: Path, mlm: Path) -> None:
    import torch
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(mlm)
    weights = torch.rand(len(tokenizer), generator=torch.Generator().manual_seed(1))
    folder = save_router(tmp_path / "st", mlm, [SparseStaticEmbedding(tokenizer, weights)])
    found = queries_of(f"splade:{folder}")
    np.testing.assert_allclose(found, reference(folder, TEXTS, "query"), atol=1e-6)
    assert (found[-1] > 0).sum() == 2  # a word that stands twice has its weight once
    encoder = open_encoder(f"splade:{folder}")
    documents = dense(encoder.encode_passages([Passage("", text) for text in TEXTS]), encoder.dimensions)
    np.testing.assert_allclose(documents, reference(folder, TEXTS), atol=1e-4)

    encoder(torch.tensor([[7, 8]]), side="query").sum().backward()  # the table learns, where its tokens stand
    assert encoder.query.weight.grad.nonzero().flatten().tolist() == [7, 8]


def test_a_router_may_lead_to_two_models(tmp_path: Path, tiny: Save, mlm: Path) -> None:
    from sentence_transformers.sparse_encoder.modules import MLMTransformer, SpladePooling

    second = save_mlm(tmp_path / "query", tiny, seed=3)
    folder = save_router(tmp_path / "st", mlm, [MLMTransformer(str(second)), SpladePooling("sum")])
    np.testing.assert_allclose(queries_of(f"splade:{folder}"), reference(folder, TEXTS, "query"), atol=1e-4)
    pair = f"splade:{mlm}?query={second}"
    np.testing.assert_allclose(queries_of(pair), reference(second, TEXTS), atol=1e-4)
    encoder = open_encoder(pair)
    documents = dense(encoder.encode_passages([Passage("", text) for text in TEXTS]), encoder.dimensions)
    np.testing.assert_allclose(documents, reference(mlm, TEXTS), atol=1e-4)


def test_token_weights_come_from_a_file(tmp_path: Path, mlm: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(mlm, folder)
    (folder / "idf.json").write_text(json.dumps({"drum": 2.5, "a": 0.25}))
    encoder = open_encoder(f"splade:{folder}?query_weights=idf.json")
    found = encoder.encode_queries(["a drum drum sieve", "sieve"])
    names = encoder.names()
    assert {names[i]: float(w) for i, w in zip(found.indices, found.values, strict=True)} == {"a": 0.25, "drum": 2.5}
    assert found.offsets.tolist() == [0, 2, 2]
    ones = open_encoder(f"splade:{folder}?query_weights=ones&query_length=2").encode_queries(["a drum drum sieve"])
    assert [names[i] for i in ones.indices] == ["a", "drum"]
    assert ones.values.tolist() == [1, 1]
    assert ones.truncated == 1
    before = encoder.identity.fingerprint
    elsewhere = tmp_path / "other.json"
    for content in ({"drum": 2.5, "a": 0.5}, {"drum": 1}):
        elsewhere.write_text(json.dumps(content))
        after = open_encoder(f"splade:{folder}?query_weights={elsewhere}").identity.fingerprint
        assert after != before
        before = after


def test_weights_do_not_depend_on_what_runs_together(mlm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = queries_of(f"splade:{mlm}")
    alone = np.concatenate([queries_of(f"splade:{mlm}", [text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    monkeypatch.setattr(batching, "CPU_TOKENS", 30)
    np.testing.assert_allclose(queries_of(f"splade:{mlm}"), together, atol=1e-5)
    for pooling in ("sum", "max"):
        address = f"splade:{mlm}?special_tokens=masked&pooling={pooling}"
        np.testing.assert_allclose(
            queries_of(address), np.concatenate([queries_of(address, [text]) for text in TEXTS]), atol=1e-5
        )


def test_masked_special_tokens_predict_nothing(mlm: Path) -> None:
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForMaskedLM

    ids = torch.tensor([Tokenizer.from_file(str(mlm / "tokenizer.json")).encode(TEXTS[0]).ids])
    with torch.inference_mode():
        logits = AutoModelForMaskedLM.from_pretrained(mlm)(input_ids=ids).logits[0].double()
    for kept, special_tokens in ((slice(1, -1), "masked"), (slice(None), "pooled")):
        wanted = torch.log1p(logits[kept].clamp(min=0)).amax(0).numpy()
        found = queries_of(f"splade:{mlm}?special_tokens={special_tokens}", TEXTS[:1])
        np.testing.assert_allclose(found[0], wanted, atol=1e-5)
    assert not queries_of(f"splade:{mlm}?special_tokens=masked", [""]).any()


def test_pruning_keeps_the_largest(mlm: Path) -> None:
    whole, few = queries_of(f"splade:{mlm}"), queries_of(f"splade:{mlm}?query_top=3&top=5")
    for all_weights, kept in zip(whole, few, strict=True):
        order = np.lexsort((np.arange(len(all_weights)), -all_weights))
        assert np.flatnonzero(kept).tolist() == sorted(order[:3].tolist())
    least = float(np.median(whole[whole > 0]))
    above = queries_of(f"splade:{mlm}?query_min_weight={least}")
    np.testing.assert_array_equal(above, np.where(whole >= np.float32(least), whole, 0))
    encoder = open_encoder(f"splade:{mlm}?top=5")
    assert np.diff(encoder.encode_passages([Passage("", text) for text in TEXTS]).offsets).tolist() == [5] * len(TEXTS)
    assert encoder.identity == open_encoder(f"splade:{mlm}").identity


def test_a_checkpoint_may_limit_its_weights_itself(tmp_path: Path, mlm: Path) -> None:
    from sentence_transformers.sparse_encoder.modules import MLMTransformer, SpladePooling

    folder = save_reference(tmp_path / "st", [MLMTransformer(str(mlm)), SpladePooling()], max_active_dims=4)
    found = queries_of(f"splade:{folder}")
    np.testing.assert_allclose(found, reference(folder, TEXTS, "query"), atol=1e-4)
    assert ((found > 0).sum(1) == 4).all()


def test_a_text_is_the_same_joined_or_not_and_ticks_are_counted(mlm: Path) -> None:
    encoder, ticks = open_encoder(f"splade:{mlm}"), list[int]()
    passages = [Passage("drum", "sieve"), Passage("", "drum sieve")]
    found = dense(encoder.encode_passages(passages, tick=ticks.append), encoder.dimensions)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    assert sum(ticks) == 2
    assert encoder.encode_queries([]).offsets.tolist() == [0]
    assert len(set(encoder.names())) == encoder.dimensions


def test_forward_is_what_is_encoded_and_has_gradients(mlm: Path) -> None:
    import torch

    encoder = open_encoder(f"splade:{mlm}")
    for pooling in ("max", "sum"):
        encoder = open_encoder(f"splade:{mlm}?pooling={pooling}")
        inputs = encoder.query_inputs(TEXTS[:1])
        weights = encoder(torch.tensor(inputs.ids), side="query")
        np.testing.assert_allclose(weights.detach().numpy(), queries_of(encoder.identity.address, TEXTS[:1]), atol=1e-5)
        weights.sum().backward()
        assert encoder.document.model.bert.embeddings.word_embeddings.weight.grad.abs().sum() > 0


def test_an_old_checkpoint_without_what_is_tied_is_whole(tmp_path: Path, mlm: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(mlm, folder)
    state = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in state.items() if not name.startswith("cls.predictions.decoder")}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    np.testing.assert_array_equal(queries_of(f"splade:{folder}"), queries_of(f"splade:{mlm}"))


def test_what_cannot_be_meant_is_refused(tmp_path: Path, tiny: Save, sentence_model: Save, mlm: Path) -> None:
    from safetensors.torch import load_file, save_file

    headless, untied = tiny(tmp_path / "headless"), save_mlm(tmp_path / "untied", tiny, tie_word_embeddings=False)
    state = load_file(untied / "model.safetensors")
    del state["cls.predictions.decoder.weight"]
    save_file(state, untied / "model.safetensors", {"format": "pt"})
    table = tmp_path / "idf.json"
    table.write_text(json.dumps({"nothing of this kind": 1}))
    other = tmp_path / "other"
    shutil.copytree(mlm, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["drum"], vocabulary["sieve"] = vocabulary["sieve"], vocabulary["drum"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    for address, error, message in (
        (f"splade:{headless}", ModelError, r"cls\.predictions.*random"),
        (f"splade:{untied}", ModelError, r"cls\.predictions\.decoder\.weight"),
        (f"splade:{sentence_model(tmp_path / 'dense')}", ModelError, "make no SPLADE"),
        (f"splade:{mlm}?query={other}", ModelError, "one vocabulary"),
        (f"splade:{mlm}?query_weights=idf.json", MissingResourceError, "no file of token weights"),
        (f"splade:{mlm}?query_weights={table}", ModelError, "vocabulary lacks"),
        (f"splade:{mlm}?query_weights=ones&query={mlm}", UsageError, "give one"),
        (f"splade:{mlm}?max_length=1000", ModelError, "64 positions"),
        (f"splade:{mlm}?pooling=mean", UsageError, "pooling"),
        (f"splade:{mlm}?top=0", UsageError, "at least 1"),
        ("splade:./nothing-here", MissingResourceError, "no model"),
    ):
        with pytest.raises(error, match=message):
            open_encoder(address)


def test_damaged_weights_are_found_out(tmp_path: Path, mlm: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(mlm, folder)
    state = load_file(folder / "model.safetensors")
    state["cls.predictions.bias"][7] = float("nan")
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="not finite"):
        open_encoder(f"splade:{folder}").encode_queries(["a drum"])


@pytest.mark.parametrize("options", ["", "?special_tokens=masked", "?pooling=sum", "?query_weights=ones"])
def test_an_exported_graph_gives_the_same(mlm: Path, options: str, runs_alike: Callable[[str], None]) -> None:
    runs_alike(f"splade:{mlm}{options}")


def test_exported_graphs_of_two_models(
    tmp_path: Path, tiny: Save, mlm: Path, runs_alike: Callable[[str], None]
) -> None:
    runs_alike(f"splade:{mlm}?query={save_mlm(tmp_path / 'query', tiny, seed=3, num_hidden_layers=1)}")


def test_exports_print_nothing(
    mlm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any, caplog: Any
) -> None:
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "exports"))
    open_encoder(f"splade:{mlm}?backend=onnx")
    assert capfd.readouterr().out == ""
    assert not caplog.records
