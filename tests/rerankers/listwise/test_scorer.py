"""Ranking through a real server: honest, malformed, failing and absent, and again without it."""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import sys
import threading
import time
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
from tamis.rerankers.listwise.transcript import Transcript
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


def test_an_interrupt_does_not_wait_for_calls_under_way(server: Any) -> None:
    server.script = ["[1]", 600.0, 600.0]

    def interrupted(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened(server, timeout=600, concurrency=3).score_lists([candidates(4, i) for i in range(3)], tick=interrupted)
    assert not [one for one in threading.enumerate() if one.name.startswith("tamis-listwise")]


@pytest.mark.parametrize(
    "body", [b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": null}}]}', b"[1]", b"no"]
)
def test_where_nothing_succeeds_the_failure_is_raised(server: Any, body: bytes) -> None:
    server.script = [(200, {}, body)] * 2
    with pytest.raises(ModelError, match=r"chat protocol|no JSON"):
        opened(server).score_lists([candidates(4), candidates(3)])


RECKONED = 230
"""Tokens that a call of these tests is reckoned to take at most, and 150 at least; the server says that it was 100."""


def test_a_budget_is_kept(server: Any) -> None:
    found = opened(server, window=4, stride=2, budget=200 + RECKONED, concurrency=1).score_lists(
        [candidates(10), candidates(4, 1)]
    )
    assert len(server.requests) == 3
    assert found.partial == [True, True]
    assert (found.counts["tokens"], found.counts["over_budget"]) == (300, 2)
    assert order(found.scores[1]) == [0, 1, 2, 3]


def test_nothing_is_asked_that_the_budget_would_not_bear(server: Any) -> None:
    found = opened(server, budget=150).score_lists([candidates(4)])
    assert (server.requests, found.partial, found.counts["over_budget"]) == ([], [True], 1)


@pytest.mark.parametrize("calls", [1, 5])
def test_a_budget_counts_calls_that_are_under_way(server: Any, calls: int) -> None:
    lists = [candidates(4, seed) for seed in range(8)]
    found = opened(server, budget=100 * (calls - 1) + RECKONED, concurrency=8).score_lists(lists)
    assert (len(server.requests), found.counts["over_budget"]) == (calls, 8 - calls)


def test_what_met_its_budget_or_failed_is_replayed_as_it_was(server: Any, tmp_path: Path) -> None:
    lists = [candidates(10), candidates(4, 1)]
    server.script = ["[2] > [1]", (400, {}, b"[3] > [2]")]
    given = {"window": 4, "stride": 2, "budget": 200 + RECKONED, "concurrency": 1}
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


def test_a_deadline_reaches_calls_under_way(server: Any, tmp_path: Path) -> None:
    server.script = [60.0] * 3
    file = tmp_path / "m"
    found = opened(server, record=file).score_lists([candidates(4, i) for i in range(3)], until=time.monotonic() + 0.5)
    assert (found.partial, found.counts["late"], found.counts["failed"]) == ([True] * 3, 3, 0)
    assert not file.exists()  # that time was short says nothing of the endpoint


def test_what_a_deadline_cut_off_is_replayed_so(server: Any, tmp_path: Path) -> None:
    lists = [candidates(10), candidates(4, 1)]
    server.script = [None, None, 60.0]
    given = {"window": 4, "stride": 2, "concurrency": 1}
    until = time.monotonic() + 2
    first = opened(server, record=tmp_path / "m", **given).score_lists(lists, until=until)
    assert (first.partial, first.counts["calls"]) == ([True, True], 2)
    again = opened(server, replay=tmp_path / "m", **given).score_lists(lists, until=time.monotonic() + 60)
    assert [s.tobytes() for s in again.scores] == [s.tobytes() for s in first.scores]
    assert (again.partial, again.counts["replayed"], again.counts["late"]) == ([True, True], 2, 2)
    with pytest.raises(MissingResourceError, match="holds no call"):  # nothing of it is known
        opened(server, replay=tmp_path / "m", **given).score_lists([candidates(9)], until=time.monotonic() + 60)


def test_a_pace_is_kept(server: Any) -> None:
    found = opened(server, rpm=2).score_lists([candidates(4, i) for i in range(4)], until=time.monotonic() + 10)
    assert (len(server.requests), found.counts["late"]) == (2, 2)
    assert sorted(found.partial) == [False, False, True, True]
    server.requests.clear()
    found = opened(server, tpm=2 * RECKONED).score_lists(
        [candidates(4, i) for i in range(4)], until=time.monotonic() + 10
    )
    assert (len(server.requests), found.counts["late"]) == (2, 2)


def test_repeated_requests_keep_the_pace_too(server: Any) -> None:
    server.script = [(429, {"Retry-After": "0"}, b"{}")] * 2
    found = opened(server, rpm=2).score_lists([candidates(4)], until=time.monotonic() + 10)
    assert (len(server.requests), found.counts["late"], found.counts["failed"]) == (2, 1, 0)


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
        "the prompt is too long: 5000 tokens > 4096 maximum",
        "Input exceeds the context window",
    ],
)
def test_an_endpoint_that_finds_a_prompt_too_long_gets_a_shorter_one(server: Any, tmp_path: Path, message: str) -> None:
    refused = (400, {}, json.dumps({"error": {"message": message}}).encode())
    server.script = [refused, refused]
    one = CandidateList("q", [Passage("", "soup " * n) for n in (100, 60, 80)], -np.arange(3.0))
    found = opened(server, record=tmp_path / "m").score_lists([one])
    sizes = [len(re.findall("soup", request["messages"][1]["content"])) for request in server.requests]
    assert sizes == [240, 70 + 60 + 70, 49 * 3]
    assert (found.counts["calls"], found.counts["shrunk"], found.partial) == (1, 1, [False])
    again = opened(server, replay=tmp_path / "m").score_lists([one])
    assert (again.counts["replayed"], again.counts["shrunk"]) == (1, 1)
    assert again.scores[0].tobytes() == found.scores[0].tobytes()


