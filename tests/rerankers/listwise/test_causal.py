"""Greedy decoding and first tokens against plain transformers, and how conversations are written."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tamis.encoders.batching import Numerics
from tamis.errors import ModelError
from tamis.rerankers.listwise.causal import Causal, load_causal
from tamis.rerankers.listwise.prompts import STYLES, Messages
from tests.rerankers.listwise.conftest import CHAT_TEMPLATE, NO_SYSTEM

LETTERS = tuple("ABCDEFGHIJKLMNOPQRST")
TALK: Messages = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "soup?"},
    {"role": "assistant", "content": "yes"},
    {"role": "user", "content": "of what?"},
]


def opened(folder: Path, **changes: Any) -> Causal:
    given = {"template": "auto", "context": None, "attention": None}
    return load_causal(folder, Numerics("cpu", "float32"), **{**given, **changes})


def prompts_of(causal: Causal) -> list[list[int]]:
    texts = ["a drum sieve", "soup", "Rank the passages based on their relevance " * 5, "of potatoes, finer and finer"]
    return [causal.ids(causal.text(STYLES["chat"].write(text, [text] * (i + 1)))) for i, text in enumerate(texts)]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_answers_are_those_of_transformers(make_causal: Callable[..., Path], kind: str) -> None:
    causal = opened(make_causal(kind=kind, seed=3))
    prompts = prompts_of(causal)
    found = causal.generate(prompts, [30, 5, 30, 30])
    for prompt, limit, one in zip(prompts, [30, 5, 30, 30], found, strict=True):
        plain = causal.model.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=limit, do_sample=False
        )[0, len(prompt) :].tolist()
        assert one.ids == [token for token in plain if token != 1]
        assert one.cut == (plain[-1] != 1)
    assert len({tuple(one.ids) for one in found}) == len(found)


def test_an_answer_ends_where_the_model_ends_it(make_causal: Callable[..., Path]) -> None:
    folder = make_causal(template=None, answer=("soup\n", "[2] > [1]"))
    causal = opened(folder)
    prompt = causal.ids(causal.text([{"role": "user", "content": "soup"}]))
    (alone,) = causal.generate([prompt], [50])
    assert (causal.tokenizer.decode(alone.ids), alone.cut) == ("[2] > [1]", False)
    (cut,) = causal.generate([prompt], [len(alone.ids)])
    assert (cut.ids, cut.cut) == (alone.ids, True)
    both = causal.generate([prompts_of(causal)[2], prompt], [60, 60])
    assert both[1] == alone


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_first_tokens_are_those_of_transformers(make_causal: Callable[..., Path], kind: str) -> None:
    causal = opened(make_causal(kind=kind, seed=5))
    opening = causal.opening(LETTERS, "[{}]")
    prompts = [causal.ids(causal.text(STYLES["first"].write(q, ["soup", "sieve", q])) + opening.text) for q in "abc"]
    prompts[1] += causal.ids(" milk and butter")
    found = np.array(causal.first(prompts, [opening.ids] * 3, [opening.text] * 3))
    for prompt, row in zip(prompts, found, strict=True):
        with torch.inference_mode():
            logits = causal.model(torch.tensor([prompt])).logits[0, -1]
        np.testing.assert_allclose(row, logits[opening.ids].numpy(), atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3


@pytest.mark.parametrize("pieces", ["bytes", "marked"])
def test_the_tokens_of_identifiers_are_those_of_an_answer(make_causal: Callable[..., Path], pieces: str) -> None:
    causal = opened(make_causal(pieces=pieces))
    text = causal.text(TALK)
    for labels, form in [(LETTERS, "[{}]"), (tuple("123456789"), "[{}]"), (LETTERS[:5], "Passage {}")]:
        opening = causal.opening(labels, form)
        for label, token in zip(labels, opening.ids, strict=True):
            written = causal.ids(text + form.format(label))
            before = causal.ids(text + opening.text)
            assert written[: len(before) + 1] == [*before, token]
    with pytest.raises(ModelError, match="decoding=generate"):
        causal.opening(tuple(map(str, range(1, 120))), "[{}]")


def test_conversations_are_written_by_the_template(make_causal: Callable[..., Path], causal_folder: Path) -> None:
    causal = opened(causal_folder)
    text = "<s><|system|>be brief</s><|user|>soup?</s><|assistant|>yes</s><|user|>of what?</s><|assistant|>"
    assert causal.text(TALK) == text
    assert causal.ids(text)[:2] == [0, 3]
    plain = "<s><|user|>be brief\nsoup?</s><|assistant|>yes</s><|user|>of what?</s><|assistant|>"
    assert opened(make_causal(template=NO_SYSTEM)).text(TALK) == plain
    dropped = CHAT_TEMPLATE.replace("messages %}", "messages if m['role'] != 'system' %}")
    assert opened(make_causal(template=dropped)).text(TALK) == plain
    assert opened(make_causal(template=None)).text(TALK) == "be brief\nsoup?\nyes\nof what?\n"
    assert opened(causal_folder, template="plain").text(TALK) == "be brief\nsoup?\nyes\nof what?\n"
    vicuna = opened(causal_folder, template="vicuna").text(TALK)
    assert vicuna == "be brief USER: soup? ASSISTANT: yes</s>USER: of what? ASSISTANT:"
    broken = opened(
        make_causal(template="{% if messages|length > 2 %}{{ raise_exception('one turn only') }}{% endif %}")
    )
    with pytest.raises(ModelError, match="one turn only"):
        broken.text(TALK)


def test_time_is_over_between_two_tokens(causal_folder: Path) -> None:
    causal = opened(causal_folder)
    prompts = prompts_of(causal)
    found = causal.generate(prompts, [1, 10**6, 10**6, 10**6], time.monotonic() + 0.5)
    assert found == [*causal.generate(prompts[:1], [1]), None, None, None]
    assert causal.generate(prompts, [1] * 4, 0.0) == [None] * 4


def test_checkpoints_that_cannot_be_used(make_causal: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights"):
        opened(tmp_path)
    with pytest.raises(ModelError, match=r"context=5000.*4096 positions"):
        opened(make_causal(), context=5000)
    folder = make_causal()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be read as a causal language model"):
        opened(folder)


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_that_is_missing_is_not_made_up(make_causal: Callable[..., Path], tied: bool) -> None:
    from safetensors.torch import load_file, save_file

    folder = make_causal(tie_word_embeddings=tied)
    state = load_file(folder / "model.safetensors")
    state.pop("lm_head.weight", None)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    if tied:
        assert opened(folder).generate([[0, 5]], [3])[0].ids
    else:
        with pytest.raises(ModelError, match=r"lacks weights.*lm_head"):
            opened(folder)


def test_numbers_that_are_not_finite_are_an_error(causal_folder: Path) -> None:
    causal = opened(causal_folder)
    with torch.no_grad():
        causal.model.lm_head.weight[7] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        causal.generate([[0, 5]], [3])
    with pytest.raises(ModelError, match="not finite"):
        causal.first([[0, 5]], [[1]], [""])
