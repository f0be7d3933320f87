from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest

from tamis import __version__
from tamis.data.runs import read_run
from tamis.engine import Index


def test_a_query_gives_a_table_with_marked_matches(built, tamis):
    done = tamis("search", built.index, "sieving ranks")
    assert done.code == 0
    assert done.out.split()[:5] == ["rank", "score", "id", "title", "and"]
    assert "**sieve** used for **sieving** flour" in done.out
    assert "**Ranking**" in done.out
    assert "cat" in done.out
    assert "\x1b" not in done.out
    assert "4 results" in done.err


def test_hits_in_the_envelope_are_those_of_the_library(built, tamis):
    done = tamis("search", built.index, "finer sieve", "-k", "2", "--json")
    with Index.open(built.index) as index:
        expected = [(hit.rank, hit.id, hit.score) for hit in index.search("finer sieve", 2)]
    hits = done.envelope["results"]
    assert [(hit["rank"], hit["id"], hit["score"]) for hit in hits] == expected
    assert hits[0]["matches"] == ["finer", "sieve", "finer"]
    assert hits[0]["metadata"] == {"year": 2021}
    assert done.envelope["resolved"]["pipeline"] == "bm25"


def test_no_results_is_no_failure(built, tamis):
    done = tamis("search", built.index, "zebra")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("no results")


def test_quiet_prints_the_table_alone(built, tamis):
    assert tamis("search", built.index, "sieve", "--quiet").err == ""


def test_lucene_syntax(built, tamis):
    done = tamis("search", built.index, "contents:sieve AND NOT drum", "--syntax", "lucene", "--json")
    assert {hit["id"] for hit in done.envelope["results"]} == {"cat", "soup"}
    assert done.envelope["results"][0]["matches"]
    assert done.envelope["resolved"]["pipeline"] == "bm25?syntax=lucene"
    bad = tamis("search", built.index, "title:(", "--syntax", "lucene")
    assert bad.code == 2
    assert "title:(" in bad.err
    assert tamis("search", built.index, "x", "--syntax", "lucene", "--pipeline", "ql").code == 2
    assert "did you mean 'lucene'" in tamis("search", built.index, "x", "--syntax", "lucen").err


def test_topics_make_a_run_with_its_manifest(built, tmp_path, tamis, monkeypatch):
    run = tmp_path / "rrf.run.gz"
    args = ["search", built.index, "--topics", built.topics, "--pipeline", "rrf(bm25,ql)", "-k", "3", "-o", str(run)]
    monkeypatch.setattr(sys, "argv", ["tamis", *args])
    done = tamis(*args, "--json")
    assert done.code == 0
    assert done.envelope["artifacts"] == {"run": str(run), "manifest": str(tmp_path / "rrf.run.json")}
    with gzip.open(run, "rt") as handle:
        first = handle.readline().split()
    assert (first[0], first[1], first[3], first[5]) == ("q1", "Q0", "1", "tamis")
    with Index.open(built.index) as index:
        expected = index.rank([("q1", "drum sieve")], 3, pipeline="rrf(bm25, ql)")["q1"]
    assert [hit.id for hit in read_run(run)["q1"]] == [hit.id for hit in expected]
    manifest = json.loads((tmp_path / "rrf.run.json").read_text())["manifest"]
    assert manifest["command"].startswith("tamis search")
    assert manifest["versions"]["tamis"] == __version__
    assert set(manifest["versions"]) == {"tamis", "python", "numpy", "pyserini", "lucene"}
    assert manifest["pipeline"] == "rrf(bm25, ql)"
    assert manifest["k"] == 3
    assert manifest["generation"] == 1
    assert manifest["index_path"] == built.index
    assert manifest["topics"]["name"] == "topics.tsv"
    assert manifest["topics"]["queries"] == 3
    assert set(manifest["metrics"]["stage_seconds"]) == {"bm25", "ql"}
    assert manifest["metrics"]["queries_per_second"] > 0


def test_without_output_the_run_is_the_data(built, tamis):
    done = tamis("search", built.index, "--topics", built.topics, "-k", "10")
    assert done.out == Path(built.bm25).read_text()
    values = tamis("search", built.index, "--topics", built.topics, "-k", "10", "--json").envelope["results"]
    lines = [line.split() for line in done.out.splitlines()]
    assert [hit["id"] for hit in values["q1"]] == [line[2] for line in lines if line[0] == "q1"]


def test_msmarco_format_and_tag(built, tmp_path, tamis):
    done = tamis("search", built.index, "--topics", built.topics, "--format", "msmarco", "-k", "1")
    assert [line.split("\t")[::2] for line in done.out.splitlines()] == [["q1", "1"], ["q2", "1"], ["q3", "1"]]
    tagged = tamis("search", built.index, "--topics", built.topics, "--tag", "mine", "-k", "1")
    assert {line.split()[-1] for line in tagged.out.splitlines()} == {"mine"}


