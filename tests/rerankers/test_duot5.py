"""duoT5: transformers' comparisons, every two candidates once, their cache, the depth, and what a deadline leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from tamis.encoders.base import Passage
from tamis.rerankers import stage
from tamis.rerankers.aggregation import aggregate
from tamis.rerankers.duot5 import DuoT5
from tamis.rerankers.lists import Adjustable, CandidateList, ListExplainer, ListScorer
from tamis.rerankers.options import DuoOptions
from tamis.rerankers.registry import open_reranker

Save = Callable[..., Path]
TEXTS = ["a drum sieve is fine", "the cook pass potato soup", "", "butter and milk", "a drum sieve is fine"]


def candidates(query: str = "what is a drum sieve", texts: Sequence[str] = TEXTS) -> CandidateList:
    return CandidateList(query, [Passage("", text) for text in texts], 10.0 - np.arange(len(texts)))


def opened(folder: Path, **options: object) -> DuoT5:
    model: DuoT5 = open_reranker(f"duot5:{folder}")
    model.adjust(DuoOptions(**options))
    return model


def reference(folder: Path, query: str = "what is a drum sieve", texts: Sequence[str] = TEXTS) -> np.ndarray:
    """log P(true) - log P(false) of every pair, by transformers' own model."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    found = np.full((len(texts), len(texts)), np.nan)
    for i, j in permutations(range(len(texts)), 2):
        prompt = f"Query: {query} Document0: {texts[i]} Document1: {texts[j]} Relevant:"
        given = tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            logits = model(
                input_ids=given.input_ids,
                attention_mask=given.attention_mask,
                decoder_input_ids=torch.zeros(1, 1, dtype=torch.int64),
            ).logits[0, 0]
        found[i, j] = logits[1176] - logits[6136]
    return found


@pytest.mark.parametrize("made", [{}, {"gated": True, "untied": True}], ids=["t5", "t5-v1.1"])
def test_scores_are_those_of_transformers(tmp_path: Path, save_t5_model: Save, made: dict[str, object]) -> None:
    folder = save_t5_model(tmp_path / "model", **made)
    model = opened(folder)
    assert isinstance(model, ListScorer)
    assert isinstance(model, ListExplainer)
    assert isinstance(model, Adjustable)
    x = reference(folder)
    p = 1 / (1 + np.exp(-x))
    np.fill_diagonal(p, 0)
    expected = p.sum(1) + (1 - p.T).sum(1) - 1  # of the last sum the diagonal is 1 too much
    ticks: list[int] = []
    found = model.score_lists([candidates(), candidates(texts=[])], tick=ticks.append)
    np.testing.assert_allclose(found.scores[0], expected, atol=1e-4)
    assert np.ptp(expected) > 0.05
    assert found.scores[0].dtype == np.float64
    assert len(found.scores[1]) == 0
    assert sum(ticks) == 5
    # the first and the last text are one: 20 comparisons, of which those with either, and the two between them, are the same
    assert found.counts["pairs"] == 20
    assert found.counts["distinct"] == found.counts["scored"] == 4 * 3 + 1
    assert found.scores[0][0] == found.scores[0][4]
    for name in ("sum", "sym-log", "max", "rank-llm"):
        scores = opened(folder, aggregation=name, cache=False).score_lists([candidates()]).scores[0]
        np.testing.assert_allclose(scores, aggregate(x, name), atol=1e-4)


def test_comparisons_do_not_depend_on_what_runs_together(t5_folder: Path) -> None:
    lists = [candidates(), candidates("soup", ["milk", "the cook", "rank of a query term " * 20])]
    together = opened(t5_folder, cache=False).score_lists(lists).scores
    alone = [opened(t5_folder, cache=False, batch_tokens=1).score_lists([one]).scores[0] for one in lists]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_first_are_compared_and_the_rest_follows(t5_folder: Path) -> None:
    for texts in (TEXTS, TEXTS[:3], TEXTS[:1]):
        few, all_ = opened(t5_folder, compared=3), opened(t5_folder)
        scores = few.score_lists([candidates(texts=texts)]).scores[0]
        np.testing.assert_allclose(scores[:3], all_.score_lists([candidates(texts=texts[:3])]).scores[0], atol=1e-9)
        assert (np.diff(scores[3:]) <= -0.9).all()
        assert (scores[3:] < scores[:3].min()).all()
        assert not np.isnan(scores).any()


