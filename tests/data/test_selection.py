from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tamis.data.corpus import open_corpus
from tamis.data.selection import SelectedDocuments
from tamis.errors import DataError
from tamis.ranking import IdSpace


def corpus(folder: Path) -> Path:
    path = folder / "corpus.jsonl"
    lines = [
        {"_id": "b", "title": "T", "text": "body"},
        {"_id": "a", "text": "only"},
        {"_id": "c", "title": "U", "text": ""},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_space_is_that_of_the_ids(tmp_path: Path) -> None:
    found = SelectedDocuments(["c", "a", "b"], open_corpus(corpus(tmp_path)))
    assert found.key == IdSpace(["a", "b", "c"]).key
    rows = found.rows(["b", "c", "a"])
    assert found.titles(rows) == ["T", "U", ""]
    assert found.bodies(rows) == ["body", "", "only"]
    assert found.texts(rows) == ["T body", "U", "only"]
    assert found.row_limit == 3


def test_only_what_is_wanted_is_read(tmp_path: Path) -> None:
    path = corpus(tmp_path)
    with path.open("a") as handle:
        handle.write("this is malformed\n")  # never reached
    found = SelectedDocuments(["a", "b", "x"], open_corpus(path), ["a", "b"])
    assert found.bodies(found.rows(["a"])) == ["only"]
    with pytest.raises(DataError, match="'x' was not read"):
        found.bodies(np.array([2]))


def test_missing_documents_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"corpus.jsonl lacks 2 of the 3 documents .*\(x, y\)"):
        SelectedDocuments(["a", "x", "y"], open_corpus(corpus(tmp_path)))
