"""Postings out of Lucene: the same as Lucene's own, term by term."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tamis
from tamis.events import Event
from tamis.families import open_model
from tamis.indexer.impact.shard import FILES, ImpactShard, ShardEntry
from tamis.indexer.layout import PARTS
from tamis.indexer.lucene import export
from tamis.indexer.lucene.jvm import java
from tamis.retrievers.similarity import decoded_lengths
from tamis.retrievers.terms import TermRetriever


@pytest.fixture
def index(tmp_path: Path) -> Any:
    """Two Lucene segments: the deletion between the commits keeps them apart."""
    with tamis.Index.create(tmp_path / "index", fields="title,body", threads=2) as made:
        made.add(
            {"id": str(i), "title": f"Drum {i % 3}", "text": "sieve " * (1 + i % 5) + f"cook{i} purée"}
            for i in range(40)
        )
        made.delete(["7"])
        made.add({"id": f"n{i}", "title": "", "text": "cook1 tamis " * (1 + 30 * i)} for i in range(10))
        yield made


def shards(index: tamis.Index) -> list[ImpactShard]:
    entry = index.manifest.parts["terms"]
    return [
        ImpactShard(index.path / PARTS / entry["id"] / shard["id"], ShardEntry(**shard)) for shard in entry["shards"]
    ]


def lucene_postings(leaf: Any, field: str) -> dict[bytes, list[tuple[int, int, int]]]:
    """(document, frequency, length byte) of every term, read posting by posting through the bridge."""
    norms = leaf.getNormValues(field)
    lengths = {}
    while norms is not None and int(norms.nextDoc()) < leaf.maxDoc():
        lengths[int(norms.docID())] = int(norms.longValue()) & 0xFF
    found = {}
    terms = leaf.terms(field).iterator() if leaf.terms(field) is not None else None
    while terms is not None and (term := terms.next()) is not None:
        postings = terms.postings(None)
        rows = []
        while int(postings.nextDoc()) < leaf.maxDoc():
            doc = int(postings.docID())
            rows.append((doc, int(postings.freq()), lengths[doc]))
        found[str(term.utf8ToString()).encode()] = rows
    return found


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_every_posting(index: tamis.Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Whatever the size of the blocks in which Java hands them over."""
    monkeypatch.setattr(export, "BLOCK_POSTINGS", block)
    monkeypatch.setattr(export, "BLOCK_TERMS", block)
    lucene = index.manifest.parts["lucene"]
    fields = sorted(lucene["fields"])
    entries = export.export_commit(index.path / "lucene", lucene["segments_file"], fields, tmp_path / "part")
    assert [e.to_json() for e in entries] == index.manifest.parts["terms"]["shards"]
    assert len(entries) == 2
    leaves = [leaf.reader() for leaf in index.part("lucene").reader._reader.leaves()]
    for entry, leaf in zip(entries, leaves, strict=True):
        shard = ImpactShard(tmp_path / "part" / entry.id, entry)
        shard.postings.validate()
        wanted = {
            bytes([n]) + term: rows for n, f in enumerate(fields) for term, rows in lucene_postings(leaf, f).items()
        }
        keys = [shard.vocabulary[i] for i in range(len(shard.vocabulary))]
        assert keys == sorted(wanted)
        frequencies, lengths = shard.pairs
        for number, key in enumerate(keys):
            codes = shard.postings.codes[shard.postings.starts[number] : shard.postings.starts[number + 1]]
            docs = shard.postings.documents(number, number + 1)
            found = list(zip(docs.tolist(), frequencies[codes].tolist(), lengths[codes].tolist(), strict=True))
            assert found == wanted[key], key
            assert shard.term_frequency(number) == sum(tf for _, tf, _ in wanted[key])
    assert max(decoded_lengths()[lengths]) > 40


def test_a_commit_exports_only_what_is_new(index: tamis.Index) -> None:
    before = {shard.folder: (shard.folder / FILES[0]).stat().st_mtime_ns for shard in shards(index)}
    index.delete(["3"])
    assert {shard.folder: (shard.folder / FILES[0]).stat().st_mtime_ns for shard in shards(index)} == before
    index.add([{"id": "new", "text": "sieve"}])
    after = [shard.folder for shard in shards(index)]
    assert after[:2] == list(before)
    assert len(after) == 3
    index.compact()
    index.gc()
    assert len(shards(index)) == 1
    assert not any(folder.exists() for folder in before)


def test_wide_codes(tmp_path: Path) -> None:
    """More than 256 pairs of frequency and length take two bytes each; fewer take one."""
    with tamis.Index.create(tmp_path / "index") as index:
        index.add({"id": str(i), "text": "drum " * i + "sieve " * (i % 7)} for i in range(1, 300))
        (shard,) = shards(index)
        assert shard.entry.codes > 256
        assert shard.postings.codes is not None
        assert shard.postings.codes.dtype == np.uint16
        ours, theirs = (index.rank("drum sieve", 400, pipeline=f"bm25?engine={e}") for e in ("kernel", "lucene"))
        assert ours.rows.tolist() == theirs.rows.tolist()
        assert ours.scores.tobytes() == theirs.scores.tobytes()
        assert java("tamis.Postings$Pairs").LIMIT == 1 << 16


def test_more_pairs_than_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there is no impact part, the user is told, and Lucene answers."""

    def refuse(*_: Any) -> Any:
        raise export.TooManyPairsError("more than 65,536 pairs of frequency and length")

    monkeypatch.setattr(export, "export_commit", refuse)
    heard: list[Event] = []
    with tamis.Index.create(tmp_path / "index", listener=heard.append) as index:
        index.add([{"id": "1", "text": "drum"}])
        assert set(index.manifest.parts) == {"lucene"}
        assert [hit.id for hit in index.search("drum")] == ["1"]
        assert not isinstance(open_model(index, "bm25"), TermRetriever)
    assert any("searches of this index run in Lucene" in str(event) for event in heard)


def test_blocks_are_whole_terms(index: tamis.Index) -> None:
    """A postings list longer than a block makes the block as long as itself."""
    leaf = index.part("lucene").reader._reader.leaves()[0].reader()
    reader = java("tamis.Postings")(leaf, "contents", java("tamis.Postings$Pairs")())
    blocks = [len(docs) for docs, _ in export._blocks(reader, 40)]
    assert sum(blocks) == int(leaf.terms("contents").getSumDocFreq())
    small = export._buffer(4), export._buffer(2)
    reader.rewind()
    taken = list(
        itertools.takewhile(bool, (int(reader.nextPostings(small[0].java, small[1].java)) for _ in range(999)))
    )
    assert set(taken) <= {1}  # and it stops at the first term that does not fit
    assert len(taken) < sum(blocks)
