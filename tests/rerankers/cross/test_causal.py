"""Cross-encoders over decoders and behind poolings: sentence-transformers' scores, templates kept whole, no head made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tamis
from tamis.cli.app import main
from tamis.encoders import batching
from tamis.encoders.base import Passage
from tamis.errors import ModelError, UsageError
from tamis.rerankers.registry import open_reranker
from tests.rerankers.listwise.conftest import save_causal

LONG = "the cook pass potato soup through a finer sieve of butter, milk and 12 fine rank of a query term " * 4
PAIRS = [
    ("what is a drum sieve", "a drum sieve is fine"),
    ("what is a drum sieve", "milk\n\nand 12 soups"),
    ("butter?", LONG),
    ("term weight", "zebra 123 ! of the purée "),
    ("what is a drum sieve", "how the cook rank soup"),
    ("term", LONG[7:]),
]
TEMPLATE = (
    "{% for m in messages if m.role == 'system' %}<|system|>{{ m.content }}</s>{% endfor %}"
    "<|user|><Query>: {{ messages | selectattr('role', 'eq', 'query') | map(attribute='content') | first }}\n"
    "<Document>: {{ messages | selectattr('role', 'eq', 'document') | map(attribute='content') | first }}</s>\n"
    "<|assistant|>\n\n"
)
STRUCTURED = (
    "<|user|>{% for m in messages if m.role in ('query', 'document') %}{{ m.role }}: {{ m.content[0].text | trim }}</s>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
QUERY_LAST = "Text: {{ messages[-1].content }}</s> Question: {{ messages[-2].content }} Answer:"


@pytest.fixture(scope="session")
def make_causal(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    return lambda **changes: save_causal(tmp_path_factory.mktemp("causal") / "model", **changes)


def logits(folder: Path, pairs: list[tuple[str, str]] = PAIRS, **options: object) -> np.ndarray:
    """What sentence-transformers says."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu")
    found: np.ndarray = model.predict(pairs, activation_fn=torch.nn.Identity(), batch_size=2, **options)
    return found


def scores(folder: Path, pairs: list[tuple[str, str]] = PAIRS, options: str = "") -> np.ndarray:
    model = open_reranker(f"cross:{folder}{options}")
    found: np.ndarray = model.score_pairs([q for q, _ in pairs], [Passage("", p) for _, p in pairs]).scores
    return found