def test_default_is_fifty() -> None:
    assert DuoOptions() == DuoOptions(compared=50, aggregation="sym-sum")


def test_comparisons_are_kept_and_serve_every_aggregation(t5_folder: Path) -> None:
    first = opened(t5_folder).score_lists([candidates()])
    assert (first.counts["cached"], first.counts["scored"]) == (0, 13)
    again = opened(t5_folder)
    again.network = None  # type: ignore[assignment] - nothing is left to run
    for name in ("sym-sum", "sum", "binary", "rank-llm"):
        again.adjust(DuoOptions(aggregation=name))
        found = again.score_lists([candidates()])
        assert found.counts["scored"] == found.counts["tokens"] == 0
        if name == "sym-sum":
            np.testing.assert_array_equal(found.scores[0], first.scores[0])
    other = opened(t5_folder).score_lists([candidates("soup")])
    assert other.counts["cached"] == 0
    mono = open_reranker(f"monot5:{t5_folder}")
    assert mono.identity.fingerprint != again.identity.fingerprint


def test_one_order_costs_half(t5_folder: Path) -> None:
    found = opened(t5_folder, aggregation="rank-llm", cache=False).score_lists([candidates()])
    assert found.counts["pairs"] == 10


def test_a_deadline_leaves_the_best_in_order(t5_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened(t5_folder, cache=False)
    texts = [f"soup {'fine ' * i}milk" for i in range(8)]
    whole = model.score_lists([candidates(texts=texts)] * 2)
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(stage, "FIRST_CHUNK_OF_DEADLINE", 8)
    run = model.log_odds

    def slow(inputs: object, *_: object) -> np.ndarray:
        nonlocal now
        now += 1.0
        return run(inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "log_odds", slow)
    found = model.score_lists([candidates(texts=texts)], until=3.5)
    scores = found.scores[0]
    reached = int((~np.isnan(scores)).sum())
    assert 2 <= reached < 8
    assert np.isnan(scores[reached:]).all()
    np.testing.assert_allclose(
        scores[:reached], model.score_lists([candidates(texts=texts[:reached])]).scores[0], atol=1e-5
    )
    assert found.counts["late"] > 0
    now = 10.0
    nothing = model.score_lists([candidates(texts=texts)], until=3.5).scores[0]
    assert np.isnan(nothing).all()
    assert not np.isnan(whole.scores[1]).any()


def test_many_lists_go_through_in_parts(t5_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tamis.rerankers.duot5.LISTS_AT_ONCE", 2)
    lists = [candidates(word, TEXTS[:n]) for n, word in enumerate(["soup", "drum", "milk", "of", "a"])]
    ticks: list[int] = []
    found = opened(t5_folder, cache=False).score_lists(lists, tick=ticks.append)
    assert [len(scores) for scores in found.scores] == [0, 1, 2, 3, 4]
    assert sum(ticks) == 10
    for one, scores in zip(lists, found.scores, strict=True):
        np.testing.assert_allclose(opened(t5_folder, cache=False).score_lists([one]).scores[0], scores, atol=1e-5)


def test_evidence_adds_up(t5_folder: Path) -> None:
    for name in ("sym-sum", "rank-llm"):
        model = opened(t5_folder, compared=4, aggregation=name)
        scores = model.score_lists([candidates()]).scores[0]
        evidence = model.explain_list(candidates())
        assert len(evidence) == 5
        for i in range(4):
            assert evidence[i].value == pytest.approx(scores[i])
            assert sum(child.value or 0 for child in evidence[i].children) == pytest.approx(scores[i])
            assert [child.details["rank"] for child in evidence[i].children] == [j + 1 for j in range(4) if j != i]
            for child in evidence[i].children:
                assert all(np.isfinite(value) for value in child.details.values())
        assert evidence[4].value is None
        assert "first 4" in evidence[4].name
