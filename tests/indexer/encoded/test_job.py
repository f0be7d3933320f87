"""Encoded parts: built resumably, kept in step with the documents, never encoded twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tamis
from tamis.encoders.base import Passage
from tamis.errors import FingerprintError, MissingResourceError, OutputExistsError, UsageError
from tamis.events import Advanced, Event, Started
from tamis.indexer.dense.kind import DenseKind
from tamis.indexer.documents import DocumentStore
from tamis.indexer.encoded.entry import EncodedEntry, encoded_entries
from tamis.indexer.writer import Writer, newest_manifest

OPTIONS = {"store": "float32", "codes": None, "index": "flat"}
Documents = Callable[..., list[dict[str, Any]]]


def add_part(path: Path, encoder: Any, name: str = "toy", **options: Any) -> EncodedEntry:
    with Writer(path) as writer:
        return writer.add_part(name, "dense", encoder, {**OPTIONS, **options})


def entry_of(path: Path, name: str = "toy") -> EncodedEntry:
    return encoded_entries(newest_manifest(path).parts)[name]


def stored(path: Path, name: str = "toy") -> dict[str, np.ndarray]:
    """Id → vector of all live rows, as the part holds them."""
    with tamis.open(path) as index:
        store, part = index.documents, index.part(name)
        assert isinstance(store, DocumentStore)
        positions = np.arange(store.manifest.rows) if store.live is None else np.flatnonzero(store.live)
        rows = store.rows_at(positions)
        return dict(zip(store.ids(rows), part.vectors_of(rows), strict=True))


def expected(path: Path, encoder: Any) -> dict[str, np.ndarray]:
    """Id → the model's own vector of the stored text; zero for a blank one."""
    with tamis.open(path) as index:
        store = index.documents
        assert isinstance(store, DocumentStore)
        positions = np.arange(store.manifest.rows) if store.live is None else np.flatnonzero(store.live)
        rows = store.rows_at(positions)
        found = {}
        for doc_id, title, text in zip(store.ids(rows), store.titles(rows), store.bodies(rows), strict=True):
            blank = not title and not text
            found[doc_id] = np.zeros(8, np.float32) if blank else encoder.encode_passages([Passage(title, text)])[0][0]
        return found


def assert_right(path: Path, toy: ModuleType) -> None:
    have, want = stored(path), expected(path, toy.ToyEncoder())
    assert have.keys() == want.keys()
    for doc_id, vector in want.items():
        np.testing.assert_array_equal(have[doc_id], vector, doc_id)
    with tamis.open(path) as index:
        assert index.verify().problems == ()


def test_every_row_gets_its_own_vector(encoded: Path, toy: ModuleType) -> None:
    add_part(encoded, toy.ToyEncoder())
    assert_right(encoded, toy)
    assert entry_of(encoded).address == toy.ADDRESS
    assert sum(shard.rows for shard in entry_of(encoded).shards) == 120


def test_truncated_inputs_are_counted(encoded: Path, toy: ModuleType) -> None:
    with tamis.open(encoded) as index:
        rows = np.arange(120)
        texts = index.documents.texts(rows)
    entry = add_part(encoded, toy.ToyEncoder())
    assert sum(shard.truncated or 0 for shard in entry.shards) == sum(len(text.split()) > 50 for text in texts) > 0


def test_progress_counts_every_row_once(encoded: Path, toy: ModuleType) -> None:
    told: list[Event] = []
    with Writer(encoded, listener=told.append) as writer:
        writer.add_part("toy", "dense", toy.ToyEncoder(), OPTIONS)
    assert Started("encode toy", 120, "rows") in told
    assert sum(e.count for e in told if isinstance(e, Advanced) and e.stage == "encode toy") == 120


