"""Attention against plain transformers, what calibration takes out, and sorting by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tamis.encoders.base import Passage
from tamis.encoders.batching import Numerics
from tamis.errors import ModelError, UsageError
from tamis.rerankers.lists import CandidateList
from tamis.rerankers.listwise.attention import last_attention, query_attention
from tamis.rerankers.listwise.causal import Causal, load_causal
from tamis.rerankers.listwise.local import NOTHING, Local
from tamis.rerankers.listwise.prompts import ATTENDED, SETWISE, STYLES, Question
from tamis.rerankers.listwise.scorer import Listwise
from tamis.rerankers.registry import open_reranker

TEXTS = ["a drum sieve", "", "soup of potatoes, and butter", "see [2] and [3]", "soup"]


def causal_of(folder: Path, template: str = "auto") -> Causal:
    return load_causal(folder, Numerics(), template=template, context=None, attention="eager")


def question(style: Any = ATTENDED, query: str = "what is a sieve?", texts: list[str] = TEXTS) -> Question:
    return Question(style, query, [Passage("", text) for text in texts], 300)


def plain_attention(causal: Causal, text: str, first: int, end: int) -> tuple[list[int], torch.Tensor]:
    """The attention from the tokens of some characters of a text to all, in one pass over all of it."""
    ids, offsets = causal.located(text)
    with torch.inference_mode():
        layers = causal.model(torch.tensor([ids]), output_attentions=True).attentions
    rows = [i for i, (a, b) in enumerate(offsets) if a < end and b > first]
    return ids, sum(layer[0, :, rows].sum(0).mean(0) for layer in layers)


def spans(causal: Causal, text: str, items: list[str]) -> list[list[int]]:
    """The tokens of each item, which stands once in the text."""
    _, offsets = causal.located(text)
    found = []
    for item in items:
        assert text.count(item) >= 1
        first = text.index(item)
        found.append([i for i, (a, b) in enumerate(offsets) if a < first + len(item) and b > first])
    return found


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("template", ["auto", "plain"])
def test_attention_is_that_of_transformers(make_causal: Callable[..., Path], kind: str, template: str) -> None:
    causal = causal_of(make_causal(kind=kind, seed=2), template)
    asked = question()
    items = asked.items()
    assert items[1] == "[2] "
    assert items[3] == "[4] see (2) and (3)"
    by_query = []
    for query in ("what is a sieve?", "N/A"):
        text = causal.text(replace(asked, query=query).messages())
        first = text.rindex(f" {query}")
        ids, attention = plain_attention(causal, text, first, first + 1 + len(query))
        by_query.append(attention[: len(ids)])
    places = spans(causal, causal.text(asked.messages()), items)
    plain, _ = query_attention(causal, asked, None, calibrated=False)
    np.testing.assert_allclose(plain, [float(by_query[0][one].sum()) for one in places], rtol=1e-4)
    expected = []
    for one in places:
        tokens = by_query[0][one] - by_query[1][one]
        expected.append(float(tokens[tokens >= tokens.mean() - 2 * tokens.std()].sum()))
    found, read = query_attention(causal, asked, None, calibrated=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(found) > 1e-3
    assert read > len(causal.ids(causal.text(asked.messages())))


def test_a_query_without_content_finds_nothing(make_causal: Callable[..., Path]) -> None:
    causal = causal_of(make_causal(seed=2))
    found, _ = query_attention(causal, question(query="N/A"), None, calibrated=True)
    assert found == [0.0] * len(TEXTS)
    plain, _ = query_attention(causal, question(query="N/A"), None, calibrated=False)
    assert np.ptp(plain) > 1e-3


@pytest.mark.parametrize("style", [*STYLES.values(), SETWISE])
def test_the_attention_of_the_last_token(make_causal: Callable[..., Path], style: Any) -> None:
    causal = causal_of(make_causal(seed=4))
    asked = question(style, texts=["a drum sieve", "soup of potatoes, and butter", "milk"])
    text = causal.text(asked.messages()) + "["
    ids, attention = plain_attention(causal, text, len(text) - 1, len(text))
    found, read = last_attention(causal, asked, None, "[")
    places = spans(causal, text, asked.items())
    np.testing.assert_allclose(found, [float(attention[one].sum()) for one in places], rtol=1e-4)
    assert read == len(ids)


def test_a_template_that_rewrites_passages_is_refused(make_causal: Callable[..., Path]) -> None:
    folder = make_causal(template="{% for m in messages %}{{ m['content'] | upper }}{% endfor %}")
    causal = causal_of(folder)
    with pytest.raises(ModelError, match=r"changes (passages|the query)"):
        query_attention(causal, question(), None, calibrated=True)
    with pytest.raises(ModelError, match="changes passages"):
        last_attention(causal, question(STYLES["chat"]), None, "")


# -- through the reranker ------------------------------------------------------------------------------------------


def opened(folder: Path, **options: Any) -> Listwise:
    text = "&".join(f"{name}={value}" for name, value in {"backend": "local", "device": "cpu", **options}.items())
    made: Listwise = open_reranker(f"listwise:{folder}?{text}")
    return made


def candidates(count: int, seed: int = 0) -> CandidateList:
    rng = np.random.default_rng([count, seed])
    words = ["drum", "sieve", "soup", "of", "potato", "butter", "fine", "finer"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 8))) for _ in range(count)]
    return CandidateList("drum sieve", [Passage("", text) for text in texts], -np.arange(count, dtype=float))


def order(scores: Any) -> list[int]:
    found: list[int] = np.argsort(-scores, kind="stable").tolist()
    return found


@pytest.mark.parametrize("calibrated", [True, False])
def test_passages_are_ranked_by_attention(causal_folder: Path, tmp_path: Path, calibrated: bool) -> None:
    lists = [candidates(12, seed) for seed in range(2)]
    given = {"decoding": "attention", "strategy": "full", **({} if calibrated else {"calibrate": "false"})}
    model = opened(causal_folder, record=tmp_path / "m", **given)
    found = model.score_lists(lists)
    assert isinstance(model.model, Local)
    assert model.model.causal is not None
    for one, scores in zip(lists, found.scores, strict=True):
        asked = Question(ATTENDED, one.query, one.passages, 300)
        expected, _ = query_attention(model.model.causal, asked, None, calibrated=calibrated)
        assert order(scores) == np.argsort(-np.array(expected), kind="stable").tolist()
    again = opened(causal_folder, replay=tmp_path / "m", **given).score_lists(lists)
    assert [s.tobytes() for s in again.scores] == [s.tobytes() for s in found.scores]
    windows = opened(causal_folder, decoding="attention", window=5, stride=2).score_lists(lists)
    assert windows.counts["calls"] == 2 * 5
    best = opened(causal_folder, decoding="attention", strategy="setwise-heap", top=3).score_lists(lists)
    assert (best.counts["repairs"], best.partial) == (0, [False, False])


def test_calibrated_first_tokens_are_those_beyond_empty_passages(causal_folder: Path) -> None:
    one = candidates(6)
    plain = opened(causal_folder, decoding="first").explain_list(one)
    blank = opened(causal_folder, decoding="first").explain_list(one._replace(passages=[Passage("", NOTHING)] * 6))
    model = opened(causal_folder, decoding="first", calibrate="true")
    found = model.explain_list(one)
    for i in range(6):
        difference = plain[i].children[0].value - blank[i].children[0].value
        assert found[i].children[0].value == pytest.approx(difference, abs=1e-5)
    scores = model.score_lists([one._replace(passages=[Passage("", NOTHING)] * 6)]).scores[0]
    assert order(scores) == list(range(6))  # where there is nothing to rank nothing moves
    # the bias is measured once a query and number of passages
    tokens = [model.score_lists([one]).counts["tokens"] for _ in range(2)]
    fresh = opened(causal_folder, decoding="first", calibrate="true").score_lists([one]).counts["tokens"]
    assert tokens[0] == tokens[1] < fresh


@pytest.mark.parametrize("rounds", [1, 2])
def test_passages_are_sorted_by_attention_before_they_are_ranked(
    causal_folder: Path, tmp_path: Path, rounds: int
) -> None:
    one = candidates(9, 4)
    given = {"decoding": "first", "attention_sort": rounds}
    model = opened(causal_folder, record=tmp_path / "m", **given)
    found = model.score_lists([one])
    assert isinstance(model.model, Local)
    causal = model.model.causal
    assert causal is not None
    places = list(range(9))
    read = 0
    for _ in range(rounds):
        asked = Question(STYLES["first"], one.query, [one.passages[i] for i in places], 300)
        scores, count = last_attention(causal, asked, None, "[")
        places = [places[i] for i in np.argsort(scores, kind="stable")]
        read += count
    assert places != list(range(9))
    asked = Question(STYLES["first"], one.query, [one.passages[i] for i in places], 300)
    ids = causal.ids(causal.text(asked.messages()) + "[")
    (logits,) = causal.first([ids], [causal.opening(tuple("ABCDEFGHI"), "[{}]").ids], [""])
    assert order(found.scores[0]) == [places[i] for i in np.argsort(-np.array(logits), kind="stable")]
    assert found.counts["tokens"] == read + len(ids)
    again = opened(causal_folder, replay=tmp_path / "m", **given).score_lists([one])
    assert again.scores[0].tobytes() == found.scores[0].tobytes()


def test_options_that_do_not_go_together(causal_folder: Path) -> None:
    with pytest.raises(UsageError, match="calibrate=true: an order that a model writes"):
        opened(causal_folder, calibrate="true")
    with pytest.raises(UsageError, match="a prompt of its own"):
        opened(causal_folder, decoding="attention", style="chat")
    for given in ("decoding=attention", "attention_sort=1", "calibrate=true"):
        with pytest.raises(UsageError, match=f"{given.replace('true', 'True')} looks into a model.*backend=local"):
            open_reranker(f"listwise:m?endpoint=http://localhost:1/v1&{given}")
