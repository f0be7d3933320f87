"""`Index`: opening, reading from threads, refreshing, closing, and bare Lucene indexes."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tamis
from tamis.errors import (
    DataError,
    IndexDataError,
    MissingResourceError,
    PrerequisiteError,
    UnknownNameError,
    UsageError,
)
from tamis.indexer.lucene.jvm import java
from tamis.ranking import DocumentSpace, Queries

DOCUMENTS = [
    {"id": "a", "title": "Tamis", "text": "a drum sieve for purées", "year": 2020},
    {"id": "b", "title": "", "text": "a coarse sieve, and a fine sieve", "year": 2021},
    {"id": "c", "title": "Drums", "text": "drum and bass", "tags": ["music"]},
    {"id": "d", "title": "", "text": "nothing of the kind"},
]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tamis.Index]:
    with tamis.Index.create(tmp_path / "index", threads=2) as made:
        made.add(DOCUMENTS)
        yield made


@pytest.fixture(scope="module")
def anserini_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that Anserini's own IndexCollection made of the same documents."""
    import sys

    from tamis.indexer.lucene.jvm import find_jar, find_jvm

    folder = tmp_path_factory.mktemp("anserini")
    (folder / "corpus").mkdir()
    lines = [
        f'{{"id": "{d["id"]}", "contents": "{" ".join(filter(None, [d["title"], d["text"]]))}"}}' for d in DOCUMENTS
    ]
    (folder / "corpus" / "docs.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    home = find_jvm().parent.parent.parent
    program = home / "bin" / ("java.exe" if sys.platform == "win32" else "java")
    if not program.exists():
        pytest.skip(f"no java program in {home}")
    arguments = "-collection JsonCollection -generator DefaultLuceneDocumentGenerator -threads 1 -storePositions -storeDocvectors"
    command = [
        str(program),
        "-Xmx300m",
        "-cp",
        str(find_jar()),
        "io.anserini.index.IndexCollection",
        *arguments.split(),
    ]
    command += ["-storeRaw", "-input", str(folder / "corpus"), "-index", str(folder / "index")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder / "index"


def test_search_gives_hits_with_their_documents(index: tamis.Index) -> None:
    hits = index.search("drum sieve", k=3)
    assert [(hit.rank, hit.id, hit.row) for hit in hits] == [(1, "a", 0), (2, "c", 2), (3, "b", 1)]
    assert hits[0].score > hits[1].score > hits[2].score > 0
    assert (hits[0].title, hits[0].text, hits[0].metadata) == ("Tamis", "a drum sieve for purées", {"year": 2020})
    assert hits[1].metadata == {"tags": ["music"]}
    assert index.search("drum sieve", k=1) == hits[:1]
    assert index.search("zeppelin") == []
    assert index.search("") == []


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "10", None])
def test_k_must_be_a_whole_number_of_at_least_one(index: tamis.Index, k: Any) -> None:
    with pytest.raises(UsageError, match=r"k=.*: the number of results must be a whole number of at least 1"):
        index.search("drum", k=k)


def test_rank_takes_queries_in_every_form(index: tamis.Index) -> None:
    one = index.rank("drum")
    assert one.query_ids == ("1",)
    batch = index.rank({"x": "drum", "y": "sieve", "z": "zeppelin"}, 2)
    assert batch.query_ids == ("x", "y", "z")
    assert [len(batch[q]) for q in batch.query_ids] == [2, 2, 0]
    assert index.rank([("x", "drum")])["x"] == one["1"] == batch["x"]
    assert index.rank(Queries(("x",), ("drum",)))["x"] == one["1"]
    assert len(index.rank({})) == 0
    assert one.space is index.documents
    assert isinstance(index.documents, DocumentSpace)


def test_document(index: tamis.Index) -> None:
    document = index.document("a")
    assert (document.id, document.title, document.text) == ("a", "Tamis", "a drum sieve for purées")
    assert document.metadata == {"year": 2020}
    with pytest.raises(MissingResourceError, match="no document 'z' in") as caught:
        index.document("z")
    assert caught.value.exit_code == 4
    index.delete(["a"])
    with pytest.raises(MissingResourceError):
        index.document("a")


def test_rows_out_of_the_space_are_refused(index: tamis.Index) -> None:
    for rows in ([4], [-1]):
        with pytest.raises(DataError, match="rows outside 0 … 3 were asked for"):
            index.documents.ids(np.array(rows))
    index.delete(["b"])
    index.compact()
    with pytest.raises(DataError, match="a row was asked for that this generation does not hold"):
        index.documents.ids(np.array([0, 1]))
    assert index.documents.ids(np.array([3, 0, 3])) == ["d", "a", "d"]
    assert index.documents.texts(np.array([2, 3])) == ["Drums drum and bass", "nothing of the kind"]


