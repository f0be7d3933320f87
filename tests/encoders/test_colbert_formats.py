"""Late-interaction checkpoints of three kinds: vectors and MaxSim are those of sentence-transformers' own multi-vector model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.encoders.base import Passage
from tamis.encoders.colbert_formats import read_checkpoint
from tamis.encoders.options import ColbertOptions
from tamis.encoders.registry import open_encoder
from tamis.errors import ModelError
from tamis.indexer.multivector.part import maxsim

Save = Callable[..., Path]
QUERIES = [
    "what is a drum sieve",
    "a",
    "the cook , pass potato soup through a finer sieve of milk and the fine rank of it",
]
TEXTS = ["a drum sieve .", "the cook , pass soup ! through zebra 123", "a", "term weight " * 30]


def save_transformer(folder: Path, tiny: Save, *extra: str) -> Path:
    """The tiny BERT, with punctuation and `extra` in its vocabulary."""
    tiny(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    for old, new in zip(["how", "finer", "butter", "query", "document"], [",", "!", ".", *extra], strict=False):
        vocabulary[new] = vocabulary.pop(old)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def save_native(folder: Path, tiny: Save, *, prompts: dict[str, str] | None = None, **changes: Any) -> Path:
    """As sentence-transformers 6 saves a model."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    mask = {name: changes.pop(name) for name in list(changes) if name.startswith(("skiplist", "keep_only"))}
    residual, unit = changes.pop("residual", False), changes.pop("unit", True)
    base = save_transformer(folder.with_name(folder.name + "-base"), tiny)
    torch.manual_seed(3)
    layers = [
        Dense(32, 16, bias=True, module_input_name="token_embeddings", use_residual=residual),
        Dense(16, 8, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings"),
    ]
    modules = [Transformer(str(base), **changes), *layers, MultiVectorMask(**mask)]
    modules += [Normalize(module_input_name="token_embeddings")] if unit else []
    MultiVectorEncoder(modules=modules, prompts=prompts, device="cpu").save_pretrained(str(folder))
    return folder


def save_pylate(folder: Path, tiny: Save, *, tokens: tuple[str, ...] = (), **config: Any) -> Path:
    """As PyLate saves one: a transformer and its own ``Dense``, all else in one file; `tokens` added to the vocabulary."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    save_transformer(folder, tiny)
    if tokens:
        tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
        tokenizer.add_tokens(list(tokens))
        torch.manual_seed(4)
        model.resize_token_embeddings(len(tokenizer))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    write_pylate(folder, **config)
    return folder


def write_pylate(folder: Path, **config: Any) -> None:
    """Write what PyLate puts beside a transformer of width 32."""
    import torch
    from safetensors.torch import save_file

    (folder / "1_Dense").mkdir()
    torch.manual_seed(5)
    save_file({"linear.weight": torch.randn(8, 32)}, folder / "1_Dense" / "model.safetensors", {"format": "pt"})
    dense = {"in_features": 32, "out_features": 8, "bias": False}
    dense["activation_function"] = "torch.nn.modules.linear.Identity"
    (folder / "1_Dense" / "config.json").write_text(json.dumps(dense))
    listed = [("", "sentence_transformers.models.Transformer"), ("1_Dense", "pylate.models.Dense.Dense")]
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(listed)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 60, "do_lower_case": False}))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"model_type": "ColBERT", **config}))


def save_stanford(folder: Path, tiny: Save, **metadata: Any) -> Path:
    """As Stanford's ColBERT saves one: ``bert.*`` and ``linear.weight`` in one file."""
    import torch
    from safetensors.torch import load_file, save_file

    save_transformer(folder, tiny, "[unused0]", "[unused1]")
    state = {f"bert.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    torch.manual_seed(5)
    save_file({**state, "linear.weight": torch.randn(8, 32)}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["HF_ColBERT"]}))
    (folder / "artifact.metadata").write_text(json.dumps({"query_maxlen": 12, "doc_maxlen": 20, **metadata}))
    return folder


