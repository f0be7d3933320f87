"""`tamis rerank`: from an index and from a corpus, with what it cost; mistakes are named."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tamis.data.runs import read_run

_PLACE = Path(__file__).resolve().parents[1] / "rerankers" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("rerankers_conftest", _PLACE)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return f"cross:{_MODULE.save_cross(tmp_path_factory.mktemp('model') / 'tiny')}"


def orders(path):
    ranking = read_run(path)
    return {query: ranking.space.ids(rows) for query, rows, _ in ranking.lists()}


def test_an_index_and_a_corpus_give_the_same_run(built, model, tmp_path, tamis):
    runs = [tmp_path / "index.run", tmp_path / "corpus.run"]
    for texts, run in zip((built.index, built.corpus), runs, strict=True):
        done = tamis("rerank", texts, built.bm25, "--topics", built.topics, "--model", model, "-o", run)
        assert (done.code, done.out) == (0, ""), done.err
        assert "next: tamis evaluate" in done.err
    assert orders(runs[0]) == orders(runs[1])
    before = orders(built.bm25)
    assert {query: sorted(ids) for query, ids in orders(runs[0]).items()} == {
        q: sorted(ids) for q, ids in before.items()
    }


def test_scores_are_those_of_the_model(built, model, tmp_path, tamis):
    from tamis.encoders.base import Passage
    from tamis.rerankers.registry import open_reranker

    run = tmp_path / "out.run"
    assert tamis("rerank", built.corpus, built.bm25, "--topics", built.topics, "--model", model, "-o", run).code == 0
    bodies = {
        d["_id"]: Passage(d["title"], d["text"]) for d in map(json.loads, Path(built.corpus).read_text().splitlines())
    }
    for hit in read_run(run)["q1"]:
        score = open_reranker(model).score_pairs(["drum sieve"], [bodies[hit.id]]).scores[0]
        assert hit.score == pytest.approx(score, abs=1e-4)


def test_the_envelope_tells_the_cost_and_the_cache_pays_the_second_time(built, model, tmp_path, tamis):
    call = ["rerank", built.index, built.bm25, "--topics", built.topics, "--model", model, "--json"]
    first, second = tamis(*call).envelope, tamis(*call).envelope
    pairs = sum(len(ids) for ids in orders(built.bm25).values())
    assert first["metrics"]["pairs"] == first["metrics"]["scored"] == pairs
    assert first["metrics"]["tokens"] > pairs * 5
    assert first["metrics"]["model_seconds"] > 0
    assert (second["metrics"]["scored"], second["metrics"]["cached"]) == (0, pairs)
    assert first["results"] == second["results"]
    assert first["resolved"]["model"] == model
    off = tamis(*call[:-2], f"{model}?cache=false", "--json").envelope
    assert off["metrics"]["scored"] == pairs


def test_below_the_depth_the_order_stays(built, model, tmp_path, tamis):
    run = tmp_path / "out.run"
    assert (
        tamis(
            "rerank", built.index, built.bm25, "--topics", built.topics, "--model", model, "--depth", 1, "-o", run
        ).code
        == 0
    )
    assert orders(run) == orders(built.bm25)


def test_an_encoder_reranks_too(built, tmp_path, tamis):
    run = tmp_path / "out.run"
    done = tamis("rerank", built.index, built.bm25, "--topics", built.topics, "--model", "dense:minilm", "-o", run)
    assert done.code == 0
    assert orders(run)["q1"][0] == "sieve"


def test_a_query_without_topic_keeps_its_order(built, model, tmp_path, tamis):
    topics = tmp_path / "some.tsv"
    topics.write_text("q1\tdrum sieve\nq9\tunused\n")
    run = tmp_path / "out.run"
    done = tamis("rerank", built.index, built.bm25, "--topics", topics, "--model", model, "-o", run, "--quiet")
    assert done.code == 0
    assert "2 queries of the run are not among the topics" in done.err
    found, before = orders(run), orders(built.bm25)
    assert (found["q2"], found["q3"]) == (before["q2"], before["q3"])
    topics.write_text("q9\tunused\n")
    done = tamis("rerank", built.index, built.bm25, "--topics", topics, "--model", model)
    assert done.code == 2
    assert "no query of the run" in done.err


def test_a_deadline_leaves_a_partial_run(built, model, tmp_path, tamis):
    run = tmp_path / "out.run"
    address = f"{model}?deadline=0.000000001&cache=false"
    done = tamis("rerank", built.index, built.bm25, "--topics", built.topics, "--model", address, "-o", run)
    assert done.code == 7
    assert "cut short" in done.err
    assert orders(run) == orders(built.bm25)


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (("--model", "cross:./nothing"), 4, "no model at"),
        (("--model", "bm25x"), 2, "unknown family"),
        (("--model", "maxp"), 2, "whole document"),
        (("--depth", "0"), 2, "at least 1"),
    ],
)
def test_mistakes(change, code, said, built, tamis):
    options = {"--topics": built.topics, "--model": "dense:minilm", "--depth": "10"} | {change[0]: change[1]}
    done = tamis("rerank", built.index, built.bm25, *(part for pair in options.items() for part in pair))
    assert done.code == code
    assert said in done.err


def test_a_run_over_other_documents_is_refused(built, model, tmp_path, tamis):
    run = tmp_path / "other.run"
    run.write_text("q1 Q0 sieve 1 2.0 x\nq1 Q0 nowhere 2 1.0 x\n")
    for texts in (built.index, built.corpus):
        done = tamis("rerank", texts, run, "--topics", built.topics, "--model", model)
        assert done.code == 5
        assert "lacks 1 of the 2 documents" in done.err
        assert "nowhere" in done.err


@pytest.fixture
def endpoint():
    """A chat model that turns every list round, and counts how often it was asked."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            count = sum(line.startswith("[") for line in body["messages"][-1]["content"].splitlines())
            order = " > ".join(f"[{i}]" for i in range(count, 0, -1))
            answer = {
                "choices": [{"message": {"content": order}}],
                "usage": {"prompt_tokens": 50, "completion_tokens": 9},
            }
            raw = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_calls_are_recorded_and_replayed(built, endpoint, tmp_path, tamis):
    url, asked = endpoint
    calls, runs = tmp_path / "calls.jsonl", [tmp_path / "first.run", tmp_path / "again.run"]
    call = ["rerank", built.index, built.bm25, "--topics", built.topics, "--model", f"listwise:some?endpoint={url}"]
    first = tamis(*call, "--record", calls, "-o", runs[0])
    assert first.code == 0, first.err
    made = len(asked)
    assert made > 0
    again = tamis(*call, "--replay", calls, "-o", runs[1])
    assert again.code == 0, again.err
    assert len(asked) == made
    assert orders(runs[0]) == orders(runs[1]) != orders(built.bm25)


def test_a_budget_that_ends_leaves_a_partial_run(built, endpoint, tmp_path, tamis):
    url, asked = endpoint
    model = f"listwise:some?endpoint={url}&concurrency=1"
    call = ["rerank", built.index, built.bm25, "--topics", built.topics, "--model", model]
    done = tamis(*call, "--budget", 1, "-o", tmp_path / "out.run")
    assert done.code in (6, 7), done.err  # nothing, or not all of it, was paid for
    assert len(asked) <= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--record", "calls.jsonl"], "--record: cross has no such option"),
        (["--budget", "5"], "--budget: cross has no such option"),
        (["--deadline", "soon"], "--deadline soon"),
    ],
)
def test_options_of_other_models_are_refused(built, model, tmp_path, tamis, options, words):
    done = tamis("rerank", built.index, built.bm25, "--topics", built.topics, "--model", model, *options)
    assert done.code == 2
    assert words in done.err


def test_an_option_is_said_once(built, model, tamis):
    call = ["rerank", built.index, built.bm25, "--topics", built.topics, "--model", f"{model}?deadline=5"]
    done = tamis(*call, "--deadline", "1s")
    assert done.code == 2
    assert "say it once" in done.err
