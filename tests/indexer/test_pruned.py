"""The lists of pruned ids: any id, damage, and what becomes of unneeded files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tamis
from tamis.errors import CorruptIndexError
from tamis.indexer.pruned import gone_documents, pruned_ids
from tamis.indexer.writer import Writer

IDS = ["plain", "d\\n", "ünï😀", '"quoted"', "kept"]


def make(folder: Path) -> tamis.Index:
    index = tamis.Index.create(folder)
    index.add([{"id": doc_id, "text": f"text {i}"} for i, doc_id in enumerate(IDS)])
    return index


def prune(index: tamis.Index, rows: list[int]) -> None:
    with Writer(index.path) as writer:
        writer.prune(np.array(rows, np.int64), {"why": "a test"})
        index.refresh()
        writer.collect()


def test_ids_of_any_kind_are_remembered(tmp_path: Path) -> None:
    with make(tmp_path / "ix") as index:
        prune(index, [0, 1, 2, 3])
        assert pruned_ids(index.path, index.manifest) == sorted(IDS[:4])
        assert index.add([{"id": doc_id, "text": "again"} for doc_id in IDS]).blocked == 4
        assert index.manifest.pruned["history"][0]["why"] == "a test"


def test_old_lists_are_cleared_and_damage_is_found(tmp_path: Path) -> None:
    with make(tmp_path / "ix") as index:
        prune(index, [0])
        prune(index, [1])
        files = list((tmp_path / "ix" / "pruned").iterdir())
        assert len(files) == 1  # rows and documents are the same list, the first one is gone
        files[0].write_bytes(b"{")
        assert not index.verify().ok
        with pytest.raises(CorruptIndexError, match="is damaged"):
            pruned_ids(index.path, index.manifest)


def test_a_document_is_gone_when_its_last_passage_goes(tmp_path: Path) -> None:
    with tamis.Index.create(tmp_path / "ix", passages="tokens:2/2") as index:
        index.add([{"id": "a", "text": "1 2 3 4 5"}, {"id": "b", "text": "6 7 8"}])
        store = index.documents
        assert store.ids(np.arange(5)) == ["a#0", "a#1", "a#2", "b#0", "b#1"]
        assert gone_documents(store, np.array([0, 1, 3])) == []  # type: ignore[arg-type]
        assert gone_documents(store, np.array([0, 3, 4])) == ["b"]  # type: ignore[arg-type]
        prune(index, [0, 1, 3])
        assert pruned_ids(index.path, index.manifest) == []
        assert gone_documents(index.documents, np.array([2])) == ["a"]  # type: ignore[arg-type]
        prune(index, [2])
        assert pruned_ids(index.path, index.manifest) == ["a"]
        assert pruned_ids(index.path, index.manifest, "rows") == ["a#0", "a#1", "a#2", "b#0"]
        assert index.add([{"id": "a", "text": "again"}, {"id": "b", "text": "6 7 8"}]).blocked == 1
        with Writer(index.path) as writer:
            writer.unblock(["a"])
        index.refresh()
        assert pruned_ids(index.path, index.manifest, "rows") == ["b#0"]
