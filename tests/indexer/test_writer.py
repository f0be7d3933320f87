"""Create, add, upsert, delete, compact: what the index holds afterwards, and what the reports say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tamis
from tamis.data.document import Document
from tamis.errors import DataError, OutputExistsError, UnknownNameError, UsageError
from tamis.events import Advanced, CommitStep, Event, Finished, Started, Warned
from tamis.indexer import jobs, writer
from tamis.indexer.commit import STEPS


def make(path: Path, *groups: Any, **options: Any) -> tamis.Index:
    index = tamis.Index.create(path, **options)
    for documents in groups:
        index.add(documents)
    return index


def found(index: tamis.Index, query: str) -> list[str]:
    return sorted(hit.id for hit in index.search(query, k=1000))


# -- layout of segments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pipeline", ["bm25", "ql", "bm25?prf=rm3", "bm25?prf=rocchio", "bm25?ties=docid"])
def test_rankings_do_not_depend_on_chunks_or_adds(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_documents: Callable[..., Any],
    rankings: Callable[..., Any],
    pipeline: str,
) -> None:
    documents = make_documents(140)
    whole = make(tmp_path / "whole", documents)
    monkeypatch.setattr(jobs, "CHUNK_DOCUMENTS", 20)
    seven = make(tmp_path / "seven", documents)
    adds = make(tmp_path / "adds", documents[:1], documents[1:50], documents[50:130], documents[130:])
    assert [len(i.manifest.segments) for i in (whole, seven, adds)] == [1, 7, 9]
    expected = rankings(whole, (pipeline,))
    assert sum(map(len, expected.values())) > 150
    assert rankings(seven, (pipeline,)) == expected
    assert rankings(adds, (pipeline,)) == expected
    adds.compact()
    assert len(adds.manifest.segments) == 1
    assert rankings(adds, (pipeline,)) == expected
    for index in (whole, seven, adds):
        index.close()


def test_chunks_are_cut_by_characters_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "CHUNK_CHARACTERS", 1000)
    documents = [{"id": f"d{i}", "text": "x" * 100, "more": "y" * 400} for i in range(10)]
    with make(tmp_path / "index", documents) as index:
        assert [segment.rows for segment in index.manifest.segments] == [2] * 5


def test_many_threads_make_the_same_index(
    tmp_path: Path, make_documents: Callable[..., Any], rankings: Callable[..., Any], small_chunks: int
) -> None:
    documents = make_documents(200)
    with make(tmp_path / "one", documents, threads=1) as one, make(tmp_path / "four", documents, threads=4) as four:
        assert rankings(one) == rankings(four)
        assert [s.id for s in one.manifest.segments] == [s.id for s in four.manifest.segments]


# -- duplicates, blanks, odd ids ---------------------------------------------------------------------------------------


def test_the_first_of_duplicate_ids_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "CHUNK_DOCUMENTS", 3)
    events: list[Event] = []
    documents = [("a", "first"), ("b", "x"), ("a", "second")]  # within a chunk
    documents += [("c", "x"), ("b", "third"), ("d", "x")]  # across chunks
    documents += [("a", "x4"), ("b", "x4"), ("c", "x4")]  # a chunk of nothing else
    documents += [("e", "x"), ("e", "fifth"), ("a", "sixth")]
    documents += [("d", "x7")]  # a last chunk of nothing else
    with tamis.Index.create(tmp_path / "index", listener=events.append) as index:
        report = index.add({"id": doc_id, "text": text} for doc_id, text in documents)
        assert (report.documents, report.rows, report.duplicates) == (5, 5, 8)
        assert report.duplicate_ids == ("a", "b", "a", "b", "c")
        assert index.manifest.counts["duplicates"] == 8
        assert len(index) == 5
        assert index.document("a").text == "first"
        assert found(index, "second third fifth sixth x4 x7") == []
        assert found(index, "x") == ["b", "c", "d", "e"]
    warnings = [event for event in events if isinstance(event, Warned)]
    assert [w.code for w in warnings] == ["duplicate-ids"]
    assert "first 'a'" in warnings[0].message


def test_duplicates_of_documents_that_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "CHUNK_DOCUMENTS", 2)
    with tamis.Index.create(tmp_path / "index", passages="tokens:2/2") as index:
        report = index.add({"id": i, "text": f"{t} b c"} for i, t in [("a", "x"), ("b", "x"), ("a", "y"), ("b", "z")])
        assert (report.documents, report.rows, report.duplicates, report.duplicate_ids) == (2, 4, 2, ("a", "b"))
        assert found(index, "x") == ["a#0", "b#0"]


def test_an_id_that_the_index_holds_is_replaced(tmp_path: Path) -> None:
    with make(tmp_path / "index", [{"id": "a", "text": "old"}, {"id": "b", "text": "old"}]) as index:
        report = index.add([{"id": "b", "text": "new"}, {"id": "c", "text": "new"}])
        assert (report.documents, report.replaced, report.duplicates) == (2, 1, 0)
        assert found(index, "old") == ["a"]
        assert found(index, "new") == ["b", "c"]
        assert index.document("b").text == "new"
        assert index.documents.rows(["a", "b", "c"]).tolist() == [0, 2, 3]
        assert (len(index), index.manifest.rows, index.manifest.deleted) == (3, 4, 1)
        index.compact()
        assert index.documents.rows(["a", "b", "c"]).tolist() == [0, 2, 3]
        assert (len(index), index.manifest.rows, index.manifest.deleted) == (3, 3, 0)
        assert found(index, "old new") == ["a", "b", "c"]


def test_blank_documents_are_counted_and_found_by_id_only(tmp_path: Path) -> None:
    documents = [
        {"id": "blank", "text": ""},
        {"id": "white", "text": " \n\t ", "title": " "},
        {"id": "title", "title": "sieve", "text": ""},
        {"id": "full", "text": "sieve"},
    ]
    with tamis.Index.create(tmp_path / "index") as index:
        report = index.add(documents)
        assert (report.documents, report.empty) == (4, 2)
        assert index.inspect()["empty_documents"] == 2
        assert index.document("blank").text == ""
        assert index.document("white").text == " \n\t "
        assert found(index, "sieve") == ["full", "title"]
        assert found(index, "blank white") == []
        index.delete(["full"])
        index.compact()
        assert index.inspect()["empty_documents"] == 2
        assert index.delete(["blank", "white"]).rows == 2


def test_ten_megabytes_in_one_document(tmp_path: Path) -> None:
    text = " ".join(f"word{i % 5000}" for i in range(1_200_000)) + " needle"
    assert len(text) > 10_000_000
    with make(tmp_path / "index", [{"id": "small", "text": "hay"}, {"id": "big", "text": text}]) as index:
        assert found(index, "needle") == ["big"]
        assert index.document("big").text == text


def test_odd_ids(tmp_path: Path) -> None:
    odd = [
        "é",
        "e\u0301",
        "日本",
        "😀",
        "a#0",
        "#0",
        "x\u200by",
        "\u202eabc",
        "\x00",
        "0",
        "-1",
        "*",
        'a"b\\c',
        "ﬁ",
        "\U0010ffff",
    ]
    with make(tmp_path / "index", [{"id": i, "text": f"common u{n}"} for n, i in enumerate(odd)]) as index:
        assert found(index, "common") == sorted(odd)
        for number, doc_id in enumerate(odd):
            assert [hit.id for hit in index.search(f"u{number}")] == [doc_id]
            assert index.document(doc_id).id == doc_id
        docid = [hit.id for hit in index.search("common", k=100, pipeline="bm25?ties=docid")]
        assert docid == sorted(odd, key=lambda text: text.encode())
        report = index.delete([*odd[:7], "not there"])
        assert (report.rows, report.missing) == (7, ("not there",))
        assert found(index, "common") == sorted(odd[7:])


def test_bad_documents_are_refused_and_nothing_is_added(tmp_path: Path) -> None:
    with make(tmp_path / "index", [{"id": "a", "text": "x"}]) as index:
        for bad in (
            {"text": "no id"},
            {"id": "with space", "text": "x"},
            {"id": "b", "text": 5},
            Document("\ud800", "x"),
            Document("c", "x", "", {"k": object()}),
        ):
            with pytest.raises(DataError):
                index.add([{"id": "good", "text": "x"}, bad])
            assert index.refresh() == 1
            assert len(index) == 1
        assert index.inspect()["unfinished_jobs"] == []
        index.gc()
        assert len(list((index.path / "segments").iterdir())) == 1


@pytest.mark.parametrize("documents", [[], iter(())])
def test_no_documents_is_an_error(tmp_path: Path, documents: Any) -> None:
    with tamis.Index.create(tmp_path / "index") as index, pytest.raises(DataError, match="the corpus is empty"):
        index.add(documents)


# -- delete ------------------------------------------------------------------------------------------------------------


def test_a_delete_leaves_the_survivors_scores_and_compact_gives_those_of_a_fresh_build(
    tmp_path: Path, make_documents: Callable[..., Any], rankings: Callable[..., Any], small_chunks: int
) -> None:
    documents = make_documents(150)
    gone = {f"d{i}" for i in range(150) if i % 4 == 0 or 40 <= i < 80}  # a whole chunk among them
    with make(tmp_path / "index", documents) as index:
        full = rankings(index)
        report = index.delete([*gone, "d0"])
        assert (report.rows, report.missing) == (len(gone), ())
        survivors = {q: [(i, s) for i, s in hits if i not in gone] for q, hits in full.items()}
        assert rankings(index) == survivors
        assert index.documents.rows(["d0", "d1"]).tolist() == [-1, 1]
        index.add(make_documents(30, seed=4, prefix="n"))  # Lucene may not merge the deleted documents away now
        index.delete([f"n{i}" for i in range(30)])
        index.compact()
        assert index.documents.rows(["d1", "d149", "n1"]).tolist() == [1, 149, -1]
        fresh = make(tmp_path / "fresh", [d for d in documents if d["id"] not in gone])
        assert rankings(index) == rankings(fresh)
        assert index.manifest.parts["lucene"]["fields"] == fresh.manifest.parts["lucene"]["fields"]
        assert index.verify().ok
        fresh.close()


def test_lucene_merges_no_deleted_document_away_before_compact(tmp_path: Path) -> None:
    """A merge would drop deleted documents and with them the frequencies that scores rest on."""
    with make(tmp_path / "index", [{"id": f"d{i}", "text": "x y"} for i in range(20)]) as index:
        index.delete([f"d{i}" for i in range(15)])
        for step in range(12):  # more segments than Lucene merges at a time
            index.add([{"id": f"n{step}", "text": "x y"}])
        assert index.manifest.parts["lucene"]["fields"]["contents"] == {"docs": 32, "tokens": 64, "postings": 64}
        assert index.part("lucene").reader.max_doc == index.manifest.rows == 32
        index.compact()
        assert index.manifest.parts["lucene"]["fields"]["contents"] == {"docs": 17, "tokens": 34, "postings": 34}


def test_deleting_what_is_not_there_makes_no_generation(built: tamis.Index) -> None:
    report = built.delete(["x", "y", "x"])
    assert (report.generation, report.rows, report.missing) == (1, 0, ("x", "y"))
    assert built.delete(["d1"]).generation == 2
    again = built.delete(["d1"])
    assert (again.generation, again.rows, again.missing) == (2, 0, ("d1",))


def test_everything_deleted_and_compacted(built: tamis.Index, make_documents: Callable[..., Any]) -> None:
    assert built.delete([f"d{i}" for i in range(120)]).rows == 120
    assert len(built) == 0
    assert built.search("w1") == []
    built.compact()
    assert (len(built), built.manifest.rows, built.manifest.next_row) == (0, 0, 120)
    assert built.search("w1") == []
    assert built.verify().ok
    built.add(make_documents(5, prefix="n"))
    assert built.documents.rows(["n0", "n4", "d0"]).tolist() == [120, 124, -1]
    assert built.search("w1")


def test_compacting_a_compact_index_does_nothing(built: tamis.Index) -> None:
    built.compact()  # small segments: 90 rows at most here
    generation = built.generation
    assert generation == 2
    assert [segment.rows for segment in built.manifest.segments] == [80, 40]


# -- passages ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def passages(tmp_path: Path) -> Iterator[tamis.Index]:
    documents = [{"id": f"d{i}", "title": f"t{i}", "text": " ".join(f"p{i}x{j}" for j in range(i))} for i in range(8)]
    with make(tmp_path / "index", documents, passages="tokens:2/2") as index:
        yield index


def test_passages_belong_to_documents(passages: tamis.Index) -> None:
    assert len(passages) == 1 + 1 + 1 + 2 + 2 + 3 + 3 + 4
    assert passages.inspect()["documents"] == 8
    rows = passages.documents.document_rows(["d7", "d0", "no", "d3"])
    assert [r.tolist() for r in rows] == [[13, 14, 15, 16], [0], [], [3, 4]]
    assert passages.documents.ids(rows[0]) == ["d7#0", "d7#1", "d7#2", "d7#3"]
    assert [hit.id for hit in passages.search("p7x4")] == ["d7#2"]
    assert found(passages, "t5") == ["d5#0", "d5#1", "d5#2"]
    assert passages.document("d7#3").text == "p7x6"


def test_a_document_goes_and_comes_with_all_its_passages(passages: tamis.Index) -> None:
    assert passages.delete(["d3", "d6", "d5#1"]).missing == ("d5#1",)
    assert len(passages) == 12
    assert found(passages, "p3x0 p3x2 p6x1 t6") == []
    passages.compact()
    rows = passages.documents.document_rows(["d3", "d4", "d5", "d7"])
    assert [r.tolist() for r in rows] == [[], [5, 6], [7, 8, 9], [13, 14, 15, 16]]
    report = passages.add([{"id": "d4", "text": "fresh"}])
    assert (report.replaced, report.rows) == (2, 1)
    assert found(passages, "p4x0 p4x3") == []
    assert passages.documents.document_rows(["d4"])[0].tolist() == [17]
    assert passages.verify().ok


# -- settings ----------------------------------------------------------------------------------------------------------


def test_named_fields_are_searched_with_their_weights(tmp_path: Path) -> None:
    documents = [
        {"id": "title", "title": "sieve", "text": "drum kit"},
        {"id": "body", "title": "drum kit", "text": "sieve"},
        {"id": "tags", "text": "x y", "tags": ["sieve", "kit"]},
    ]
    with make(tmp_path / "index", documents, fields="title^3,body,tags^2") as index:
        assert index.search("sieve")[0].id == "title"
        assert found(index, "sieve") == ["body", "tags", "title"]
        assert [hit.id for hit in index.search("sieve", pipeline="bm25?fields=body")] == ["body"]
        alone = {f: index.search("sieve", pipeline=f"bm25?fields={f}")[0].score for f in ("title", "body", "tags")}
        both = {hit.id: hit.score for hit in index.search("sieve", pipeline="bm25?fields=title^3%2Cbody")}
        assert both["title"] == pytest.approx(3 * alone["title"], rel=1e-6)
        assert both["body"] == pytest.approx(alone["body"], rel=1e-6)
        with pytest.raises(UnknownNameError, match="unknown index field 'titel': did you mean 'title'"):
            index.search("sieve", pipeline="bm25?fields=titel")


def test_analyzers(tmp_path: Path) -> None:
    documents = [{"id": "a", "text": "The buses ARE running"}]
    for analyzer, hits, misses in (
        ("english", ["buses", "runs"], ["the", "are", "bus"]),
        ("english:none", ["buses", "running"], ["bus", "the"]),
        ("english:krovetz", ["bus"], ["the"]),
        ("whitespace", ["The", "ARE", "buses"], ["the", "are", "bus"]),
        ("de", ["buses"], ["nothing"]),
    ):
        with make(tmp_path / analyzer.replace(":", "-"), documents, analyzer=analyzer) as index:
            for word in hits:
                assert found(index, word) == ["a"], (analyzer, word)
            for word in misses:
                assert found(index, word) == [], (analyzer, word)
    with pytest.raises(UnknownNameError, match="unknown analyzer 'englsh': did you mean 'english'"):
        tamis.Index.create(tmp_path / "bad", analyzer="englsh")
    assert not (tmp_path / "bad").exists()
    with pytest.raises(UsageError, match="field 'id' is reserved"):
        tamis.Index.create(tmp_path / "bad", fields="id,body")


# -- create ------------------------------------------------------------------------------------------------------------


def test_create_never_takes_what_is_there(tmp_path: Path, built: tamis.Index) -> None:
    with pytest.raises(OutputExistsError, match="is an index already: choose another folder, or pass --force"):
        tamis.Index.create(built.path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError, match="is a file"):
            tamis.Index.create(tmp_path / "file", overwrite=overwrite)
        with pytest.raises(OutputExistsError, match="is not empty and not a Tamis index, so it is not replaced"):
            tamis.Index.create(tmp_path / "folder", overwrite=overwrite)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    tamis.Index.create(tmp_path / "empty").close()
    tamis.Index.create(tmp_path / "deep" / "er").close()


def test_overwrite_replaces_an_index(built: tamis.Index) -> None:
    identity = built.manifest.index
    with tamis.Index.create(built.path, overwrite=True) as fresh:
        assert fresh.manifest.index != identity
        assert (fresh.generation, len(fresh)) == (0, 0)
        assert {p.name for p in fresh.path.iterdir()} == {"FORMAT", "LOCK", "manifests", "segments", "work"}
        fresh.add([{"id": "x", "text": "x"}])
        assert fresh.verify().ok


class Stop(BaseException):
    """Stands for a kill: nothing catches it, and nothing is tidied up after it."""


@pytest.mark.parametrize("instant", range(12))
def test_a_creation_cut_short_is_completed_by_the_same_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: int
) -> None:
    """A copy of the folder as it stood at every file system call of `create` is what a kill would have left."""
    import os
    import shutil

    path, copies = tmp_path / "index", []

    def snap(name: str) -> None:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = real(*args, **kwargs)
            if path.is_dir() and not busy:
                busy.append(1)
                copies.append(shutil.copytree(path, tmp_path / f"copy{len(copies)}"))
                busy.clear()
            return answer

        monkeypatch.setattr(os, name, call)

    busy: list[int] = []
    with monkeypatch.context() as monkeypatch:
        for name in ("mkdir", "fsync", "replace", "link"):
            snap(name)
        tamis.Index.create(path).close()
    if instant >= len(copies):
        assert instant > 8
        return
    copy = copies[instant]
    if (copy / "manifests" / "000000000000.json").exists():
        tamis.open(copy).close()
    else:
        tamis.Index.create(copy).close()
    with tamis.open(copy) as index:
        index.add([{"id": "x", "text": "x"}])
        assert index.verify().ok


# -- events and resuming -----------------------------------------------------------------------------------------------


def test_events_of_an_add(tmp_path: Path, make_documents: Callable[..., Any], small_chunks: int) -> None:
    events: list[Event] = []
    with tamis.Index.create(tmp_path / "index", listener=events.append) as index:
        index.add(make_documents(100), total=100)
    assert events[0] == Started("documents", 100, "docs")
    for stage in ("documents", "lucene"):
        assert sum(e.count for e in events if isinstance(e, Advanced) and e.stage == stage) == 100
        assert Finished(stage) in events
    assert [e.step for e in events if isinstance(e, CommitStep)] == list(STEPS)
    assert events[-1] == Finished("commit")


def test_the_same_corpus_again_changes_nothing(built: tamis.Index, make_documents: Callable[..., Any]) -> None:
    documents = make_documents(50, prefix="n")
    first = built.add(documents, fingerprint={"corpus": 1})
    again = built.add(iter(documents), fingerprint={"corpus": 1})
    assert not first.unchanged
    assert again.unchanged
    assert again.generation == built.generation == 2
    assert [source["fingerprint"] for source in built.inspect()["sources"]] == [{}, {"corpus": 1}]
    built.delete(["n1"])  # now it would bring something back
    assert not built.add(documents, fingerprint={"corpus": 1}).unchanged
    assert built.document("n1")


def test_a_failed_job_is_resumed_from_its_receipts(
    tmp_path: Path, make_documents: Callable[..., Any], small_chunks: int, rankings: Callable[..., Any]
) -> None:
    documents = make_documents(200)
    taken: list[str] = []

    def failing(stop: int) -> Iterator[dict[str, Any]]:
        for number, document in enumerate(documents):
            if number == stop:
                raise RuntimeError("the corpus broke off")
            taken.append(document["id"])
            yield document

    with tamis.Index.create(tmp_path / "index") as index:
        with pytest.raises(RuntimeError):
            index.add(failing(130), fingerprint={"c": 1})
        assert len(index.inspect()["unfinished_jobs"]) == 1
        kept = {p.name: (p / "docs.arrow").stat().st_ino for p in (index.path / "segments").iterdir()}
        assert len(kept) == 3
        report = index.add(failing(1000), fingerprint={"c": 1})
        assert report.documents == 200
        now = {p.name: (p / "docs.arrow").stat().st_ino for p in (index.path / "segments").iterdir()}
        assert kept.items() <= now.items()
        with make(tmp_path / "whole", documents) as whole:
            assert rankings(index) == rankings(whole)
        assert index.inspect()["unfinished_jobs"] == []


def test_a_job_without_fingerprint_leaves_nothing_when_it_fails(built: tamis.Index) -> None:
    def failing() -> Iterator[dict[str, Any]]:
        yield from ({"id": f"n{i}", "text": "x"} for i in range(100))
        raise RuntimeError("the corpus broke off")

    before = {str(p) for p in built.path.rglob("*")}
    with pytest.raises(RuntimeError):
        built.add(failing())
    assert {str(p) for p in built.path.rglob("*")} == before


def test_a_corpus_that_shrank_meanwhile_is_told(
    tmp_path: Path, make_documents: Callable[..., Any], small_chunks: int
) -> None:
    documents = make_documents(200)

    def failing() -> Iterator[dict[str, Any]]:
        yield from documents[:130]
        raise RuntimeError

    with tamis.Index.create(tmp_path / "index") as index:
        with pytest.raises(RuntimeError):
            index.add(failing(), fingerprint={"c": 1})
        with pytest.raises(DataError, match="the corpus ended after 70 documents, but 80 were read before"):
            index.add(documents[:70], fingerprint={"c": 1})


def test_reading_faults_of_the_corpus_are_not_blamed_on_the_index(tmp_path: Path) -> None:
    def unreadable() -> Iterator[dict[str, Any]]:
        yield {"id": "a", "text": "x"}
        raise PermissionError(13, "Permission denied", "corpus.jsonl")

    with tamis.Index.create(tmp_path / "index") as index, pytest.raises(PermissionError, match=r"corpus.jsonl"):
        index.add(unreadable())


def test_inspect(built: tamis.Index) -> None:
    built.delete(["d1"])
    said = built.inspect()
    assert said["documents"] == said["rows"] == said["next_row"] == 120
    assert (said["live_rows"], said["deleted_rows"], said["segments"], said["generation"]) == (119, 1, 3, 2)
    assert said["settings"] == {
        "analyzer": "english",
        "fields": {"contents": 1.0},
        "passages": None,
        "filterable": ["year"],
    }
    assert said["bytes"]["total"] == sum(entry.bytes for entry in built.manifest.files.values())
    assert said["counts"] == {"documents": 120, "rows": 120, "empty": 1, "duplicates": 0, "replaced": 0, "deleted": 1}
    assert said["generations_on_disk"] == [2]


def test_no_absolute_path_lies_in_an_index(built: tamis.Index) -> None:
    needle = str(built.path).encode()
    for path in built.path.rglob("*"):
        assert not path.is_file() or needle not in path.read_bytes()
    moved = built.path.rename(built.path.with_name("moved"))
    with tamis.open(moved) as index:
        assert index.search("w1")
        assert index.verify().ok


def test_rows_are_lucene_positions_for_good(built: tamis.Index, make_documents: Callable[..., Any]) -> None:
    """Lucene's stored row and id at every document number are those of the row tables, after merges and compaction."""
    for step in range(13):  # more adds than the merge factor
        built.add(make_documents(5, seed=step, prefix=f"s{step}-"))
        if step == 11:
            built.delete([f"d{i}" for i in range(0, 120, 7)])
            built.compact()
    reader = built.part("lucene").reader
    assert reader.max_doc == built.manifest.rows
    positions = np.arange(reader.max_doc)
    rows = built.documents.rows_at(positions)
    assert (np.diff(rows) > 0).all()
    assert built.documents.ids(rows) == [reader.stored(int(doc), "id") for doc in positions]
    assert _doc_values(reader, "row") == rows.tolist()
    assert writer.newest_manifest(built.path) == built.manifest


def _doc_values(reader: Any, field: str) -> list[int]:
    from tamis.indexer.lucene.jvm import java

    found: list[int] = []
    for leaf in reader._reader.leaves():
        values = java("org.apache.lucene.index.DocValues").getNumeric(leaf.reader(), field)
        for doc in range(int(leaf.reader().maxDoc())):
            assert values.advanceExact(doc)
            found.append(int(values.longValue()))
    return found