def saved(
    folder: Path, base: Path, *tokens: int, chat: dict[str, Any] | None = None, length: int | None = None
) -> Path:
    """Write what sentence-transformers saves of a language model with answers of those tokens."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    processing = {} if chat is None else {"processing_kwargs": {"chat_template": chat}}
    transformer = Transformer(str(base), transformer_task="text-generation", max_seq_length=length, **processing)
    CrossEncoder(modules=[transformer, LogitScore(*tokens)], device="cpu").save_pretrained(str(folder))
    return folder


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2"])
@pytest.mark.parametrize("tokens", [(5, 9), (300,)])
def test_the_answer_is_that_of_sentence_transformers(
    tmp_path: Path, make_causal: Callable[..., Path], kind: str, tokens: tuple[int, ...]
) -> None:
    folder = saved(tmp_path / "m", make_causal(kind=kind, template=TEMPLATE), *tokens, length=90)
    found = scores(folder)
    alone = [
        logits(folder, [pair]) for pair in PAIRS
    ]  # sentence-transformers lets padding shift the positions of GPT-2
    np.testing.assert_allclose(found, np.concatenate(alone), atol=1e-4)
    if kind != "gpt2":
        np.testing.assert_allclose(found, logits(folder), atol=1e-4)
    assert np.ptp(found) > 0.1  # the parity of constants would show nothing
    model = open_reranker(f"cross:{folder}")
    assert model.score_pairs(["a"] * 2, [Passage("", "b"), Passage("", LONG)]).truncated == 1


def test_pairs_without_a_template_are_joined_by_the_tokenizer(tmp_path: Path, make_causal: Callable[..., Path]) -> None:
    folder = saved(tmp_path / "m", make_causal(template=None), 5, 9, length=60)
    np.testing.assert_allclose(scores(folder), logits(folder), atol=1e-4)
    np.testing.assert_allclose(scores(folder, options="?prompt=Ask:%20"), logits(folder, prompt="Ask: "), atol=1e-4)


def test_prompts_and_arguments_of_the_template(tmp_path: Path, make_causal: Callable[..., Path]) -> None:
    folder = saved(tmp_path / "m", make_causal(template=TEMPLATE), 5, 9)
    prompt = "Judge whether the document answers."
    np.testing.assert_allclose(
        scores(folder, options=f"?prompt={prompt.replace(' ', '%20')}"), logits(folder, prompt=prompt), atol=1e-4
    )
    changed(folder / "config_sentence_transformers.json", prompts={"web": prompt}, default_prompt_name="web")
    np.testing.assert_allclose(scores(folder), logits(folder), atol=1e-4)
    assert np.abs(scores(folder) - scores(folder, options="?prompt=Which%20is%20it")).max() > 1e-3
    given = {"add_generation_prompt": True}
    folder = saved(tmp_path / "n", make_causal(template=STRUCTURED), 5, 9, chat=given, length=70)
    np.testing.assert_allclose(scores(folder), logits(folder), atol=1e-4)
    assert open_reranker(f"cross:{folder}").format.pieces[-1] == "</s><|assistant|>"


def test_a_model_of_transformers_answers_yes_or_no(tmp_path: Path, make_causal: Callable[..., Path]) -> None:
    folder = make_causal(template=TEMPLATE)
    with pytest.raises(ModelError, match="without a LogitScore"):
        scores(folder)
    (copy := tmp_path / "copy").mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    for old, new in ((" soup", "yes"), (" drum", "no")):  # two tokens of the vocabulary are called so
        old = old.replace(" ", "Ġ")
        tokenizer["model"]["merges"] = [pair for pair in tokenizer["model"]["merges"] if "".join(pair) != old]
        tokenizer["model"]["vocab"][new] = tokenizer["model"]["vocab"].pop(old)
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    np.testing.assert_allclose(scores(copy), logits(copy), atol=1e-4)


def test_scores_do_not_depend_on_what_runs_together(
    tmp_path: Path, make_causal: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path / "m", make_causal(template=TEMPLATE), 5, 9)
    together = scores(folder)
    alone = np.concatenate([scores(folder, [pair]) for pair in PAIRS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(scores(folder, PAIRS[::-1]), together[::-1], atol=1e-5)
    monkeypatch.setattr(batching, "CPU_TOKENS", 7)
    np.testing.assert_allclose(scores(folder), together, atol=1e-5)


def test_padding_on_either_side_does_not_count(tmp_path: Path, make_causal: Callable[..., Path]) -> None:
    folder = saved(tmp_path / "m", make_causal(template=TEMPLATE), 5, 9)
    model = open_reranker(f"cross:{folder}")
    ids = torch.tensor([[7, 8, 30, 44]])
    plain = model(ids)
    right = torch.cat([ids, torch.full((1, 5), model.tokenizer.pad)], 1)
    padded = model(torch.cat([right, torch.arange(9)[None]]), (torch.arange(9)[None] < torch.tensor([[4], [9]])).long())
    torch.testing.assert_close(padded[:1], plain, atol=1e-5, rtol=0)


def test_only_the_rows_and_places_that_count_are_computed(tmp_path: Path, make_causal: Callable[..., Path]) -> None:
    model = open_reranker(f"cross:{saved(tmp_path / 'm', make_causal(template=TEMPLATE), 5, 9)}")
    seen: list[torch.Size] = []
    head = model.classifier.model.get_output_embeddings()
    head.register_forward_hook(lambda _, __, result: seen.append(result.shape))
    model.score_pairs(["a"] * 3, [Passage("", "b"), Passage("", "of soup"), Passage("", "b")])
    assert all(shape[1] <= 2 and shape[2] == 2 for shape in seen)


def test_forward_is_differentiable(tmp_path: Path, make_causal: Callable[..., Path]) -> None:
    model = open_reranker(f"cross:{saved(tmp_path / 'm', make_causal(template=TEMPLATE), 5, 9)}")
    model(torch.tensor([[2, 7, 3, 8, 3]])).sum().backward()
    assert model.classifier.get_input_embeddings().weight.grad.abs().sum() > 0
    assert model.classifier.model.get_output_embeddings().weight.grad.abs().sum() > 0


def test_what_the_model_does_to_its_logits_stays(tmp_path: Path, make_causal: Callable[..., Path]) -> None:
    """Gemma 2 bends its logits, and its head is tied and scaled otherwise than the embeddings."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    base = make_causal(template=TEMPLATE)
    config = json.loads((base / "config.json").read_text())
    (folder := tmp_path / "base").mkdir()
    for path in base.iterdir():
        if path.name.startswith(("tokenizer", "chat")):
            (folder / path.name).write_bytes(path.read_bytes())
    shape = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "head_dim": 8,
    }
    torch.manual_seed(0)
    Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=config["vocab_size"],
            **shape,
            num_key_value_heads=2,
            final_logit_softcapping=0.05,
            pad_token_id=2,
        )
    ).save_pretrained(folder)
    folder = saved(tmp_path / "m", folder, 5, 9)
    found = scores(folder)
    np.testing.assert_allclose(found, logits(folder), atol=1e-4)
    assert np.ptp(found) > 1e-3
    assert np.abs(found).max() <= 0.1