def check_parity(folder: Path, *, options: str = "") -> tuple[list[int], list[int]]:
    """Compare with sentence-transformers, and return how many vectors queries and documents have."""
    from sentence_transformers import MultiVectorEncoder

    reference = MultiVectorEncoder(str(folder), device="cpu")
    encoder = open_encoder(f"colbert:{folder}{options}")
    queries, texts = encoder.encode_queries(QUERIES), encoder.encode_passages([Passage("", text) for text in TEXTS])
    want_queries = reference.encode_query(QUERIES, convert_to_numpy=True)
    want_texts = reference.encode_document(TEXTS, convert_to_numpy=True)
    assert queries.lengths.tolist() == [len(one) for one in want_queries]
    assert texts.lengths.tolist() == [len(one) for one in want_texts]
    np.testing.assert_allclose(queries.vectors, np.concatenate(want_queries), atol=1e-5)
    np.testing.assert_allclose(texts.vectors, np.concatenate(want_texts), atol=1e-5)
    ours = [np.split(one.vectors, np.cumsum(one.lengths)[:-1]) for one in (queries, texts)]
    scores = np.array([[float(maxsim(query, text)) for text in ours[1]] for query in ours[0]])
    np.testing.assert_allclose(scores, reference.similarity(want_queries, want_texts).numpy(), atol=1e-4)
    assert encoder.dimensions == queries.vectors.shape[1]
    return queries.lengths.tolist(), texts.lengths.tolist()


FILLED = {"strategy": "fixed", "attend": False, "length": 12}
NATIVE: dict[str, dict[str, Any]] = {
    "filled": {"query_expansion": FILLED, "document_length": 20, "skiplist_words": list(".,!")},
    "attended": {"query_expansion": {**FILLED, "attend": True}, "prompts": {"query": "the ", "document": "of "}},
    "at-least": {"query_expansion": {**FILLED, "strategy": "min"}, "query_length": 16},
    "at-least-unbounded": {"query_expansion": {**FILLED, "strategy": "min"}},
    "filled-with": {"query_expansion": {**FILLED, "token": "[SEP]"}},
    "not-filled": {"query_length": 9, "skiplist_words": ["a", "nothing"], "skiplist_tasks": ["query", "document"]},
    "only-some": {"keep_only_token_ids": [2, 3, 7, 8, 9]},
    "residual": {"residual": True},
    "not-normalised": {"unit": False},
}


@pytest.mark.parametrize("name", NATIVE)
def test_sentence_transformers_own_checkpoints(tmp_path: Path, tiny: Save, name: str) -> None:
    queries, texts = check_parity(save_native(tmp_path / "model", tiny, **NATIVE[name]))
    if name.startswith("filled"):
        assert queries == [12, 12, 12]
    if name == "filled":
        assert texts[:2] == [5, 13]  # of the latter five words, five pieces of "zebra", "123" unknown
        assert texts[3] == 20
    if name == "at-least":
        assert queries == [12, 12, 16]
    if name == "not-filled":
        assert queries == [6, 2, 9]


