"""tamis.data.topics: which form a file is in, and what is said when it is in none."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tamis.data import read_topics
from tamis.errors import BadRecordError, DataError, MissingResourceError, UsageError


def written(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.jsonl", '{"_id": "1", "text": "one"}\n\n{"_id": 2, "text": " two: 2 "}\n'),
        ("q.jsonl.gz", '{"id": "1", "query": "one"}\n{"qid": "2", "question": "two: 2"}\n'),
        ("q.tsv", "1\tone\n2\t two: 2\r\n"),
        ("q.txt.gz", "1\tone\n\n2\ttwo: 2"),
        ("q", "1:one\n2:two: 2\n"),
    ],
)
def test_line_forms(tmp_path: Path, name: str, content: str) -> None:
    queries = read_topics(written(tmp_path / name, content))
    assert (queries.ids, queries.texts) == (("1", "2"), ("one", "two: 2"))


def beir(folder: Path) -> Path:
    written(
        folder / "queries.jsonl.gz", '{"_id": "a", "text": "A"}\n{"_id": "b", "text": "B"}\n{"_id": "c", "text": "C"}\n'
    )
    (folder / "qrels").mkdir()
    written(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nc\td\t1\na\td\t0\n")
    return folder


def test_a_beir_folder_and_the_queries_of_one_split(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    assert read_topics(folder).ids == ("a", "b", "c")
    assert read_topics(f"{folder}#test").ids == ("a", "c")
    with pytest.raises(MissingResourceError, match="no split 'dev'; it has test"):
        read_topics(f"{folder}#dev")


def test_fields_of_json_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "q.jsonl", '{"id": 1, "title": "T", "description": "D", "keywords": "K"}')
    assert read_topics(path).texts == ("T",)
    assert read_topics(path, field="title+desc+keywords").texts == ("T D K",)
    with pytest.raises(BadRecordError, match=r"q\.jsonl:1: the query has no narr: expected the key narr or narrative"):
        read_topics(path, field="narr")


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("q.jsonl", "", DataError, r"q\.jsonl is empty: expected a BEIR folder"),
        (
            "q.txt",
            "just words\n",
            DataError,
            r"cannot tell the form of the topics in .*q\.txt: its first line is b'just words'",
        ),
        ("q.tsv", "1\tone\ntwo\n", BadRecordError, r"q\.tsv:2: not a topic: expected a tab between id and text"),
        ("q.tsv", "1\tone\ttwo\n", BadRecordError, r"q\.tsv:1: not a topic: expected a tab"),
        ("q.tsv", "1\tone\n1\ttwo\n", BadRecordError, r"q\.tsv:2: query id '1' occurs twice"),
        (
            "q.tsv",
            "1 2\tone\n",
            BadRecordError,
            r"q\.tsv:1: query id '1 2': an id must not be empty or hold white space",
        ),
        ("q.tsv", b"1\tone\n2\t\xe9\n", BadRecordError, r"q\.tsv:2: invalid UTF-8 at byte 3"),
        ("q", "1:one\ntwo\n", BadRecordError, r"q:2: not a topic: expected id:text"),
        ("q.jsonl", "broken\n", BadRecordError, r"q\.jsonl:1: broken JSON"),
        (
            "q.jsonl",
            '{"_id": 1}',
            BadRecordError,
            r"q\.jsonl:1: the query has no title: expected the key text or query",
        ),
        ("q.jsonl", '{"_id": 1, "text": 3}', BadRecordError, r"q\.jsonl:1: 'text' is not a string"),
        ("q.jsonl", '{"text": "x"}', BadRecordError, r"q\.jsonl:1: no id: expected the key '_id' or 'id'"),
        ("q.xml", "<html></html>", DataError, r"q\.xml holds no topics"),
    ],
)
def test_bad_input(tmp_path: Path, name: str, content: str | bytes, error: type[Exception], message: str) -> None:
    path = written(tmp_path / name, content)
    with pytest.raises(error, match=message):
        read_topics(path)


def test_missing_sources(tmp_path: Path) -> None:
    with pytest.raises(
        MissingResourceError, match="neither a path that exists nor an ir_datasets id; accepted: a BEIR folder"
    ):
        read_topics(tmp_path / "no.tsv")
    with pytest.raises(MissingResourceError, match=r"holds no queries\.jsonl"):
        read_topics(tmp_path)


def test_fields_where_there_are_none(tmp_path: Path) -> None:
    path = written(tmp_path / "q.tsv", "1\tone\n")
    with pytest.raises(UsageError, match=r"topic field 'desc': .*q\.tsv holds one text a query, no fields"):
        read_topics(path, field="desc")
    with pytest.raises(UsageError, match=r"topic field 'title\+': expected title, desc, narr"):
        read_topics(path, field="title+")


def test_lone_surrogates_and_control_characters(tmp_path: Path) -> None:
    path = written(tmp_path / "q.jsonl", r'{"_id": "1", "text": "\ud800 \u0000 \ud83d\ude00"}')
    assert read_topics(path).texts == ("\ufffd \0 \U0001f600",)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "count", "query", "text"),
    [
        ("trec-dl/topics.dl19-passage.txt", 43, "156493", "do goldfish grow"),
        ("trec-dl/topics.msmarco-passage.dev-subset.txt.gz", 6980, "2", "Androgen receptor define"),
        ("nfcorpus", 3237, "PLAIN-3", "Breast Cancer Cells Feed on Cholesterol"),
        ("nfcorpus#test", 323, "PLAIN-2", "Do Cholesterol Statin Drugs Cause Breast Cancer?"),
        ("scifact#test", 300, "1", "0-dimensional biomaterials show inductive properties."),
        (
            "cacm/queries.jsonl",
            64,
            "2",
            "I am interested in articles written either by Prieve or Udo Pooch Prieve, B. Pooch, U.",
        ),
    ],
)
def test_real_topics(collections: Path, name: str, count: int, query: str, text: str) -> None:
    queries = read_topics(f"{collections}/{name}")
    assert len(queries) == count
    assert queries.texts[queries.ids.index(query)] == text
