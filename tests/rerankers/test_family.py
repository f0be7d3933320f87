"""The ``cross`` family over an index: the conformance of all families, pipelines in writing, and `explain`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import tamis
from tamis.errors import PrerequisiteError, UsageError
from tamis.testing import FamilyConformance

DOCUMENTS = [
    {"id": f"d{i}", "title": "of soup", "text": f"the cook rank potato soup {word} {'fine ' * i}"}
    for i, word in enumerate(["sieve", "drum", "butter", "milk", "query", "weight"])
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tamis.Index]:
    with tamis.Index.create(tmp_path_factory.mktemp("index") / "ix") as made:
        made.add(DOCUMENTS)
        yield made


class TestConformance(FamilyConformance):
    """What every family must do."""

    queries: ClassVar = {"1": "potato soup", "2": "cook"}

    @pytest.fixture(autouse=True)
    def _over(self, index: tamis.Index, cross_folder: Path) -> None:
        self._index = index
        type(self).address = f"cross:{cross_folder}?windows=tokens:8/4&pool=top:2"

    def source(self) -> Any:
        return self._index


def test_it_stands_in_a_pipeline(index: tamis.Index, cross_folder: Path) -> None:
    plain = index.search("potato soup", 6, pipeline=f"bm25 % 6 >> cross:{cross_folder}")
    top = index.search("potato soup", 6, pipeline=f"bm25 % 6 >> cross:{cross_folder}?depth=2")
    first = [hit.id for hit in index.search("potato soup", 6)]
    scores = {hit.id: hit.score for hit in plain}
    assert [hit.id for hit in plain] == sorted(scores, key=lambda name: -scores[name])
    assert [hit.id for hit in top][2:] == first[2:]
    with pytest.raises(UsageError, match="put a retriever before it"):
        index.search("potato soup", 6, pipeline=f"cross:{cross_folder}")


def test_explain_shows_the_windows(index: tamis.Index, cross_folder: Path) -> None:
    pipeline = f"bm25 % 6 >> cross:{cross_folder}?windows=tokens:4/4"
    found = index.explain("potato soup", "d3", pipeline=pipeline, k=6)
    stage = found.stages[-1]
    assert stage.evidence is not None
    assert stage.evidence.value == pytest.approx(stage.score, abs=1e-5)
    assert stage.evidence.value == max(child.value for child in stage.evidence.children)
    assert stage.evidence.children[0].name == "the cook rank potato"


def test_it_runs_where_the_address_says(index: tamis.Index, cross_folder: Path) -> None:
    with pytest.raises(PrerequisiteError, match="device=cuda:7"):
        index.search("potato soup", 6, pipeline=f"bm25 % 6 >> cross:{cross_folder}?device=cuda:7")
