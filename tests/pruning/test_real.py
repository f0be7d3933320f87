"""On NFCorpus: an index cut by 30 % is smaller in every part and ranks as a fresh build; curves of quality models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tamis
from tamis.data import open_corpus, read_qrels, read_topics
from tamis.eval.measures import parse_measures
from tamis.pruning.certificate import Rules, certify, make_field
from tamis.pruning.cut import prune_index
from tamis.pruning.report import draw_curve, write_report
from tamis.pruning.scoring import quality_part, score_index
from tamis.pruning.selection import Candidates

pytestmark = [pytest.mark.real, pytest.mark.slow]

MODELS = ("random", "length", "itn", "cdd", "stopwords")


@pytest.fixture(scope="module")
def nfcorpus(collections: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tamis.Index]:
    folder = tmp_path_factory.mktemp("pruning")
    with tamis.Index.create(folder / "nfcorpus") as index:
        index.add(open_corpus(str(collections / "nfcorpus")))
        for model in MODELS:
            score_index(index, model)
        yield index


def test_a_cut_of_30_per_cent(nfcorpus: tamis.Index, collections: Path, tmp_path: Path) -> None:
    documents = nfcorpus.documents
    drop = Candidates(documents, quality_part(nfcorpus, "random")).lowest(0.3)  # type: ignore[arg-type]
    gone = set(documents.ids(drop))
    cut = prune_index(nfcorpus, tmp_path / "small", drop)
    for room, before in cut.before.items():
        if not room.endswith("(shared)"):
            assert 0.66 <= cut.after[room] / before <= 0.76, room
    topics = read_topics(collections / "nfcorpus")
    with tamis.open(tmp_path / "small") as small, tamis.Index.create(tmp_path / "fresh") as fresh:
        fresh.add(doc for doc in open_corpus(str(collections / "nfcorpus")) if doc.id not in gone)
        for pipeline in ("bm25", "ql"):
            mine, theirs = (one.rank(topics, 1000, pipeline=pipeline) for one in (small, fresh))
            assert mine.offsets.tolist() == theirs.offsets.tolist()
            assert mine.scores.tolist() == theirs.scores.tolist()
            assert small.documents.ids(mine.rows) == fresh.documents.ids(theirs.rows)


def test_curves_fall_and_certificates_are_modest(nfcorpus: tamis.Index, collections: Path, tmp_path: Path) -> None:
    """Nearly every document of NFCorpus is relevant to some topic: no honest certificate goes deep."""
    measures = parse_measures(["nDCG@10"])
    qrels = read_qrels(f"{collections / 'nfcorpus'}#test")
    field = make_field(read_topics(collections / "nfcorpus"), qrels, ["bm25"], measures)
    assert len(field.queries) == 323
    for model in MODELS:
        found = certify(nfcorpus, model, field, Rules(measures), tmp_path / "work", levels=(0.05, 0.3, 0.6))
        curve = [float(rung.values("bm25", "nDCG@10").mean()) for rung in found.rungs]
        assert curve[0] == pytest.approx(0.3218, abs=2e-4)
        assert curve == sorted(curve, reverse=True)
        assert curve[3] < 0.8 * curve[0]
        assert found.certified <= found.chosen <= 0.05
        assert np.isfinite([*found.choice_p, *found.confirmation_p]).all()
        assert write_report(found).count("\n| 30 % |") == 3
        assert draw_curve(found).startswith("<svg")