def test_nothing_is_overwritten_and_the_check_comes_first(built, tmp_path, tamis):
    run = tmp_path / "old.run"
    run.write_text("precious")
    refused = tamis("search", tmp_path / "no-index", "--topics", built.topics, "-o", run)
    assert (refused.code, run.read_text()) == (2, "precious")  # not 4: the output is looked at before the index
    assert "--force" in refused.err
    assert tamis("search", built.index, "--topics", built.topics, "-o", run, "--force", "--quiet").code == 0
    assert run.read_text() != "precious"
    (tmp_path / "new.run.json").write_text("{}")
    assert tamis("search", built.index, "--topics", built.topics, "-o", tmp_path / "new.run").code == 2
    assert tamis("search", built.index, "--topics", built.topics, "-o", tmp_path / "no" / "x.run").code == 4
    assert tamis("search", built.index, "--topics", built.topics, "-o", tmp_path).code == 2


def test_query_or_topics(built, tamis):
    assert tamis("search", built.index).code == 2
    assert tamis("search", built.index, "x", "--topics", built.topics).code == 2
    for option in (["-o", "x.run"], ["--tag", "t"], ["--format", "msmarco"], ["--field", "desc"]):
        assert tamis("search", built.index, "x", *option).code == 2


def test_a_topic_without_results_is_reported(built, tmp_path, tamis):
    (tmp_path / "t.tsv").write_text("q1\tzebra\nq2\tsieve\n")
    done = tamis("search", built.index, "--topics", tmp_path / "t.tsv")
    assert "1 of 2 queries found nothing" in done.err


def test_a_pipeline_is_checked_before_the_index_is_opened(tmp_path, tamis):
    refused = tamis("search", tmp_path / "no-index", "x", "--pipeline", "bm25 >")
    assert refused.code == 2
    assert refused.err.splitlines()[-1].endswith("^")


@pytest.mark.parametrize("expression", ["bm25?prf=rm3", "bm25?prf=rocchio", "0.7*bm25 + 0.3*ql", "bm25 % 2 >> ql"])
def test_pipelines(expression, built, tamis):
    done = tamis("search", built.index, "drum sieve", "--pipeline", expression, "--json")
    assert done.code == 0
    assert done.envelope["results"][0]["id"] == "sieve"


def test_a_bare_lucene_index_is_searched(built, tamis):
    done = tamis("search", Path(built.index) / "lucene", "drum sieve", "-k", "1")
    assert done.code == 0
    assert "sieve" in done.out


# -- filters -------------------------------------------------------------------------------------------------------


def test_a_filter_is_honoured_and_told(built, tamis, tmp_path):
    done = tamis("search", built.index, "sieve", "-k", "1", "--filter", "year>=2020 and not year==2021", "--json")
    assert [hit["id"] for hit in done.envelope["results"]] == ["cat"]
    assert done.envelope["resolved"]["filter"] == "year >= 2020 and not year == 2021"
    assert tamis("search", built.index, "sieve", "--json").envelope["resolved"]["filter"] is None
    run = tmp_path / "f.run"
    assert tamis("search", built.index, "--topics", built.topics, "--filter", "year < 2000", "-o", str(run)).code == 0
    assert {line.split()[2] for line in run.read_text().splitlines()} == {"sieve"}
    assert json.loads((tmp_path / "f.run.json").read_text())["manifest"]["filter"] == "year < 2000"


def test_filters_that_are_refused(built, tamis):
    bad = tamis("search", built.index, "sieve", "--filter", "year = 2020")
    assert bad.code == 2
    assert "equality is written ==" in bad.err
    assert "\n       ^" in bad.err
    unknown = tamis("search", built.index, "sieve", "--filter", "lang == 'en'")
    assert unknown.code == 2
    assert "this index keeps 'year'" in unknown.err
    assert "--filterable year,lang" in unknown.err
    lucene = tamis("search", built.index, "sieve", "--filter", "year > 1", "--pipeline", "bm25?engine=lucene")
    assert lucene.code == 2
    assert "Lucene cannot be given a row filter" in lucene.err


def test_a_deadline_reaches_every_stage_that_can_keep_to_one(built, tamis):
    pipeline = "bm25 % 5 >> ql?deadline=9"
    found = tamis("search", built.index, "drum sieve", "--deadline", "20s", "--pipeline", pipeline, "--json")
    assert found.envelope["resolved"]["pipeline"] == "bm25?deadline=20.0 % 5 >> ql?deadline=9"
    assert found.code == 0
    assert found.envelope["results"]
    assert tamis("search", built.index, "drum sieve", "--deadline", "0.000001ms").code == 7


def test_deadlines_that_are_refused(built, tamis):
    for text in ("soon", "0", "-1s", "5m"):
        assert tamis("search", built.index, "drum", f"--deadline={text}").code == 2
    nobody = tamis("search", built.index, "drum", "--deadline", "1s", "--pipeline", "dense:minilm")
    assert nobody.code == 2
    assert "deadline" in nobody.err
