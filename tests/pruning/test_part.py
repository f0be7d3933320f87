"""Quality as a part: resumable, kept through every change of the index, and the same however the rows lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tamis
from tamis.encoders.base import Passage
from tamis.errors import MissingResourceError, OutputExistsError
from tamis.pruning import cdd
from tamis.pruning.base import BLANK_SCORE
from tamis.pruning.itn import Itn
from tamis.pruning.registry import open_quality
from tamis.pruning.scoring import find_quality, quality_part, score_index, spread

Make = Callable[..., list[dict[str, Any]]]


def by_id(index: tamis.Index, wanted: str) -> dict[str, float]:
    part = quality_part(index, wanted)
    documents = part.documents
    live = np.arange(len(part.scores)) if documents.live is None else np.flatnonzero(documents.live)
    rows = documents.rows_at(live)
    return dict(zip(documents.ids(rows), part.scores_of(rows).tolist(), strict=True))


def test_scores_follow_the_rows(index: tamis.Index, make_documents: Make) -> None:
    assert score_index(index, "itn") == "quality:itn"
    before = by_id(index, "itn")
    assert before["d7"] == BLANK_SCORE
    model = open_quality("itn")
    for doc in make_documents(120):
        if doc["id"] != "d7":
            (want,) = model.score_passages([Passage(doc["title"], doc["text"])])
            assert before[doc["id"]] == want
    index.add([{"id": "new", "text": "w1 w1"}])
    assert by_id(index, "quality:itn")["new"] == 0.5
    index.delete([f"d{i}" for i in range(0, 120, 3)])
    index.compact()
    after = by_id(index, "itn")
    assert len(after) == 81
    assert all(after[doc_id] == before[doc_id] for doc_id in after if doc_id != "new")
    assert index.verify().ok


def test_a_killed_job_scores_what_is_missing(index: tamis.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[int] = []
    plain = Itn.score_passages

    def counted(self: Itn, passages: Any, tick: Any = None) -> Any:
        if len(scored) == 3:
            raise KeyboardInterrupt
        scored.append(len(passages))
        return plain(self, passages, tick)

    monkeypatch.setattr(Itn, "score_passages", counted)
    with pytest.raises(KeyboardInterrupt):
        score_index(index, "itn")
    first, scored[:] = sum(scored), [0] * 4  # from here on nothing is refused
    index.refresh()
    score_index(index, "itn")
    assert first + sum(scored) == 119  # all rows but the blank one, each once
    monkeypatch.undo()
    again = by_id(index, "itn")
    index.drop_part("quality:itn")
    score_index(index, "itn")
    assert again == by_id(index, "itn")


def test_a_collection_model_sees_the_whole_collection(index: tamis.Index, make_documents: Make) -> None:
    score_index(index, "cdd")
    found = by_id(index, "cdd")
    model = open_quality("cdd")
    documents = [doc for doc in make_documents(120) if doc["id"] != "d7"]

    passages = [Passage(doc["title"], doc["text"]) for doc in documents]
    notes = model.note(SimpleNamespace(passages=passages))
    want = cdd.CddStatistic().score(notes, cdd.CddStatistic().collect([notes], model.settings()))
    for document, score in zip(documents, want.tolist(), strict=True):
        assert found[document["id"]] == pytest.approx(score, abs=1e-6)
    assert found["d7"] == BLANK_SCORE
    # later documents are compared with the same collection
    index.add([{"id": "copy", "title": documents[5]["title"], "text": documents[5]["text"]}])
    assert by_id(index, "cdd")["copy"] == found[documents[5]["id"]]


def test_vectors_of_a_part_are_not_encoded_again(
    tmp_path: Path, make_documents: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tamis.Index.create(tmp_path / "vectors") as index:
        index.add(make_documents(20))
        index.add_part("dense:minilm")
        vectors = index.part("dense:minilm").vectors[0]
        from tamis.encoders.dense import SentenceEncoder

        monkeypatch.setattr(SentenceEncoder, "encode_passages", None)
        score_index(index, "centroid:dense:minilm")
        found = by_id(index, "centroid:dense:minilm")
        mean = vectors.sum(axis=0)
        assert found["d3"] == pytest.approx(float(vectors[3] @ mean / np.linalg.norm(mean)), abs=1e-5)


def test_parts_are_found_by_name_and_by_model(index: tamis.Index) -> None:
    score_index(index, "random?seed=1")
    generation = index.generation
    assert score_index(index, "random?seed=1") == "quality:random"
    assert index.generation == generation
    assert find_quality(index.manifest, "quality:random") == find_quality(index.manifest, "random?seed=1")
    assert find_quality(index.manifest, "random?seed=2") is None
    with pytest.raises(OutputExistsError, match="has a part 'quality:random' already"):
        score_index(index, "random?seed=2")
    assert score_index(index, "random?seed=2", "other") == "other"
    with pytest.raises(MissingResourceError, match=r"make it with  tamis quality .* length"):
        quality_part(index, "length")
    assert spread(quality_part(index, "other")).blank == 1