def test_haste_is_not_taken_for_length(server: Any) -> None:
    refused = (429, {}, b'{"error": {"message": "over the maximum of 4096 tokens per minute"}}')
    server.script = [refused] * 3
    with pytest.raises(ModelError, match="given up after 3 attempts"):
        opened(server, retries=2).score_lists([candidates(4)])
    assert len(server.requests) == 3


def test_prompts_are_cut_to_a_context(server: Any) -> None:
    one = CandidateList("q", [Passage("", f"w{n} " * 200) for n in range(8)], -np.arange(8.0))
    found = opened(server, context=600).score_lists([one])
    (request,) = server.requests
    size = sum(len(message["content"]) for message in request["messages"])
    assert 2000 < size <= 4 * 600
    assert (found.counts["shrunk"], found.partial) == (1, [False])


def test_a_window_that_does_not_fit_a_context_is_asked_in_parts(server: Any, tmp_path: Path) -> None:
    passages = [Passage("", "x" * (50 + n)) for n in range(20)]  # a word each, which cannot be cut
    one = CandidateList("q", passages, -np.arange(20.0))
    found = opened(server, context=500, record=tmp_path / "m").score_lists([one])
    assert found.counts["split"] == 1
    assert (found.counts["failed"], found.partial) == (0, [False])
    assert found.counts["calls"] == len(server.requests) == 3
    sizes = [sum(len(message["content"]) for message in request["messages"]) for request in server.requests]
    assert max(sizes) <= 4 * 500
    assert order(found.scores[0])[:5] == [19, 18, 17, 16, 15]
    again = opened(server, context=500, replay=tmp_path / "m").score_lists([one])
    assert again.scores[0].tobytes() == found.scores[0].tobytes()
    assert (again.counts["split"], again.counts["replayed"]) == (1, 3)
    with pytest.raises(ModelError, match=r"context=150.*a prompt of 2 passages takes"):
        opened(server, context=150).score_lists([one])


