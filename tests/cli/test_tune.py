"""`tamis tune`: a recommendation for people and programs, and clear words for mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def topics(built, tmp_path):
    """Eight topics, four for each half."""
    texts = [
        "drum sieve",
        "ranking documents",
        "finer soup",
        "cat ranked",
        "sieving flour",
        "term length",
        "soup",
        "sieve",
    ]
    (tmp_path / "t.tsv").write_text("".join(f"{i}\t{text}\n" for i, text in enumerate(texts)))
    found = ["sieve", "rank", "soup", "cat", "sieve", "rank", "soup", "soup"]
    (tmp_path / "q.txt").write_text("".join(f"{i} 0 {doc} 1\n" for i, doc in enumerate(found)))
    return ["--topics", tmp_path / "t.tsv", "--qrels", tmp_path / "q.txt", "--rounds", "1", "--sample", "2"]


def test_a_recommendation(built, tamis, topics, tmp_path):
    plot = tmp_path / "plot.svg"
    done = tamis(
        "tune", built.index, *topics, "--budget", "30s", "--first", "bm25", "--first", "rrf(bm25, ql)", "--plot", plot
    )
    assert done.code == 0, done.err
    assert "recommended: " in done.out
    assert "on the other 4 topics: nDCG@10" in done.out
    assert "4 topics, which are spent" in done.out
    assert "<svg" in plot.read_text()
    again = tamis("tune", built.index, *topics, "--budget", "30s", "--first", "bm25", "--plot", plot)
    assert (again.code, "exists" in again.err) == (2, True)


def test_for_programs(built, tamis, topics):
    found = tamis("tune", built.index, *topics, "--budget", "30s", "--json").envelope["results"]
    assert found["baseline"] == "bm25"
    assert [one["pipeline"] for one in found["tried"]] == ["bm25"]
    assert found["recommended"]["cost"]["topics"] == 2
    assert found["confirmation"]["within"] is True
    assert found["tuned_on"]["queries"] == 4


def test_a_budget_that_nothing_keeps_to(built, tamis, topics):
    done = tamis("tune", built.index, *topics, "--budget", "0.0001ms", "--json")
    assert done.code == 0
    assert [warning["code"] for warning in done.envelope["warnings"]] == ["nothing-within-budget"]
    done = tamis("tune", built.index, *topics, "--budget", "0.0001ms")
    assert "nothing keeps to 0.0001 ms: the fastest, bm25, needs" in done.err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--budget", "soon"], 2, "--budget soon"),
        (["--budget", "0ms"], 2, "--budget 0ms"),
        (["--budget", "1s", "--depths", "a"], 2, "--depths a"),
        (["--budget", "1s", "--depths", "0"], 2, "at least 1"),
        (["--budget", "1s", "--first", "bm52"], 2, "bm25"),
        (["--budget", "1s", "--rerank", "cross:./none"], 4, "./none"),
        (["--budget", "1s", "-m", "nDGC@10"], 2, "nDCG"),
        (["--budget", "1s", "--sample", "0"], 2, "at least 1"),
    ],
)
def test_mistakes(built, tamis, topics, options, code, words):
    done = tamis("tune", built.index, *topics, *options)
    assert done.code == code, done.err
    assert words in done.err


def test_too_few_judged_topics(built, tamis):
    done = tamis("tune", built.index, "--topics", built.topics, "--qrels", built.qrels, "--budget", "1s")
    assert done.code == 5
    assert "3 of the 3 topics are judged" in done.err
    assert not Path(built.folder / "plot.svg").exists()
