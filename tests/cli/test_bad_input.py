"""Bad input, as a user meets it: the message and the exit code of the program itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("name", "content", "code", "said"),
    [
        ("absent.jsonl", None, 4, ["absent.jsonl", "neither a path"]),
        ("empty.jsonl", b"", 5, ["empty.jsonl", "empty"]),
        ("blank.jsonl", b"\n\n", 5, ["blank.jsonl"]),
        ("broken.jsonl", b'{"_id":"a","text":"x"}\n{"_id":"b",\n', 5, ["broken.jsonl:2:", "JSON"]),
        ("columns.tsv", b"1\tone\n2 two\n", 5, ["columns.tsv:2:", "columns"]),
        ("utf8.jsonl", b'{"_id":"a","text":"\xff"}\n', 5, ["utf8.jsonl:1:", "UTF-8"]),
        ("ids.jsonl", b'{"_id":"a b","text":"x"}\n', 5, ["ids.jsonl:1:", "'a b'"]),
        ("unknown.bin", b"\0\1\2", 5, ["unknown.bin", "format"]),
    ],
)
def test_corpora(name, content, code, said, tmp_path, process):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    refused = process("index", path, "-o", tmp_path / "ix")
    assert (refused.code, refused.out) == (code, "")
    assert refused.err.startswith("error: ")
    assert "Traceback" not in refused.err
    for part in said:
        assert part in refused.err


def test_duplicate_ids_are_counted_and_the_first_is_kept(tmp_path, tamis):
    corpus = tmp_path / "c.jsonl"
    corpus.write_text('{"_id":"a","text":"first"}\n{"_id":"a","text":"second"}\n')
    done = tamis("index", corpus, "-o", tmp_path / "ix")
    assert done.code == 0
    assert "1 left out" in done.err
    assert "'a'" in done.err
    assert "first" in tamis("search", tmp_path / "ix", "first second").out


def test_a_10_mb_document_is_indexed_and_its_snippet_found(tmp_path, tamis):
    corpus = tmp_path / "c.jsonl"
    text = "lorem ipsum dolor " * 600_000 + "needle in it " + "sit amet " * 1000
    assert len(text) > 10_000_000
    corpus.write_text(
        json.dumps({"_id": "big", "text": text}) + "\n" + json.dumps({"_id": "small", "text": "x"}) + "\n"
    )
    assert tamis("index", corpus, "-o", tmp_path / "ix").code == 0
    assert "**needle** in it" in tamis("search", tmp_path / "ix", "needle").out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["-k", "0"], "k=0"),
        (["-k", "-3"], "k=-3"),
        (["--pipeline", "bm52"], "did you mean 'bm25'"),
        (["--pipeline", "bm25?k11=2"], "did you mean 'k1'"),
        (["--pipeline", "bm25?k1=much"], "'much' is not a number"),
        (["--pipeline", "bm25?prf=rm4"], "did you mean 'rm3'"),
        (["--pipeline", "rrf(bm25, ql"], "^"),
        (["--pipeline", ""], ""),
    ],
)
def test_searches(args, said, built, tamis):
    refused = tamis("search", built.index, "sieve", *args)
    assert (refused.code, refused.out) == (2, "")
    assert said in refused.err


def test_no_such_index(tmp_path, tamis):
    refused = tamis("search", tmp_path / "none", "sieve", "--json")
    assert refused.code == refused.envelope["exit_code"] == 4
    assert "tamis index" in refused.envelope["errors"][0]["message"]


def test_an_unknown_measure(built, process):
    refused = process("evaluate", built.qrels, built.bm25, "-m", "nDGC@10")
    assert (refused.code, refused.out) == (2, "")
    assert "did you mean 'nDCG'" in refused.err


def test_a_run_whose_queries_are_not_in_the_qrels(built, tmp_path, tamis):
    run = tmp_path / "foreign.run"
    run.write_text("zz Q0 sieve 1 1.0 t\n")
    refused = tamis("evaluate", built.qrels, run)
    assert (refused.code, refused.out) == (5, "")
    assert "'zz'" in refused.err
    run.write_text("zz Q0 sieve 1 1.0 t\nq1 Q0 sieve 1 1.0 t\n")
    partly = tamis("evaluate", built.qrels, run)
    assert partly.code == 0
    assert "1 of its 2 queries are not in the qrels" in partly.err


def test_broken_runs_and_qrels(built, tmp_path, tamis):
    broken = tmp_path / "broken.run"
    broken.write_text("q1 Q0 sieve 1 1.0 t\nq1 Q0 cat 2\n")
    refused = tamis("evaluate", built.qrels, broken)
    assert refused.code == 5
    assert f"{broken}:2:" in refused.err
    qrels = tmp_path / "qrels.txt"
    qrels.write_text("q1 0 sieve yes\n")
    refused = tamis("evaluate", qrels, built.bm25)
    assert refused.code == 5
    assert f"{qrels}:1:" in refused.err


def test_an_index_of_a_newer_format(built, tmp_path, process):
    folder = Path(shutil.copytree(built.index, tmp_path / "ix"))
    (folder / "FORMAT").write_text("tamis index\nlayout 99\n")
    refused = process("search", folder, "sieve")
    assert (refused.code, refused.out) == (5, "")
    assert "layout 99" in refused.err
    assert "upgrade" in refused.err


def test_a_query_of_10000_words(built, tamis):
    done = tamis("search", built.index, " ".join(f"word{i} sieve" for i in range(5000)))
    assert done.code == 0
    assert "**sieve**" in done.out


@pytest.mark.parametrize(
    "query", ["😀", "\x01\x1b[31m sieve \x7f", '"(+-&|!{}[]^~*?:\\/ sieve', "\udcff sieve", "", "   ", "it's \u202e"]
)
def test_any_query_is_plain_text(query, built, tamis):
    done = tamis("search", built.index, query)
    assert done.code == 0
    assert "\x1b" not in done.out
    if "sieve" in query:
        assert "**sieve**" in done.out


def test_a_terminal_that_is_not_utf8(built, process):
    done = process("search", built.index, "ranked cat", env={"PYTHONIOENCODING": "ascii", "NO_COLOR": "1"})
    assert done.code == 0
    assert "cat" in done.out
