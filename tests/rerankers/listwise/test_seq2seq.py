"""Ranking by an encoder-decoder: the setwise choice and written answers are those of plain transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
import pytest
import torch

from tamis.encoders.base import Passage
from tamis.encoders.batching import Numerics
from tamis.errors import ModelError, UsageError
from tamis.rerankers.lists import CandidateList
from tamis.rerankers.listwise.causal import load_causal
from tamis.rerankers.listwise.prompts import SETWISE, Question
from tamis.rerankers.listwise.scorer import Listwise
from tamis.rerankers.listwise.seq2seq import EncoderDecoder
from tamis.rerankers.listwise.strategies import Ask, plan
from tamis.rerankers.registry import open_reranker
from tests.rerankers.conftest import WORDS, save_t5

ASKED = [
    "Passage",
    "Given",
    "which",
    "following",
    "passages",
    "most",
    "relevant",
    "one",
    "to",
    "Output",
    "only",
    "label",
]
TOKENS = {i: f"▁{word}" for i, word in enumerate([*ASKED, *ascii_uppercase], 3)} | {
    99: "[",
    100: "]",
    101: ">",
    102: "A",
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_t5(tmp_path_factory.mktemp("t5") / "model", words=TOKENS, gated=True, untied=True, num_decoder_layers=2)


def candidates(count: int, seed: int = 0, query: str = "drum sieve") -> CandidateList:
    rng = np.random.default_rng([count, seed])
    texts = [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(count)]
    return CandidateList(query, [Passage("", text) for text in texts], -np.arange(count, dtype=float))


def opened(folder: Path, **options: Any) -> Listwise:
    text = "&".join(f"{name}={value}" for name, value in {"backend": "local", "device": "cpu", **options}.items())
    made: Listwise = open_reranker(f"listwise:{folder}?{text}")
    return made


def order(scores: Any) -> list[int]:
    found: list[int] = np.argsort(-scores, kind="stable").tolist()
    return found


def plainly(folder: Path, one: CandidateList) -> Callable[[Ask], list[int]]:
    """What plain transformers says is the best of a few: the likeliest label behind the decoder's ``Passage``."""
    from transformers import AutoTokenizer, T5ForConditionalGeneration

    model = T5ForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    labels = [tokenizer(f"Passage {label}", add_special_tokens=False)["input_ids"][-1] for label in ascii_uppercase]

    def ranked(ask: Ask) -> list[int]:
        question = Question(SETWISE, one.query, [one.passages[i] for i in ask.places], 300, best=True)
        given = tokenizer(question.messages()[0]["content"], return_tensors="pt")
        begun = torch.tensor([[0, *tokenizer("Passage", add_special_tokens=False)["input_ids"]]])
        with torch.inference_mode():
            logits = model(**given, decoder_input_ids=begun).logits[0, -1, labels[: len(ask.places)]]
        return torch.sort(-logits, stable=True).indices.tolist()

    return ranked


@pytest.mark.parametrize("strategy", ["setwise-heap", "setwise-bubble"])
@pytest.mark.parametrize("batch_tokens", [1, 10**6])
def test_the_choice_is_that_of_transformers(folder: Path, strategy: str, batch_tokens: int) -> None:
    lists = [candidates(11, 1), candidates(4, 2, "soup"), candidates(2, 3), candidates(1)]
    model = opened(folder, decoding="first", strategy=strategy, top=3, batch_tokens=batch_tokens)
    found = model.score_lists(lists)
    calls, moved = 0, False
    for one, scores in zip(lists, found.scores, strict=True):
        expected = list(range(len(one.passages)))
        steps = plan(strategy, size=20, stride=10, passes=1, children=3, top=3)(expected)
        ranked = plainly(folder, one)
        try:
            asks = next(steps)
            while True:
                calls += len(asks)
                asks = steps.send([ranked(ask) for ask in asks])
        except StopIteration:
            pass
        assert order(scores) == expected
        moved = moved or expected != sorted(expected)
    assert moved
    assert (found.counts["calls"], found.counts["repairs"], found.partial) == (calls, 0, [False] * 4)


