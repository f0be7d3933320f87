"""Who finds what: sets by hand, recall of each, of both, and of both in turns."""

from __future__ import annotations

import pytest

from tamis.errors import DataError, SpaceMismatchError, UsageError
from tamis.eval.diagnosis.misses import find_misses, misses_chart, misses_table, queries_table
from tamis.ranking import IdSpace, Queries, Ranking

SPACE = IdSpace("abcdefgh")
QUERIES = Queries.of({"1": "", "2": ""})
QRELS = {"1": {"a": 1, "b": 1, "c": 2, "d": 1, "e": 0}, "2": {"f": 1, "zz": 1}}


def run(**lists):
    found = []
    for query in QUERIES.ids:
        rows = SPACE.rows(list(lists.get(f"q{query}", "")))
        found.append((rows, -1.0 * rows.argsort().argsort()))
    return Ranking.from_lists(SPACE, QUERIES.ids, [(rows, [-float(i) for i in range(len(rows))]) for rows, _ in found])


A, B = run(q1="abg", q2="gh"), run(q1="bch", q2="f")


def test_sets_by_hand():
    found = find_misses({"x": A, "y": B}, QUERIES, QRELS, [3, 1, 3])
    assert [one.depth for one in found.at] == [1, 3]
    deep = found.at[1]
    first, second = deep.queries
    assert (first.both, first.only_first, first.only_second, first.neither) == (("b",), ("a",), ("c",), ("d",))
    # zz is a relevant document that no index holds: a miss of both
    assert (second.both, second.only_first, second.only_second, second.neither) == ((), (), ("f",), ("zz",))
    assert [deep.count(name) for name in ("both", "only_first", "only_second", "neither")] == [1, 1, 2, 2]
    assert (deep.first.mean, deep.second.mean) == ((2 / 4 + 0) / 2, (2 / 4 + 1 / 2) / 2)
    assert deep.union.mean == (3 / 4 + 1 / 2) / 2
    # in turns, B first: b a c (of b, a, c, g, h) and f g h
    assert deep.merged.mean == (3 / 4 + 1 / 2) / 2
    assert deep.gain.mean == pytest.approx(deep.merged.mean - deep.first.mean)
    shallow = found.at[0]
    assert (shallow.first.mean, shallow.second.mean) == ((1 / 4 + 0) / 2, (1 / 4 + 1 / 2) / 2)
    assert shallow.merged.mean == shallow.second.mean  # one result in turns is the second's


def test_a_system_beside_itself_adds_nothing():
    found = find_misses({"x": A, "y": A}, QUERIES, QRELS, [10]).at[0]
    assert (found.count("only_first"), found.count("only_second")) == (0, 0)
    assert (found.gain.mean, found.gain.low, found.gain.high) == (0.0, 0.0, 0.0)


def test_a_query_without_results_is_a_miss():
    found = find_misses({"x": A, "y": B.take([0])}, QUERIES, QRELS, [3]).at[0]
    assert found.queries[1].neither == ("f", "zz")


def test_tables_and_chart():
    found = find_misses({"x": A, "y": B}, QUERIES, QRELS, [1, 3])
    table = misses_table(found)
    assert [row[0].value for row in table.rows] == [1, 3]
    assert "A: x; B: y; 2 queries, 6 relevant documents" in table.notes[0]
    assert len(queries_table(found).rows) == 4
    values = found.to_dict()
    assert values["depths"][1]["per_query"]["1"]["only_second"] == ["c"]
    assert misses_chart(found) == misses_chart(found)


def test_what_is_refused():
    for systems in ({"x": A}, {"x": A, "y": B, "z": A}):
        with pytest.raises(UsageError, match="exactly two"):
            find_misses(systems, QUERIES, QRELS, [3])
    for depths in ([], [0, 3]):
        with pytest.raises(UsageError, match="depths"):
            find_misses({"x": A, "y": B}, QUERIES, QRELS, depths)
    with pytest.raises(DataError, match="1 judged queries"):
        find_misses({"x": A, "y": B}, QUERIES.take([0]), QRELS, [3])
    with pytest.raises(DataError, match="y: no results for any of the 2"):
        find_misses({"x": A, "y": run()}, QUERIES, QRELS, [3])
    other = Ranking.from_lists(IdSpace("ab"), QUERIES.ids, [([0], [1.0])] * 2)
    with pytest.raises(SpaceMismatchError):
        find_misses({"x": A, "y": other}, QUERIES, QRELS, [3])
