"""A smaller index ranks what is left exactly as a fresh build of it does, in every part; and what was pruned stays out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tamis
from tamis.encoders.base import ModelIdentity, Passage, SparseVectors, Tick, TokenVectors, no_tick
from tamis.errors import DataError, OutputExistsError, UsageError
from tamis.indexer.pruned import pruned_ids
from tamis.indexer.sizes import sizes_of
from tamis.pruning.cut import prune_index, prune_to_size
from tamis.pruning.scoring import quality_part, score_index
from tamis.pruning.selection import Candidates

Make = Callable[..., list[dict[str, Any]]]


def rankings(index: tamis.Index, topics: dict[str, str], pipeline: str) -> dict[str, list[tuple[str, float]]]:
    ranking = index.rank(topics, 1000, pipeline=pipeline)
    return {query: [(hit.id, hit.score) for hit in ranking[query]] for query in topics}


def lowest(index: tamis.Index, share: float, model: str = "random", **protection: Any) -> Any:
    score_index(index, model)
    return Candidates(index.documents, quality_part(index, model), **protection).lowest(share)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_ranks_as_a_fresh_build(
    index: tamis.Index, tmp_path: Path, make_documents: Make, topics: dict[str, str], share: float
) -> None:
    index.delete(["d50", "d51"])  # rows that are deleted already are gone too
    drop = lowest(index, share)
    gone = set(index.documents.ids(drop))
    before = rankings(index, topics, "bm25")
    cut = prune_index(index, tmp_path / "small", drop)
    assert (cut.rows, cut.kept) == (len(drop), 118 - len(drop))
    left = [doc for doc in make_documents(120) if doc["id"] not in gone and doc["id"] not in ("d50", "d51")]
    with tamis.open(tmp_path / "small") as small, tamis.Index.create(tmp_path / "fresh") as fresh:
        fresh.add(left)
        for pipeline in ("bm25", "bm25?k1=2&b=0.1", "ql", "bm25?prf=rm3"):
            assert rankings(small, topics, pipeline) == rankings(fresh, topics, pipeline)
        assert rankings(small, topics, "bm25") != before
        assert small.verify().ok
        assert small.manifest.index != index.manifest.index
        assert sorted(gone) == pruned_ids(small.path, small.manifest)
        record = small.manifest.pruned["history"][-1]
        assert record["origin"]["index"] == index.manifest.index
        assert record["rows"] == len(drop)
    assert rankings(index, topics, "bm25") == before
    assert index.verify().ok  # the links did no harm


def test_vectors_are_those_of_a_fresh_build_and_nothing_is_encoded(
    tmp_path: Path, make_documents: Make, topics: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tamis.Index.create(tmp_path / "index") as index, tamis.Index.create(tmp_path / "fresh") as fresh:
        index.add(make_documents(60))
        index.add_part("dense:minilm")
        drop = lowest(index, 0.3)
        fresh.add([doc for doc in make_documents(60) if doc["id"] not in set(index.documents.ids(drop))])
        fresh.add_part("dense:minilm")
        with monkeypatch.context() as patch:
            from tamis.encoders.dense import SentenceEncoder

            patch.setattr(SentenceEncoder, "encode_passages", None)
            cut = prune_index(index, tmp_path / "small", drop)
        with tamis.open(tmp_path / "small") as small:
            found, want = (np.concatenate(one.part("dense:minilm").vectors) for one in (small, fresh))
            np.testing.assert_allclose(found, want, atol=1e-6)
            mine, theirs = (rankings(one, topics, "rrf(bm25, dense:minilm)") for one in (small, fresh))
            assert mine == theirs
        for part in ("dense:minilm",):
            assert cut.after[part] / cut.before[part] == pytest.approx(0.7, abs=0.12)
        assert cut.after["dense:minilm (shared)"] == cut.before["dense:minilm (shared)"]
        assert cut.after["total"] == sum(size for name, size in cut.after.items() if name != "total")


class Words:
    """An encoder of both kinds: a word is a dimension, and a vector a token."""

    identity = ModelIdentity("toy:words", {}, {"family": "toy"})
    dimensions = 64

    def names(self) -> None:
        return None

    def _numbers(self, passage: Passage) -> list[int]:
        return [int(word[1:]) if word[0] == "w" else 60 for word in passage.joined.split()]

    def encode_passages(self, passages: Sequence[Passage], *, tick: Tick = no_tick) -> Any:
        if self.as_tokens:
            numbers = [self._numbers(passage) for passage in passages]
            table = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
            vectors = table[[number for one in numbers for number in one]]
            return TokenVectors(vectors, np.array([len(one) for one in numbers], np.int64), 0)
        rows = [np.unique(self._numbers(passage), return_counts=True) for passage in passages]
        offsets = np.cumsum([0, *(len(dims) for dims, _ in rows)])
        dims, counts = (np.concatenate([row[i] for row in rows]) for i in (0, 1))
        return SparseVectors(offsets, dims.astype(np.int32), counts.astype(np.float32), 0)

    def __init__(self, *, as_tokens: bool) -> None:
        self.as_tokens = as_tokens


def test_token_vectors_and_sparse_weights_are_cut_too(index: tamis.Index, tmp_path: Path) -> None:
    from tamis.indexer.writer import Writer

    with Writer(index.path) as writer:
        writer.add_part("sparse", "sparse", Words(as_tokens=False), {"top": None, "min_weight": 0.0, "bits": 8})
        writer.add_part("plain", "multivector", Words(as_tokens=True), {"store": "float32", "bits": None})
        writer.add_part("coded", "multivector", Words(as_tokens=True), {"store": "float32", "bits": 2})
    index.refresh()
    cut = prune_index(index, tmp_path / "small", lowest(index, 0.3))
    with tamis.open(tmp_path / "small") as small:
        rows = small.documents.rows_at(np.arange(len(small)))
        for place, row in enumerate(rows.tolist()):
            for name in ("plain", "coded"):
                found, want = small.part(name).tokens_of(place), index.part(name).tokens_of(row)
                assert np.array_equal(found, want)
            (dims, weights), (old_dims, old_weights) = small.part("sparse").row(place), index.part("sparse").row(row)
            assert dims.tolist() == old_dims.tolist()
            assert weights.tolist() == old_weights.tolist()
        assert small.verify().ok
    for name in ("sparse", "plain", "coded"):
        assert cut.after[name] < 0.9 * cut.before[name]


def test_passages_without_their_first(tmp_path: Path, make_documents: Make, topics: dict[str, str]) -> None:
    """Documents are found, grouped, replaced and deleted by their id, whichever of their passages went."""
    with tamis.Index.create(tmp_path / "index", passages="tokens:8/8") as index:
        index.add(make_documents(40, words=50))
        heads = [f"d{i}#0" for i in range(0, 40, 2) if index.documents.rows([f"d{i}#1"])[0] >= 0]
        assert len(heads) > 8
        whole = index.documents.document_rows([heads[0].removesuffix("#0")])[0]
        others = {d["id"] for d in make_documents(40)}
        prune_index(index, tmp_path / "small", np.sort(index.documents.rows(heads)))
    with tamis.open(tmp_path / "small") as small:
        assert pruned_ids(small.path, small.manifest) == []  # every document has a passage left
        assert pruned_ids(small.path, small.manifest, "rows") == sorted(heads)
        doc = heads[0].removesuffix("#0")
        rows = small.documents.document_rows([doc])[0]
        assert rows.tolist() == whole[1:].tolist()
        ranking = small.rank(topics, 1000, pipeline="bm25 % 1000 >> maxp")
        assert {hit.id for query in topics for hit in ranking[query]} <= others
        assert ranking.space.rows([doc, "d1", "nobody"]).tolist() == [
            rows[0],
            small.documents.rows(["d1#0"])[0],
            -1,
        ]
        assert small.document(doc).id == f"{doc}#1"
        report = small.add([{"id": doc, "text": "w1"}])
        assert report.replaced == len(rows)
        assert len(small.documents.document_rows([doc])[0]) == 1
        other = heads[1].removesuffix("#0")
        assert small.delete([other]).rows == len(whole) - 1 or small.delete([other]).missing
        assert not len(small.documents.document_rows([other])[0])


def test_pruned_documents_stay_out_until_they_are_let_in(
    index: tamis.Index, tmp_path: Path, make_documents: Make
) -> None:
    drop = lowest(index, 0.25)
    gone = index.documents.ids(drop)
    prune_index(index, tmp_path / "small", drop)
    with tamis.open(tmp_path / "small") as small:
        report = small.add([*make_documents(120)[:40], {"id": "new", "text": "w1"}])
        here = [doc_id for doc_id in gone if int(doc_id[1:]) < 40]
        assert report.blocked == len(here) > 3
        assert report.documents == 41 - len(here)
        assert len(small) == 91
        with pytest.raises(DataError, match="all 1 documents were pruned"):
            small.add([{"id": here[0], "text": "again"}])
        small.compact()
        assert pruned_ids(small.path, small.manifest) == sorted(gone)
        from tamis.indexer.writer import Writer

        with Writer(small.path) as writer:
            writer.unblock(here[:1])
        small.refresh()
        assert pruned_ids(small.path, small.manifest) == sorted(set(gone) - {here[0]})
        assert small.add([{"id": here[0], "text": "again"}]).documents == 1
        assert small.verify().ok
        with Writer(small.path) as writer:
            writer.unblock()
        small.refresh()
        assert pruned_ids(small.path, small.manifest) == pruned_ids(small.path, small.manifest, "rows") == []
        small.add(make_documents(120))
        assert len(small) == 121


def test_a_second_cut_adds_to_the_list(index: tamis.Index, tmp_path: Path) -> None:
    prune_index(index, tmp_path / "one", lowest(index, 0.2))
    with tamis.open(tmp_path / "one") as one:
        prune_index(one, tmp_path / "two", lowest(one, 0.5))
    with tamis.open(tmp_path / "two") as two:
        assert len(two) == 48
        assert len(pruned_ids(two.path, two.manifest)) == 72
        assert [record["rows"] for record in two.manifest.pruned["history"]] == [24, 48]


def test_a_size_to_reach(index: tamis.Index, tmp_path: Path) -> None:
    score_index(index, "random")
    found = Candidates(index.documents, quality_part(index, "random"))
    size = sizes_of(index.manifest)["total"]
    with pytest.raises(UsageError, match="no more than"):
        prune_to_size(index, tmp_path / "small", size, found.first)
    target = int(0.8 * size)
    cut = prune_to_size(index, tmp_path / "small", target, found.first)
    assert 0.9 * target <= cut.after["total"] <= target
    with tamis.open(tmp_path / "small") as small:
        assert small.manifest.pruned["history"][-1]["target_size"] == target
    with pytest.raises(UsageError, match="cannot be made as small as 10 bytes"):
        prune_to_size(index, tmp_path / "tiny", 10, found.first)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "small"]


def test_places_that_are_taken(index: tamis.Index, tmp_path: Path) -> None:
    drop = lowest(index, 0.5)
    with pytest.raises(OutputExistsError, match="is an index already"):
        prune_index(index, index.path, drop)
    with pytest.raises(OutputExistsError, match="is the index that is pruned"):
        prune_index(index, index.path, drop, overwrite=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(OutputExistsError, match="is no index"):
        prune_index(index, tmp_path / "full", drop, overwrite=True)
    with pytest.raises(UsageError, match="120 of 120 rows would go"):
        prune_index(index, tmp_path / "none", np.arange(120))
    prune_index(index, tmp_path / "small", drop)
    prune_index(index, tmp_path / "small", drop[:10], overwrite=True)
    with tamis.open(tmp_path / "small") as small:
        assert len(small) == 110


def test_a_killed_cut_leaves_nothing(index: tamis.Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tamis.indexer.writer import Writer

    drop = lowest(index, 0.5)
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "compact", lambda self: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            prune_index(index, tmp_path / "small", drop)
    assert not (tmp_path / "small").exists()
    assert prune_index(index, tmp_path / "small", drop).kept == 60
