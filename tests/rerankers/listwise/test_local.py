"""Ranking by a model on this machine: written orders, first tokens, batches, budgets, deadlines, and again without the model."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tamis
from tamis.cli.app import main
from tamis.encoders.base import Passage
from tamis.errors import MissingResourceError, ModelError, PrerequisiteError, UsageError
from tamis.rerankers.lists import CandidateList
from tamis.rerankers.listwise.local import Local
from tamis.rerankers.listwise.prompts import SETWISE, STYLES, Question
from tamis.rerankers.listwise.scorer import Listwise
from tamis.rerankers.registry import open_reranker

WORDS = ["drum", "sieve", "soup", "of", "potato", "butter", "fine", "finer", "a", "the", "cook", "pass"]


def candidates(count: int, seed: int = 0, query: str = "drum sieve", most: int = 8) -> CandidateList:
    rng = np.random.default_rng([count, seed])
    texts = [" ".join(rng.choice(WORDS, rng.integers(1, most))) for _ in range(count)]
    return CandidateList(query, [Passage("", text) for text in texts], -np.arange(count, dtype=float))


def opened(folder: Path, **options: Any) -> Listwise:
    text = "&".join(f"{name}={value}" for name, value in {"backend": "local", "device": "cpu", **options}.items())
    made: Listwise = open_reranker(f"listwise:{folder}?{text}")
    return made


def order(scores: Any) -> list[int]:
    found: list[int] = np.argsort(-scores, kind="stable").tolist()
    return found


def by_logits(model: Listwise, one: CandidateList, places: list[int], *, best: bool = False) -> list[int]:
    """What plain transformers says of some candidates."""
    assert isinstance(model.model, Local)
    causal: Any = model.model.causal
    style = SETWISE if best else STYLES["first"]
    question = Question(style, one.query, [one.passages[i] for i in places], 300, best)
    text = causal.text(question.messages()) + ("Passage" if best else "[")
    tokens = [causal.ids(f" {x}" if best else x)[-1] for x in question.labels]
    with torch.inference_mode():
        logits = causal.model(torch.tensor([causal.ids(text)])).logits[0, -1, tokens]
    return [places[i] for i in torch.sort(-logits, stable=True).indices.tolist()]


def test_the_order_that_the_model_writes_comes_out(make_causal: Callable[..., Path]) -> None:
    one = candidates(4)
    asked = "\n".join(m["content"] for m in Question(STYLES["rankzephyr"], one.query, one.passages, 300).messages())
    folder = make_causal(template=None, answer=(asked + "\n", "[3] > [1] > [4] > [2]"))
    found = opened(folder).score_lists([one, candidates(1), candidates(0)])
    assert order(found.scores[0]) == [2, 0, 3, 1]
    assert (found.counts["calls"], found.counts["repairs"], found.counts["answers_cut"]) == (1, 0, 0)
    assert found.partial == [False] * 3


def test_what_no_order_can_be_read_from_is_counted(causal_folder: Path) -> None:
    ticks: list[int] = []
    lists = [candidates(12, seed) for seed in range(3)]
    found = opened(causal_folder, window=6, stride=3).score_lists(lists, tick=ticks.append)
    assert [order(scores) for scores in found.scores] == [list(range(12))] * 3
    assert found.counts["repairs_format"] == found.counts["calls"] == 3 * 3
    assert (found.counts["answers_cut"], sum(ticks)) == (9, 36)


@pytest.mark.parametrize("batch_tokens", [1, 3000, 10**6])
def test_first_tokens_rank_window_by_window(causal_folder: Path, batch_tokens: int) -> None:
    model = opened(causal_folder, decoding="first", window=6, stride=3, batch_tokens=batch_tokens)
    lists = [candidates(12, 1), candidates(7, 2, "soup"), candidates(2, 3)]
    found = model.score_lists(lists)
    for one, scores in zip(lists, found.scores, strict=True):
        expected = list(range(len(one.passages)))
        for first, end in {12: [(6, 12), (3, 9), (0, 6)], 7: [(1, 7), (0, 4)], 2: [(0, 2)]}[len(expected)]:
            expected[first:end] = by_logits(model, one, expected[first:end])
        assert order(scores) == expected
        assert expected != sorted(expected)
    assert (found.counts["calls"], found.counts["repairs"]) == (6, 0)


def test_the_scores_of_first_tokens_are_shown(causal_folder: Path) -> None:
    model = opened(causal_folder, decoding="first")
    one = candidates(5)
    evidence = model.explain_list(one)
    assert isinstance(model.model, Local)
    causal: Any = model.model.causal
    text = causal.text(Question(STYLES["first"], one.query, one.passages, 300).messages()) + "["
    with torch.inference_mode():
        logits = causal.model(torch.tensor([causal.ids(text)])).logits[0, -1]
    for label, one_evidence in zip("ABCDE", evidence, strict=True):
        (child,) = one_evidence.children
        assert child.value == pytest.approx(float(logits[causal.ids(label)[-1]]), abs=1e-5)


@pytest.mark.parametrize("strategy", ["setwise-bubble", "setwise-heap", "top-down"])
def test_other_strategies_by_first_tokens(causal_folder: Path, strategy: str) -> None:
    model = opened(causal_folder, decoding="first", strategy=strategy, window=6, top=3)
    found = model.score_lists([candidates(14, seed) for seed in range(2)])
    assert (found.counts["repairs"], found.partial) == (0, [False, False])
    for scores in found.scores:
        assert sorted(order(scores)) == list(range(14))
    if strategy == "setwise-bubble":
        one = candidates(14, 0)
        expected = list(range(14))
        for settled in range(3):
            end = 14
            while end - settled > 1:
                first = max(settled, end - 4)
                at = expected.index(by_logits(model, one, expected[first:end], best=True)[0])
                expected[first], expected[at] = expected[at], expected[first]
                end = first + 1
        assert order(found.scores[0]) == expected
        assert found.counts["calls"] == 2 * (5 + 4 + 4)


def test_setwise_reads_what_the_model_writes(make_causal: Callable[..., Path]) -> None:
    one = candidates(3)
    asked = Question(SETWISE, one.query, one.passages, 300, best=True).messages()[0]["content"]
    folder = make_causal(template=None, answer=(asked + "\n", "Passage C"))
    found = opened(folder, strategy="setwise-heap", top=1).score_lists([one])
    assert order(found.scores[0]) == [2, 0, 1]
    assert (found.counts["calls"], found.counts["repairs"]) == (1, 0)


def test_few_passages_may_be_called_by_digits(causal_folder: Path) -> None:
    found = opened(causal_folder, decoding="first", style="rankzephyr", window=9, stride=4).score_lists([candidates(9)])
    assert (found.counts["calls"], found.counts["repairs"]) == (1, 0)
    with pytest.raises(UsageError, match="style=first"):
        opened(causal_folder, decoding="first", style="rankzephyr", window=10, stride=4)


@pytest.mark.parametrize("decoding", ["generate", "first"])
def test_a_run_can_be_made_again_without_the_model(
    make_causal: Callable[..., Path], tmp_path: Path, decoding: str
) -> None:
    folder, file = make_causal(), tmp_path / "m.jsonl"
    given = {"decoding": decoding, "window": 6, "stride": 3, "shuffles": 2}
    lists = [candidates(12, seed) for seed in range(3)]
    first = opened(folder, record=file, **given).score_lists(lists)
    assert len(file.read_bytes().splitlines()) == first.counts["calls"] == 18
    again = opened(folder, record=file, **given, batch_tokens=1).score_lists(lists)
    assert (again.counts["calls"], again.counts["replayed"], again.counts["tokens"]) == (0, 18, first.counts["tokens"])
    shutil.rmtree(folder)
    replayed = opened(folder, replay=file, **given).score_lists(lists)
    for found in (again, replayed):
        assert [s.tobytes() for s in found.scores] == [s.tobytes() for s in first.scores]
    with pytest.raises(MissingResourceError, match="holds no call"):
        opened(folder, replay=file, **given).score_lists([candidates(5)])


def test_another_model_of_that_name_is_asked_anew(make_causal: Callable[..., Path], tmp_path: Path) -> None:
    folder, file = make_causal(), tmp_path / "m.jsonl"
    one = candidates(9)
    first = opened(folder, decoding="first", record=file).score_lists([one])
    shutil.rmtree(folder)
    shutil.copytree(make_causal(seed=9), folder)
    other = opened(folder, decoding="first", record=file).score_lists([one])
    assert other.counts["calls"] == 1
    assert order(other.scores[0]) != order(first.scores[0])
    again = opened(folder, decoding="first", replay=file).score_lists([one])
    assert again.scores[0].tobytes() == other.scores[0].tobytes()


def test_a_budget_is_kept_and_replayed(causal_folder: Path, tmp_path: Path) -> None:
    lists = [candidates(12, seed) for seed in range(4)]
    given = {"decoding": "first", "window": 6, "stride": 3, "budget": 1500}
    first = opened(causal_folder, record=tmp_path / "m", **given).score_lists(lists)
    assert 0 < first.counts["calls"] < 12
    assert first.counts["tokens"] < 1500 + 300  # the reckoning of a call is out by less than a call
    assert 0 < first.counts["over_budget"] == sum(first.partial or [])
    again = opened(causal_folder, replay=tmp_path / "m", **given).score_lists(lists)
    assert [s.tobytes() for s in again.scores] == [s.tobytes() for s in first.scores]
    assert again.partial == first.partial


def test_a_deadline_is_kept(causal_folder: Path, tmp_path: Path) -> None:
    lists = [candidates(4, seed) for seed in range(3)]
    found = opened(causal_folder).score_lists(lists, until=0.0)
    assert ([order(scores) for scores in found.scores], found.partial) == ([[0, 1, 2, 3]] * 3, [True] * 3)
    file = tmp_path / "m"
    model = opened(causal_folder, max_tokens=3000, record=file)
    found = model.score_lists(lists, until=time.monotonic() + 0.5)
    assert (found.partial, found.counts["late"], file.exists()) == ([True] * 3, 3, False)


def test_prompts_are_cut_to_the_context(make_causal: Callable[..., Path]) -> None:
    folder = make_causal(positions=500)
    one = candidates(6, most=200)
    found = opened(folder, decoding="first").score_lists([one])
    assert (found.counts["shrunk"], found.partial) == (1, [False])
    assert 400 < found.counts["tokens"] < 500
    found = opened(folder).score_lists([one])
    assert (found.counts["shrunk"], found.counts["calls"]) == (1, 1)
    with pytest.raises(ModelError, match=r"reads 100 tokens.*a prompt of 2 passages takes"):
        opened(folder, context=100).score_lists([one])


@pytest.mark.parametrize("strategy", ["sliding", "setwise-bubble"])
def test_windows_that_do_not_fit_the_context_are_asked_in_parts(
    causal_folder: Path, tmp_path: Path, strategy: str
) -> None:
    passages = [Passage("", "of" * 20 + "soup" * n) for n in range(9)]  # a word each, which cannot be cut
    one = CandidateList("drum sieve", passages, -np.arange(9.0))
    given = {"decoding": "first", "context": 460 if strategy == "sliding" else 280, "strategy": strategy}
    given |= {"children": 8, "top": 1}
    model = opened(causal_folder, record=tmp_path / "m", **given)
    found = model.score_lists([one])
    assert found.counts["split"] > 0
    assert (found.counts["failed"], found.partial, found.counts["calls"] > 1) == (0, [False], True)
    assert found.counts["tokens"] <= found.counts["calls"] * given["context"]
    seen = [move.name for evidence in model.explain_list(one) for move in evidence.children]
    assert any("in parts: " in name for name in seen)
    assert all(evidence.children for evidence in model.explain_list(one))  # every candidate was in a question
    again = opened(causal_folder, replay=tmp_path / "m", **given).score_lists([one])
    assert again.scores[0].tobytes() == found.scores[0].tobytes()
    assert again.counts["split"] == found.counts["split"]


def test_numerics(causal_folder: Path) -> None:
    one = candidates(9)
    half = opened(causal_folder, decoding="first", dtype="bfloat16")
    assert isinstance(half.model, Local)
    assert half.model.causal is not None
    assert half.model.causal.model.dtype == torch.bfloat16
    assert half.identity.fingerprint != opened(causal_folder, decoding="first").identity.fingerprint
    assert sorted(order(half.score_lists([one]).scores[0])) == list(range(9))
    if not torch.cuda.is_available():
        with pytest.raises(PrerequisiteError, match="device=cuda"):
            opened(causal_folder, device="cuda")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match="no model at"):
        opened(tmp_path / "absent")


def test_on_the_command_line(causal_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tamis.Index.create(tmp_path / "ix") as index:
        index.add([{"id": f"d{i}", "text": "drum sieve " + "soup " * i} for i in range(6)])
    (tmp_path / "topics.tsv").write_text("1\tdrum sieve\n")
    run = tmp_path / "bm25.run"
    given = ["--topics", str(tmp_path / "topics.tsv"), "-o"]
    assert main(["search", str(tmp_path / "ix"), *given, str(run)]) == 0
    address = f"listwise:{causal_folder}?backend=local&device=cpu&decoding=first&window=4&stride=2"
    capsys.readouterr()
    out = str(tmp_path / "out.run")
    assert main(["rerank", str(tmp_path / "ix"), str(run), "--model", address, "--json", *given, out]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert (metrics["lists"], metrics["candidates"], metrics["calls"]) == (1, 6, 2)


def test_explain_on_the_command_line(causal_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import tamis
    from tamis.cli.app import main

    with tamis.Index.create(tmp_path / "ix") as index:
        index.add([{"id": f"d{i}", "text": f"drum sieve {'soup ' * i}"} for i in range(4)])
    pipeline = f"bm25 % 4 >> listwise:{causal_folder}?backend=local&decoding=first"
    assert main(["explain", str(tmp_path / "ix"), "drum sieve", "d2", "--pipeline", pipeline]) == 0
    table = capsys.readouterr().out.rpartition("[2] ")[2].splitlines()
    assert table[1].split()[:4] == ["evidence", "value", "from", "to"]
    assert any(line.startswith("rank ") and " of 4" in line for line in table)
