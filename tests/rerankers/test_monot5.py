"""monoT5: transformers' answers, whatever runs together; checkpoints of every make, and those that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tamis.encoders import batching
from tamis.encoders.base import Passage
from tamis.encoders.text import Tokenizer
from tamis.errors import MissingResourceError, ModelError, UnknownNameError
from tamis.rerankers.base import PairScorer
from tamis.rerankers.registry import open_reranker
from tamis.rerankers.t5 import RELEASED, ids_of_words
from tamis.rerankers.windows import Tokenized

Save = Callable[..., Path]
LONG = "the cook pass potato soup through a finer sieve of butter, milk and 12 fine rank of a query term " * 4
PAIRS = [
    ("what is a drum sieve", "a drum sieve is fine"),
    ("what is a drum sieve", ""),
    ("", "milk"),
    ("butter", LONG),
    (LONG, "soup"),
    ("term weight", "zebra 123 ! of the document"),
    ("what is a drum sieve", "how the cook rank soup"),
]
QUERIES = [query for query, _ in PAIRS]
PASSAGES = [Passage("", passage) for _, passage in PAIRS]
UNTIED = {"gated": True, "untied": True, "num_heads": 3}
FALSE_TRUE = (6136, 1176)


def reference(folder: Path, targets: Sequence[int] = FALSE_TRUE) -> np.ndarray:
    """log P(true), by transformers' own model, one pair after the other."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    found = []
    for query, document in PAIRS:
        given = tokenizer(f"Query: {query} Document: {document} Relevant:", return_tensors="pt")
        with torch.no_grad():
            logits = model(
                input_ids=given.input_ids,
                attention_mask=given.attention_mask,
                decoder_input_ids=torch.tensor([[model.config.decoder_start_token_id]]),
            ).logits
        found.append(torch.log_softmax(logits[0, 0, list(targets)].double(), 0)[1].item())
    return np.array(found)


@pytest.mark.parametrize(
    "made",
    [{}, {"gated": True, "untied": True, "num_heads": 3}, {"kind": "mt5", **UNTIED}, {"kind": "mt5", "gated": True}],
    ids=["t5", "t5-v1.1", "mt5", "mt5-tied"],
)
def test_scores_are_those_of_transformers(tmp_path: Path, save_t5_model: Save, made: dict[str, object]) -> None:
    folder = save_t5_model(tmp_path / "model", **made)
    model = open_reranker(f"monot5:{folder}")
    assert isinstance(model, PairScorer)
    assert isinstance(model, Tokenized)
    ticks: list[int] = []
    found = model.score_pairs(QUERIES, PASSAGES, tick=ticks.append)
    np.testing.assert_allclose(found.scores, reference(folder), atol=1e-4)
    assert np.ptp(found.scores) > 0.2  # the parity of constants would show nothing
    assert (found.scores <= 0).all()
    assert found.scores.dtype == np.float32
    assert (found.truncated, sum(ticks)) == (0, len(PAIRS))


