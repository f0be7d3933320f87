"""Running a plan with a memory: equal results, nothing twice, and only what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.pipeline import Pipeline, Runner
from tamis.pipeline.remembered import Done, StepKey, execute_remembered, step_keys
from tamis.pipeline.steps import Stage
from tamis.ranking import GROUPED, IdSpace, Queries, Ranking, State, tie_order

SPACE = IdSpace("ABCDEFGH")
SOURCE: Any = SimpleNamespace(documents=SPACE)


class Counting:
    """Scores made of the query's text, and a record of every query that was asked for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[str] = []

    def scores(self, text: str) -> np.ndarray:
        seed = [ord(c) for c in self.name + text]
        return np.random.default_rng(seed).integers(0, 9, len(SPACE)).astype(float)


class Finds(Counting):
    def retrieve(self, queries: Queries, k: int, *, mask: Any = None) -> Ranking:
        self.asked += queries.texts
        lists = []
        for text in queries.texts:
            values = self.scores(text)
            rows = np.flatnonzero(values > 1)
            order = tie_order(values[rows], rows)[:k]
            lists.append((rows[order], values[rows][order]))
        return Ranking.from_lists(SPACE, queries.ids, lists)


class Fickle(Finds):
    depth_dependent = True


class Judges(Counting):
    partial = False

    def rescore(self, queries: Queries, ranking: Ranking) -> Ranking:
        self.asked += queries.texts
        parts = [self.scores(text)[rows] for text, (_, rows, _) in zip(queries.texts, ranking.lists(), strict=True)]
        made = ranking.with_scores(np.concatenate([np.zeros(0), *parts]))
        flags = np.full(len(queries), self.partial)
        return Ranking(made.space, made.query_ids, made.offsets, made.rows, made.scores, flags)


class Doubles:
    def rewrite(self, state: State) -> Queries:
        return Queries(state.queries.ids, tuple(text * 2 for text in state.queries.texts))


