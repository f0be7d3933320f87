"""The queries that changed most: their order, their limits, and what is left out."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from tamis.errors import UsageError
from tamis.eval import Comparison, Evaluation, changes_table, compare, parse_measures, query_changes


@pytest.fixture
def comparison() -> Comparison:
    base = np.array([0.5, 0.5, 0.5, 0.5, 0.5])
    better = np.array([0.6, 0.9, 0.5, 0.1, 0.9])
    values = np.array([[base, base], [better, base], [base - 0.25, base + 1e-12]])
    return compare(Evaluation(("b", "s", "t"), parse_measures(["AP", "RR"]), tuple("vwxyz"), values), "b", samples=100)


def test_gains_come_first_the_largest_first_and_equal_ones_in_the_order_of_the_qrels(comparison: Comparison) -> None:
    found = [(c.measure, c.system, c.query_id, round(c.difference, 9)) for c in query_changes(comparison, 2)]
    assert found == [
        ("AP", "s", "w", 0.4), ("AP", "s", "z", 0.4), ("AP", "s", "y", -0.4), ("AP", "t", "v", -0.25), ("AP", "t", "w", -0.25),
    ]  # fmt: skip
    every = query_changes(comparison, 99)
    assert [c.query_id for c in every if c.system == "s"] == ["w", "z", "v", "y"]
    for change in every:
        assert change.difference == pytest.approx(change.value - change.baseline)


def test_many_equal_changes_stand_in_the_order_of_the_qrels() -> None:
    ids = tuple(f"q{i:03}" for i in range(200))
    values = np.stack([np.zeros((1, 200)), np.tile([0.5, 1.0], 100)[None]])
    found = query_changes(compare(Evaluation(("b", "s"), parse_measures("RR"), ids, values), "b", samples=20), 150)
    assert [c.query_id for c in found] == [*ids[1::2], *ids[0:100:2]]


def test_texts_are_given_where_they_are_known(comparison: Comparison) -> None:
    changes = query_changes(comparison, 1, {"w": "a  long\nquery " + "word " * 40})
    assert [c.text is None for c in changes] == [False, True, True]
    json.dumps([asdict(c) for c in changes], allow_nan=False)
    table = changes_table(comparison, changes)
    assert table.header == ("measure", "system", "query", "baseline", "value", "Δ", "text")
    shown = table.rows[0][-1]
    assert shown.text.startswith("a long query word")
    assert shown.text.endswith("…")
    assert len(shown.text) == 60
    assert shown.value == changes[0].text
    assert table.rows[1][-1].text == "-"
    assert "No query changed: s (RR), t (RR)." in table.notes


def test_without_texts_there_is_no_column_for_them(comparison: Comparison) -> None:
    assert changes_table(comparison, query_changes(comparison, 1)).header[-1] == "Δ"


def test_at_least_one_is_asked_for(comparison: Comparison) -> None:
    with pytest.raises(UsageError, match="0 queries"):
        query_changes(comparison, 0)
