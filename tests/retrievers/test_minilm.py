"""`dense:minilm` on real collections, against sentence-transformers' own search and the model's public figures."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest

import tamis

pytestmark = [pytest.mark.real, pytest.mark.slow]

LONG = "TAMIS_LONG"
"""Environment variable: 1 runs what encodes a whole collection, several minutes on two cores; `make real` sets it."""


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for line in path.read_text("utf-8").splitlines()[1:]:
        query, doc, relevance = line.split("\t")
        found.setdefault(query, {})[doc] = int(relevance)
    return found


def test_the_librarys_own_search_gives_the_same_hundred(collections: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer, util

    from tamis.encoders.checkpoints import find_checkpoint

    documents = list(itertools.islice(tamis.open_corpus(collections / "nfcorpus"), 200))
    judged = read_qrels(collections / "nfcorpus" / "qrels" / "test.tsv")
    topics = tamis.read_topics(collections / "nfcorpus")
    queries = {i: text for i, text in zip(topics.ids, topics.texts, strict=True) if i in judged}
    with tamis.Index.create(tmp_path / "index") as index:
        index.add(documents)
        index.add_part("dense:minilm")
        ranking = index.rank(queries, 100, pipeline="dense:minilm")
    model = SentenceTransformer(str(find_checkpoint("minilm")), device="cpu")
    vectors = model.encode([f"{d.title} {d.text}" for d in documents], convert_to_tensor=True)
    found = util.semantic_search(model.encode(list(queries.values()), convert_to_tensor=True), vectors, top_k=100)
    for query, hits in zip(queries, found, strict=True):
        ours = {hit.id: hit.score for hit in ranking[query]}
        theirs = {documents[hit["corpus_id"]].id: hit["score"] for hit in hits}
        edge = min(theirs.values())
        # the exported query encoder differs by up to 1e-4, so that two at the edge may change places
        assert all(
            abs(edge - score) < 2e-4 for name, score in {**ours, **theirs}.items() if (name in ours) != (name in theirs)
        )
        shared = sorted(set(ours) & set(theirs))
        np.testing.assert_allclose([ours[n] for n in shared], [theirs[n] for n in shared], atol=2e-4)


@pytest.mark.skipif(
    os.environ.get(LONG) != "1", reason=f"encodes whole collections, minutes: set {LONG}=1, or run make real"
)
@pytest.mark.parametrize(("name", "dense", "recall"), [("scifact", 0.6451, 0.9250), ("nfcorpus", 0.3159, 0.3115)])
def test_the_public_figures_come_out(collections: Path, tmp_path: Path, name: str, dense: float, recall: float) -> None:
    qrels = collections / name / "qrels" / "test.tsv"
    judged = read_qrels(qrels)
    topics = tamis.read_topics(collections / name)
    queries = {i: text for i, text in zip(topics.ids, topics.texts, strict=True) if i in judged}
    with tamis.Index.create(tmp_path / "index") as index:
        index.add(tamis.open_corpus(collections / name))
        index.add_part("dense:minilm")
        pipelines = {"bm25": "bm25", "dense": "dense:minilm", "fused": "rrf(bm25, dense:minilm)"}
        rankings = {system: index.rank(queries, 1000, pipeline=pipeline) for system, pipeline in pipelines.items()}
    evaluation = tamis.evaluate(tamis.read_qrels(str(qrels)), rankings, ["nDCG@10", "R@100"])
    assert evaluation.mean("dense", "nDCG@10") == pytest.approx(dense, abs=1e-3)
    assert evaluation.mean("dense", "R@100") == pytest.approx(recall, abs=1e-3)
    assert evaluation.mean("fused", "nDCG@10") > max(evaluation.mean(s, "nDCG@10") for s in ("bm25", "dense")) + 0.02