def test_eight_threads_find_what_one_finds(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(40)]
    documents = [
        {"id": f"d{i}", "text": " ".join(words[j] for j in range(40) if (i * (j + 3)) % 7 < 2)} for i in range(300)
    ]
    with tamis.Index.create(tmp_path / "index") as index:
        index.add(documents)
    queries = [" ".join(words[(i * j) % 40] for j in range(1, 5)) for i in range(160)]
    with tamis.open(index.path, threads=1) as alone:
        expected = [alone.search(query, k=20) for query in queries]
        batch = alone.rank(dict(enumerate_ids(queries)), 20)
    assert sum(map(len, expected)) > 1000
    with tamis.open(index.path) as shared, ThreadPoolExecutor(8) as pool:  # nothing is open yet: they race for that too
        assert list(pool.map(lambda query: shared.search(query, k=20), queries)) == expected
    with tamis.open(index.path, threads=8) as many:
        ranking = many.rank(dict(enumerate_ids(queries)), 20)
        assert np.array_equal(ranking.rows, batch.rows)
        assert np.array_equal(ranking.scores, batch.scores)


def enumerate_ids(queries: list[str]) -> Iterator[tuple[str, str]]:
    return ((str(i), query) for i, query in enumerate(queries))


def test_eight_threads_open_one_reader(index: tamis.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    from tamis.indexer.lucene import part as part_module

    made = []
    real = part_module.LuceneReader
    monkeypatch.setattr(part_module, "LuceneReader", lambda *args: made.append(real(*args)) or made[-1])
    with ThreadPoolExecutor(8) as pool:
        readers = set(pool.map(lambda _: id(index.part("lucene").reader), range(8)))
    assert len(made) == len(readers) == 1


def test_refresh_moves_to_the_newest_generation(index: tamis.Index) -> None:
    with tamis.open(index.path) as reader:
        index.add([{"id": "e", "text": "drum drum drum"}])
        assert reader.generation == 1
        assert "e" not in {hit.id for hit in reader.search("drum")}
        key = reader.documents.key
        assert reader.refresh() == 2
        assert "e" in {hit.id for hit in reader.search("drum")}
        assert reader.documents.key != key
        assert reader.refresh() == 2


def test_a_closed_index_says_so(index: tamis.Index) -> None:
    index.close()
    index.close()
    for use in (
        lambda: index.search("drum"),
        lambda: index.rank({"1": "drum"}),
        lambda: index.part("lucene"),
        lambda: index.manifest,
        lambda: index.generation,
        lambda: index.inspect(),
        lambda: index.add([{"id": "e", "text": "x"}]),
        lambda: index.delete(["a"]),
        lambda: index.compact(),
        lambda: index.gc(),
    ):
        with pytest.raises(UsageError, match=r"the index is closed; open it again with tamis\.open"):
            use()
    assert repr(index) == f"<tamis.Index {str(index.path)!r}, closed>"
    assert index.refresh() == 1
    assert index.search("drum")
    assert repr(index) == f"<tamis.Index {str(index.path)!r}, generation 1, 4 rows>"


def test_opening_what_is_not_there_or_is_something_else(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match=r"no index at .*absent: build one with  tamis index CORPUS -o"):
        tamis.open(tmp_path / "absent")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IndexDataError, match=r"is not a Tamis index \(it holds no FORMAT file\)"):
        tamis.open(tmp_path / "folder")
    with pytest.raises(UsageError, match="threads=0: at least 1 is needed"):
        tamis.open(tmp_path / "folder", threads=0)


def test_an_empty_index_says_what_to_do(tmp_path: Path) -> None:
    with tamis.Index.create(tmp_path / "index") as index:
        assert (len(index), index.generation) == (0, 0)
        with pytest.raises(MissingResourceError, match="has no part 'lucene': it is empty: add documents first"):
            index.search("drum")
        (index.path / "work" / "1-x" / "receipts").mkdir(parents=True)
        with pytest.raises(
            MissingResourceError, match="its indexing was interrupted: run the same tamis index command"
        ):
            index.search("drum")
        assert index.verify().ok
        index.compact()


