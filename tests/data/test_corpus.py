"""tamis.data.corpus: what a source may be, and how a corpus reports on itself."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tamis.data import Corpus, Document, open_corpus
from tamis.errors import BadRecordError, DataError, MissingResourceError, UsageError

LINES = [{"_id": "a", "title": "T", "text": "one"}, {"_id": "b", "title": "", "text": "two", "year": 1999}]
DOCUMENTS = [Document("a", "one", "T"), Document("b", "two", "", {"year": 1999})]


def jsonl(path: Path, records: list[dict[str, object]]) -> Path:
    data = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz", "c.JSONL", "c.txt", "c"])
def test_a_jsonl_file_by_name_or_content(tmp_path: Path, name: str) -> None:
    corpus = open_corpus(jsonl(tmp_path / name, LINES))
    assert list(corpus) == DOCUMENTS
    assert isinstance(corpus, Corpus)
    assert corpus.name == name


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_a_beir_folder_reads_its_corpus_only(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "beir"
    folder.mkdir()
    jsonl(folder / name, LINES)
    jsonl(folder / "queries.jsonl", [{"_id": "q", "text": "no document"}])
    corpus = open_corpus(str(folder))
    assert [document.id for document in corpus] == ["a", "b"]
    assert corpus.name == "beir"


def test_a_beir_folder_without_its_corpus(tmp_path: Path) -> None:
    jsonl(tmp_path / "queries.jsonl", LINES)
    with pytest.raises(MissingResourceError, match=r"has queries\.jsonl but no corpus\.jsonl"):
        open_corpus(tmp_path)


def test_a_folder_of_files_is_read_in_name_order(tmp_path: Path) -> None:
    jsonl(tmp_path / "part-2.jsonl.gz", LINES[1:])
    jsonl(tmp_path / "part-1.jsonl", LINES[:1])
    (tmp_path / "README").write_text("not a corpus")
    assert [document.id for document in open_corpus(tmp_path)] == ["a", "b"]


def test_a_mixed_folder_reads_each_file_in_its_form(tmp_path: Path) -> None:
    jsonl(tmp_path / "1.jsonl", LINES[:1])
    (tmp_path / "2.tsv").write_text("b\ttwo\n")
    (tmp_path / "3.trec").write_text("<DOC><DOCNO>c</DOCNO>three</DOC>")
    assert [(document.id, document.text) for document in open_corpus(tmp_path)] == [
        ("a", "one"),
        ("b", "two"),
        ("c", "three"),
    ]


def test_a_pass_can_be_repeated_and_counts_afresh(tmp_path: Path) -> None:
    corpus = open_corpus(jsonl(tmp_path / "c.jsonl", LINES))
    assert corpus.count() is None
    assert list(corpus) == list(corpus)
    assert corpus.count() == corpus.report.documents == 2
    next(iter(corpus))
    assert corpus.report.documents == 1


def test_reading_is_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"_id": "a", "text": "one"}\nbroken\n')
    assert next(iter(open_corpus(path))).id == "a"


def test_a_bad_line_stops_or_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"_id": "a"}\n' + "broken\n" * 7 + '{"_id": "b"}\n')
    with pytest.raises(BadRecordError, match=r"c\.jsonl:2: broken JSON") as caught:
        list(open_corpus(path))
    assert (caught.value.line, caught.value.exit_code) == (2, 5)
    corpus = open_corpus(path, on_bad_line="skip")
    assert [document.id for document in corpus] == ["a", "b"]
    assert (corpus.report.documents, corpus.report.skipped) == (2, 7)
    assert [problem.split(": ")[0] for problem in corpus.report.problems] == [f"{path}:{n}" for n in range(2, 7)]


def test_only_bad_lines(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text("x\ny\n")
    with pytest.raises(
        DataError, match=r"c\.jsonl holds no documents; all 2 records are malformed, first .*c\.jsonl:1: broken"
    ):
        list(open_corpus(path, on_bad_line="skip"))


@pytest.mark.parametrize("content", [b"", b"\n \n", gzip.compress(b"", mtime=0)])
def test_an_empty_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"empty\.jsonl is empty: a corpus needs at least one document"):
        open_corpus(path)


def test_a_folder_of_empty_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "b.jsonl").touch()
    with pytest.raises(DataError, match=f"{tmp_path.name} holds no documents"):
        list(open_corpus(tmp_path))


def test_a_folder_without_a_corpus(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no corpus: expected corpus\.jsonl\[\.gz\], or files ending in"):
        open_corpus(tmp_path)


def test_an_unknown_format(tmp_path: Path) -> None:
    path = tmp_path / "notes.doc"
    path.write_text("just prose\n")
    with pytest.raises(
        DataError, match=r"cannot tell the format of .*notes\.doc: it starts with b'just prose.*accepted are"
    ):
        open_corpus(path)


def test_a_missing_path_says_what_would_do() -> None:
    with pytest.raises(
        MissingResourceError, match=r"'/no/such\.jsonl' is neither a path that exists nor an ir_datasets id"
    ) as caught:
        open_corpus("/no/such.jsonl")
    assert "a BEIR folder" in str(caught.value)
    assert caught.value.exit_code == 4


def test_the_id_field_is_for_jsonl(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", [{"pmid": 7, "id": "other", "text": "x"}])
    assert list(open_corpus(path, id_field="pmid")) == [Document("7", "x", "", {"id": "other"})]
    (tmp_path / "c.tsv").write_text("1\tx\n")
    with pytest.raises(UsageError, match="id_field='pmid' is for JSONL files"):
        open_corpus(tmp_path / "c.tsv", id_field="pmid")


def test_an_unknown_policy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="on_bad_line='ignore': must be 'error' or 'skip'"):
        open_corpus(tmp_path, on_bad_line="ignore")  # type: ignore[arg-type]


def test_the_fingerprint_knows_content_and_id_field_but_not_the_place(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    one = jsonl(tmp_path / "x" / "c.jsonl", LINES)
    same = jsonl(tmp_path / "y" / "c.jsonl", LINES)
    assert open_corpus(one).fingerprint() == open_corpus(same).fingerprint()
    assert str(tmp_path) not in json.dumps(open_corpus(one).fingerprint())
    assert open_corpus(one).fingerprint() != open_corpus(one, id_field="title").fingerprint()
    jsonl(same, LINES[::-1])
    assert open_corpus(one).fingerprint() != open_corpus(same).fingerprint()


@pytest.mark.real
@pytest.mark.parametrize(("name", "documents"), [("cacm", 3204), ("nfcorpus", 3633), ("scifact", 5183), ("time", 423)])
def test_real_folders(collections: Path, name: str, documents: int) -> None:
    corpus = open_corpus(collections / name)
    assert len({document.id for document in corpus}) == corpus.count() == documents