def test_the_scores_of_labels_are_shown(folder: Path) -> None:
    one = candidates(3)
    evidence = opened(folder, decoding="first", strategy="setwise-bubble", children=2, top=1).explain_list(one)
    values = [child.value for part in evidence for child in part.children]
    assert np.ptp(values) > 1e-3
    best = plainly(folder, one)(Ask("", [0, 1, 2]))[0]
    assert int(np.argmax(values)) == best


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_written_answers_are_those_of_transformers(folder: Path, tmp_path: Path, kind: str) -> None:
    if kind == "bart":
        folder = _bart(tmp_path, folder)
    causal = load_causal(folder, Numerics("cpu", "float32"), template="auto", context=None, attention=None)
    assert isinstance(causal, EncoderDecoder)
    texts = ["drum sieve", "Given a query, which of the following passages", "soup", "a cook of potato soup " * 4]
    prompts = [causal.prompt([{"role": "user", "content": text}], "") for text in texts]
    assert prompts[0][-1] == 1
    found = causal.generate(prompts, [12, 3, 12, 12])
    for prompt, limit, one in zip(prompts, [12, 3, 12, 12], found, strict=True):
        plain = causal.model.generate(torch.tensor([prompt]), max_new_tokens=limit, do_sample=False, num_beams=1)
        assert one is not None
        assert one.ids == [token for token in plain[0, 1:].tolist() if token != 1]
    assert len({tuple(one.ids) for one in found if one}) > 1
    first = causal.first(prompts, [[5, 9, 40]] * 4, ["Passage", "", "Passage", "Given a"])
    alone = [
        causal.first([p], [[5, 9, 40]], [o])[0]
        for p, o in zip(prompts, ["Passage", "", "Passage", "Given a"], strict=True)
    ]
    np.testing.assert_allclose(first, alone, atol=1e-5)


def _bart(place: Path, tokenizer: Path) -> Path:
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(0)
    shape = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
    config = BartConfig(
        vocab_size=json.loads((tokenizer / "config.json").read_text())["vocab_size"],
        d_model=32,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=128,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=1,
        decoder_start_token_id=0,
        forced_eos_token_id=None,
        **shape,
    )
    model = BartForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(place)
    for path in tokenizer.iterdir():
        if path.name.startswith("tokenizer"):
            (place / path.name).write_bytes(path.read_bytes())
    return place


@pytest.mark.parametrize("strategy", ["sliding", "setwise-heap"])
def test_other_questions_are_answered_in_writing(folder: Path, strategy: str) -> None:
    one = candidates(6)
    found = opened(folder, strategy=strategy, window=4, stride=2, top=2).score_lists([one])
    assert sorted(order(found.scores[0])) == list(range(6))
    assert found.counts["calls"] > 1
    assert found.partial == [False]


def test_long_passages_are_cut_to_what_the_encoder_reads(folder: Path) -> None:
    one = CandidateList("drum", [Passage("", "soup of potato " * 90) for _ in range(4)], -np.arange(4.0))
    found = opened(folder, decoding="first", strategy="setwise-bubble", top=1).score_lists([one])
    assert (found.counts["shrunk"], found.counts["calls"], found.partial) == (1, 1, [False])
    assert 400 < found.counts["tokens"] <= 512


def test_calibration_and_replay(folder: Path, tmp_path: Path) -> None:
    given = {"decoding": "first", "strategy": "setwise-bubble", "calibrate": "true", "top": 2}
    one = candidates(7)
    found = opened(folder, record=tmp_path / "m", **given).score_lists([one])
    again = opened(folder, replay=tmp_path / "m", **given).score_lists([one])
    assert again.scores[0].tobytes() == found.scores[0].tobytes()
    assert again.counts["replayed"] == found.counts["calls"] + found.counts["replayed"]


@pytest.mark.parametrize("options", [{"decoding": "attention"}, {"decoding": "first", "attention_sort": 1}])
def test_its_attention_is_not_looked_into(folder: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="has an encoder and a decoder"):
        opened(folder, **options)


def test_damage_is_named(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    (copy := tmp_path / "m").mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    config = json.loads((copy / "config.json").read_text()) | {"tie_word_embeddings": False}  # as that of Flan-T5
    (copy / "config.json").write_text(json.dumps(config))
    weights = load_file(copy / "model.safetensors")
    for name in ("lm_head.weight", "decoder.final_layer_norm.weight"):
        del weights[name]
        save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelError, match=name):
            opened(copy)
    (copy / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    (copy / "config.json").write_text(json.dumps(config | {"decoder_start_token_id": None}))
    with pytest.raises(ModelError, match="decoder_start_token_id"):
        opened(copy)
