"""Vectors of one's own: found by id, kept as a part, searched by vector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tamis
from tamis.encoders.registry import open_encoder
from tamis.errors import DataError, MissingResourceError, UsageError

IDS = ["c", "a", "b"]
VECTORS = np.array([[3, 0], [0, 2], [1, 1]], np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.save(tmp_path / "mine.npy", VECTORS)
    (tmp_path / "mine.ids").write_text("\n".join(IDS) + "\n")
    return tmp_path / "mine.npy"


def test_they_are_searched_by_vector(file: Path, tmp_path: Path) -> None:
    with tamis.Index.create(tmp_path / "index") as index:
        index.add([{"id": i, "text": f"text of {i}"} for i in "abc"])
        assert index.add_part(f"vectors:{file}", "mine") == "mine"
        queries = tamis.Queries(("1", "2"), ("", ""), vectors=np.array([[1, 0], [0, 1]], np.float32))
        ranking = index.rank(queries, 3, pipeline=f"vectors:{file}")
        assert [(hit.id, hit.score) for hit in ranking["1"]] == [("c", 3), ("b", 1), ("a", 0)]
        assert [(hit.id, hit.score) for hit in ranking["2"]] == [("a", 2), ("b", 1), ("c", 0)]
        with pytest.raises(UsageError, match="search with vectors"):
            index.rank("a text", 3, pipeline=f"vectors:{file}")
        with pytest.raises(DataError, match="dimensions"):
            index.rank(tamis.Queries(("1",), ("",), vectors=np.ones((1, 3), np.float32)), 3, pipeline=f"vectors:{file}")


def test_cosine_normalises_them(file: Path) -> None:
    found = open_encoder(f"vectors:{file}?similarity=cosine").vectors_of(["b", "c"])
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5], [1, 0]], atol=1e-6)


def test_documents_without_a_vector_are_named(file: Path, tmp_path: Path) -> None:
    with tamis.Index.create(tmp_path / "index") as index:
        index.add([{"id": i, "text": "x"} for i in ("a", "nobody", "c")])
        with pytest.raises(DataError, match="no vectors for 1 documents: 'nobody'"):
            index.add_part(f"vectors:{file}", "mine")
        assert index.models() == {}


def test_files_that_do_not_fit_are_refused(file: Path) -> None:
    with pytest.raises(MissingResourceError, match="nothing"):
        open_encoder(f"vectors:{file}?ids=nothing.ids")
    file.with_suffix(".ids").write_text("a\nb\n")
    with pytest.raises(DataError, match="2 ids"):
        open_encoder(f"vectors:{file}")
    file.with_suffix(".ids").write_text("a\nb\na\n")
    with pytest.raises(DataError, match="unique"):
        open_encoder(f"vectors:{file}")
    file.write_bytes(b"not an array")
    with pytest.raises(DataError, match="no array"):
        open_encoder(f"vectors:{file}")
    file.unlink()
    with pytest.raises(MissingResourceError, match=r"FILE\.ids"):
        open_encoder(f"vectors:{file}")
