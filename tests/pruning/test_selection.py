"""Which rows go: order, ties, thresholds, protection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tamis
from tamis.errors import MissingResourceError, UsageError
from tamis.indexer.segment import hash_ids
from tamis.pruning.scoring import quality_part, score_index
from tamis.pruning.selection import Candidates

Make = Callable[..., list[dict[str, Any]]]


def candidates(index: tamis.Index, model: str = "itn", **protection: Any) -> Candidates:
    score_index(index, model)
    return Candidates(index.documents, quality_part(index, model), **protection)


def test_the_lowest_go_first_and_ties_by_a_hash_of_the_ids(index: tamis.Index) -> None:
    found = candidates(index, "length")
    scores, ids = quality_part(index, "length").scores, index.documents.ids(np.arange(120))
    hashes = hash_ids(ids)
    want = sorted(range(120), key=lambda i: (scores[i], hashes[i]))
    assert found.lowest(0.05).tolist() == sorted(want[:6])
    assert index.documents.rows(["d7"])[0] in found.lowest(0.01)  # the blank one before all others
    for share in (0.1, 0.25, 0.3, 0.99):
        assert found.lowest(share).tolist() == sorted(want[: int(share * 120 + 1e-9)])
    assert len(set(scores.tolist())) < 120  # there were ties


def test_scores_as_threshold(index: tamis.Index) -> None:
    found, scores = candidates(index), quality_part(index, "itn").scores
    assert found.below(0.7).tolist() == np.flatnonzero(scores < 0.7).tolist()
    assert found.below(float("-inf")).tolist() == []
    with pytest.raises(UsageError, match="would drop all 120 rows: the scores lie between"):
        found.below(2)
    with pytest.raises(UsageError, match="below=nan"):
        found.below(float("nan"))
    for share in (0, 1, -0.1, 30, float("nan")):
        with pytest.raises(UsageError, match="write the share that goes"):
            found.lowest(share)


def test_what_is_to_be_kept_stays_and_others_go_in_its_place(index: tamis.Index) -> None:
    plain = candidates(index).lowest(0.1)
    keep = index.documents.ids(plain[:3])
    found = candidates(index, keep=keep)
    assert found.droppable == 117
    kept = found.lowest(0.1)
    assert len(kept) == len(plain)
    assert not set(plain[:3].tolist()) & set(kept.tolist())
    assert set(plain[3:].tolist()) < set(kept.tolist())
    assert len(found.lowest(0.99)) == 117
    with pytest.raises(MissingResourceError, match="1 of the ids are not in the index: 'nobody'"):
        candidates(index, keep=["d1", "nobody"])


def test_rows_by_their_ids(index: tamis.Index) -> None:
    found = Candidates(index.documents, keep=["d5"])
    assert found.named(["d3", "d5", "d9", "d3"]).tolist() == [3, 9]
    with pytest.raises(UsageError, match="nothing would be left"):
        Candidates(index.documents).named([f"d{i}" for i in range(120)])
    with pytest.raises(UsageError, match="needs a quality model"):
        found.lowest(0.1)
    with pytest.raises(UsageError, match="the last of its document"):
        Candidates(index.documents, keep_last=True)


def test_a_document_keeps_its_best_passage(tmp_path: Path, make_documents: Make) -> None:
    with tamis.Index.create(tmp_path / "passages", passages="tokens:10/10") as index:
        index.add(make_documents(40, words=50))
        found = candidates(index, "random", keep_last=True)
        scores = quality_part(index, "random").scores
        parents = index.documents.parents(np.arange(len(index)))
        gone = found.lowest(0.999)
        left = np.setdiff1d(np.arange(len(index)), gone)
        assert len(np.unique(parents)) == 40 == len(left)
        for row in left.tolist():
            assert scores[row] == scores[parents == parents[row]].max()
        assert len(candidates(index, "random").lowest(0.999)) == len(index) - 1
        assert found.named(["d3"]).tolist() == np.setdiff1d(np.flatnonzero(parents == parents[left[3]]), left).tolist()
