"""Ranking through a real server: honest, malformed, failing and absent, and again without it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tamis
from tamis.cli.app import main
from tamis.encoders.base import Passage
from tamis.errors import DataError, MissingResourceError, ModelError, PrerequisiteError, UsageError
from tamis.rerankers.lists import CandidateList, ListExplainer, ListScorer
from tamis.rerankers.listwise import scorer as module
from tamis.rerankers.listwise.scorer import Listwise
from tamis.rerankers.registry import open_reranker


def candidates(count: int, seed: int = 0, query: str = "sieves") -> CandidateList:
    lengths = np.random.default_rng(seed).permutation(count) + 1
    return CandidateList(query, [Passage("", "x" * n) for n in lengths.tolist()], -np.arange(count, dtype=float))


def best_first(one: CandidateList) -> list[int]:
    return sorted(range(len(one.passages)), key=lambda i: -len(one.passages[i].text))


def order(scores: Any) -> list[int]:
    found: list[int] = np.argsort(-scores, kind="stable").tolist()
    return found


def opened(server: Any, **options: Any) -> Listwise:
    text = "&".join(f"{name}={value}" for name, value in {"endpoint": server.url, **options}.items())
    made: Listwise = open_reranker(f"listwise:m?{text}")
    return made


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tamis.encoders.remote.FIRST_WAIT", 0.001)


@pytest.mark.parametrize("style", ["rankgpt", "rankzephyr"])
def test_the_models_order_comes_out(server: Any, style: str) -> None:
    model = opened(server, style=style, window=4, stride=2, passes=5)
    assert isinstance(model, ListScorer)
    assert isinstance(model, ListExplainer)
    lists = [candidates(10), candidates(3, 1), candidates(1), candidates(0)]
    ticks: list[int] = []
    found = model.score_lists(lists, tick=ticks.append)
    assert [order(scores) for scores in found.scores] == [best_first(one) for one in lists]
    assert [sorted(scores, reverse=True) for scores in found.scores] == [
        [1 / (i + 1) for i in range(len(one.passages))] for one in lists
    ]
    assert found.counts["calls"] == len(server.requests) == 5 * (4 + 1)
    assert found.counts["tokens"] == 100 * found.counts["calls"]
    assert (found.counts["repairs"], sum(ticks)) == (0, 14)
    assert found.partial == [False] * 4
    assert {request["path"] for request in server.requests} == {"/v1/chat/completions"}
    assert {(request["model"], request["temperature"]) for request in server.requests} == {("m", 0)}


def test_one_pass_carries_the_best_to_the_top(server: Any) -> None:
    one = candidates(30, 3)
    scores = opened(server, window=6, stride=3).score_lists([one]).scores[0]
    assert order(scores)[:3] == best_first(one)[:3]


def test_all_at_once(server: Any) -> None:
    one = candidates(50, 4)
    assert order(opened(server, strategy="full").score_lists([one]).scores[0]) == best_first(one)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("[2] > [1]", "missing"),
        ("[2] > [2] > [1] > [3] > [4]", "repeated"),
        ("[9] > [2] > [1] > [3] > [4]", "out_of_range"),
        ("The 2nd of the 4 is best, since 1998.", "format"),
        ("", "format"),
        ("Error code: 500, 2 of 1", "format"),
    ],
)
def test_malformed_answers_are_mended_and_counted(server: Any, answer: str, kind: str) -> None:
    server.script = [answer]
    one = candidates(4)
    found = opened(server).score_lists([one])
    assert sorted(order(found.scores[0])) == [0, 1, 2, 3]
    assert order(found.scores[0]) == ([0, 1, 2, 3] if kind == "format" else [1, 0, 2, 3])
    assert (found.counts["repairs"], found.counts[f"repairs_{kind}"] > 0) == (1, True)
    assert found.partial == [False]


def test_a_busy_server_is_asked_again(server: Any) -> None:
    server.script = [(429, {"Retry-After": "0"}, b'{"error": {"message": "try in 2 s"}}'), (503, {}, b"[2] > [1]")]
    one = candidates(4)
    found = opened(server).score_lists([one])
    assert order(found.scores[0]) == best_first(one)
    assert (len(server.requests), found.counts["calls"], found.counts["repairs"]) == (3, 1, 0)


def test_what_fails_for_good_leaves_its_window_as_it_was(server: Any) -> None:
    server.script = [(400, {}, b'{"error": {"message": "[3] > [2] > [1]"}}')]
    one = candidates(6, 2)
    found = opened(server, window=4, stride=2).score_lists([one])
    expected = [*sorted(range(4), key=lambda i: -len(one.passages[i].text)), 4, 5]
    assert order(found.scores[0]) == expected
    assert (found.partial, found.counts["failed"], found.counts["calls"]) == ([True], 1, 1)


def test_a_server_that_hangs_is_given_up_on(server: Any) -> None:
    server.script = [1.5]
    found = opened(server, timeout=0.3, retries=0, concurrency=1).score_lists([candidates(4), candidates(5, 1)])
    assert (found.partial, found.counts["failed"]) == ([True, False], 1)
    assert order(found.scores[1]) == best_first(candidates(5, 1))


@pytest.mark.parametrize(
    "body", [b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": null}}]}', b"[1]", b"no"]
)
def test_where_nothing_succeeds_the_failure_is_raised(server: Any, body: bytes) -> None:
    server.script = [(200, {}, body)] * 2
    with pytest.raises(ModelError, match=r"chat protocol|no JSON"):
        opened(server).score_lists([candidates(4), candidates(3)])


def test_a_budget_is_kept(server: Any) -> None:
    found = opened(server, window=4, stride=2, budget=250, concurrency=1).score_lists(
        [candidates(10), candidates(4, 1)]
    )
    assert len(server.requests) == 3
    assert found.partial == [True, True]
    assert (found.counts["tokens"], found.counts["over_budget"]) == (300, 2)
    assert order(found.scores[1]) == [0, 1, 2, 3]


def test_a_budget_counts_calls_that_are_under_way(server: Any) -> None:
    lists = [candidates(4, seed) for seed in range(8)]
    found = opened(server, budget=100, concurrency=8).score_lists(lists)
    assert (len(server.requests), found.counts["over_budget"]) == (1, 7)


def test_what_met_its_budget_or_failed_is_replayed_as_it_was(server: Any, tmp_path: Path) -> None:
    lists = [candidates(10), candidates(4, 1)]
    server.script = ["[2] > [1]", (400, {}, b"[3] > [2]")]
    given = {"window": 4, "stride": 2, "budget": 250, "concurrency": 1}
    first = opened(server, record=tmp_path / "m", **given).score_lists(lists)
    assert (first.partial, first.counts["failed"], first.counts["over_budget"]) == ([True, True], 1, 1)
    again = opened(server, replay=tmp_path / "m", **given).score_lists(lists)
    assert [s.tobytes() for s in again.scores] == [s.tobytes() for s in first.scores]
    assert (again.partial, again.counts["failed"], again.counts["over_budget"]) == ([True, True], 1, 1)
    asked = len(server.requests)
    opened(server, record=tmp_path / "m", window=4, stride=2).score_lists(lists[:1])
    assert len(server.requests) > asked  # what failed is asked again


def test_a_deadline_is_kept(server: Any) -> None:
    found = opened(server).score_lists([candidates(4)], until=0.0)
    assert (order(found.scores[0]), found.partial, server.requests) == ([0, 1, 2, 3], [True], [])


def test_a_run_can_be_made_again_without_the_model(server: Any, tmp_path: Path) -> None:
    file = tmp_path / "calls" / "m.jsonl"
    lists = [candidates(12, seed, f"query {seed}") for seed in range(4)]
    first = opened(server, window=5, stride=2, record=file).score_lists(lists)
    assert len(file.read_bytes().splitlines()) == first.counts["calls"] == len(server.requests)
    again = opened(server, window=5, stride=2, record=file).score_lists(lists)
    assert (again.counts["calls"], again.counts["replayed"]) == (0, first.counts["calls"])
    server.close()
    replayed = opened(server, window=5, stride=2, replay=file).score_lists(lists)
    for found in (again, replayed):
        assert [s.tobytes() for s in found.scores] == [s.tobytes() for s in first.scores]
    with pytest.raises(MissingResourceError, match="holds no call"):
        opened(server, window=5, stride=2, replay=file).score_lists([candidates(12, 9)])
    with pytest.raises(MissingResourceError, match="no such file"):
        opened(server, replay=tmp_path / "absent")


def test_a_torn_line_is_asked_for_again(server: Any, tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    one = candidates(12, 1)
    opened(server, window=5, stride=2, record=file).score_lists([one])
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    again = opened(server, window=5, stride=2, record=file).score_lists([one])
    assert again.counts["calls"] == 1
    assert file.read_bytes() == whole
    found = opened(server, window=5, stride=2, replay=file).score_lists([one])
    assert (found.counts["calls"], found.counts["replayed"]) == (0, again.counts["replayed"] + 1)
    file.write_bytes(b"what is this\n" + whole)
    with pytest.raises(DataError, match=r"m\.jsonl:1"):
        opened(server, record=file)


def test_evidence_follows_a_candidate_through_the_windows(server: Any) -> None:
    one = CandidateList("q", [Passage("", "x" * n) for n in (1, 2, 3, 4)], -np.arange(4.0))
    found = opened(server, window=3, stride=1).explain_list(one)
    assert [e.name for e in found] == ["rank 3 of 4", "rank 4 of 4", "rank 2 of 4", "rank 1 of 4"]
    assert [(c.name, dict(c.details)) for c in found[3].children] == [
        ("window 2 to 4", {"from": 4, "to": 2}),
        ("window 1 to 3", {"from": 2, "to": 1}),
    ]


def test_options_that_contradict_each_other(server: Any) -> None:
    with pytest.raises(UsageError, match="stride"):
        opened(server, window=5, stride=5)
    with pytest.raises(UsageError, match="exclude each other"):
        opened(server, record="a", replay="b")
    with pytest.raises(UsageError, match="name the model"):
        open_reranker("listwise:")


def test_openai_wants_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.KEY, raising=False)
    with pytest.raises(PrerequisiteError, match=module.KEY):
        open_reranker("listwise:gpt-4o-mini").score_lists([candidates(3)])


def test_on_the_command_line(server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tamis.Index.create(tmp_path / "ix") as index:
        index.add([{"id": f"d{i}", "text": "drum sieve " + "soup " * i} for i in range(6)])
    (tmp_path / "topics.tsv").write_text("1\tdrum sieve\n")
    run = tmp_path / "bm25.run"
    given = ["--topics", str(tmp_path / "topics.tsv"), "-o"]
    assert main(["search", str(tmp_path / "ix"), *given, str(run)]) == 0
    address = f"listwise:m?endpoint={server.url}&window=3&stride=1&record={tmp_path / 'calls.jsonl'}"
    capsys.readouterr()
    code = main(
        ["rerank", str(tmp_path / "ix"), str(run), "--model", address, "--json", *given, str(tmp_path / "out.run")]
    )
    assert code == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert (metrics["lists"], metrics["candidates"], metrics["calls"]) == (1, 6, 4)
    lines = [line.split() for line in (tmp_path / "out.run").read_text().splitlines()]
    assert lines[0][2] == "d5"
    assert [float(line[4]) for line in lines] == pytest.approx([1 / (i + 1) for i in range(6)], abs=1e-5)
