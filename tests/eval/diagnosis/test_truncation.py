"""What is cut, counted; topics by what is cut of their relevant documents."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.encoders.base import Passage
from tamis.errors import DataError
from tamis.eval.diagnosis.lengths import Cut, reader_of
from tamis.eval.diagnosis.models import open_text_model
from tamis.eval.diagnosis.texts import Texts
from tamis.eval.diagnosis.truncation import CutInputs, Truncation, cut_candidates, cut_documents, effectiveness
from tamis.eval.diagnosis.truncation_report import effectiveness_table, truncation_chart, truncation_table
from tamis.eval.measures import parse_measures
from tamis.ranking import Queries, Ranking

MEASURES = parse_measures(["RR@10"])


def cut(read, lost):
    return Cut(np.array(read), np.array(lost), np.array(lost) > 0)


def test_figures_by_hand():
    found = CutInputs.of("documents", cut([20, 20, 20, 20, 7], [0, 10, 20, 100, 0]))
    assert (found.count, found.cut, found.limit, found.longest) == (5, 3, 20, 120)
    assert (found.median, found.most) == (20.0, 100)
    assert found.p95 == pytest.approx(92.0)
    assert found.share_read == 0.5
    assert found.by_length == (2, 2, 0, 1, 0)
    whole = CutInputs.of("queries", cut([3, 4], [0, 0]))
    assert (whole.cut, whole.median, whole.share_read, whole.longest) == (0, None, None, 4)
    filled = CutInputs.of("queries", Cut(np.array([32, 32]), None, np.array([True, False])))
    assert (filled.cut, filled.longest, filled.by_length) == (1, None, None)
    text = truncation_table(Truncation("m", (found, whole, filled), None)).render("text")
    assert "Lengths marked - are not known" in text
    assert "nan" not in text
    assert truncation_chart(Truncation("m", (found, whole, filled), None)).startswith("<svg")


def test_documents_of_an_encoder(dense_folder):
    documents = Texts([Passage("drum", "sieve"), Passage("", "soup " * 30), Passage("potato", "of " * 18)])
    found = cut_documents(reader_of(open_text_model(f"dense:{dense_folder}")), documents, np.array([2, 1, 0]))
    assert found.lost.tolist() == [1, 12, 0]
    with pytest.raises(DataError, match="no documents"):
        cut_documents(reader_of(open_text_model(f"dense:{dense_folder}")), documents, np.zeros(0, np.int64))


def test_pairs_of_a_reranker(cross_folder):
    documents = Texts([Passage("", "soup"), Passage("", "soup " * 100)])
    ranking = Ranking.from_lists(documents, ["1", "2"], [([1, 0], [2.0, 1.0]), ([0], [1.0])])
    reader = reader_of(open_text_model(f"cross:{cross_folder}"))
    found = cut_candidates(reader, documents, Queries.of({"1": "drum", "2": "sieve"}), ranking)
    assert found.lost.tolist() == [1 + 100 + 3 - 64, 0, 0]
    with pytest.raises(DataError, match="no candidates"):
        cut_candidates(reader, documents, Queries.of({"1": "drum"}), Ranking.from_lists(documents, ["1"], [([], [])]))


def test_topics_by_what_is_cut():
    documents = Texts([Passage("", str(i)) for i in range(6)])
    queries = Queries.of(dict.fromkeys("abcd", "x"))
    qrels = {"a": {"0": 1}, "b": {"1": 1, "2": 1}, "c": {"3": 1, "4": 0}, "d": {"99": 1}}
    lists = [([0, 5], [2.0, 1.0]), ([5, 1], [2.0, 1.0]), ([5], [1.0]), ([5], [1.0])]
    ranking = Ranking.from_lists(documents, queries.ids, lists)
    is_cut = {0: False, 1: True, 2: False, 3: True, 4: True, 5: True}
    found = effectiveness(ranking, queries, qrels, is_cut, MEASURES, pipeline="p", depth=10)
    assert [(group.name, group.topics) for group in found.groups] == [
        ("none cut", 1), ("some cut", 1), ("all cut", 1),
    ]  # fmt: skip
    assert [group.values[0].mean for group in found.groups] == [1.0, 0.5, 0.0]
    assert [(one.name, one.documents, one.found) for one in found.found] == [("whole", 2, 1), ("cut", 2, 1)]
    # d's document is not in the index: it counts nowhere
    assert sum(group.topics for group in found.groups) == 3
    text = effectiveness_table(found).render("text")
    assert "whole: 1 of 2 (0.5000); cut: 1 of 2 (0.5000)" in text
    assert "-: no such topics, or a single one" in text
    none = effectiveness(ranking, queries, qrels, dict.fromkeys(range(6), False), MEASURES, pipeline="p", depth=10)
    assert none.groups[2].values is None
    assert "nan" not in effectiveness_table(none).render("csv")
    by_topic = [{0: True}, {}, {}, {}]
    per_pair = effectiveness(ranking, queries, qrels, by_topic, MEASURES, pipeline="p", depth=10)
    assert [group.topics for group in per_pair.groups] == [0, 0, 1]
