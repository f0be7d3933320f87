"""MiniLM on real collections: reproducible figures, identities that are exact, and a beginning that it dwells in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tamis
from tamis.data import open_corpus, read_qrels, read_topics
from tamis.eval.diagnosis.lengths import cut_texts, reader_of
from tamis.eval.diagnosis.listwise import order_bias
from tamis.eval.diagnosis.misses import find_misses
from tamis.eval.diagnosis.models import open_text_model
from tamis.eval.diagnosis.perturb import word_order
from tamis.eval.diagnosis.position import PositionOptions, position_bias
from tamis.eval.diagnosis.sampling import judged_topics
from tamis.eval.measures import parse_measures

pytestmark = [pytest.mark.real, pytest.mark.slow]

MEASURES = parse_measures("nDCG@10")


@pytest.fixture(scope="module")
def minilm():
    return open_text_model("dense:minilm")


@pytest.fixture(scope="module", params=["nfcorpus", "qmsum-long"])
def bench(request, collections: Path, tmp_path_factory) -> Iterator[tuple]:
    folder = collections / request.param
    qrels = read_qrels(f"{folder}#test")
    queries = judged_topics(read_topics(folder), qrels, sample=3, seed=0)
    with tamis.Index.create(tmp_path_factory.mktemp("diagnosis") / request.param) as index:
        index.add(open_corpus(str(folder)))
        yield index, queries, qrels, index.rank(queries, 5)


def test_word_order(bench, minilm):
    index, queries, qrels, candidates = bench

    def run():
        names = ["identity", "shuffle-document"]
        return word_order(minilm, index.documents, queries, candidates, qrels, MEASURES, perturbations=names, repeats=1)

    found = run()
    identity, shuffled = found.effects
    assert identity.unchanged
    assert (identity.differences[0].mean, identity.tau.mean, identity.score_change.mean) == (0.0, 1.0, 0.0)
    assert shuffled.score_change.mean > 0.005
    assert found.to_dict() == run().to_dict()


def test_input_order_is_nothing_to_an_encoder(bench, minilm):
    index, queries, qrels, candidates = bench
    found = order_bias(minilm, index.documents, queries, candidates, qrels, MEASURES, orders=2)
    assert found.invariant
    assert {slot.bias.mean for slot in found.slots} == {0.0}
    assert found.spread == (0.0,)


def test_position(bench, minilm):
    index, queries, qrels, candidates = bench

    def run(words):
        options = PositionOptions(positions=3, passage=30, words=words)
        return position_bias(minilm, index.documents, queries, candidates, qrels, options)

    found = run(120)
    assert found.to_dict() == run(120).to_dict()
    scores = [place.score.mean for place in found.places[1:]]
    assert max(scores) - min(scores) > 0.005
    if len(found.queries) and candidates.space.bodies(np.array([0]))[0].count(" ") > 2000:
        whole = run(None)  # of long documents only the beginning is read: middle and end are the same to the model
        assert whole.places[1].score.mean > whole.places[2].score.mean
        assert whole.places[2].score.mean == pytest.approx(whole.places[3].score.mean, abs=0.05)


def test_lengths_are_the_tokenizers(bench, minilm):
    index, *_ = bench
    texts = index.documents.texts(np.arange(40))
    found = cut_texts(reader_of(minilm).documents, texts)
    whole = [len(ids) + 2 for ids in minilm.network().query_format.tokenizer.bare([text.strip() for text in texts])]
    assert (found.read + found.lost).tolist() == whole


def test_misses(bench):
    index, queries, qrels, _ = bench
    systems = {name: index.rank(queries, 100, pipeline=name) for name in ("bm25", "ql")}
    at = find_misses(systems, queries, qrels, [100]).at[0]
    relevant = sum(sum(grade > 0 for grade in qrels[query].values()) for query in queries.ids)
    assert sum(at.count(name) for name in ("both", "only_first", "only_second", "neither")) == relevant
    assert at.union.mean >= max(at.first.mean, at.second.mean)
