"""Documents back from an index that holds them: with metadata and vectors, and only where they can be whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tamis
from tamis.errors import MissingResourceError, UsageError
from tamis.indexer.pruned import pruned_ids
from tamis.pruning.cut import prune_index
from tamis.pruning.restoring import restore_documents
from tamis.pruning.scoring import score_index

Make = Callable[..., list[dict[str, Any]]]


def test_all_come_back_as_they_were(index: tamis.Index, tmp_path: Path, topics: dict[str, str]) -> None:
    score_index(index, "itn")
    prune_index(index, tmp_path / "small", np.arange(10, 50))
    with tamis.open(tmp_path / "small") as small:
        found = restore_documents(small, None, index.path)
        assert (found.restored, found.added, found.unknown) == (40, 40, ())
        assert pruned_ids(small.path, small.manifest) == []
        assert len(small) == 120
        assert small.document("d12") == index.document("d12")
        assert len(small.part("quality:itn").scores) == 120  # they were scored again
        mine, theirs = (one.rank(topics, 120) for one in (small, index))
        for query in topics:
            assert {h.id: h.score for h in mine[query]} == {h.id: h.score for h in theirs[query]}
        again = restore_documents(small, None, index.path)
        assert (again.restored, again.added) == (0, 0)


def test_nothing_changes_where_a_document_is_missing(index: tamis.Index, tmp_path: Path) -> None:
    prune_index(index, tmp_path / "small", np.arange(10))
    index.delete(["d3"])
    with tamis.open(tmp_path / "small") as small:
        generation = small.generation
        with pytest.raises(MissingResourceError, match="lacks 1 of the documents, such as 'd3'"):
            restore_documents(small, None, index.path)
        assert small.generation == generation
        found = restore_documents(small, ["d1", "d1", "nobody"], index.path)
        assert (found.restored, found.added, found.unknown) == (1, 1, ("nobody",))
        assert len(pruned_ids(small.path, small.manifest)) == 9


def test_passages_make_no_document(tmp_path: Path, make_documents: Make) -> None:
    with tamis.Index.create(tmp_path / "index", passages="tokens:5/5") as index:
        index.add(make_documents(10))
        rows = index.documents.document_rows(["d1"])[0]  # type: ignore[union-attr]
        prune_index(index, tmp_path / "small", rows)
    with tamis.open(tmp_path / "small") as small:
        assert pruned_ids(small.path, small.manifest) == ["d1"]
        with pytest.raises(UsageError, match="cannot be put together again"):
            restore_documents(small, None, tmp_path / "index")
        assert restore_documents(small).restored == 1
        assert small.add(make_documents(2)).blocked == 0