class Groups:
    def group(self, ranking: Ranking) -> Ranking:
        grouped = IdSpace("ABCDEFGH")
        grouped._key += GROUPED
        lists = [(rows // 2, scores) for _, rows, scores in ranking.lists()]
        kept = [(rows[np.sort(np.unique(rows, return_index=True)[1])], rows) for rows, _ in lists]
        return Ranking.from_lists(grouped, ranking.query_ids, [(rows, -np.arange(len(rows)) * 1.0) for rows, _ in kept])


class Notebook:
    """A memory in a dictionary."""

    def __init__(self) -> None:
        self.lists: dict[tuple[str, str], tuple[int, Any, Any]] = {}

    def recall(self, key: StepKey, queries: Queries) -> list[Any]:
        found: list[Any] = []
        for text in queries.texts:
            depth, rows, scores = self.lists.get((key.digest, text), (-1, None, None))
            enough = key.depth is None or depth >= key.depth
            found.append((rows[: key.depth], scores[: key.depth]) if rows is not None and enough else None)
        return found

    def keep(self, key: StepKey, queries: Queries, ranking: Ranking, seconds: float) -> None:
        for text, (_, rows, scores), partial in zip(queries.texts, ranking.lists(), ranking.partial, strict=True):
            if not partial:
                self.lists[key.digest, text] = (key.depth or 0, rows, scores)


def identity(stage: Stage) -> str | None:
    return getattr(stage.object, "name", None) or type(stage.object).__name__


def run(
    runner: Runner, pipelines: Sequence[Any], texts: str, k: int, memory: Notebook, scope: str = ""
) -> tuple[list[Ranking], list[Done]]:
    queries = Queries(tuple(f"q{i}" for i in range(len(texts))), tuple(texts))
    plan = runner.plan(pipelines, k)
    return execute_remembered(runner, plan, queries, memory, step_keys(plan, scope, identity))


def same(one: Ranking, other: Ranking) -> bool:
    return (
        one.query_ids == other.query_ids
        and np.array_equal(one.offsets, other.offsets)
        and np.array_equal(one.rows, other.rows)
        and np.array_equal(one.scores, other.scores)
    )


def pipelines(a: Finds, b: Finds, judge: Judges, doubles: Doubles) -> list[Pipeline]:
    first, second = Pipeline.of(a), Pipeline.of(b)
    return [
        first,
        first % 3 >> judge,
        0.5 * first + second,
        (first + second) % 2 >> judge,
        Pipeline.of(doubles) >> second,
        first % 4 >> doubles >> judge,
    ]


@given(
    rounds=st.lists(
        st.tuples(st.text("xyzw", min_size=1, max_size=6), st.sets(st.integers(0, 5), min_size=1)), max_size=4
    ),
    batch=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_with_a_memory_the_results_are_the_same_whatever_ran_before(rounds: list[Any], batch: int) -> None:
    a, b, judge, doubles = Finds("a"), Finds("b"), Judges("j"), Doubles()
    memory, runner = Notebook(), Runner(SOURCE, batch=batch)
    for texts, chosen in rounds:
        some = [pipelines(a, b, judge, doubles)[i] for i in sorted(chosen)]
        ids = Queries(tuple(f"q{i}" for i in range(len(texts))), tuple(texts))
        found, _ = run(runner, some, texts, 5, memory)
        for one, other in zip(found, Runner(SOURCE).run_many(some, ids, 5), strict=True):
            assert same(one, other)


def test_a_second_run_asks_no_stage_and_a_new_query_asks_for_itself_only() -> None:
    a, b, judge, doubles = Finds("a"), Finds("b"), Judges("j"), Doubles()
    memory, runner = Notebook(), Runner(SOURCE, batch=2)
    every = pipelines(a, b, judge, doubles)
    _, first = run(runner, every, "xyz", 5, memory)
    assert sorted(a.asked) == ["x", "y", "z"]  # once, though four pipelines begin with it
    assert sum(done.computed for done in first) == sum(map(len, (a.asked, b.asked, judge.asked)))
    a.asked.clear(), b.asked.clear(), judge.asked.clear()
    _, again = run(Runner(SOURCE), every, "xyz", 5, memory)
    assert a.asked == b.asked == judge.asked == []
    assert {done.computed for done in again} == {0}
    run(Runner(SOURCE), every, "xwz", 5, memory)
    assert set(a.asked) == {"w"}
    assert set(b.asked) == {"w", "ww"}
    assert set(judge.asked) == {"w", "ww"}


def test_a_step_behind_which_all_is_known_does_not_run() -> None:
    a, judge = Finds("a"), Judges("j")
    memory = Notebook()
    cascade = Pipeline.of(a) % 3 >> judge
    run(Runner(SOURCE), [cascade], "x", 3, memory)
    first = {key: value for key, value in memory.lists.items() if len(value[1]) and value[0] == 0}
    memory.lists = first  # the retriever's list is forgotten, what was made of it is not
    a.asked.clear(), judge.asked.clear()
    run(Runner(SOURCE), [cascade], "x", 3, memory)
    assert a.asked == judge.asked == []


def test_a_deeper_list_serves_a_shallower_wish_and_not_the_other_way_round() -> None:
    a, fickle = Finds("a"), Fickle("f")
    memory = Notebook()
    deep, _ = run(Runner(SOURCE), [Pipeline.of(a)], "x", 6, memory)
    shallow, _ = run(Runner(SOURCE), [Pipeline.of(a)], "x", 2, memory)
    assert a.asked == ["x"]
    assert shallow[0].rows.tolist() == deep[0].rows.tolist()[:2]
    run(Runner(SOURCE), [Pipeline.of(a)], "x", 7, memory)
    assert a.asked == ["x", "x"]
    for k in (6, 2, 6):
        run(Runner(SOURCE), [Pipeline.of(fickle)], "x", k, memory)
    assert fickle.asked == ["x", "x"]


def test_what_follows_a_cut_is_the_same_work_however_deep_the_retriever_went() -> None:
    a, judge = Finds("a"), Judges("j")
    memory = Notebook()
    cascade = Pipeline.of(a) % 3 >> judge
    run(Runner(SOURCE), [cascade], "x", 5, memory)  # retrieves 3
    run(Runner(SOURCE), [Pipeline.of(a), cascade], "x", 5, memory)  # retrieves 5, and cuts to 3
    assert judge.asked == ["x"]


def test_another_scope_other_options_or_another_limit_is_other_work() -> None:
    memory = Notebook()
    a, judge, other = Finds("a"), Judges("j"), Judges("k")
    run(Runner(SOURCE), [Pipeline.of(a) % 3 >> judge], "x", 5, memory)
    run(Runner(SOURCE), [Pipeline.of(a) % 3 >> judge], "x", 5, memory, scope="another index")
    assert a.asked == ["x", "x"]
    run(Runner(SOURCE), [Pipeline.of(a) % 2 >> judge], "x", 5, memory)
    assert judge.asked == ["x"] * 3
    run(Runner(SOURCE), [Pipeline.of(a) % 3 >> other], "x", 5, memory)
    assert other.asked == ["x"]
    assert a.asked == ["x", "x"]


def test_partial_lists_and_stages_without_identity_are_not_remembered() -> None:
    a, judge = Finds("a"), Judges("j")
    judge.partial = True
    memory = Notebook()
    for _ in range(2):
        found, _ = run(Runner(SOURCE), [Pipeline.of(a) >> judge], "x", 5, memory)
        assert found[0].partial.tolist() == [True]
    assert judge.asked == ["x", "x"]
    a.name = judge.name = ""
    plan = Runner(SOURCE).plan([Pipeline.of(a) >> judge], 5)
    assert step_keys(plan, "", lambda stage: None) == [None] * len(plan.steps)


def test_behind_a_group_nothing_is_remembered_and_the_space_is_the_groups() -> None:
    a = Finds("a")
    memory = Notebook()
    for _ in range(2):
        found, _ = run(Runner(SOURCE), [Pipeline.of(a) >> _OpenedGroup()], "xy", 5, memory)
        assert found[0].space.key.endswith(GROUPED)
    assert a.asked == ["x", "y"]


def _OpenedGroup() -> Any:  # noqa: N802
    class Both(Groups, Doubles):  # an opened stage must be of a kind that stands alone
        pass

    return Both()


def test_an_interrupt_loses_at_most_a_batch() -> None:
    class Fails(Finds):
        def retrieve(self, queries: Queries, k: int, *, mask: Any = None) -> Ranking:
            if "z" in queries.texts:
                raise KeyboardInterrupt
            return super().retrieve(queries, k, mask=mask)

    memory = Notebook()
    with pytest.raises(KeyboardInterrupt):
        run(Runner(SOURCE, batch=1), [Pipeline.of(Fails("a"))], "xyzw", 5, memory)
    whole = Finds("a")
    run(Runner(SOURCE, batch=1), [Pipeline.of(whole)], "xyzw", 5, memory)
    assert whole.asked == ["z", "w"]