def test_texts_are_let_go_chunk_by_chunk(encoded: Path, toy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """All chunks of a segment live as long as it is encoded: were their texts kept, they would be the corpus."""
    seen: list[Any] = []
    encode = DenseKind.encode

    def watched(self: DenseKind, entry: EncodedEntry, encoder: Any, texts: Any, folder: Path, *, tick: Any) -> int:
        assert [chunk for chunk in seen if "passages" in vars(chunk)] == []
        seen.append(texts)
        return encode(self, entry, encoder, texts, folder, tick=tick)

    monkeypatch.setattr(DenseKind, "encode", watched)
    add_part(encoded, toy.ToyEncoder())
    assert len(seen) == 9
    assert [chunk for chunk in seen if "passages" in vars(chunk)] == []


@pytest.mark.parametrize("fail_after", [0, 1, 4, 8])
def test_a_failed_build_resumes_with_what_is_missing(
    encoded: Path, toy: ModuleType, fail_after: int, tmp_path: Path
) -> None:
    generation = newest_manifest(encoded).generation
    with pytest.raises(RuntimeError, match="the power went"):
        add_part(encoded, toy.ToyEncoder(fail_after=fail_after))
    assert newest_manifest(encoded).generation == generation
    again = toy.ToyEncoder()
    add_part(encoded, again)
    assert len(again.batches) == 9 - fail_after  # 120 rows in segments of 40, chunks of 16
    assert_right(encoded, toy)


def test_a_resumed_build_has_the_same_bytes(encoded: Path, toy: ModuleType, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(encoded, other)
    with pytest.raises(RuntimeError):
        add_part(encoded, toy.ToyEncoder(fail_after=5))
    add_part(encoded, toy.ToyEncoder())
    add_part(other, toy.ToyEncoder())
    files = [{n: e for n, e in newest_manifest(p).files.items() if n.startswith("parts/")} for p in (encoded, other)]
    assert files[0] == files[1]


def test_the_same_part_again_does_nothing(encoded: Path, toy: ModuleType) -> None:
    add_part(encoded, toy.ToyEncoder())
    generation, again = newest_manifest(encoded).generation, toy.ToyEncoder()
    add_part(encoded, again)
    assert newest_manifest(encoded).generation == generation
    assert not again.batches


def test_another_part_of_that_name_is_refused(encoded: Path, toy: ModuleType) -> None:
    add_part(encoded, toy.ToyEncoder())
    with pytest.raises(OutputExistsError, match="part 'toy' already"):
        add_part(encoded, toy.ToyEncoder(seed=1))
    with pytest.raises(OutputExistsError, match="part 'toy' already"):
        add_part(encoded, toy.ToyEncoder(), store="float16")


@pytest.mark.parametrize("name", ["terms", "lucene", "a b", "", "x?y"])
def test_bad_names_are_refused(encoded: Path, toy: ModuleType, name: str) -> None:
    with pytest.raises(UsageError, match="part name"):
        add_part(encoded, toy.ToyEncoder(), name)


def test_added_documents_are_encoded_with_them(encoded: Path, toy: ModuleType, make_documents: Documents) -> None:
    add_part(encoded, toy.ToyEncoder())
    kept = [shard.segment for shard in entry_of(encoded).shards]
    with tamis.open(encoded) as index:
        index.add([*make_documents(30, seed=5, prefix="e"), {"id": "d3", "text": "another text of this one"}])
    assert_right(encoded, toy)
    assert [shard.segment for shard in entry_of(encoded).shards][:3] == kept


def test_deleted_and_compacted_rows_go_without_encoding(encoded: Path, toy: ModuleType, monkeypatch: Any) -> None:
    add_part(encoded, toy.ToyEncoder())

    def refuse(address: str) -> Any:
        raise AssertionError(f"{address} was opened")

    monkeypatch.setattr("tamis.indexer.writer.open_encoder", refuse)
    with tamis.open(encoded) as index:
        index.delete([f"d{i}" for i in range(0, 120, 3)])
        assert_right(encoded, toy)
        index.compact()
    assert_right(encoded, toy)
    assert sum(shard.rows for shard in entry_of(encoded).shards) == 80
    held = {path.name for path in (encoded / "parts" / entry_of(encoded).id).iterdir()}
    assert held == {"shared", *(shard.segment for shard in entry_of(encoded).shards)}


def test_a_part_of_an_empty_index_fills_with_it(
    tmp_path: Path, toy: ModuleType, make_documents: Documents, monkeypatch: Any
) -> None:
    monkeypatch.setattr("tamis.indexer.writer.open_encoder", lambda address: toy.ToyEncoder())
    path = tmp_path / "empty"
    with tamis.Index.create(path):
        add_part(path, toy.ToyEncoder())
    with tamis.open(path) as index:
        index.add(make_documents(20))
    assert_right(path, toy)


def test_a_changed_model_is_refused(
    encoded: Path, toy: ModuleType, make_documents: Documents, monkeypatch: Any
) -> None:
    add_part(encoded, toy.ToyEncoder())
    monkeypatch.setattr("tamis.indexer.writer.open_encoder", lambda address: toy.ToyEncoder(seed=1))
    before = newest_manifest(encoded).generation
    with tamis.open(encoded) as index, pytest.raises(FingerprintError, match="fingerprint"):
        index.add(make_documents(5, prefix="x"))
    assert newest_manifest(encoded).generation == before


def test_dropped_parts_leave_nothing(encoded: Path, toy: ModuleType) -> None:
    add_part(encoded, toy.ToyEncoder())
    add_part(encoded, toy.ToyEncoder(seed=2), "other")
    with tamis.open(encoded) as index:
        index.drop_part("toy")
        assert index.models() == {"other": toy.ADDRESS}
        with pytest.raises(MissingResourceError, match="no part 'toy'"):
            index.part("toy")
        with pytest.raises(MissingResourceError, match="can be dropped: other"):
            index.drop_part("nothing")
        with pytest.raises(UsageError, match="index's own"):
            index.drop_part("terms")
    assert len(list((encoded / "parts").iterdir())) == 2  # terms and other


def test_a_readers_generation_keeps_its_part(encoded: Path, toy: ModuleType) -> None:
    add_part(encoded, toy.ToyEncoder())
    with tamis.open(encoded) as reader:
        with tamis.open(encoded) as index:
            index.drop_part("toy")
        assert reader.part("toy").vectors_of(np.array([3])).shape == (1, 8)


def test_verify_finds_a_flipped_byte(encoded: Path, toy: ModuleType) -> None:
    entry = add_part(encoded, toy.ToyEncoder())
    for path in sorted(entry.folder(encoded).rglob("*.*")):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
        with tamis.open(encoded) as index:
            assert any(path.name in problem for problem in index.verify().problems), path
        data[len(data) // 2] ^= 4
        path.write_bytes(data)


def test_half_precision_is_kept_rounded(encoded: Path, toy: ModuleType) -> None:
    for store, error in (("float16", 2.0**-11), ("bfloat16", 2.0**-8)):
        add_part(encoded, toy.ToyEncoder(), store, store=store)
        have, want = stored(encoded, store), expected(encoded, toy.ToyEncoder())
        for doc_id, vector in want.items():
            np.testing.assert_allclose(have[doc_id], vector, rtol=error, atol=1e-6)
