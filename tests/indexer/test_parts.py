"""Opening parts by the manifest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

import tamis
from tamis.errors import IndexVersionError, MissingResourceError
from tamis.indexer.documents import DocumentStore
from tamis.indexer.parts import open_part


@pytest.fixture
def index(tmp_path: Path) -> Any:
    with tamis.Index.create(tmp_path / "index") as made:
        made.add([{"id": "1", "text": "drum"}])
        yield made


def test_kinds(index: tamis.Index) -> None:
    documents = cast("DocumentStore", index.documents)
    kinds = {name: open_part(index.path, name, index.manifest, documents, 1).kind for name in index.manifest.parts}
    assert kinds == {"lucene": "lucene", "terms": "impact"}


def test_a_missing_part_is_named_with_those_there(index: tamis.Index) -> None:
    with pytest.raises(MissingResourceError, match="has no part 'dense': it holds lucene, terms"):
        index.part("dense")


def test_an_empty_index_says_so(tmp_path: Path) -> None:
    with (
        tamis.Index.create(tmp_path / "empty") as empty,
        pytest.raises(MissingResourceError, match="add documents first"),
    ):
        empty.search("drum")


def test_a_part_of_an_unknown_kind(index: tamis.Index) -> None:
    later = replace(index.manifest, parts={"new": {"kind": "graph"}})
    with pytest.raises(IndexVersionError, match="of kind 'graph', which this Tamis does not know"):
        open_part(index.path, "new", later, cast("DocumentStore", index.documents), 1)
