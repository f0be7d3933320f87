"""Any sequence of add, upsert, delete and compact against a plain model: what is live, under which row, found by what."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import tamis
from tamis.indexer import compaction, jobs

pytestmark = pytest.mark.slow

UNIVERSE = [f"d{i}" for i in range(9)]


class Sequences(RuleBasedStateMachine):
    """The index, and a dictionary id → (row, body) that says what it must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.index: tamis.Index
        self.live: dict[str, tuple[int, str]] = {}
        self.held: dict[str, str] = {}  # token → body of every version that is not compacted away
        self.next_row = self.version = self.generation = 0

    @initialize()
    def create(self) -> None:
        self.index = tamis.Index.create(self.folder / "index", threads=2)

    @rule(ids=st.lists(st.sampled_from(UNIVERSE), min_size=1, max_size=6), filler=st.integers(0, 9))
    def add(self, ids: list[str], filler: int) -> None:
        documents: list[dict[str, Any]] = []
        for doc_id in ids:
            self.version += 1
            documents.append({"id": doc_id, "text": f"v{self.version} common" + " filler" * filler})
        report = self.index.add(documents)
        taken = {document["id"]: document["text"] for document in reversed(documents)}
        assert report.documents == len(taken)
        assert report.duplicates == len(ids) - len(taken)
        assert report.replaced == len(taken.keys() & self.live.keys())
        for doc_id in dict.fromkeys(ids):
            self.live[doc_id] = (self.next_row, taken[doc_id])
            self.held[taken[doc_id].split()[0]] = taken[doc_id]
            self.next_row += 1
        self.generation += 1

    @rule(ids=st.lists(st.sampled_from(UNIVERSE), max_size=5))
    def delete(self, ids: list[str]) -> None:
        before = self._scores("common")
        report = self.index.delete(ids)
        gone = [doc_id for doc_id in dict.fromkeys(ids) if doc_id in self.live]
        assert report.rows == len(gone)
        assert set(report.missing) == set(ids) - set(gone)
        for doc_id in gone:
            del self.live[doc_id]
        self.generation += bool(gone)
        assert self._scores("common") == {i: s for i, s in before.items() if i not in gone}

    @precondition(lambda self: self.generation > 0)
    @rule()
    def compact(self) -> None:
        some = self.index.manifest.deleted or len(self.index.manifest.segments) > 1
        self.index.compact()
        self.generation += bool(some)
        self.held = {text.split()[0]: text for _, text in sorted(self.live.values())}
        assert self.index.manifest.deleted == 0
        if not self.live:
            return
        with tamis.Index.create(self.folder / f"fresh{self.generation}-{self.version}") as fresh:
            ordered = sorted(self.live.items(), key=lambda item: item[1][0])
            fresh.add({"id": doc_id, "text": text} for doc_id, (_, text) in ordered)
            assert self._scores("common") == {h.id: h.score for h in fresh.search("common", k=100)}
        shutil.rmtree(fresh.path)

    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index = tamis.open(self.index.path)

    def _scores(self, query: str) -> dict[str, float]:
        if not self.generation:
            return {}
        return {hit.id: hit.score for hit in self.index.search(query, k=100)}

    @invariant()
    def holds_what_the_model_says(self) -> None:
        assert self.index.generation == self.generation
        documents = self.index.documents
        assert len(self.index) == len(self.live)
        assert documents.row_limit == self.next_row
        expected = [self.live.get(doc_id, (-1, ""))[0] for doc_id in UNIVERSE]
        assert documents.rows(UNIVERSE).tolist() == expected
        positions = np.arange(self.index.manifest.rows)
        rows = documents.rows_at(positions)
        assert (np.diff(rows) > 0).all()
        assert documents.positions_of(rows).tolist() == positions.tolist()
        # what was deleted counts in the statistics until it is compacted away
        assert [text.split()[0] for text in documents.bodies(rows)] == list(self.held)
        live_rows = np.array([row for row, _ in self.live.values()], np.int64)
        assert documents.ids(live_rows) == list(self.live)

    @invariant()
    def finds_each_document_by_its_own_word(self) -> None:
        if not self.generation:
            return
        tokens = {text.split()[0]: (doc_id, row) for doc_id, (row, text) in self.live.items()}
        queries = {token: token for token in self.held}
        if not queries:
            return
        ranking = self.index.rank(queries, 10)
        for token in queries:
            assert [(hit.id, hit.row) for hit in ranking[token]] == ([tokens[token]] if token in tokens else [])
        assert set(self._scores("common")) == set(self.live)

    def teardown(self) -> None:
        if hasattr(self, "index"):
            assert self.index.verify().problems == ()
            self.index.close()
        shutil.rmtree(self.folder)


@pytest.fixture(autouse=True)
def tiny_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "CHUNK_DOCUMENTS", 2)
    monkeypatch.setattr(compaction, "SEGMENT_ROWS", 3)


TestSequences = Sequences.TestCase
TestSequences.settings = settings(
    max_examples=20,
    stateful_step_count=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