def test_a_window_that_an_endpoint_finds_too_long_is_asked_in_parts(server: Any) -> None:
    refused = (400, {}, b'{"error": {"message": "the prompt is too long: 5000 tokens > 4096 maximum"}}')
    server.script = [refused]
    one = CandidateList("q", [Passage("", "x" * (5 + n)) for n in range(4)], -np.arange(4.0))
    found = opened(server, strategy="full").score_lists([one])
    assert (found.counts["split"], found.counts["failed"], found.counts["calls"]) == (1, 0, 3)
    assert order(found.scores[0])[0] == 3


@pytest.mark.parametrize("style", ["chat", "first"])
def test_other_styles(server: Any, style: str) -> None:
    server.letters = style == "first"
    one = candidates(10, 2)
    found = opened(server, style=style, window=4, stride=2, passes=5).score_lists([one])
    assert order(found.scores[0]) == best_first(one)
    assert found.counts["repairs"] == 0


@pytest.mark.parametrize("strategy", ["sliding", "full", "top-down", "setwise-bubble"])
def test_first_tokens_of_an_endpoint(server: Any, tmp_path: Path, strategy: str) -> None:
    server.letters = True
    given = {"decoding": "first", "strategy": strategy, "window": 10, "stride": 5}
    one = candidates(20, 6)
    found = opened(server, record=tmp_path / "m", **given).score_lists([one])
    assert order(found.scores[0])[:5] == best_first(one)[:5]
    assert (found.counts["repairs"], found.counts["answers_cut"]) == (0, 0)
    asked = server.requests[-1]
    assert (asked["logprobs"], asked["top_logprobs"], asked["max_tokens"]) == (True, 20, 4)
    again = opened(server, replay=tmp_path / "m", **given).score_lists([one])
    assert again.scores[0].tobytes() == found.scores[0].tobytes()


def test_passages_that_an_endpoint_does_not_tell_of_come_last(server: Any) -> None:
    server.letters = True
    one = candidates(25, 6)
    found = opened(server, decoding="first", strategy="full").score_lists([one])
    best = best_first(one)
    assert order(found.scores[0]) == best[:20] + sorted(best[20:])


def test_an_endpoint_that_tells_no_scores_is_a_repair(server: Any) -> None:
    server.script = ["Sure, I will."]
    server.letters = True
    found = opened(server, decoding="first").score_lists([candidates(5)])
    assert (order(found.scores[0]), found.counts["repairs_format"]) == ([0, 1, 2, 3, 4], 1)