@pytest.mark.parametrize("template", [TEMPLATE, QUERY_LAST])
def test_the_passage_is_cut_and_never_the_template(
    tmp_path: Path, make_causal: Callable[..., Path], template: str
) -> None:
    model = open_reranker(f"cross:{saved(tmp_path / 'm', make_causal(template=template), 5, 9)}?max_length=80")
    form = model.format
    for query, passage in [("butter", LONG), (LONG, "soup"), (LONG, LONG), ("drum sieve", LONG + ".")]:
        inputs = form.inputs([query], [passage])
        text = form.tokenizer.raw.decode(inputs.ids[0], skip_special_tokens=False)
        assert len(inputs.ids[0]) <= 80
        assert inputs.truncated == 1
        begin, end = form.pieces[0], form.pieces[-1]
        assert text.startswith(begin)
        assert text.endswith(end)
        assert query[:10] in text  # at least a beginning of both
        assert passage[:4] in text
        if len(query) < 20:
            assert query in text
    assert len(form.inputs(["butter"], [LONG]).ids[0]) == 80
    short = open_reranker(f"cross:{tmp_path / 'm'}?query_length=1")
    assert short.format.inputs([" drum sieve"], ["of"]).truncated == 1
    assert " sieve" not in short.tokenizer.raw.decode(short.format.inputs([" drum sieve"], ["of"]).ids[0])
    with pytest.raises(ModelError, match="template alone takes"):
        open_reranker(f"cross:{tmp_path / 'm'}?max_length=8")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "does not hold the query"),
        ("{{ messages[-2].content }}{{ messages[-1].content | upper }}", "changes the texts"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
    ],
)
def test_templates_that_cannot_carry_a_pair_are_refused(
    tmp_path: Path, make_causal: Callable[..., Path], template: str, message: str
) -> None:
    folder = saved(tmp_path / "m", make_causal(template=template), 5, 9)
    with pytest.raises(ModelError, match=message):
        open_reranker(f"cross:{folder}")


def test_what_lacks_its_head_is_refused(tmp_path: Path, make_causal: Callable[..., Path]) -> None:
    from safetensors.torch import load_file, save_file

    folder = saved(tmp_path / "m", make_causal(template=TEMPLATE, tie_word_embeddings=False), 5, 9)
    address, score = f"cross:{folder}", folder / "1_LogitScore" / "config.json"
    for values, message in [
        ({"true_token_id": None}, "true_token_id is None"),
        ({"true_token_id": "yes"}, "true_token_id is 'yes'"),
        ({"false_token_id": 10**6}, "token 1000000 is not one of"),
        ({"module_input_name": "scores"}, "'scores' is not known"),
    ]:
        whole = score.read_text()
        changed(score, **values)
        with pytest.raises(ModelError, match=message):
            open_reranker(address)
        score.write_text(whole)
    with pytest.raises(UsageError, match="backend=onnx runs classifiers"):
        open_reranker(f"{address}?backend=onnx")
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lm_head\.weight"):
        open_reranker(address)
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(modules[:1]))
    with pytest.raises(ModelError, match="needs a LogitScore"):
        open_reranker(address)