PYLATE: dict[str, dict[str, Any]] = {
    "tokens": {"query_prefix": "[Q] ", "document_prefix": "[D] ", "tokens": ("[Q] ", "[D] "), "query_length": 12},
    "text": {"query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 12, "document_length": 18},
    "vocabulary": {"query_prefix": "[MASK]", "document_prefix": "[SEP] ", "query_length": 12},
    "prompts": {"query_prefix": "[Q] ", "tokens": ("[Q] ",), "prompts": {"query": "[Q] the ", "document": "of "}},
    "not-filled": {"query_prefix": "", "document_prefix": "", "do_query_expansion": False, "query_length": 7},
    "attended": {"attend_to_expansion_tokens": True, "query_length": 12, "skiplist_words": ["a", "."]},
    "nothing-stated": {},
}


@pytest.mark.parametrize("name", PYLATE)
def test_pylate_s_checkpoints(tmp_path: Path, tiny: Save, name: str) -> None:
    queries, texts = check_parity(save_pylate(tmp_path / "model", tiny, **PYLATE[name]))
    if name == "tokens":
        assert queries == [12, 12, 12]
        assert texts[0] == 6  # [CLS], the marker, three words and [SEP]; without the full stop


def save_modern(folder: Path) -> Path:
    """A ModernBERT, whose tokenizer is of bytes and keeps spaces, as PyLate saves it."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import ModernBertConfig, ModernBertModel, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=310, special_tokens=list(names.values()), initial_alphabet=alphabet)
    raw.train_from_iterator([*QUERIES, *TEXTS], trainer)
    marks = [("[CLS]", 2), ("[SEP]", 3)]
    raw.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=marks)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=64, **names)
    tokenizer.add_tokens(["[Q] ", "[D] "])
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    ids = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=64,
        local_attention=8,
        global_attn_every_n_layers=2,
        **sizes,
        **ids,
    )
    torch.manual_seed(0)
    model = ModernBertModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_pylate(folder, query_prefix="[Q] ", document_prefix="[D] ", query_length=16, document_length=30)
    return folder


def test_a_tokenizer_of_bytes(tmp_path: Path) -> None:
    queries, texts = check_parity(save_modern(tmp_path / "model"))
    assert queries == [16, 16, 16]
    assert texts[3] == 30


@pytest.mark.parametrize("metadata", [{}, {"attend_to_mask_tokens": True, "mask_punctuation": False}])
def test_stanford_s_checkpoints(tmp_path: Path, tiny: Save, metadata: dict[str, Any]) -> None:
    queries, texts = check_parity(save_stanford(tmp_path / "model", tiny, **metadata))
    assert queries == [12, 12, 12]
    assert texts[0] == (7 if metadata else 6)


def test_a_model_may_read_lower_case_only(tmp_path: Path, tiny: Save) -> None:
    folder = save_native(tmp_path / "model", tiny, query_expansion=FILLED)
    card = json.loads((folder / "tokenizer.json").read_text())
    card["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(card))
    upper, lower = open_encoder(f"colbert:{folder}").encode_queries(["DRUM", "drum"]).vectors.reshape(2, 12, 8)
    assert np.abs(upper - lower).max() > 0.1
    settings = folder / "sentence_bert_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "do_lower_case": True}))
    upper, lower = open_encoder(f"colbert:{folder}").encode_queries(["DRUM", "drum"]).vectors.reshape(2, 12, 8)
    np.testing.assert_array_equal(upper, lower)
    check_parity(folder)


def test_options_count_for_more_than_the_files(tmp_path: Path, tiny: Save) -> None:
    folder = save_pylate(tmp_path / "model", tiny, **PYLATE["text"])
    encoder = open_encoder(f"colbert:{folder}?query_length=9&max_length=10")
    assert encoder.encode_queries(["a", "the " * 20]).lengths.tolist() == [9, 9]
    cut = encoder.encode_passages([Passage("", "the " * 20)])
    assert (cut.lengths.tolist(), cut.truncated) == ([8], 1)  # "[" and "]" of the marker are punctuation
    assert encoder.identity.fingerprint != open_encoder(f"colbert:{folder}").identity.fingerprint
    with pytest.raises(ModelError, match="100 tokens, more than the model has positions; give query_length="):
        read_checkpoint(save_pylate(tmp_path / "long", tiny, query_prefix="[Q] ", query_length=100), ColbertOptions())


def test_other_checkpoints_are_refused(tmp_path: Path, tiny: Save, sentence_model: Save) -> None:
    with pytest.raises(ModelError, match=r"Pooling.*dense:"):
        open_encoder(f"colbert:{sentence_model(tmp_path / 'pooled')}")
    folder = save_pylate(tmp_path / "model", tiny)
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(modules[:1]))
    with pytest.raises(ModelError, match="no Dense module"):
        open_encoder(f"colbert:{folder}")
    (folder / "modules.json").write_text(json.dumps(modules))
    weights = folder / "1_Dense" / "model.safetensors"
    from safetensors.torch import load_file, save_file

    save_file({"other": load_file(weights)["linear.weight"]}, weights, {"format": "pt"})
    with pytest.raises(ModelError, match=r"linear\.weight"):
        open_encoder(f"colbert:{folder}")
    unmarked = save_stanford(tmp_path / "unmarked", tiny, query_token_id="[unused7]")
    with pytest.raises(ModelError, match=r"\[unused7\]"):
        open_encoder(f"colbert:{unmarked}")