@pytest.mark.parametrize("strategy", ["top-down", "setwise-heap", "setwise-bubble"])
def test_other_strategies(server: Any, strategy: str) -> None:
    lists = [candidates(40, seed) for seed in range(3)]
    found = opened(server, strategy=strategy, window=10).score_lists(lists)
    for one, scores in zip(lists, found.scores, strict=True):
        assert order(scores)[:5] == best_first(one)[:5]
    assert found.counts["calls"] == len(server.requests)
    assert (found.counts["repairs"], found.partial) == (0, [False] * 3)
    if strategy == "setwise-bubble":
        assert found.counts["calls"] == 3 * sum(-(-(39 - i) // 3) for i in range(10))


def test_setwise_answers_that_name_none_leave_the_first_stage(server: Any) -> None:
    server.rank = lambda passages: "I cannot choose."
    for strategy in ("setwise-heap", "setwise-bubble"):
        found = opened(server, strategy=strategy).score_lists([candidates(20)])
        assert order(found.scores[0]) == list(range(20))
        assert found.counts["repairs_format"] == found.counts["calls"] > 0


def test_shuffled_questions_outvote_a_bias_for_the_first_place(server: Any) -> None:
    def biased(passages: list[str]) -> str:  # honest, but what is shown first it puts first
        rest = sorted(range(1, len(passages)), key=lambda i: -len(passages[i]))
        return " > ".join(f"[{i + 1}]" for i in [0, *rest])

    server.rank = biased
    one = candidates(12, 7)
    assert order(opened(server).score_lists([one]).scores[0]) != best_first(one)
    found = opened(server, shuffles=15, concurrency=4).score_lists([one])
    assert order(found.scores[0]) == best_first(one)
    assert found.counts["calls"] == len(server.requests) - 1 == 15
    again = opened(server, shuffles=15, concurrency=1, seed=1).score_lists([one])
    assert order(again.scores[0]) == best_first(one)
    shown = [request["messages"][1]["content"] for request in server.requests]
    assert len(set(shown)) == len(shown)


def test_shuffles_are_those_of_the_seed(server: Any, tmp_path: Path) -> None:
    lists = [candidates(12, seed) for seed in range(3)]
    given = {"shuffles": 4, "seed": 5, "window": 6, "stride": 3, "consensus": "borda"}
    first = opened(server, record=tmp_path / "m", **given).score_lists(lists)
    again = opened(server, replay=tmp_path / "m", **given, concurrency=1).score_lists(lists)
    assert [s.tobytes() for s in again.scores] == [s.tobytes() for s in first.scores]
    assert again.counts["replayed"] == first.counts["calls"] == 3 * 4 * 3


def test_shuffled_votes_for_the_best(server: Any) -> None:
    one = candidates(10, 3)
    found = opened(server, strategy="setwise-bubble", shuffles=3).score_lists([one])
    assert order(found.scores[0]) == best_first(one)
    assert found.counts["calls"] % 3 == 0


def test_a_vote_that_fails_is_left_out(server: Any) -> None:
    server.script = [(400, {}, b"{}"), "no idea"]
    one = candidates(8, 3)
    found = opened(server, shuffles=3, concurrency=1).score_lists([one])
    assert order(found.scores[0]) == best_first(one)
    assert (found.partial, found.counts["failed"], found.counts["repairs"]) == ([True], 1, 1)


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
    with pytest.raises(UsageError, match=r"letters, of which there are 26"):
        opened(server, style="first", window=27)
    with pytest.raises(UsageError, match=r"strategy=full over 30 candidates"):
        opened(server, style="first", strategy="full").score_lists([candidates(30)])
    with pytest.raises(UsageError, match=r"backend=local"):
        opened(server, decoding="attention")
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


_WRITER = """
import sys
from pathlib import Path
from tamis.rerankers.listwise.transcript import Transcript

kept = Transcript(Path(sys.argv[1]), replay=False)
print("ready", flush=True)
sys.stdin.readline()
for number in range(50):
    kept.put({"who": sys.argv[2], "number": number}, {"answer": "x" * 5000})
"""


def test_programs_that_repair_and_write_one_transcript_at_once_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    Transcript(file, replay=False).put({"who": "first"}, {"answer": "whole"})
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"key": "torn' + b"x" * 100_000)
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(file), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in ("a", "b", "c")
    ]
    for program in programs:  # all have seen the torn line before any writes
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
    for program in programs:
        program.communicate("go\n")
        assert program.returncode == 0
    assert file.read_bytes().startswith(whole + b'{"key"')
    kept = Transcript(file, replay=True)
    assert kept.get({"who": "first"})
    for name in ("a", "b", "c"):
        assert all(kept.get({"who": name, "number": number}) for number in range(50))
    assert len(file.read_bytes().splitlines()) == 151


def test_a_program_waits_while_another_writes_a_transcript(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    Transcript(file, replay=False).put({"who": "first"}, {"answer": "whole"})
    whole = file.read_bytes()
    program = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(file), "a"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdin is not None
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    with file.open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        program.stdin.write("go\n")
        program.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            program.wait(1)
        assert file.read_bytes() == whole
    program.communicate()
    assert (program.returncode, len(file.read_bytes().splitlines())) == (0, 51)