def pooled(folder: Path, base: Path, pooling: str | tuple[str, ...], *, labels: int = 1, width: int = 32) -> Path:
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling

    torch.manual_seed(1)
    inputs = width * (1 if isinstance(pooling, str) else len(pooling))
    norm = LayerNorm(16)
    torch.nn.init.normal_(norm.norm.weight)
    modules = [
        Transformer(str(base), transformer_task="feature-extraction", max_seq_length=60),
        Pooling(width, pooling),
        Dense(inputs, 16),
        norm,
        Dense(16, labels, activation_function=torch.nn.Identity(), module_output_name="scores"),
    ]
    CrossEncoder(modules=modules, device="cpu").save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("pooling", ["cls", "lasttoken", ("mean", "max")])
def test_heads_behind_a_pooling(tmp_path: Path, make_causal: Callable[..., Path], pooling: Any) -> None:
    folder = pooled(tmp_path / "m", make_causal(template=TEMPLATE), pooling)
    found = scores(folder)
    np.testing.assert_allclose(found, logits(folder), atol=1e-4)
    assert np.ptp(found) > 1e-2 or pooling == "cls"  # whose first token sees nothing


def test_heads_behind_a_pooling_over_bert(tmp_path: Path, save: Callable[..., Path]) -> None:
    base = save(tmp_path / "base", head=False)
    folder = pooled(tmp_path / "m", base, "cls")
    want = logits(folder)
    np.testing.assert_allclose(scores(folder), want, atol=1e-4)
    np.testing.assert_allclose(scores(folder, options="?backend=onnx"), want, atol=1e-4)
    two = pooled(tmp_path / "two", base, "mean", labels=2)
    given = logits(two)
    np.testing.assert_allclose(scores(two), given[:, 1] - np.logaddexp(given[:, 0], given[:, 1]), atol=1e-4)
    with pytest.raises(ModelError, match="3 labels"):
        scores(pooled(tmp_path / "three", base, "mean", labels=3))
    changed(folder / "4_Dense" / "config.json", module_output_name="sentence_embedding")
    with pytest.raises(ModelError, match="bi-encoder is no cross-encoder"):
        scores(folder)


def test_classifiers_over_decoders_read_conversations(tmp_path: Path, make_causal: Callable[..., Path]) -> None:
    from sentence_transformers import CrossEncoder
    from transformers import AutoModelForSequenceClassification

    base = make_causal(template=TEMPLATE)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    torch.nn.init.normal_(model.score.weight)
    (folder := tmp_path / "plain").mkdir()
    for path in base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    model.save_pretrained(folder)
    np.testing.assert_allclose(scores(folder), logits(folder), atol=1e-4)
    CrossEncoder(str(folder), device="cpu").save_pretrained(str(tmp_path / "saved"))
    np.testing.assert_allclose(scores(tmp_path / "saved"), logits(folder), atol=1e-4)


def test_it_reranks_in_a_pipeline_and_on_the_command_line(
    tmp_path: Path, make_causal: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path / "m", make_causal(template=TEMPLATE), 5, 9)
    texts = ["a drum sieve", "drum soup of potato", "a cook and a drum"]
    want = [f"d{i}" for i in np.argsort(-scores(folder, [("drum", text) for text in texts]), kind="stable")]
    assert want != ["d0", "d1", "d2"]
    with tamis.Index.create(tmp_path / "ix") as index:
        index.add([{"id": f"d{i}", "text": text} for i, text in enumerate(texts)])
        assert [hit.id for hit in index.search("drum", pipeline=f"bm25 % 10 >> cross:{folder}")] == want
    (run := tmp_path / "in.run").write_text("".join(f"1 Q0 d{i} {i + 1} {9 - i} x\n" for i in range(3)))
    (topics := tmp_path / "topics.tsv").write_text("1\tdrum\n")
    given = ["--topics", str(topics), "--model", f"cross:{folder}", "-o", str(tmp_path / "out.run")]
    assert main(["rerank", str(tmp_path / "ix"), str(run), *given]) == 0, capsys.readouterr().err
    assert [line.split()[2] for line in (tmp_path / "out.run").read_text().splitlines()] == want
