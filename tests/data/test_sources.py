"""tamis.data.sources: compression, damage, byte-order marks, fingerprints, BEIR splits."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from tamis.data import sources
from tamis.errors import DataError, MissingResourceError


def test_gzip_is_told_by_its_magic_number_not_its_name(tmp_path: Path) -> None:
    named = tmp_path / "plain.txt"
    named.write_bytes(gzip.compress(b"a\nb\n"))
    assert list(sources.lines(named)) == [(1, b"a\n"), (2, b"b\n")]
    misnamed = tmp_path / "really-plain.gz"
    misnamed.write_bytes(b"a\nb")
    assert list(sources.lines(misnamed)) == [(1, b"a\n"), (2, b"b")]


def test_a_byte_order_mark_is_dropped_from_the_first_line_only(tmp_path: Path) -> None:
    path = tmp_path / "bom.txt"
    path.write_bytes(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n")
    assert [line for _, line in sources.lines(path)] == [b"a\n", b"\xef\xbb\xbfb\n"]


def test_a_truncated_gzip_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(bytes(range(256)) * 400)[:-40])
    with pytest.raises(DataError, match=r"cut\.jsonl\.gz: the gzip file is damaged or cut short"):
        list(sources.lines(path))


def test_an_unreadable_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match=r"cannot read .*absent: No such file"):
        list(sources.lines(tmp_path / "absent"))


def test_fingerprint_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    assert sources.file_fingerprint(path) == {"name": "f", "size": 3, "sha256": hashlib.sha256(b"one").hexdigest()}
    path.write_bytes(b"three")
    assert sources.file_fingerprint(path)["sha256"] == hashlib.sha256(b"three").hexdigest()


def test_splits_of_a_beir_folder(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    with pytest.raises(MissingResourceError, match="holds no qrels/SPLIT"):
        sources.split_file(tmp_path, None)
    (tmp_path / "qrels" / "test.tsv").touch()
    assert sources.split_file(tmp_path, None).name == "test.tsv"
    (tmp_path / "qrels" / "dev.full.tsv.gz").touch()
    assert sources.split_file(tmp_path, "dev.full").name == "dev.full.tsv.gz"
    with pytest.raises(DataError, match=r"several splits \(dev\.full, test\): name one, for example .*#dev\.full"):
        sources.split_file(tmp_path, None)
    with pytest.raises(MissingResourceError, match=r"no split 'train'; it has dev\.full, test"):
        sources.split_file(tmp_path, "train")


def test_a_file_whose_name_holds_a_number_sign_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert sources.split_reference(f"{tmp_path}/a#test") == (tmp_path / "a", "test")
    (tmp_path / "a#test").touch()
    assert sources.split_reference(f"{tmp_path}/a#test") is None
    assert sources.split_reference(f"{tmp_path}/absent#test") is None


@pytest.mark.parametrize("value", ["", " a", "a b", "a\u00a0b", "a\n", "\ud800", "\ufeffa", None, 1.5, True])
def test_ids_that_cannot_stand_in_a_run(value: object) -> None:
    assert "document id" in str(sources.id_problem("document", value))


@pytest.mark.parametrize("value", ["a", "MED-10", "é", "1_a/b#0", "\x00"])
def test_ids_that_can(value: str) -> None:
    assert sources.id_problem("document", value) is None