def test_a_part_that_is_not_there(index: tamis.Index) -> None:
    with pytest.raises(MissingResourceError, match="has no part 'dense': it holds lucene"):
        index.part("dense")
    with pytest.raises(MissingResourceError, match="has no part 'dense'"):
        index.search("drum", pipeline="bm25:dense")


def test_a_misspelt_family_or_option(index: tamis.Index) -> None:
    with pytest.raises(UnknownNameError, match="unknown family 'bm52': did you mean 'bm25'"):
        index.search("drum", pipeline="bm52")
    with pytest.raises(UnknownNameError, match="unknown option of bm25 'k2': did you mean 'k1'"):
        index.search("drum", pipeline="bm25?k2=1")


def test_a_forked_child_is_told_to_spawn(index: tamis.Index) -> None:
    index.search("drum", pipeline="bm25?engine=lucene")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def use() -> None:
        try:
            tamis.open(index.path).search("drum", pipeline="bm25?engine=lucene")
        except PrerequisiteError as error:
            answers.put(str(error))

    child = context.Process(target=use)
    child.start()
    said = answers.get(timeout=30)
    child.join(30)
    assert "does not survive a fork" in said
    assert "'spawn'" in said


def test_relative_paths_follow_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java keeps the working folder that it was started in; Python may have moved on."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with tamis.Index.create("index") as index:
            index.add([{"id": name, "text": "drum"}])
            assert [hit.id for hit in index.search("drum")] == [name]
        assert (tmp_path / name / "index" / "FORMAT").exists()


# -- bare Lucene indexes -----------------------------------------------------------------------------------------------


def test_our_lucene_folder_is_an_ordinary_index(index: tamis.Index) -> None:
    index.delete(["d"])
    expected = [(hit.id, hit.score) for hit in index.search("drum sieve")]
    with tamis.open(index.path / "lucene") as bare:
        assert [(hit.id, hit.score) for hit in bare.search("drum sieve")] == expected
        assert len(bare) == 3
        check_read_only(bare)
        assert bare.documents.rows(["c", "z", "a", "d"]).tolist() == [2, -1, 0, -1]
        with pytest.raises(MissingResourceError, match="no document 'z'"):
            bare.document("z")
    alone = index.path.parent / "alone"
    shutil.copytree(index.path / "lucene", alone)
    with tamis.open(alone) as bare:
        assert [hit.id for hit in bare.search("drum", pipeline="bm25?prf=rm3")]


def check_read_only(bare: tamis.Index) -> None:
    for change in (lambda: bare.add(DOCUMENTS), lambda: bare.delete(["a"]), bare.compact, bare.gc):
        with pytest.raises(UsageError, match="was not made by Tamis and is read-only"):
            change()
    with pytest.raises(UsageError, match="it has no manifest"):
        bare.inspect()
    with pytest.raises(MissingResourceError, match="its only part is 'lucene'"):
        bare.part("dense")
    assert bare.generation == 0


@pytest.mark.slow
def test_anserinis_index_is_searched_as_ours(index: tamis.Index, anserini_made: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in anserini_made.iterdir()}
    with tamis.open(anserini_made) as bare:
        assert len(bare) == 4
        for query in ("drum sieve", "purées", "nothing", "zeppelin"):
            for pipeline in ("bm25", "ql", "bm25?prf=rm3", "bm25?prf=rocchio"):
                ours = index.search(query, pipeline=f"{pipeline}{'&' if '?' in pipeline else '?'}ties=docid")
                theirs = bare.search(query, pipeline=f"{pipeline}{'&' if '?' in pipeline else '?'}ties=docid")
                assert [(hit.id, hit.score) for hit in theirs] == [(hit.id, hit.score) for hit in ours], (
                    query,
                    pipeline,
                )
        assert bare.document("a").text == "Tamis a drum sieve for purées"
        assert bare.search("bass")[0].text == "Drums drum and bass"
        check_read_only(bare)
    assert {path.name: path.stat().st_mtime_ns for path in anserini_made.iterdir()} == before


def test_a_damaged_lucene_index_is_named(index: tamis.Index, tmp_path: Path) -> None:
    bare = shutil.copytree(index.path / "lucene", tmp_path / "bare")
    (newest,) = bare.glob("segments_*")
    newest.write_bytes(newest.read_bytes()[:20])
    with pytest.raises(IndexDataError, match="Lucene cannot read it"):
        tamis.open(bare).search("drum")


def test_a_missing_lucene_commit_is_named(index: tamis.Index) -> None:
    from tamis.indexer.lucene.reader import LuceneReader

    with pytest.raises(IndexDataError, match="Lucene commit segments_99 is missing; the manifest names it"):
        LuceneReader(index.path / "lucene", "segments_99", "english")


