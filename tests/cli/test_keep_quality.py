"""`tamis index --keep-quality`: what is kept, remembered, and done once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis.cli.keep_quality import Kept, parse_keep
from tamis.engine import Index
from tamis.errors import UsageError


def test_spellings():
    assert parse_keep("itn>=q0.3") == Kept("itn", 0.3, None)
    assert parse_keep("quality:random?seed=2 >= 0.25") == Kept("random?seed=2", None, 0.25)
    assert parse_keep("qualt5:org/name>=-2") == Kept("qualt5:org/name", None, -2.0)
    for text in ("itn", "itn>=", ">=q0.3", "itn>=q1", "itn>=q0", "itn>=x", "itn>=nan", "itm>=q0.3"):
        with pytest.raises(UsageError):
            parse_keep(text)


def test_the_lowest_are_left_out_before_anything_is_encoded(built, tmp_path, tamis):
    output = tmp_path / "ix"
    asked = ["index", built.corpus, "-o", output, "--keep-quality", "length>=q0.5"]
    done = tamis(*asked, "--json").envelope
    assert done["metrics"]["left_out_rows"] == 2
    with Index.open(output) as index:
        assert sorted(index.documents.ids(index.documents.rows(["sieve", "soup"]))) == ["sieve", "soup"]
        assert len(index) == 2
    assert "nothing to do" in tamis(*asked).err
    assert tamis("restore", output, "--list").out == "cat\nrank\n"
    refused = tamis("index", built.corpus, "-o", output, "--keep-quality", "length>=q0.25")
    assert (refused.code, "made otherwise" in refused.err) == (2, True)
    assert tamis("index", built.corpus, "-o", output, "--keep-quality", "length>=9", "--force").code == 0
    with Index.open(output) as index:
        assert 0 < len(index) < 4
    assert tamis("index", built.corpus, "-o", output, "--keep-quality", "length>=99", "--force").code == 2
    assert [path.name for path in Path(tmp_path).iterdir() if not path.name.startswith(".")] == ["ix"]


def test_a_document_keeps_its_best_passage(built, tmp_path, tamis):
    output = tmp_path / "ix"
    asked = ["index", built.corpus, "-o", output, "--passages", "tokens:4/4", "--keep-quality", "length>=q0.9"]
    assert tamis(*asked).code == 0
    with Index.open(output) as index:
        assert len(index) == 4
        assert sorted(
            {row_id.rpartition("#")[0] for row_id in index.documents.ids(index.documents.rows_at(range_of(4)))}
        ) == [
            "cat",
            "rank",
            "sieve",
            "soup",
        ]


def range_of(count):
    import numpy as np

    return np.arange(count)
