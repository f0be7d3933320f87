"""Tuning finds what there is to find, tells what it cost, and does not flatter itself."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from tamis.errors import DataError, SpaceMismatchError, UnknownNameError, UsageError
from tamis.eval import evaluate
from tamis.eval.tuning import Setting, Tuning, tune_fusion
from tamis.pipeline import Pipeline, parse
from tamis.ranking import IdSpace, Ranking, tie_order
from tamis.retrievers.fusion import weighted_sum

DOCS = [f"d{i:02}" for i in range(30)]
SPACE = IdSpace(DOCS)


def ranking(scores: np.ndarray, depth: int = 20) -> Ranking:
    """A list a query of the best documents by a row of scores."""
    lists = []
    for line in scores:
        rows = np.arange(len(line))
        order = tie_order(line, rows)[:depth]
        lists.append((rows[order], line[order]))
    return Ranking.from_lists(SPACE, [f"q{i}" for i in range(len(scores))], lists)


@pytest.fixture(scope="module")
def noisy() -> tuple[dict[str, dict[str, int]], dict[str, Ranking]]:
    """Relevance seen through two noises, the second three times as strong and on another scale."""
    random = np.random.default_rng(7)
    truth = random.normal(size=(40, len(DOCS)))
    qrels = {
        f"q{i}": {DOCS[d]: int(line[d] > 1) + int(line[d] > 2) for d in range(len(DOCS))}
        for i, line in enumerate(truth)
    }
    one = ranking(truth + random.normal(size=truth.shape) * 0.7)
    two = ranking(100 * (truth + random.normal(size=truth.shape) * 2.1))
    return qrels, {"one": one, "two": two}


@pytest.fixture(scope="module")
def tuned(noisy) -> Tuning:
    return tune_fusion(*noisy, "nDCG@10", folds=4)


def test_means_are_those_of_the_fused_rankings(noisy, tuned: Tuning) -> None:
    qrels, rankings = noisy
    lists = list(rankings.values())
    for trial in tuned.trials[:: max(1, len(tuned.trials) // 7)]:
        s = trial.setting
        fused = weighted_sum(lists, s.weights, s.norm, s.missing)
        assert trial.mean == pytest.approx(evaluate(qrels, fused, "nDCG@10").mean("run", "nDCG@10"), abs=1e-12)
    for name, alone in tuned.alone.items():
        assert alone == pytest.approx(evaluate(qrels, rankings[name], "nDCG@10").mean("run", "nDCG@10"))
    equal = evaluate(qrels, weighted_sum(lists, [1, 1], "minmax"), "nDCG@10").mean("run", "nDCG@10")
    assert tuned.equal == pytest.approx(equal)


def test_the_best_is_at_least_every_point_of_the_grid(noisy, tuned: Tuning) -> None:
    qrels, rankings = noisy
    for norm, missing, share in itertools.product(("minmax", "zscore"), ("zero", "min"), np.linspace(0, 1, 11)):
        fused = weighted_sum(list(rankings.values()), [share, 1 - share], norm, missing)
        assert tuned.best.mean >= evaluate(qrels, fused, "nDCG@10").mean("run", "nDCG@10") - 1e-9
    assert [t.mean for t in tuned.trials] == sorted((t.mean for t in tuned.trials), reverse=True)
    assert tuned.best.setting.shares[0] > 0.5
    assert tuned.best.mean > max(tuned.alone.values())


def test_shares_of_raw_scores_are_brought_to_one_scale(noisy) -> None:
    found = tune_fusion(*noisy, norms=["none"], missing=["zero"])
    one, two = found.best.setting.weights
    assert found.best.mean > max(found.alone.values())
    assert two < one / 50
    assert one == 1


def test_every_topic_is_held_out_once(noisy) -> None:
    qrels, rankings = noisy
    norms = ["minmax", "zscore"]  # raw scores are scaled by all lists, so that fewer topics would be other settings
    tuned = tune_fusion(qrels, rankings, "nDCG@10", norms=norms, folds=4)
    held = [query_id for fold in tuned.folds for query_id in fold.query_ids]
    assert sorted(held) == sorted(tuned.query_ids) == sorted(qrels)
    assert [len(fold.query_ids) for fold in tuned.folds] == [10] * 4
    total = 0.0
    for fold in tuned.folds:  # what the others choose, found anew on them alone
        others = {q: grades for q, grades in qrels.items() if q not in fold.query_ids}
        assert tune_fusion(others, rankings, "nDCG@10", norms=norms, folds=2).best.setting == fold.setting
        own = {q: qrels[q] for q in fold.query_ids}
        mean = evaluate(own, fold.setting.fuse(list(rankings.values())), "nDCG@10").mean("run", "nDCG@10")
        assert fold.mean == pytest.approx(mean)
        total += mean * len(own)
    assert tuned.cross_validated == pytest.approx(total / len(qrels))
    assert tuned.cross_validated <= tuned.best.mean


def test_pure_noise_is_not_sold_as_a_gain() -> None:
    random = np.random.default_rng(3)
    qrels = {f"q{i}": {DOCS[d]: 1 for d in random.choice(30, 3, replace=False)} for i in range(30)}
    lists = {name: ranking(random.normal(size=(30, 30)), 10) for name in "ab"}
    found = tune_fusion(qrels, lists, "nDCG@5")
    assert found.best.mean > found.equal
    assert found.cross_validated is not None
    assert found.cross_validated < found.best.mean - 0.01


def test_the_outcome_does_not_depend_on_the_order_of_the_topics(noisy, tuned: Tuning) -> None:
    qrels, rankings = noisy
    backwards = {q: qrels[q] for q in reversed(qrels)}
    turned = {name: r.take(list(range(len(r)))[::-1]) for name, r in rankings.items()}
    again = tune_fusion(backwards, turned, "nDCG@10", folds=4)
    assert [t.setting for t in again.trials] == [t.setting for t in tuned.trials]
    assert again.cross_validated == pytest.approx(tuned.cross_validated)


def test_equal_settings_go_to_the_plainest() -> None:
    same = ranking(np.tile(np.arange(30.0), (3, 1)))
    qrels = {"q0": {"d29": 1}, "q1": {"d28": 1}, "q2": {"d00": 1}}
    found = tune_fusion(qrels, {"a": same, "b": same})
    assert found.best.setting == Setting("wsum", (0.5, 0.5), "minmax", "zero", shares=(0.5, 0.5))
    assert tune_fusion(qrels, {"a": same, "b": same}, method="rrf").best.setting.k == 60


def test_reciprocal_rank_fusion_is_tuned_by_its_constant() -> None:
    # d00 stands first once, d01 second twice: 1/(k+1) against 2/(k+2), so a small k is wanted
    first = ranking(np.array([[3.0, 2.0, 1.0] + [0.0] * 27]), 2)
    second = ranking(np.array([[0.0, 2.0, 3.0] + [0.0] * 27]), 2)
    found = tune_fusion({"q0": {"d01": 1}}, {"a": first, "b": second}, "RR", method="rrf")
    assert found.best.mean == 1
    assert found.best.setting == Setting("rrf", k=60)
    assert found.folds == ()
    assert found.cross_validated is None


def test_three_inputs(noisy) -> None:
    qrels, rankings = noisy
    few = {q: qrels[q] for q in list(qrels)[:8]}
    three = {**rankings, "three": ranking(np.random.default_rng(1).normal(size=(40, 30)))}
    found = tune_fusion(few, three, norms=["minmax"], missing=["zero"], folds=2)
    assert sum(found.best.setting.shares) == pytest.approx(1)
    assert len(found.trials) >= 66
    assert found.best.mean >= max(found.alone.values()) - 1e-12


def test_a_setting_is_a_pipeline() -> None:
    inputs = ["bm25?k1=1.2", Pipeline.of("ql") % 50]
    spelled = str(Setting("wsum", (0.7, 0.3), "minmax", "min").pipeline(inputs))
    assert spelled == "wsum(0.7*bm25?k1=1.2, 0.3*(ql % 50), norm=minmax, missing=min)"
    assert parse(spelled) == Setting("wsum", (0.7, 0.3), "minmax", "min").pipeline(inputs)
    assert str(Setting("rrf", k=20).pipeline(inputs)) == "rrf(bm25?k1=1.2, ql % 50, k=20)"


def test_json(noisy, tuned: Tuning) -> None:
    values = json.loads(json.dumps(tuned.to_dict(top=3)))
    assert len(values["trials"]) == 3
    assert values["tried"] == len(tuned.trials)
    assert values["tuned_on"] == {"queries": 40, "query_ids": [f"q{i}" for i in range(40)]}
    assert values["best"]["mean"] == tuned.best.mean
    assert [fold["mean"] for fold in values["folds"]] == [fold.mean for fold in tuned.folds]


def test_what_is_refused(noisy) -> None:
    qrels, rankings = noisy
    with pytest.raises(UsageError, match="1 rankings"):
        tune_fusion(qrels, {"one": rankings["one"]})
    with pytest.raises(UsageError, match="7 rankings"):
        tune_fusion(qrels, {str(i): rankings["one"] for i in range(7)})
    with pytest.raises(UsageError, match="folds=1"):
        tune_fusion(qrels, rankings, folds=1)
    with pytest.raises(UnknownNameError, match="did you mean 'minmax'"):
        tune_fusion(qrels, rankings, norms=["minmx"])
    with pytest.raises(UsageError, match="no value of missing"):
        tune_fusion(qrels, rankings, missing=[])
    with pytest.raises(UnknownNameError, match="valid: rrf, wsum"):
        tune_fusion(qrels, rankings, method="interleave")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="none of the ranked topics"):
        tune_fusion({"x": {"d00": 1}}, rankings)
    other = Ranking.from_lists(IdSpace(["z"]), ["q0"], [([0], [1.0])])
    with pytest.raises(SpaceMismatchError):
        tune_fusion(qrels, {"one": rankings["one"], "other": other})