def test_the_commit_carries_its_generation(index: tamis.Index) -> None:
    from tamis.indexer.lucene.build import open_directory
    from tamis.indexer.lucene.commits import list_commits

    index.delete(["d"])
    commits = list_commits(open_directory(index.path / "lucene"))
    assert [str(c.getUserData().get("generation")) for c in commits] == ["2"]
    assert str(commits[0].getSegmentsFileName()) == index.manifest.parts["lucene"]["segments_file"]
    assert java("org.apache.lucene.index.DirectoryReader").indexExists(open_directory(index.path / "lucene"))


def test_as_document_takes_what_a_corpus_line_may_hold(make: Callable[..., Any]) -> None:
    document = make({"_id": 7, "contents": "x", "title": None, "k": 1})
    assert (document.id, document.text, document.title, document.metadata) == ("7", "x", "", {"k": 1})
    assert make(document) is document
    with pytest.raises(DataError, match="no id"):
        make({"text": "x"})
    with pytest.raises(DataError, match="lone surrogate"):
        make(tamis.Document("\ud800", "x"))


@pytest.fixture
def make() -> Callable[..., Any]:
    from tamis.engine import as_document

    return as_document


# -- filters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pipeline",
    [
        "bm25",
        "bm25?ties=docid",
        "bm25?fields=body",
        "ql?mu=20",
        "bm25?fields=body&prf=rm3&fb_docs=3",
        "ql?fields=body&prf=rocchio&gamma=0.15&fb_docs=3&fb_depth=9",
    ],
)
def test_a_filtered_search_is_a_search_of_the_allowed_rows(tmp_path: Path, pipeline: str) -> None:
    """Only allowed rows, and k of them: the scores are those of the whole collection, and no list is cut to them."""
    words = ["drum", "sieve", "flour", "cook", "noise"]
    documents = [
        {"id": f"d{i}", "text": " ".join(words[(i * j) % 5] for j in range(1, 3 + i % 4)), "n": i} for i in range(60)
    ]
    with tamis.Index.create(tmp_path / "index", fields="title,body", filterable=("n",), threads=1) as index:
        index.add(documents[:35])
        index.add(documents[35:])
        index.delete(["d50", "d51"])
        text = "n >= 40 and n != 55 or n < 3"
        allowed = {f"d{i}" for i in range(60) if (i >= 40 and i != 55) or i < 3} - {"d50", "d51"}
        for k in (1, 4, 1000):
            hits = index.rank("drum sieve", k, pipeline=pipeline, filter=text)["1"]
            assert {hit.id for hit in hits} <= allowed
            matching = index.rank("drum sieve", 1000, pipeline=pipeline, filter=text)["1"]
            assert len(hits) == min(k, len(matching))
            if "prf" in pipeline:  # feedback learns from allowed documents, so scores are its own
                assert hits == matching[:k]
                continue
            free = [hit for hit in index.rank("drum sieve", 1000, pipeline=pipeline)["1"] if hit.id in allowed]
            assert [(h.id, h.score) for h in hits] == [(h.id, h.score) for h in free[:k]]
        assert index.rank("drum sieve", 5, pipeline=f"rrf({pipeline}, ql)", filter="n > 99")["1"] == []
        found = index.search("drum sieve", 3, pipeline=pipeline, filter=text)
        assert [hit.id for hit in found] == [hit.id for hit in matching[:3]]


def test_filters_follow_the_generation(index: tamis.Index, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keeps none"):
        index.rank("sieve", filter="year > 2000")
    with tamis.Index.create(tmp_path / "kept", filterable=("year", "tags"), threads=1) as kept:
        kept.add(DOCUMENTS)
        assert [hit.id for hit in kept.search("sieve drum", filter="year == 2021 or tags == 'music'")] == ["c", "b"]
        kept.add([{"id": "e", "text": "sieve", "year": 2021}])
        kept.delete(["b"])
        assert [hit.id for hit in kept.search("sieve drum", filter="year == 2021")] == ["e"]
        with pytest.raises(UsageError, match="row filter"):
            kept.search("sieve", pipeline="bm25?engine=lucene", filter="year == 2021")


def test_a_bare_lucene_index_has_nothing_to_filter(anserini_made: Path) -> None:
    with tamis.open(anserini_made) as index, pytest.raises(UsageError, match="bare Lucene index"):
        index.search("sieve", filter="year > 2000")