def test_learning_and_scoring_are_one_forward(tmp_path: Path, save_t5_model: Save) -> None:
    for made in ({}, UNTIED):
        model = open_reranker(f"monot5:{save_t5_model(tmp_path / str(len(made)), **made)}")
        ids, mask = torch.tensor([[7, 9, 8, 1], [7, 1, 0, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
        learning = model(ids, mask)
        with torch.inference_mode():
            scoring = model(ids, mask)
        assert torch.allclose(learning, scoring, atol=1e-5)
        learning.sum().backward()
        unmoved = [name for name, weight in model.named_parameters() if not weight.grad.abs().sum() > 0]
        assert unmoved == []
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(1.1)
        with torch.inference_mode():  # what was laid out for the processor before is not used again
            moved = model(ids, mask)
        assert torch.allclose(moved, model(ids, mask), atol=1e-5)
        assert not torch.allclose(moved, scoring, atol=1e-3)


def test_scores_do_not_depend_on_what_runs_together(t5_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_reranker(f"monot5:{t5_folder}")
    together = model.score_pairs(QUERIES, PASSAGES).scores
    alone = [model.score_pairs([q], [p]).scores[0] for q, p in zip(QUERIES, PASSAGES, strict=True)]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    monkeypatch.setattr(batching, "CPU_TOKENS", 7)
    np.testing.assert_allclose(model.score_pairs(QUERIES, PASSAGES).scores, together, atol=1e-5)
    order = [5, 3, 0, 1, 2, 6, 4]
    moved = model.score_pairs([QUERIES[i] for i in order], [PASSAGES[i] for i in order]).scores
    np.testing.assert_allclose(moved, together[order], atol=1e-5)


def test_too_long_a_document_is_cut_and_counted(t5_folder: Path) -> None:
    model = open_reranker(f"monot5:{t5_folder}?max_length=40")
    found = model.score_pairs(["soup", "soup"], [Passage("", LONG), Passage("", "drum")])
    assert found.truncated == 1
    # what a document of the words that fit scores: 40 less the fixed tokens and the query's
    words = LONG.split()[:40]
    bare = model.tokenizer.bare([" ".join(words[:n]) for n in range(40)])
    fits = next(n for n in range(39, 0, -1) if len(bare[n]) == 40 - 7 - 1)
    whole = open_reranker(f"monot5:{t5_folder}").score_pairs(["soup"], [Passage("", " ".join(words[:fits]))])
    assert whole.truncated == 0
    assert found.scores[0] == pytest.approx(whole.scores[0], abs=1e-5)
    assert model.tokens == 40 + 7 + 2


def test_a_prompt_can_be_cut_as_pygaggle_cuts_it(t5_folder: Path) -> None:
    own, theirs = (open_reranker(f"monot5:{t5_folder}?max_length=40{more}") for more in ("", "&truncation=pygaggle"))
    passages = [Passage("", LONG), Passage("", "drum")]
    a, b = (model.score_pairs(["soup", "soup"], passages) for model in (own, theirs))
    assert a.truncated == b.truncated == 1
    assert abs(a.scores[0] - b.scores[0]) > 1e-4
    assert a.scores[1] == pytest.approx(b.scores[1], abs=1e-6)
    assert own.identity.fingerprint != theirs.identity.fingerprint


def test_a_document_of_20000_words(t5_folder: Path) -> None:
    model = open_reranker(f"monot5:{t5_folder}")
    found = model.score_pairs(["soup"], [Passage("", "drum " * 20000)])
    assert (found.truncated, model.tokens) == (1, 512)


def test_title_and_text_are_joined_and_no_pairs_are_no_scores(t5_folder: Path) -> None:
    model = open_reranker(f"monot5:{t5_folder}")
    scores = model.score_pairs(["soup"] * 2, [Passage("drum", "sieve"), Passage("", "drum sieve")]).scores
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    empty = model.score_pairs([], [])
    assert (len(empty.scores), empty.truncated) == (0, 0)


def test_certain_pairs_keep_their_order(t5_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_reranker(f"monot5:{t5_folder}")
    monkeypatch.setattr(model, "log_odds", lambda *_: np.array([20.0, 25.0, 60.0], np.float32))
    scores = model.score_pairs(["a"] * 3, [Passage("", "a")] * 3).scores
    assert scores[0] < scores[1] < scores[2] < 0  # a float32 softmax says 1.0 of all three


def test_reduced_precision_is_close(t5_folder: Path) -> None:
    exact, reduced = (open_reranker(f"monot5:{t5_folder}?dtype={name}") for name in ("float32", "bfloat16"))
    a, b = (model.score_pairs(QUERIES, PASSAGES).scores for model in (exact, reduced))
    assert exact.identity.fingerprint != reduced.identity.fingerprint
    assert 0 < np.abs(a - b).max() < 0.05 * np.ptp(a)


def test_a_shrunken_network_says_the_same(tmp_path: Path, save_t5_model: Save) -> None:
    for made in ({}, UNTIED):
        model = open_reranker(f"monot5:{save_t5_model(tmp_path / str(len(made)), **made)}")
        before = model.score_pairs(QUERIES, PASSAGES).scores
        ids = torch.tensor([[7, 9, 8, 1]])
        sizes = []

        def note(_: object, given: tuple[torch.Tensor, ...], sizes: list[float] = sizes) -> None:
            sizes.append(given[0].abs().max().item())

        model.network.encoder.final_layer_norm.register_forward_pre_hook(note)
        model(ids)
        model.network.shrink()
        model(ids)
        assert sizes[1] == pytest.approx(sizes[0] / 128)
        np.testing.assert_allclose(model.score_pairs(QUERIES, PASSAGES).scores, before, atol=1e-6)


def test_words_are_found_by_id_by_name_or_told(tmp_path: Path, save_t5_model: Save) -> None:
    english = save_t5_model(tmp_path / "t5", words={6136: "▁false", 1176: "▁true", 20: "▁no", 30: "▁yes"})
    known, told = open_reranker(f"monot5:{english}"), open_reranker(f"monot5:{english}?targets=no/yes")
    assert known.identity.settings["targets"] == [6136, 1176]
    assert told.identity.settings["targets"] == [20, 30]
    assert known.identity.fingerprint != told.identity.fingerprint
    np.testing.assert_allclose(told.score_pairs(QUERIES, PASSAGES).scores, reference(english, (20, 30)), atol=1e-4)
    other = save_t5_model(tmp_path / "mt5", kind="mt5", words={259: "▁não", 300: "▁sim", 310: "▁true", 320: "▁false"})
    assert open_reranker(f"monot5:{other}?targets=não/sim").identity.settings["targets"] == [259, 300]
    with pytest.raises(ModelError, match=r"false is token 6136 and true 1176 \(here 320 and 310\).*targets=no/yes"):
        open_reranker(f"monot5:{other}")
    with pytest.raises(ModelError, match="▁no'"):
        open_reranker(f"monot5:{other}?targets=no/yes")
    for words in ("true", "true/true", "a/b/c"):
        with pytest.raises(ModelError, match="two different words"):
            open_reranker(f"monot5:{other}?targets={words}")
    tokenizer = Tokenizer(other)
    empty = ids_of_words(tokenizer, RELEASED["unicamp-dl/mt5-13b-mmarco-100k"])
    assert empty == (tokenizer.raw.token_to_id("▁"), 310)


def test_a_released_name_brings_its_words(tmp_path: Path, save_t5_model: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_t5_model(tmp_path / "mt5", kind="mt5", words={20: "▁no", 30: "▁yes"})
    monkeypatch.setattr("tamis.rerankers.t5.find_checkpoint", lambda *_: folder)
    assert open_reranker("monot5:unicamp-dl/mt5-base-mmarco-v2").identity.settings["targets"] == [20, 30]


def test_not_a_number_is_an_error(tmp_path: Path, save_t5_model: Save) -> None:
    model = open_reranker(f"monot5:{save_t5_model(tmp_path / 'model')}")
    with torch.no_grad():
        model.network.rows.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite for input 0"):
        model.score_pairs(["soup"], [Passage("", "milk")])


def rewritten(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    change(state)
    save_file({name: weight.contiguous() for name, weight in state.items()}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "shared.weight",
        "encoder.block.1.layer.0.SelfAttention.q.weight",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "decoder.block.2.layer.1.EncDecAttention.k.weight",
        "decoder.final_layer_norm.weight",
    ],
)
def test_a_missing_weight_is_named(tmp_path: Path, save_t5_model: Save, name: str) -> None:
    folder = rewritten(save_t5_model(tmp_path / "model"), lambda state: state.pop(name))
    with pytest.raises(ModelError, match=name):
        open_reranker(f"monot5:{folder}")


def configured(folder: Path, **changes: object) -> Path:
    config = json.loads((folder / "config.json").read_text()) | changes
    kept = {name: value for name, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))
    return folder


def test_an_output_matrix_of_its_own_must_be_there(tmp_path: Path, save_t5_model: Save) -> None:
    folder = save_t5_model(tmp_path / "model", **UNTIED)
    rewritten(folder, lambda state: state.pop("lm_head.weight"))
    open_reranker(f"monot5:{folder}")  # transformers 5 writes that all are tied
    with pytest.raises(ModelError, match=r"lm_head\.weight"):
        open_reranker(f"monot5:{configured(folder, tie_word_embeddings=False)}")


def test_configurations_of_older_transformers_are_read(tmp_path: Path, save_t5_model: Save) -> None:
    """There only ``tie_word_embeddings`` says whether the state is scaled before the output matrix."""
    for kind, changes in (("t5", {}), ("v1.1", UNTIED)):
        folder = save_t5_model(tmp_path / kind, **changes)
        expected = open_reranker(f"monot5:{folder}").score_pairs(QUERIES, PASSAGES).scores
        configured(folder, scale_decoder_outputs=None, tie_word_embeddings=not changes)
        np.testing.assert_array_equal(open_reranker(f"monot5:{folder}").score_pairs(QUERIES, PASSAGES).scores, expected)


def test_released_folders_are_read(tmp_path: Path, save_t5_model: Save) -> None:
    """As castorini's: a pickle with every name of the shared matrix, and the key that TensorFlow's models left."""
    folder = save_t5_model(tmp_path / "model")
    expected = open_reranker(f"monot5:{folder}").score_pairs(QUERIES, PASSAGES).scores
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"):
        state[name] = state["shared.weight"]
    state["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = torch.zeros(8, 4)
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    for shards in (1, 2):
        for i in range(shards):
            part = {name: state[name] for name in names[i::shards]}
            torch.save(part, folder / ("pytorch_model.bin" if shards == 1 else f"pytorch_model-{i}.bin"))
        if shards == 2:
            (folder / "pytorch_model.bin").unlink()
            index = {name: f"pytorch_model-{i % 2}.bin" for i, name in enumerate(names)}
            (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
        found = (
            open_reranker(f"monot5:{configured(folder, scale_decoder_outputs=None, dtype=None)}")
            .score_pairs(QUERIES, PASSAGES)
            .scores
        )
        np.testing.assert_array_equal(found, expected)


def test_what_cannot_be_meant_is_refused(tmp_path: Path, save_t5_model: Save, cross_folder: Path) -> None:
    switch = configured(save_t5_model(tmp_path / "switch"), model_type="switch_transformers")
    activation = configured(save_t5_model(tmp_path / "silu"), feed_forward_proj="gated-silu")
    narrow = configured(save_t5_model(tmp_path / "narrow"), d_ff=47)
    headless = configured(save_t5_model(tmp_path / "headless"))
    (headless / "config.json").write_text('{"model_type": "t5"}')
    for address, error, message in (
        (f"monot5:{switch}", ModelError, "switch_transformers"),
        (f"monot5:{activation}", ModelError, "gated-silu"),
        (f"monot5:{narrow}", ModelError, r"wi.weight is \[48, 32\], not \[47, 32\]"),
        (f"monot5:{headless}", ModelError, "d_model"),
        (f"monot5:{cross_folder}?targets=the/a", ModelError, "▁the"),
        ("monot5:./nothing-here", MissingResourceError, "no model"),
        (f"monot5:{narrow}?dtype=int3", UnknownNameError, "dtype"),
    ):
        with pytest.raises(error, match=message):
            open_reranker(address)
