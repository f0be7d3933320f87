"""tamis.data.irds: a tiny dataset of our own in the real registry of ir_datasets; no network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tamis.data import Document, open_corpus, read_qrels, read_topics
from tamis.data.irds import DatasetCorpus
from tamis.errors import BadRecordError, DataError, MissingResourceError, UsageError


class Author(NamedTuple):
    name: str
    photo: bytes


class Article(NamedTuple):
    doc_id: str
    title: str
    text: str
    marked_up_doc: bytes
    authors: tuple[Author, ...]
    year: int


class Abstract(NamedTuple):
    doc_id: str
    title: str
    abstract: str

    def default_text(self) -> str:
        return f"{self.title} {self.abstract}"


class Topic(NamedTuple):
    query_id: str
    title: str
    description: str

    def default_text(self) -> str:
        return self.title


DOCS = [
    Article("d1", "Sieves", "A tamis\ud800 sifts.", b"<x>", (Author("Ada", b"\0"),), 1999),
    Abstract("d2", "Drums", "Skin over wood."),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    import os

    os.environ.setdefault("IR_DATASETS_HOME", str(tmp_path_factory.mktemp("irds")))
    import ir_datasets
    from ir_datasets.datasets.base import Dataset
    from ir_datasets.formats import BaseDocs, BaseQrels, BaseQueries, TrecQrel

    class Docs(BaseDocs):
        records: tuple[Any, ...] = tuple(DOCS)

        def docs_iter(self) -> Iterator[Any]:
            return iter(self.records)

        def docs_cls(self) -> type:
            return Article

    class BrokenDocs(Docs):
        def docs_iter(self) -> Iterator[Any]:
            yield DOCS[0]
            raise ConnectionError("no route to host")

    class BadIds(Docs):
        records = (DOCS[0]._replace(doc_id="white space"), DOCS[1])

    class Topics(BaseQueries):
        def queries_iter(self) -> Iterator[Any]:
            yield Topic("q1", " sieve ", "What is a drum sieve?")
            yield Topic("q2", "drum", "What is a drum?")

        def queries_cls(self) -> type:
            return Topic

    class Judgements(BaseQrels):
        def qrels_iter(self) -> Iterator[Any]:
            yield TrecQrel("q1", "d1", 2, "0")

        def qrels_defs(self) -> dict[int, str]:
            return {}

    name = "tamis-test/tiny"
    made = {
        name: Dataset(Docs(), Topics(), Judgements()),
        f"{name}/broken": Dataset(BrokenDocs()),
        f"{name}/bad-ids": Dataset(BadIds()),
    }
    for key, value in made.items():
        ir_datasets.registry.register(key, value)
    yield name
    for key in made:
        del ir_datasets.registry._registered[key]


def test_documents_are_mapped(dataset: str) -> None:
    corpus = open_corpus(dataset)
    assert list(corpus) == [
        Document("d1", "A tamis\ufffd sifts.", "Sieves", {"authors": [{"name": "Ada"}], "year": 1999}),
        Document("d2", "Skin over wood.", "Drums", {"abstract": "Skin over wood."}),
    ]
    assert corpus.report.documents == 2
    assert (corpus.name, corpus.count()) == (dataset, None)
    assert corpus.fingerprint() == {"kind": "ir_datasets", "name": dataset, "documents": None}


def test_a_path_wins_over_a_dataset(dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / dataset
    folder.mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "mine", "text": "x"}')
    assert [document.id for document in open_corpus(dataset)] == ["mine"]


@pytest.mark.usefixtures("dataset")
def test_the_size_comes_from_the_catalogue_without_fetching() -> None:
    corpus = open_corpus("beir/scifact")
    assert isinstance(corpus, DatasetCorpus)
    assert corpus.count() == 5183


def test_topics_and_their_fields(dataset: str) -> None:
    queries = read_topics(dataset)
    assert (queries.ids, queries.texts) == (("q1", "q2"), ("sieve", "drum"))
    assert read_topics(dataset, field="desc").texts[1] == "What is a drum?"
    assert read_topics(dataset, field="title+description").texts[1] == "drum What is a drum?"
    with pytest.raises(BadRecordError, match="tiny:1: the topic has no field 'narr'; it has desc, title"):
        read_topics(dataset, field="narr")


def test_qrels(dataset: str) -> None:
    assert list(read_qrels(dataset).triples()) == [("q1", "d1", 2)]


def test_a_misspelt_id_names_its_neighbours(dataset: str) -> None:
    for read in (open_corpus, read_topics, read_qrels):
        with pytest.raises(
            MissingResourceError, match=r"'tamis-test/tinny' is neither a path .* did you mean tamis-test/tiny"
        ):
            read("tamis-test/tinny")
    with pytest.raises(MissingResourceError, match="did you mean beir/scifact"):
        open_corpus("beir/scifac")


def test_what_a_dataset_does_not_provide(dataset: str) -> None:
    with pytest.raises(DataError, match="'tamis-test/tiny/broken' provides no queries"):
        read_topics(f"{dataset}/broken")


def test_a_failed_download_is_a_typed_error(dataset: str) -> None:
    stream = iter(open_corpus(f"{dataset}/broken"))
    assert next(stream).id == "d1"
    with pytest.raises(
        MissingResourceError, match="could not provide 'tamis-test/tiny/broken': no route to host; check the net"
    ):
        next(stream)


def test_ids_with_white_space_stop_or_are_skipped(dataset: str) -> None:
    with pytest.raises(BadRecordError, match="bad-ids:1: document id 'white space'"):
        list(open_corpus(f"{dataset}/bad-ids"))
    corpus = open_corpus(f"{dataset}/bad-ids", on_bad_line="skip")
    assert [document.id for document in corpus] == ["d2"]
    assert corpus.report.skipped == 1


def test_no_id_field_for_a_dataset(dataset: str) -> None:
    with pytest.raises(UsageError, match="an ir_datasets corpus states its ids"):
        open_corpus(dataset, id_field="pmid")
