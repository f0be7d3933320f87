"""Moving passages: a bag of words gives a flat line, a model that reads the beginning a step."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tamis.encoders.base import Passage
from tamis.errors import DataError, UsageError
from tamis.eval.diagnosis.position import PositionOptions, insertion_points, move, position_bias, slopes
from tamis.eval.diagnosis.position_report import position_chart, position_table
from tamis.eval.diagnosis.texts import Texts
from tamis.ranking import Queries, Ranking

LENGTH, PASSAGE = 40, 4
PAIRS = [("drum", "sieve"), ("cook", "soup"), ("potato", "butter"), ("milk", "rank")]


class Needles:
    """Documents of 40 words, each with its own query's two words once; and rivals that hold one of the words."""

    def __init__(self, queries: int = 4) -> None:
        texts = []
        for i, pair in enumerate(PAIRS[:queries]):
            words = [chr(97 + (i * 7 + j) % 23) for j in range(LENGTH)]
            words[10 + i : 12 + i] = pair
            texts.append(" ".join(words))
        texts += [" ".join([first, *["z"] * 30]) for first, _ in PAIRS[:queries]]
        self.documents = Texts([Passage("", text) for text in texts])
        self.queries = Queries.of({f"q{i}": " ".join(PAIRS[i]) for i in range(queries)})
        self.qrels = {f"q{i}": {str(i): 1} for i in range(queries)}
        rows = np.arange(len(texts))
        self.candidates = Ranking.from_lists(self.documents, self.queries.ids, [(rows, rows * -1.0)] * queries)

    def run(self, model: Any, **options: Any) -> Any:
        known = options.pop("known", None)
        chosen = PositionOptions(**{"positions": 5, "passage": PASSAGE, **options})
        return position_bias(model, self.documents, self.queries, self.candidates, self.qrels, chosen, known=known)


@pytest.fixture
def needles() -> Needles:
    return Needles()


def test_the_papers_places():
    assert insertion_points(1000, 100, 10) == list(range(0, 901, 100))
    assert insertion_points(10, 4, 3) == [0, 3, 6]


def test_moving_keeps_the_words():
    words = list("abcdefgh")
    assert move(words, 2, 3, 0) == list("cdeabfgh")
    assert move(words, 2, 3, 2) == words
    assert move(words, 2, 3, 5) == list("abfghcde")


def test_slopes():
    assert slopes(np.array([[0.0, 1.0, 2.0], [0.1, 0.1, 0.1]])).tolist() == [2.0, 0.0]


def test_a_bag_of_words_gives_a_flat_line(needles, bag):
    found = needles.run(bag())
    assert len(found.queries) == 4
    assert {place.score.mean for place in found.places} == {2.0}
    assert {place.rr.mean for place in found.places} == {1.0}
    assert (found.slope.mean, found.score_slope.mean, found.ratio) == (0.0, 0.0, 1.0)


def test_a_model_that_reads_the_beginning_gives_a_step(needles, bag):
    found = needles.run(bag(reach=20))
    scores = [place.score.mean for place in found.places[1:]]
    assert scores == [2.0, 2.0, 1.0, 0.0, 0.0] or scores == [2.0, 2.0, 0.0, 0.0, 0.0]
    assert found.places[0].position is None
    assert found.places[0].score.mean == 2.0  # by itself the passage stands within the first 20 words
    assert found.places[1].rr.mean == 1.0
    assert found.places[-1].rr.mean < 0.5
    assert found.slope.mean < -0.5
    assert found.ratio > 2


def test_words_lets_the_model_read_all(needles, bag):
    found = needles.run(bag(reach=20), words=20)
    assert {place.score.mean for place in found.places} == {2.0}


def test_an_encoder(needles, dense_folder):
    from tamis.eval.diagnosis.models import open_text_model

    model = open_text_model(f"dense:{dense_folder}")
    found = needles.run(model)
    assert found.to_dict() == needles.run(model).to_dict()
    assert len({place.score.mean for place in found.places}) > 2  # 20 tokens are read: places differ
    assert found.places[-1].score.mean == pytest.approx(
        found.places[-2].score.mean, abs=1e-6
    )  # beyond them nothing does


def test_given_passages(needles, bag):
    known = {("q1", "1"): "cook soup", ("q2", "2"): "potato butter", ("q3", "3"): "not there"}
    found = needles.run(bag(), known=known)
    assert found.queries == ("q1", "q2")
    assert found.left_out == {"with no passage given": 1, "whose passage is not in the document": 1}
    assert "Left out: 1 queries with no passage given." in position_table(found).render("text")


def test_the_same_seed_the_same_result(needles, bag):
    needles.qrels["q0"] = {"0": 1, "1": 1}
    results = [json.dumps(needles.run(bag(reach=20), seed=seed).to_dict()) for seed in (3, 3)]
    assert results[0] == results[1]


def test_table_and_chart(needles, bag):
    found = needles.run(bag(reach=8))
    table = position_table(found)
    assert [row[0].value for row in table.rows] == ["as it stood", "0.00", "0.25", "0.50", "0.75", "1.00"]
    text = table.render("markdown")
    assert "beginning / end" in text
    assert "nan" not in text.lower()
    assert position_chart(found) == position_chart(found)
    assert position_chart(found).startswith("<svg")


def test_a_ratio_that_is_none_has_a_note(bag):
    many = Needles(2)
    rivals = [Passage("", "drum cook")] * 120  # all above a document of which nothing is read
    passages = [*(Passage("", text) for text in many.documents.texts(np.arange(4))), *rivals]
    many.documents = Texts(passages)
    rows = np.arange(len(passages))
    many.candidates = Ranking.from_lists(many.documents, many.queries.ids, [(rows, rows * -1.0)] * 2)
    found = many.run(bag(reach=4))
    assert found.ratio is None
    assert "none, since it is 0 at the end" in position_table(found).render("text")


def test_what_is_refused(needles, bag, in_order):
    with pytest.raises(UsageError, match="diagnose listwise"):
        needles.run(in_order())
    with pytest.raises(DataError, match=r"0 of 4 queries.*4 whose document is too short"):
        needles.run(bag(), passage=39)
    for bad in ({"positions": 1}, {"passage": 0}, {"words": 5}):
        with pytest.raises(UsageError, match=next(iter(bad))):
            needles.run(bag(), **bad)
    needles.candidates = Ranking.from_lists(needles.documents, needles.queries.ids, [([], [])] * 4)
    with pytest.raises(DataError, match="4 without other candidates"):
        needles.run(bag())
    needles.qrels = {query: {"nowhere": 1} for query in needles.queries.ids}
    with pytest.raises(DataError, match="4 with no relevant document in the index"):
        needles.run(bag())
