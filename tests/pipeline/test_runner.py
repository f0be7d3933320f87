"""Planning and running, with small real stages over hand-made scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from tamis import families
from tamis.errors import DataError, SpaceMismatchError, UnknownNameError, UsageError
from tamis.events import Advanced, Event, Finished, Started
from tamis.families import Address, option
from tamis.pipeline import Pipeline, Runner, interleave, parse, rescore_top, rrf, run, run_many, wsum
from tamis.ranking import IdSpace, Queries, Ranking, State, tie_order
from tamis.stages import RowMask

SPACE = IdSpace("ABCDEF")
QUERIES = Queries(("1", "2"), ("x", "y"))

LEXICAL = {"x": {"A": 6.0, "B": 5.0, "C": 4.0, "D": 3.0, "E": 2.0}, "y": {"F": 2.0, "E": 1.0}}
DENSE = {"x": {"D": 0.9, "B": 0.8, "F": 0.7}, "y": {"A": 0.6, "F": 0.5}}
JUDGE = {"x": {"C": 10.0, "D": 9.0, "B": 8.0, "A": 7.0, "E": 6.0, "F": 5.0}, "y": {"E": 3.0, "F": 2.0, "A": 1.0}}


class Scorer:
    """Knows a score for some documents of some query texts; remembers what it was asked."""

    def __init__(self, table: Mapping[str, Mapping[str, float]], space: IdSpace = SPACE) -> None:
        self.table, self.space = table, space
        self.asked: list[tuple[tuple[str, ...], Any]] = []


class Finds(Scorer):
    def retrieve(self, queries: Queries, k: int, *, mask: RowMask | None = None) -> Ranking:
        self.asked.append((queries.texts, k))
        lists = []
        for text in queries.texts:
            scores = self.table.get(text, {})
            rows, values = self.space.rows(list(scores)), np.array(list(scores.values()), float)
            if mask is not None:
                rows, values = rows[mask[rows]], values[mask[rows]]
            order = tie_order(values, rows)[:k]
            lists.append((rows[order], values[order]))
        return Ranking.from_lists(self.space, queries.ids, lists)


class Judges(Scorer):
    def rescore(self, queries: Queries, ranking: Ranking) -> Ranking:
        self.asked.append((queries.texts, np.diff(ranking.offsets).tolist()))
        scores = [
            self.table[text].get(doc, -1.0)
            for text, (_, rows, _) in zip(queries.texts, ranking.lists(), strict=True)
            for doc in self.space.ids(rows)
        ]
        return ranking.with_scores(np.array(scores, float))


class Both(Finds, Judges):
    """Retrieves at the head and re-scores after ``>>``, as bm25 does."""


class Swaps:
    """Rewrites the queries: x becomes y and back."""

    def __init__(self) -> None:
        self.saw: list[bool] = []

    def rewrite(self, state: State) -> Queries:
        self.saw.append(state.ranking is not None)
        return Queries(state.queries.ids, tuple({"x": "y", "y": "x"}[text] for text in state.queries.texts))


SOURCE: Any = SimpleNamespace(documents=SPACE)


def orders(ranking: Ranking) -> list[str]:
    return ["".join(hit.id for hit in ranking[query]) for query in ranking.query_ids]


def go(pipeline: Any, k: int = 10, **options: Any) -> list[str]:
    return orders(run(pipeline, SOURCE, QUERIES, k, **options))


# -- what runs -----------------------------------------------------------------------------------------------------


def test_a_retriever_alone_goes_k_deep() -> None:
    lexical = Finds(LEXICAL)
    assert go(lexical, k=2) == ["AB", "FE"]
    assert lexical.asked == [(("x", "y"), 2)]


def test_the_cut_and_not_k_decides_what_is_rescored() -> None:
    lexical, judge = Finds(LEXICAL), Judges(JUDGE)
    assert go(Pipeline.of(lexical) % 3 >> judge, k=2) == ["CB", "EF"]
    assert lexical.asked == [(("x", "y"), 3)]
    assert judge.asked == [(("x", "y"), [3, 2])]


def test_without_a_cut_k_candidates_are_rescored() -> None:
    lexical, judge = Finds(LEXICAL), Judges(JUDGE)
    assert go(Pipeline.of(lexical) >> Pipeline.of(judge) % 1, k=2) == ["B", "E"]
    assert lexical.asked == [(("x", "y"), 2)]


def test_inputs_of_a_fusion_go_deep_or_to_their_own_cut() -> None:
    lexical, dense = Finds(LEXICAL), Finds(DENSE)
    assert go(rrf(Pipeline.of(lexical) % 2, dense), k=2) == ["BA", "FA"]
    assert (lexical.asked[0][1], dense.asked[0][1]) == (2, 1000)
    go(Pipeline.of(lexical) + dense, k=2000)
    assert (lexical.asked[1][1], dense.asked[1][1]) == (2000, 2000)


def test_a_fusion_at_the_head_hands_on_k() -> None:
    judge = Judges(JUDGE)
    go(rrf(Finds(LEXICAL), Finds(DENSE)) >> judge, k=4)
    assert judge.asked == [(("x", "y"), [4, 3])]


def test_fusions() -> None:
    lexical, dense = Finds(LEXICAL), Finds(DENSE)
    assert go(interleave(dense, lexical)) == ["DABFCE", "AFE"]
    assert go(0.5 * Pipeline.of(lexical) + 10 * Pipeline.of(dense))[0] == "BDFACE"  # 10.5 10.5 7 3 2 1
    normed = run(wsum(0.7 * Pipeline.of(lexical) % 2, dense, norm="minmax"), SOURCE, QUERIES, 1)
    assert [hit.score for hit in normed["1"]] == [1.0]  # D: 1 of the dense list; the weight is not normalised away


def test_after_a_stage_a_fusion_rescores() -> None:
    judge, both = Judges(JUDGE), Both(LEXICAL)
    fused = run(Pipeline.of(both) % 2 >> 0.5 * Pipeline.of(both) + 0.25 * Pipeline.of(judge), SOURCE, QUERIES, 10)
    assert {hit.id: hit.score for hit in fused["1"]} == {"A": 3 + 1.75, "B": 2.5 + 2}
    assert both.asked == [(("x", "y"), 2), (("x", "y"), [2, 2])]


def test_weights_scale_and_a_negative_one_turns_the_list_around() -> None:
    lexical = Finds(LEXICAL)
    doubled = run(2 * Pipeline.of(lexical) % 2, SOURCE, QUERIES, 10)
    assert [hit.score for hit in doubled["1"]] == [12.0, 10.0]
    assert go(-1 * Pipeline.of(lexical) % 2) == ["ED", "EF"]


def test_a_query_stage_rewrites_for_what_follows() -> None:
    swaps, judge = Swaps(), Judges(JUDGE)
    assert go(Pipeline.of(swaps) >> Finds(LEXICAL)) == ["FE", "ABCDE"]
    assert go(Pipeline.of(Finds(LEXICAL)) % 2 >> swaps >> judge) == ["AB", "EF"]  # y knows A only; x puts E over F
    assert swaps.saw == [False, True]
    branches = rrf(Pipeline.of(swaps) >> Finds(DENSE), Finds(DENSE)) >> judge
    assert go(branches)[0] == "DBAF"  # after a fusion the queries are those that entered it


def test_a_mask_reaches_the_retriever() -> None:
    mask = np.array([doc != "A" for doc in "ABCDEF"])
    assert go(Finds(LEXICAL), k=2, mask=mask) == ["BC", "FE"]


def test_batches_do_not_show() -> None:
    ids = tuple(str(i) for i in range(7))
    queries = Queries(ids, tuple("xyxyyxx"))
    lexical, judge = Finds(LEXICAL), Judges(JUDGE)
    heard: list[Event] = []
    pipeline = Pipeline.of(lexical) % 3 >> judge
    batched = Runner(SOURCE, batch=3).run(pipeline, queries, 10, listener=heard.append)
    assert [len(texts) for texts, _ in lexical.asked] == [3, 3, 1]
    assert orders(batched) == orders(run(pipeline, SOURCE, queries, 10))
    assert heard[:5] == [
        Started("<Finds object>", 7, "queries"),
        *[Advanced("<Finds object>", n) for n in (3, 3, 1)],
        Finished("<Finds object>"),
    ]
    assert [type(event) for event in heard[5:]] == [Started, Advanced, Advanced, Advanced, Finished]


def test_no_queries_is_no_fault() -> None:
    assert len(run(rrf(Finds(LEXICAL), Finds(DENSE)) >> Judges(JUDGE), SOURCE, Queries((), ()), 5)) == 0


# -- what is shared ------------------------------------------------------------------------------------------------


def test_a_shared_prefix_runs_once() -> None:
    lexical, judge, other = Finds(LEXICAL), Judges(JUDGE), Judges(DENSE)
    head = Pipeline.of(lexical) % 3
    results = run_many([head >> judge, head >> judge >> other, rrf(head, head >> judge)], SOURCE, QUERIES, 10)
    assert [orders(result)[0] for result in results] == ["CBA", "BAC", "ACB"]
    assert len(lexical.asked) == len(judge.asked) == len(other.asked) == 1


def test_a_retriever_at_several_depths_runs_once_at_the_deepest() -> None:
    lexical = Finds(LEXICAL)
    base = Pipeline.of(lexical)
    results = run_many([base % 1, base % 4, base, rrf(base % 2, base % 3)], SOURCE, QUERIES, 3)
    assert [orders(result)[0] for result in results] == ["A", "ABC", "ABC", "ABC"]
    assert lexical.asked == [(("x", "y"), 4)]


def test_a_depth_dependent_retriever_runs_at_each_depth() -> None:
    lexical = Finds(LEXICAL)
    lexical.depth_dependent = True  # type: ignore[attr-defined]
    run_many([Pipeline.of(lexical) % 1, Pipeline.of(lexical) % 2, Pipeline.of(lexical) % 2], SOURCE, QUERIES, 3)
    assert [k for _, k in lexical.asked] == [1, 2]


def test_rewritten_queries_are_other_work() -> None:
    lexical, swaps = Finds(LEXICAL), Swaps()
    run_many([lexical, Pipeline.of(swaps) >> lexical, Pipeline.of(swaps) >> lexical], SOURCE, QUERIES, 3)
    assert [texts for texts, _ in lexical.asked] == [("x", "y"), ("y", "x")]
    assert len(swaps.saw) == 1


# -- models by address ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ToyOptions:
    boost: float = option(1.0, "score factor")


class Toy:
    """A family that retrieves and re-scores."""

    summary: ClassVar[str] = "hand-made scores"
    part_kind: ClassVar[str | None] = None
    default_part: ClassVar[str | None] = None
    Options: ClassVar[type[ToyOptions]] = ToyOptions
    opened: ClassVar[list[Both]] = []

    @classmethod
    def open(cls, source: Any, address: Address, options: ToyOptions) -> Both:
        table = {text: {doc: s * options.boost for doc, s in docs.items()} for text, docs in LEXICAL.items()}
        cls.opened.append(Both(table))
        return cls.opened[-1]


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Toy]]:
    monkeypatch.setattr(families, "_entry_points", lambda: {"toy": lambda: Toy})
    Toy.opened.clear()
    yield Toy
    Toy.opened.clear()


def test_a_string_runs_and_equal_addresses_open_once(toy: type[Toy]) -> None:
    runner = Runner(SOURCE)
    heard: list[Event] = []
    assert orders(runner.run("toy?boost=-1 % 3 >> toy?depth=2", QUERIES, 10, listener=heard.append)) == ["DEC", "FE"]
    runner.run(parse("rrf(toy, toy?boost=-1)"), QUERIES, 10)
    assert len(toy.opened) == 2
    assert {event.stage for event in heard if isinstance(event, Started)} == {"toy?boost=-1", "toy"}


def test_depth_limits_what_is_rescored(toy: type[Toy]) -> None:
    result = run("toy?boost=-1 % 4 >> toy?depth=2", SOURCE, QUERIES, 10)
    assert toy.opened[-1].asked == [(("x", "y"), [2, 2])]
    # boost=-1 finds E -2, D -3, C -4, B -5; the first two become D 3, E 2; C and B keep their distances of 1
    assert [(hit.id, hit.score) for hit in result["1"]] == [("D", 3.0), ("E", 2.0), ("C", 1.0), ("B", 0.0)]


def test_a_plan_shows_what_runs_and_what_is_shared(toy: type[Toy]) -> None:
    plan = Runner(SOURCE).plan(["toy % 3 >> toy?boost=2&depth=2", "0.5*toy + 2*(toy % 5)"], 10)
    assert str(plan).splitlines() == [
        "[0] the queries",
        "[1] toy retrieves 1000 for [0]  (shared by 3)",
        "[2] the first 3 of [1]",
        "[3] toy?boost=2 re-scores the first 2 of [2]",
        "[4] the first 5 of [1]",
        "[5] 0.5*[1] + 2*[4], norm none, missing zero",
        "[6] the first 10 of [5]",
        "toy % 3 >> toy?boost=2&depth=2: [3]",
        "0.5*toy + 2*(toy % 5): [6]",
    ]


def test_a_misspelt_name_is_refused_before_anything_opens(toy: type[Toy]) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'toy'"):
        run("toy % 3 >> tou", SOURCE, QUERIES, 10)
    with pytest.raises(UnknownNameError, match="did you mean 'boost'"):
        run("toy % 3 >> toy?bost=2", SOURCE, QUERIES, 10)
    assert toy.opened == []


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        (lambda: Judges(JUDGE), r"re-scores candidates: put a retriever before it, for example bm25 % 100 >> "),
        (lambda: rrf(Finds(LEXICAL), Judges(JUDGE)), "re-scores candidates"),
        (lambda: Pipeline.of(Judges(JUDGE)) >> Finds(LEXICAL), "re-scores candidates"),
        (lambda: Pipeline.of(Finds(LEXICAL)) >> Finds(DENSE), "only retrieves"),
        (lambda: Swaps(), "only rewrites the queries: put a retriever after it"),
        (lambda: rrf(Swaps(), Finds(LEXICAL)), "a fusion joins rankings, but <Swaps object> only rewrites"),
        (lambda: Pipeline.of(Swaps()) % 5 >> Finds(LEXICAL), "only rewrites"),
        (lambda: 2 * Pipeline.of(Swaps()) >> Finds(LEXICAL), "only rewrites"),
        (lambda: "toy?depth=10", "here the model retrieves: write … % 10"),
    ],
)
def test_a_stage_where_it_cannot_work_is_refused_before_anything_runs(
    toy: type[Toy], pipeline: Any, message: str
) -> None:
    lexical = Finds(LEXICAL)
    with pytest.raises(UsageError, match=message):
        run_many([lexical, pipeline()], SOURCE, QUERIES, 10)
    assert lexical.asked == []


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_a_bad_k_is_refused(k: Any) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        run(Finds(LEXICAL), SOURCE, QUERIES, k)


def test_rankings_of_other_spaces_do_not_fuse() -> None:
    with pytest.raises(SpaceMismatchError):
        go(rrf(Finds(LEXICAL), Finds(DENSE, IdSpace("ABCDEFG"))))


class Drops:
    def rescore(self, queries: Queries, ranking: Ranking) -> Ranking:
        return ranking.cut(1)


class Reorders:
    def rescore(self, queries: Queries, ranking: Ranking) -> Ranking:
        return ranking.take([1, 0])


class Forgets:
    def rewrite(self, state: State) -> Queries:
        return state.queries.take([0])


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (Drops(), "returned 1 rows for the 5 candidates of query '1'"),
        (Reorders(), "returned '2' for '1': a stage keeps the query ids"),
        (Forgets(), "returned 1 queries for 2"),
    ],
)
def test_a_stage_that_breaks_its_protocol_is_named(stage: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        go(Pipeline.of(Finds(LEXICAL)) >> stage >> Judges(JUDGE))


# -- re-scoring the top --------------------------------------------------------------------------------------------


def test_the_rest_follows_below_in_its_old_order() -> None:
    candidates = Ranking.from_lists(
        SPACE, QUERIES.ids, [(SPACE.rows(list("ABCDE")), [9, 8, 8, 5, 5]), (SPACE.rows(list("FE")), [2, 1])]
    )
    result = rescore_top(Judges(JUDGE), QUERIES, candidates, 2)
    assert orders(result) == ["BACDE", "EF"]
    below = np.nextafter(7.0, -np.inf)  # C tied with B, the last that was re-scored
    assert result.at(0)[1].tolist() == [8.0, 7.0, below, 4.0, 4.0]
    assert candidates.at(0)[1].tolist() == [9, 8, 8, 5, 5]


def test_partial_flags_survive_rescoring() -> None:
    found = Finds(LEXICAL).retrieve(QUERIES, 5)
    found.partial[1] = True
    assert rescore_top(Judges(JUDGE), QUERIES, found, 1).partial.tolist() == [False, True]
