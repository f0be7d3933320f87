"""Shards on disk: what is damaged is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tamis
from tamis.errors import CorruptIndexError
from tamis.indexer.impact.shard import FILES, ImpactShard, ShardEntry, key_of
from tamis.indexer.layout import PARTS


@pytest.fixture
def index(tmp_path: Path) -> Any:
    with tamis.Index.create(tmp_path / "index") as made:
        made.add({"id": str(i), "text": f"drum cook{i % 5} " * (1 + i % 3)} for i in range(60))
        yield made


def shard_folder(index: tamis.Index) -> Path:
    entry = index.manifest.parts["terms"]
    return index.path / PARTS / entry["id"] / entry["shards"][0]["id"]


def test_the_manifest_names_every_file(index: tamis.Index) -> None:
    folder = shard_folder(index)
    assert {path.name for path in folder.iterdir()} == set(FILES)
    named = {name for name in index.manifest.files if name.startswith(PARTS)}
    assert named == {str((folder / file).relative_to(index.path)) for file in FILES}


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_byte_is_found_and_never_searched_past_the_end(index: tamis.Index, file: str) -> None:
    """`verify` finds every flip by its checksum; a search over damaged bytes ends in an answer or a typed error."""
    path = shard_folder(index) / file
    whole = path.read_bytes()
    for place in range(60, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
        try:
            with tamis.open(index.path) as opened:
                hits = opened.search("drum cook3 cook4", k=100)
            assert len(hits) <= 100
        except (CorruptIndexError, tamis.errors.UsageError, tamis.errors.DataError):
            pass
    assert not index.verify().ok
    path.write_bytes(whole)
    assert index.verify().ok


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_another_kind_is_refused(index: tamis.Index, file: str) -> None:
    entry = index.manifest.parts["terms"]["shards"][0]
    folder = shard_folder(index)
    np.save(folder / file, np.zeros((2, 2)))
    shard = ImpactShard(folder, ShardEntry(**entry))
    with pytest.raises(CorruptIndexError, match="run tamis verify"):
        _ = shard.postings, shard.vocabulary[0], shard.pairs


def test_a_truncated_file_is_refused_when_the_index_is_opened(index: tamis.Index) -> None:
    path = shard_folder(index) / "offsets.npy"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(CorruptIndexError, match=r"offsets\.npy has .* bytes, the manifest says"):
        tamis.open(index.path)


def test_keys() -> None:
    assert key_of(2, "purée") == b"\x02pur\xc3\xa9e"
    assert key_of(0, "\ud800") == b"\x00?"
