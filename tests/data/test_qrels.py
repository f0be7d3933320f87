"""tamis.data.qrels."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tamis.data import Qrels, read_qrels
from tamis.errors import BadRecordError, DataError, MissingResourceError

WANTED = [("q2", "d1", 1), ("q2", "d2", 0), ("q1", "d1", -2)]


@pytest.mark.parametrize(
    "content",
    [
        "q2 0 d1 1\nq2 Q0 d2 0\n\nq1\t0\td1  -2\n",
        "query-id\tcorpus-id\tscore\nq2\td1\t1\nq2\td2\t0\r\nq1\td1\t-2",
        "q2 d1 1\nq1 d1 -2\nq2 d2 0\n",
        "\ufeffq2 d1 1\nq2 d2 0\nq1 d1 -2\n",
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_forms(tmp_path: Path, content: str, zipped: bool) -> None:
    path = tmp_path / "qrels"
    path.write_bytes(gzip.compress(content.encode()) if zipped else content.encode())
    qrels = read_qrels(path)
    assert list(qrels.triples()) == WANTED
    assert qrels.queries == tuple(qrels) == ("q2", "q1")
    assert (len(qrels), qrels.judged, qrels.duplicates) == (2, 3, 0)
    assert qrels["q2"] == {"d1": 1, "d2": 0}


def test_a_beir_folder_needs_its_split_where_there_are_several(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    header = "query-id\tcorpus-id\tscore\n"
    (tmp_path / "qrels" / "test.tsv").write_text(header + "q\td\t1\n")
    assert read_qrels(tmp_path).queries == ("q",)
    (tmp_path / "qrels" / "dev.tsv.gz").write_bytes(gzip.compress((header + "v\td\t1\n").encode()))
    assert read_qrels(f"{tmp_path}#dev").queries == ("v",)
    assert read_qrels(tmp_path / "qrels" / "test.tsv").queries == ("q",)
    with pytest.raises(DataError, match=r"has several splits \(dev, test\): name one"):
        read_qrels(tmp_path)


def test_duplicates_of_equal_grade_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "qrels"
    path.write_text("q 0 d 1\nq 0 d 1\nq 0 e 0\nq 0 d 1\n")
    qrels = read_qrels(path)
    assert (qrels.judged, qrels.duplicates) == (2, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"q 0 d 1\nq 0 d 2\n", r"qrels:2: document 'd' has grade 2 for query 'q' here and 1 before: keep one of them"),
        (b"q 0 d 1\nq d 1\n", r"qrels:2: 3 columns, expected 4 as in the lines before"),
        (b"q d\n", r"qrels:1: 2 columns; accepted are TREC qrels"),
        (b"q 0 d 1\nq 0 e one\n", r"qrels:2: grade 'one' is not a whole number"),
        (b"q 0 d 1.5\n", r"qrels:1: grade '1\.5' is not a whole number"),
        (b"topic doc grade\nq d 1\n", r"qrels:1: grade 'grade' is not a whole number"),
        (b"q 0 d 1\nq 0 \xff 1\n", r"qrels:2: invalid UTF-8"),
    ],
)
def test_malformed_lines(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "qrels"
    path.write_bytes(content)
    with pytest.raises(BadRecordError, match=message):
        read_qrels(path)


@pytest.mark.parametrize("content", ["", "\n", "query-id\tcorpus-id\tscore\n"])
def test_no_judgements(tmp_path: Path, content: str) -> None:
    path = tmp_path / "qrels.tsv"
    path.write_text(content)
    with pytest.raises(DataError, match=r"qrels\.tsv holds no judgements"):
        read_qrels(path)


def test_a_missing_file() -> None:
    with pytest.raises(MissingResourceError, match=r"'no/qrels\.tsv' is neither a path .* accepted: TREC qrels"):
        read_qrels("no/qrels.tsv")


def test_subset() -> None:
    qrels = Qrels({"a": {"d": 1}, "b": {"e": 2}, "c": {"f": 0}})
    assert list(qrels.subset(["c", "x", "a"]).triples()) == [("a", "d", 1), ("c", "f", 0)]
    assert repr(qrels) == "Qrels(3 queries, 3 judgements)"


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "queries", "judged"),
    [
        ("nfcorpus#test", 323, 12334),
        ("nfcorpus#train", 2590, 110575),
        ("cacm#test.anserini", 52, 796),
        ("time", 83, 324),
        ("trec-dl/qrels.dl19-passage.txt.gz", 43, 9260),
        ("trec-dl/qrels.msmarco-passage.dev-subset.txt.gz", 6980, 7437),
    ],
)
def test_real_qrels(collections: Path, name: str, queries: int, judged: int) -> None:
    qrels = read_qrels(f"{collections}/{name}")
    assert (len(qrels), qrels.judged) == (queries, judged)
