"""A toy index whose scores can be worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import tamis

TOY = {
    "d1": "information retrieval information",
    "d2": "retrieval of neural models",
    "d3": "neural information",
}


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tamis.Index]:
    """Three documents, split at white space only."""
    with tamis.Index.create(tmp_path_factory.mktemp("toy") / "index", analyzer="whitespace", threads=2) as index:
        index.add({"id": doc_id, "text": text} for doc_id, text in TOY.items())
        yield index


@pytest.fixture(scope="session")
def english(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tamis.Index]:
    """Forty documents of English with several fields, a few of them deleted."""
    nouns = ["sieve", "drum", "cook", "purée", "index", "query", "archive", "library", "engine", "tamis"]
    documents = [
        {
            "id": f"d{i}",
            "title": f"The {nouns[i % 10]}",
            "text": " ".join(
                f"{nouns[(i * j) % 10]} {nouns[(i + j * j) % 7]} number{i % 5}" for j in range(1, 2 + i % 6)
            ),
        }
        for i in range(40)
    ]
    with tamis.Index.create(tmp_path_factory.mktemp("english") / "index", threads=2) as index:
        index.add(documents[:25])
        index.add(documents[25:])
        index.delete(["d3", "d30", "d31"])
        yield index
