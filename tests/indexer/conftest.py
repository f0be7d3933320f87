"""Small generated corpora, and indexes over them in several chunks."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tamis
from tamis.indexer import compaction, jobs

CHUNK = 40
QUERIES = {"q1": "w1 w5 w9", "q2": "w2 w30 w31 w2", "q3": "w40", "q4": "w77 w120 w3", "q5": "nothing", "q6": "title w0"}


def generate(count: int, seed: int = 1, prefix: str = "d") -> list[dict[str, Any]]:
    """Documents of Zipf-like text with titles and metadata; every tenth is short, one is blank."""
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(200)]
    weights = [1 / (i + 1) for i in range(200)]
    documents: list[dict[str, Any]] = []
    for i in range(count):
        length = 3 if i % 10 == 0 else rng.randrange(5, 60)
        text = " ".join(rng.choices(words, weights, k=length)) if i != 7 else ""
        title = f"title w{i % 50}" if i % 3 == 0 and i != 7 else ""
        documents.append({"id": f"{prefix}{i}", "title": title, "text": text, "year": 1990 + i % 30, "é": ["ü", i]})
    return documents


@pytest.fixture(scope="session")
def make_documents() -> Callable[..., list[dict[str, Any]]]:
    return generate


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Chunks of 40 documents, compacted segments of 90 rows."""
    monkeypatch.setattr(jobs, "CHUNK_DOCUMENTS", CHUNK)
    monkeypatch.setattr(compaction, "SEGMENT_ROWS", 90)
    return CHUNK


def rankings_of(index: tamis.Index, pipelines: tuple[str, ...] = ("bm25", "ql")) -> dict[str, list[tuple[str, float]]]:
    """(id, score) lists of the fixed queries, in rank order."""
    found = {}
    for pipeline in pipelines:
        ranking = index.rank(QUERIES, 1000, pipeline=pipeline)
        for query_id in ranking.query_ids:
            found[f"{pipeline} {query_id}"] = [(hit.id, hit.score) for hit in ranking[query_id]]
    return found


@pytest.fixture(scope="session")
def rankings() -> Callable[..., dict[str, list[tuple[str, float]]]]:
    return rankings_of


@pytest.fixture
def built(tmp_path: Path, small_chunks: int) -> Iterator[tamis.Index]:
    """120 documents in three chunks, as generation 1."""
    with tamis.Index.create(tmp_path / "index", filterable=("year",)) as index:
        index.add(generate(120))
        yield index
