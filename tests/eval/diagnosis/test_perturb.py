"""Word order: the identity changes nothing, a bag of words does not care, positions can be taken away and given back."""

from __future__ import annotations

import contextlib
import json

import pytest

from tamis.encoders.base import Passage
from tamis.errors import DataError, UnknownNameError, UsageError
from tamis.eval.diagnosis.models import open_text_model
from tamis.eval.diagnosis.perturb import PERTURBATIONS, word_order
from tamis.eval.diagnosis.perturb_report import word_order_chart, word_order_table
from tamis.eval.diagnosis.without_positions import position_weights, without_positions
from tamis.eval.measures import parse_measures
from tamis.ranking import Ranking

MEASURES = parse_measures(["nDCG@10", "RR@10"])
SHUFFLES = [name for name in PERTURBATIONS if name.endswith("document")]


def run(model, small, **options):
    return word_order(model, small.documents, small.queries, small.candidates, small.qrels, MEASURES, **options)


def effect(found, name):
    (one,) = (own for own in found.effects if own.name == name)
    return one


@pytest.mark.parametrize("kind", ["cross", "monot5", "dense", "lists"])
def test_the_identity_changes_nothing(kind, small, request, in_order):
    folders = {"cross": "cross_folder", "monot5": "t5_folder", "dense": "dense_folder"}
    model = in_order() if kind == "lists" else open_text_model(f"{kind}:{request.getfixturevalue(folders[kind])}")
    one = effect(run(model, small, perturbations=["identity"]), "identity")
    assert one.unchanged
    assert (one.tau.mean, one.rbo.mean, one.overlap.mean, one.score_change.mean) == (1.0, 1.0, 1.0, 0.0)
    assert [difference.to_dict() for difference in one.differences] == [{"mean": 0.0, "low": 0.0, "high": 0.0}] * 2


def test_a_bag_of_words_does_not_care(small, bag):
    found = run(bag(), small)
    assert [one.name for one in found.effects] == [name for name in PERTURBATIONS if name != "no-positions"]
    assert all(one.unchanged for one in found.effects)
    assert "no weights of positions" in found.not_done["no-positions"]
    assert "Not done: no-positions" in word_order_table(found).render("text")


@pytest.mark.parametrize("kind", ["cross", "dense"])
def test_a_transformer_does(kind, small, request):
    model = open_text_model(f"{kind}:{request.getfixturevalue(f'{kind}_folder')}")
    found = run(model, small)
    assert [one.name for one in found.effects] == list(PERTURBATIONS)
    for name in [*SHUFFLES, "shuffle-query", "shuffle-both", "no-positions"]:
        assert not effect(found, name).unchanged, name
        assert effect(found, name).score_change.mean > 0
    assert effect(found, "shuffle-both").spread is not None
    assert effect(found, "sort-document").spread is None
    assert json.dumps(found.to_dict()) == json.dumps(run(model, small).to_dict())
    assert json.dumps(found.to_dict()) != json.dumps(run(model, small, seed=1).to_dict())


@pytest.mark.parametrize("kind", ["cross", "monot5", "dense"])
def test_without_positions_word_order_is_nothing(kind, small, request):
    """The strong test: no positions and shuffled words must give the scores of no positions."""
    folders = {"cross": "cross_folder", "monot5": "t5_folder", "dense": "dense_folder"}
    model = open_text_model(f"{kind}:{request.getfixturevalue(folders[kind])}")
    with_positions = run(model, small, perturbations=["reverse-document"])
    assert effect(with_positions, "reverse-document").score_change.mean > 1e-3
    with without_positions(model.network()):
        found = run(model, small, perturbations=["reverse-document", "shuffle-query"])
        assert effect(found, "reverse-document").score_change.mean < 1e-5
        assert effect(found, "shuffle-query").score_change.mean < 1e-5
    again = run(model, small, perturbations=["reverse-document"])
    assert again.to_dict() == with_positions.to_dict()  # the weights are back


def test_positions_come_back_after_an_error(cross_folder):
    network = open_text_model(f"cross:{cross_folder}").network()
    (weight,) = position_weights(network)
    before = weight.detach().clone()
    with without_positions(network):
        assert not weight.any()
    with contextlib.suppress(RuntimeError), without_positions(network):
        raise RuntimeError
    assert bool((weight == before).all())
    with pytest.raises(UsageError, match="no weights of positions"), without_positions(object()):
        pass


def test_the_rows_of_the_table(small, cross_folder):
    found = run(open_text_model(f"cross:{cross_folder}"), small, perturbations=["identity", "sort-document"])
    table = word_order_table(found)
    assert [row[0].value for row in table.rows] == [
        "(candidates as given)", "(unperturbed)", "identity", "sort-document",
    ]  # fmt: skip
    assert len(table.header) == 1 + 4 * 2 + 4
    assert "nan" not in table.render("csv")
    assert word_order_chart(found) == word_order_chart(found)


def test_what_is_refused(small, bag):
    with pytest.raises(UnknownNameError, match="did you mean 'shuffle-both'"):
        run(bag(), small, perturbations=["shuffle-boht"])
    with pytest.raises(UsageError, match="no-positions: bag:None has no weights"):
        run(bag(), small, perturbations=["no-positions"])
    with pytest.raises(UsageError, match="repeats=0"):
        run(bag(), small, repeats=0)
    small.candidates = Ranking.from_lists(small.documents, small.queries.ids, [([], [])] * 3)
    with pytest.raises(DataError, match="no candidates"):
        run(bag(), small)


def test_words():
    from tamis.eval.diagnosis.words import backwards, in_alphabet, shuffled, whole

    text = "the cook pass The potato soup"
    assert sorted(shuffled(text, 1).split()) == sorted(text.split())
    assert shuffled(text, 1) == shuffled(text, 1)
    assert len({shuffled(text, seed, repeat) for seed in range(3) for repeat in range(3)}) > 5
    assert in_alphabet(text) == "cook pass potato soup The the"
    assert backwards(text) == "soup potato The pass cook the"
    assert whole(backwards)(Passage("a title", "a text")) == Passage("", "text a title a")
    assert shuffled("", 0) == ""
