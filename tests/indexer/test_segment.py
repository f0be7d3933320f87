"""Document segments: what is written is what is read, whatever the text."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tamis
from tamis.data.document import Document
from tamis.data.passages import Chunker
from tamis.errors import CorruptIndexError, DataError
from tamis.indexer import segment as segment_module
from tamis.indexer.layout import Settings
from tamis.indexer.segment import Segment, SegmentWriter, hash_ids, metadata_of, size_of, typed_column

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(lambda t: t.split() == [t])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
documents = st.lists(
    st.builds(Document, ids, texts, texts, st.dictionaries(texts, values, max_size=3)),
    min_size=1,
    max_size=20,
    unique_by=lambda document: document.id,
)


def write(folder: Path, docs: list[Document], settings: Settings | None = None, first_row: int = 0) -> Segment:
    writer = SegmentWriter(folder, settings or Settings())
    for row, document in enumerate(docs, first_row):
        writer.add(row, [document])
    writer.finish()
    return Segment(folder)


@settings(max_examples=80, deadline=None)
@given(documents, st.randoms(use_true_random=False))
def test_any_document_round_trips(docs: list[Document], rng: Any) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        segment = write(folder / "s", docs)
        assert len(segment) == len(docs)
        order = list(range(len(docs))) + rng.choices(range(len(docs)), k=5)  # any order, repeated
        rng.shuffle(order)
        positions = np.array(order, np.int64)
        assert segment.strings("id", positions) == [docs[i].id for i in order]
        assert segment.strings("title", positions) == [docs[i].title for i in order]
        assert segment.strings("text", positions) == [docs[i].text for i in order]
        assert [metadata_of(t) for t in segment.strings("metadata", positions)] == [docs[i].metadata for i in order]
        wanted = [docs[i].id for i in order] + ["no such id"]
        assert segment.find(wanted, hash_ids(wanted)).tolist() == [*order, -1]
    finally:
        shutil.rmtree(folder)


def test_documents_spanning_many_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_module, "BATCH_ROWS", 3)
    docs = [Document(f"d{i}", f"text {i} é" * (i % 4), "" if i % 2 else f"t{i}", {"n": i}) for i in range(20)]
    segment = write(tmp_path / "s", docs)
    assert len(list(segment.batches())) == 7
    positions = np.array([19, 0, 3, 2, 19], np.int64)
    assert segment.strings("text", positions) == [docs[i].text for i in (19, 0, 3, 2, 19)]
    assert segment.table()["title"].to_pylist() == [d.title for d in docs]
    assert segment.first_rows.tolist() == list(range(20))


def test_a_batch_is_cut_by_characters_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_module, "BATCH_BYTES", 100)
    docs = [Document(f"d{i}", "x" * 30, "", {"m": "y" * 30}) for i in range(9)]
    assert [b.num_rows for b in write(tmp_path / "s", docs).batches()] == [1] * 9
    bare = [Document(f"d{i}", "x" * 30) for i in range(9)]
    assert [b.num_rows for b in write(tmp_path / "t", bare).batches()] == [3, 3, 3]


def test_a_documents_passages_stay_in_one_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_module, "BATCH_ROWS", 4)
    writer = SegmentWriter(tmp_path / "s", Settings(passages="tokens:2/2"))
    row = 0
    for number, words in enumerate((5, 2, 6, 12, 1)):
        passages = Chunker(2, 2).split(Document(f"d{number}", " ".join("abcdefghijkl"[:words])))
        writer.add(row, passages)
        row += len(passages)
    writer.finish()
    segment = Segment(tmp_path / "s")
    assert segment.first_rows.tolist() == [0, 0, 0, 3, 4, 4, 4, 7, 7, 7, 7, 7, 7, 13]
    assert [batch.num_rows for batch in segment.batches()] == [4, 3, 6, 1]
    assert segment.strings("id", np.array([2, 3, 12])) == ["d0#2", "d1#0", "d3#5"]


def test_ids_whose_hashes_collide_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_module, "hash_ids", lambda ids: np.zeros(len(ids), np.uint64))
    segment = write(tmp_path / "s", [Document(f"d{i}", "x") for i in range(5)])
    wanted = ["d3", "d0", "e", "d4"]
    assert segment.find(wanted, np.zeros(4, np.uint64)).tolist() == [3, 0, -1, 4]


@pytest.mark.parametrize(
    ("given_values", "kind", "stored"),
    [
        ([1, None, 2], pa.int64(), [1, None, 2]),
        ([-(1 << 63), (1 << 63) - 1], pa.int64(), [-(1 << 63), (1 << 63) - 1]),
        ([1, 2.5, None], pa.float64(), [1.0, 2.5, None]),
        ([1 << 70], pa.large_string(), [str(1 << 70)]),
        ([(1 << 53) + 1, 0.5], pa.large_string(), [str((1 << 53) + 1), "0.5"]),
        ([10**400, 1], pa.large_string(), [str(10**400), "1"]),
        ([True, None, False], pa.bool_(), [True, None, False]),
        (["a", None], pa.string(), ["a", None]),
        ([["a", "b"], None, []], pa.list_(pa.string()), [["a", "b"], None, []]),
        ([["a", 1], None, []], pa.large_string(), ["a 1", None, ""]),
        ([1, "a", None], pa.large_string(), ["1", "a", None]),
        ([True, 1], pa.large_string(), ["True", "1"]),
        ([["a", "b"], "c"], pa.large_string(), ["a b", "c"]),
        ([{"a": 1}], pa.large_string(), ["{'a': 1}"]),
        ([None, None], pa.null(), [None, None]),
        ([], pa.null(), []),
    ],
)
def test_filterable_columns_are_typed(given_values: list[Any], kind: Any, stored: list[Any]) -> None:
    column = typed_column(given_values)
    assert column.type == kind
    assert column.to_pylist() == stored


def test_filterable_columns_lie_beside_the_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_module, "BATCH_ROWS", 2)
    docs = [Document(f"d{i}", "x", "", {"year": 2000 + i, "lang": ["en"]} if i != 3 else {}) for i in range(5)]
    table = write(tmp_path / "s", docs, Settings(filterable=("year", "lang", "absent"))).table()
    assert table["filter:year"].to_pylist() == [2000, 2001, 2002, None, 2004]
    assert table["filter:lang"].to_pylist() == [["en"], ["en"], ["en"], None, ["en"]]
    assert table["filter:absent"].to_pylist() == [None] * 5


def test_segments_that_typed_a_column_differently_are_compacted(tmp_path: Path) -> None:
    kinds: list[list[Any]] = [[1, 2], [None, None], ["a", None], [2.5, 3], [["x", "y"], True]]
    with tamis.Index.create(tmp_path / "index", filterable=("k", "n")) as index:
        for part, given_values in enumerate(kinds):
            index.add(
                {"id": f"{part}-{i}", "text": "x", "k": v, "n": i if part else 0.5} for i, v in enumerate(given_values)
            )
        types = [segment.table().schema.field("filter:k").type for segment in index.documents.segments()]
        assert types == [pa.int64(), pa.null(), pa.string(), pa.float64(), pa.large_string()]
        index.delete(["0-1"])
        index.compact()
        (segment,) = index.documents.segments()
        assert segment.table()["filter:k"].to_pylist() == ["1", None, None, "a", None, "2.5", "3", "x y", "True"]
        assert segment.table()["filter:n"].to_pylist() == [0.5, 0, 1, 0, 1, 0, 1, 0, 1]
        assert index.document("3-1").metadata == {"k": 3, "n": 1}
        assert index.verify().ok


def test_lone_surrogates_become_replacement_characters(tmp_path: Path) -> None:
    metadata = {"k": "\udfff", "l": ["\ud800"], "f": "\ud8ff"}
    docs = [Document("a", "x \ud800 y", "\udcff", metadata), Document("b", "plain")]
    chosen = Settings(fields=(("contents", 1.0), ("f", 1.0)), filterable=("k", "l"))
    segment = write(tmp_path / "s", docs, chosen)
    assert segment.strings("text", np.array([0, 1])) == ["x \ufffd y", "plain"]
    assert segment.strings("title", np.array([0])) == ["\ufffd"]
    assert metadata_of(segment.strings("metadata", np.array([0]))[0]) == {"k": "\ufffd", "l": ["\ufffd"], "f": "\ufffd"}
    assert segment.table()["filter:l"].to_pylist() == [["\ufffd"], None]
    assert segment.table()["field:f"].to_pylist() == ["\ufffd", ""]


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", float("nan"), float("inf")])
def test_metadata_that_is_no_json_is_refused_by_name(tmp_path: Path, value: Any) -> None:
    with pytest.raises(DataError, match="document 'bad': its metadata are no JSON values"):
        write(tmp_path / "s", [Document("good", "x"), Document("bad", "x", "", {"k": value})])


def test_an_id_too_long_for_lucene_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "s", [Document("é" * 16_000, "x")])
    with pytest.raises(DataError, match=r"document id 'é+'… has 32,002 bytes; at most 32,000 are supported"):
        write(tmp_path / "t", [Document("é" * 16_001, "x")])


def test_size_counts_what_memory_holds() -> None:
    document = Document("d", "x" * 100, "y" * 10, {"k": "z" * 50, "l": ["a" * 20, {"m": "b" * 30}]})
    assert 200 < size_of(document) < 240
    assert size_of(Document("d", "x" * 100)) == 100


def test_damage_to_the_buffer_places_is_named(tmp_path: Path) -> None:
    segment = write(tmp_path / "s", [Document("a", "x")])
    (segment.folder / "layout.json").write_text("{")
    with pytest.raises(CorruptIndexError, match=r"layout.json is damaged"):
        Segment(segment.folder).strings("id", np.array([0]))


def test_equal_documents_make_equal_files(tmp_path: Path, make_documents: Callable[..., Any]) -> None:
    docs = [Document(d["id"], d["text"], d["title"], {"year": d["year"]}) for d in make_documents(30)]
    first, second = write(tmp_path / "a", docs), write(tmp_path / "b", docs)
    for path in first.folder.iterdir():
        assert path.read_bytes() == (second.folder / path.name).read_bytes()
