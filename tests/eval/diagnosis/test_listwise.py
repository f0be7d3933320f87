"""Input order: a model that gives its input back has slope 1, one that cannot see it exactly 0."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tamis.errors import DataError, UnknownNameError, UsageError
from tamis.eval.diagnosis.listwise import _chi_squared, order_bias
from tamis.eval.diagnosis.listwise_report import order_table, slots_chart, slots_table
from tamis.eval.diagnosis.models import open_text_model
from tamis.eval.diagnosis.orders import input_orders, relevance_orders
from tamis.eval.measures import parse_measures
from tamis.ranking import Ranking

MEASURES = parse_measures("nDCG@10")


def run(model, small, **options):
    return order_bias(model, small.documents, small.queries, small.candidates, small.qrels, MEASURES, **options)


@pytest.mark.parametrize("way", ["shuffle", "rotate"])
def test_input_that_comes_back(way, small, in_order):
    found = run(in_order(), small, way=way)
    assert found.slope.mean == pytest.approx(1.0)
    assert not found.invariant
    assert found.tau.mean < 0.5
    biases = [slot.bias.mean for slot in found.slots]
    assert biases == sorted(biases)
    assert biases[0] < -1
    assert biases[-1] > 1
    values = {one.name: one.values[0].mean for one in found.conditions}
    assert values["relevant first"] > values["relevant in the middle"] > values["relevant last"]


@pytest.mark.parametrize("kind", ["blind list", "pairs", "cross", "dense"])
@pytest.mark.parametrize("way", ["shuffle", "rotate"])
def test_a_model_that_cannot_see_the_order_has_no_bias(kind, way, small, request, in_order, bag):
    model = {"blind list": lambda: in_order(blind=True), "pairs": bag}.get(kind, lambda: None)()
    if model is None:
        model = open_text_model(f"{kind}:{request.getfixturevalue(f'{kind}_folder')}")
    found = run(model, small, way=way)
    assert found.invariant
    assert {slot.bias.mean for slot in found.slots} == {0.0}
    assert {(slot.bias.low, slot.bias.high) for slot in found.slots} == {(0.0, 0.0)}
    assert (found.slope.mean, found.tau.mean, found.rbo.mean, found.overlap.mean) == (0.0, 1.0, 1.0, 1.0)
    assert found.spread == (0.0,)
    assert len({one.values for one in found.conditions}) == 1
    assert "Every order gave the same ranking" in order_table(found).render("text")


def test_duot5_compares_all_pairs_both_ways(small, t5_folder):
    """So that its ranking does not depend on the order in which it was given the candidates, to rounding."""
    found = run(open_text_model(f"duot5:{t5_folder}"), small, orders=2)
    assert found.kind == "lists"
    assert found.tau.mean > 0.95
    assert abs(found.slope.mean) < 0.05
    assert found.cost["lists"] == 3 * 7
    capped = run(open_text_model(f"duot5:{t5_folder}?compared=2"), small, orders=2)
    assert capped.slope.mean > 0.2  # what is not compared keeps its place


def test_orders():
    orders = input_orders("q", 7, "shuffle", 3, 0)
    assert list(orders) == ["as given", "reversed", "shuffled 1", "shuffled 2", "shuffled 3"]
    for order in orders.values():
        assert sorted(order.tolist()) == list(range(7))
    again = input_orders("q", 7, "shuffle", 3, 0)
    assert all((orders[name] == again[name]).all() for name in orders)
    assert (input_orders("other", 7, "shuffle", 3, 0)["shuffled 1"] != orders["shuffled 1"]).any()
    assert (input_orders("q", 7, "shuffle", 3, 1)["shuffled 1"] != orders["shuffled 1"]).any()
    rotated = input_orders("q", 6, "rotate", 2, 0)
    assert [rotated[f"rotated {i}"].tolist() for i in (1, 2)] == [[2, 3, 4, 5, 0, 1], [4, 5, 0, 1, 2, 3]]
    known = relevance_orders(np.array([False, True, False, True]))
    assert {name: order.tolist() for name, order in known.items()} == {
        "relevant first": [1, 3, 0, 2],
        "relevant in the middle": [0, 1, 3, 2],
        "relevant last": [0, 2, 1, 3],
    }


def test_first_places(small, in_order):
    found = run(in_order(), small, orders=40)
    shares = [slot.first_places for slot in found.slots]
    assert shares == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]  # the first of the input is the first of the output
    assert [slot.expected for slot in found.slots] == pytest.approx([1 / 6] * 6)
    assert found.p < 1e-6
    assert "p = <0.0001" in slots_table(found).render("text")
    few = run(in_order(), small, orders=2)
    assert few.p is None
    assert "No chi-squared test" in slots_table(few).render("text")
    assert run(in_order(), small, way="rotate").p is None


def test_chi_squared_is_scipys():
    from scipy.stats import chisquare

    assert _chi_squared([12, 20, 28], [20, 20, 20]) == pytest.approx(chisquare([12, 20, 28]).pvalue)
    assert _chi_squared([1, 2], [4.0, 6.0]) is None


def test_many_slots_are_grouped(small, in_order):
    from tamis.encoders.base import Passage
    from tamis.eval.diagnosis.texts import Texts

    small.documents = Texts([Passage("", "soup " * (i + 1)) for i in range(25)])
    rows = np.arange(25)
    lists = [(rows, rows * -1.0), (rows[:3], -1.0 * rows[:3]), (rows, rows * -1.0)]
    small.candidates = Ranking.from_lists(small.documents, small.queries.ids, lists)
    found = run(in_order(), small)
    assert len(found.slots) == 10
    assert [slot.first for slot in found.slots] == [1, *(slot.last + 1 for slot in found.slots[:-1])]
    assert found.slots[-1].last == found.depth == 25


def test_the_same_seed_the_same_result(small, in_order):
    results = [json.dumps(run(in_order(), small, seed=seed).to_dict()) for seed in (4, 4, 5)]
    assert results[0].replace("model_seconds", "") != results[2]
    one, two = (json.loads(result) for result in results[:2])
    one.pop("cost"), two.pop("cost")
    assert one == two


def test_table_and_chart(small, in_order):
    found = run(in_order(), small)
    assert [row[0].value for row in slots_table(found).rows] == ["1", "2", "3", "4", "5", "6"]
    assert [row[0].value for row in order_table(found).rows][:2] == ["as given", "reversed"]
    assert "nan" not in slots_table(found).render("csv") + order_table(found).render("csv")
    assert slots_chart(found) == slots_chart(found)


def test_what_is_refused(small, in_order):
    with pytest.raises(UnknownNameError, match="way to make orders"):
        run(in_order(), small, way="shufle")
    with pytest.raises(UsageError, match="orders=1"):
        run(in_order(), small, orders=1)
    rows = np.arange(6)
    lists = [(rows, rows * -1.0), (rows[:1], [0.0]), ([], [])]
    small.candidates = Ranking.from_lists(small.documents, small.queries.ids, lists)
    with pytest.raises(DataError, match="1 of 3 queries have two candidates"):
        run(in_order(), small)
