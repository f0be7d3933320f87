"""The certificate: its decisions by hand, its coverage by simulation, its run over an index, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tamis
from tamis.data.qrels import Qrels
from tamis.errors import DataError, MissingResourceError, SpaceMismatchError, UsageError
from tamis.eval.equivalence import Bound, equivalence
from tamis.eval.halves import halves
from tamis.eval.measures import parse_measures
from tamis.pruning import ladder
from tamis.pruning.certificate import (
    Rules,
    certified_level,
    certify,
    judge,
    make_field,
    read_certificate,
)
from tamis.pruning.cut import prune_index
from tamis.pruning.ladder import Rung, Trial
from tamis.pruning.report import draw_curve, write_report
from tamis.pruning.scoring import quality_part, score_index
from tamis.pruning.selection import Candidates
from tamis.ranking import Queries

NDCG = parse_measures(["nDCG@10"])


def rung(level: float, values: dict[str, Any]) -> Rung:
    trials = {name: Trial({"nDCG@10": list(per_query)}, 1.0, 0, 0.5) for name, per_query in values.items()}
    return Rung(level, int(1000 * level), 1000 - int(1000 * level), {"total": 1000}, 0.1, trials)


def test_the_deepest_level_that_both_halves_bear() -> None:
    rng = np.random.default_rng(5)
    full = rng.uniform(0.3, 0.7, 80)
    _, confirming = halves(80, 0)
    small = rng.normal(0, 0.005, 80)
    spoiled = small.copy()
    spoiled[confirming] -= 0.2  # harms only the half that confirms
    ladder_of = {0.0: 0 * full, 0.1: small, 0.2: small, 0.3: spoiled, 0.4: small - 0.2, 0.5: small}
    for correction in ("holm", "bonferroni", "sequence"):
        rules = Rules(NDCG, correction=correction)  # type: ignore[arg-type]
        rungs = [rung(level, {"bm25": full + delta, "ql": full}) for level, delta in ladder_of.items()]
        found = judge({}, rules, [f"q{i}" for i in range(80)], rungs)
        assert found.chosen == 0.3  # 50 % does not count, because 40 % failed
        assert found.certified == 0.2
        assert len(found.confirmation_p) == 3
        assert not set(found.halves[0]) & set(found.halves[1])
        claim = next(c for c in found.claims if c.level == 0.2 and c.pipeline == "bm25")
        assert claim.confirmation is not None
        assert claim.confirmation.p == equivalence(full[confirming], (full + small)[confirming], Bound(0.05)).p
        assert next(c for c in found.claims if c.level == 0.4).confirmation is None
        # one pipeline that does not bear it is enough
        harmed = [rungs[0], *(replace(r, trials={**r.trials, "ql": rungs[4].trials["bm25"]}) for r in rungs[1:])]
        assert judge({}, rules, [f"q{i}" for i in range(80)], harmed).certified == 0


@pytest.mark.parametrize("correction", ["holm", "sequence"])
def test_false_certificates_are_rarer_than_alpha(correction: str) -> None:
    """At every level both pipelines lose just the bound: any certificate is false."""
    rng = np.random.default_rng(9)
    simulations, queries, alpha, false, chosen = 1000, 60, 0.05, 0, 0
    rules = Rules(NDCG, alpha=alpha, correction=correction)  # type: ignore[arg-type]
    names = [f"q{i}" for i in range(queries)]
    for _ in range(simulations):
        full = rng.beta(4, 4, queries)
        loss = rng.normal(-0.025, 0.05, queries)
        cuts = [rung(level, {"a": full + loss + rng.normal(0, 0.01, queries)}) for level in (0.1, 0.2)]
        found = judge({}, rules, names, [rung(0, {"a": full}), *cuts])
        false += found.certified > 0
        chosen += found.chosen > 0
    bar = alpha + 3 * np.sqrt(alpha * (1 - alpha) / simulations)
    assert false / simulations <= chosen / simulations <= bar


@pytest.fixture
def setting(index: tamis.Index, topics: dict[str, str]) -> tuple[tamis.Index, Queries, Qrels]:
    """Judgements that agree with BM25 on the whole index."""
    score_index(index, "random")
    ranking = index.rank(topics, 5)
    qrels = Qrels({query: {hit.id: 2 - hit.rank // 3 for hit in ranking[query]} for query in topics})
    return index, Queries.of(topics), qrels


def test_over_an_index(setting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, topics, qrels = setting
    field = make_field(topics, qrels, ["bm25", "ql % 50"], NDCG)
    arguments: dict[str, Any] = {"levels": (0.1, 0.3, 0.6)}
    rules = Rules(NDCG, bound=Bound(0.9))
    found = certify(index, "random", field, rules, tmp_path / "work", **arguments)
    part = quality_part(index, "random")
    for one in found.rungs[1:]:  # every rung is what a cut by itself gives
        drop = Candidates(index.documents, part).lowest(one.level)  # type: ignore[arg-type]
        cut = prune_index(index, tmp_path / "by-itself", drop, overwrite=True)
        assert (one.rows, one.kept) == (len(drop), cut.kept)
        assert one.bytes["terms"] == cut.after["terms"]
        with tamis.open(tmp_path / "by-itself") as small:
            for pipeline in ("bm25", "ql % 50"):
                evaluation = tamis.evaluate(qrels, small.rank(topics, 1000, pipeline=pipeline), ["nDCG@10"])
                assert one.values(pipeline, "nDCG@10").tolist() == evaluation.per_query("run", "nDCG@10").tolist()
    assert found.rungs[3].bytes["total"] < found.rungs[1].bytes["total"] < found.rungs[0].bytes["total"]
    # finished levels are not done again
    monkeypatch.setattr(ladder, "prune_index", None)
    again = certify(index, "random", field, rules, tmp_path / "work", **arguments)
    assert again == found
    value = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert value["certified"] == found.certified
    assert value["inputs"]["generation"] == index.generation
    assert [level["level"] for level in value["levels"]] == [0, 0.1, 0.3, 0.6]
    assert value["rules"] == {
        "measures": ["nDCG@10"],
        "bound": "90%",
        "alpha": 0.05,
        "correction": "holm",
        "seed": 0,
        "watts": 65.0,
    }
    report, curve = write_report(found, "curve.svg"), draw_curve(found)
    assert write_report(again, "curve.svg") == report
    assert "nan" not in (report + curve).lower().replace("finance", "")
    assert re.search(r"\| 30 % +\| ql % 50 ", report)
    assert curve.count("<polyline") == 2


def test_a_later_level_is_cut_from_the_index_when_the_one_before_is_gone(
    setting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, topics, qrels = setting
    field, rules = make_field(topics, qrels, ["bm25"], NDCG), Rules(NDCG, bound=Bound(0.9))
    whole = certify(index, "random", field, rules, tmp_path / "a", levels=(0.1, 0.3))
    plain = ladder.prune_index
    with monkeypatch.context() as patch:
        patch.setattr(
            ladder,
            "prune_index",
            lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt()) if "0.3" in str(a[1]) else plain(*a, **k),
        )
        with pytest.raises(KeyboardInterrupt):
            certify(index, "random", field, rules, tmp_path / "b", levels=(0.1, 0.3))
    resumed = certify(index, "random", field, rules, tmp_path / "b", levels=(0.1, 0.3))
    assert [r.trials["bm25"].values for r in resumed.rungs] == [r.trials["bm25"].values for r in whole.rungs]


def test_what_is_no_experiment_is_refused(setting: Any, tmp_path: Path) -> None:
    index, topics, qrels = setting
    with pytest.raises(
        DataError, match=r"none of the 6 topics has judgements \(topics such as 'q1', judgements such as 'x'\)"
    ):
        make_field(topics, Qrels({"x": {"d1": 1}}), ["bm25"], NDCG)
    with pytest.raises(DataError, match="'none at all'"):
        make_field(topics, Qrels({}), ["bm25"], NDCG)
    with pytest.raises(UsageError, match="1 of the topics have judgements"):
        make_field(topics, qrels.subset(["q2"]), ["bm25"], NDCG)
    with pytest.raises(UsageError, match="no pipeline"):
        make_field(topics, qrels, [], NDCG)
    with pytest.raises(UsageError, match="given twice"):
        make_field(topics, qrels, ["bm25", "bm25"], NDCG)
    rules = Rules(NDCG)
    silent = make_field(Queries.of({f"q{i}": f"unheard{i}" for i in range(1, 7)}), qrels, ["bm25"], NDCG)
    with pytest.raises(DataError, match="bm25 finds nothing for any of the 6 topics"):
        certify(index, "random", silent, rules, tmp_path / "w", levels=(0.1,))
    wrong = make_field(topics, Qrels({query: {"other": 1} for query in topics.ids}), ["bm25"], NDCG)
    with pytest.raises(DataError, match=r"scores 0 on nDCG@10 for every one of the 6 topics"):
        certify(index, "random", wrong, rules, tmp_path / "w", levels=(0.1,))
    field = make_field(topics, qrels, ["bm25"], NDCG)
    for levels in ((), (0.2, 0.1), (0.0, 0.1), (0.5, 1.0)):
        with pytest.raises(UsageError, match="write ascending shares"):
            certify(index, "random", field, rules, tmp_path / "w", levels=levels)
    with pytest.raises(MissingResourceError, match="no quality part 'itn'"):
        certify(index, "itn", field, rules, tmp_path / "w")
    keep = [f"d{i}" for i in range(118)]
    with pytest.raises(UsageError, match="only 2 of 120 rows are not protected"):
        certify(index, "random", field, rules, tmp_path / "w", keep=keep)


def test_topics_of_which_none_changes_are_equivalent_and_said_to_be_the_same() -> None:
    full = np.linspace(0.2, 0.8, 20)
    found = judge(
        _inputs(), Rules(NDCG), [f"q{i}" for i in range(20)], [rung(0, {"bm25": full}), rung(0.1, {"bm25": full})]
    )
    assert found.certified == 0.1
    assert "= : no topic changed." in write_report(found)
    none = [rung(0, {"bm25": [0.0] * 9 + [1.0]}), rung(0.1, {"bm25": [0.0] * 10})]
    with pytest.raises(DataError, match=r"bm25, nDCG@10, 5 topics: the reference scores 0"):
        judge(_inputs(), Rules(NDCG), [f"q{i}" for i in range(10)], none)


def _inputs() -> dict[str, Any]:
    return {"index": "a" * 32, "generation": 3, "rows": 10, "quality": {"address": "itn", "fingerprint": "f" * 64}}


def test_a_certificate_is_of_one_index(setting: Any, tmp_path: Path, make_documents: Callable[..., Any]) -> None:
    index, topics, qrels = setting
    field = make_field(topics, qrels, ["bm25"], NDCG)
    found = certify(index, "random", field, Rules(NDCG, bound=Bound(0.99)), tmp_path / "w", levels=(0.02,))
    path = tmp_path / "certificate.json"
    value = found.to_json()
    value["certified"] = 0.02
    path.write_text(json.dumps(value), "utf-8")
    assert certified_level(read_certificate(path), index.manifest, path) == 0.02
    score_index(index, "itn")  # another part changes no document
    assert certified_level(read_certificate(path), index.manifest, path) == 0.02
    with pytest.raises(DataError, match="certifies no level"):
        certified_level({**value, "certified": 0.0}, index.manifest, path)
    index.add([{"id": "new", "text": "w1"}])
    with pytest.raises(SpaceMismatchError, match="made for the documents of generation 1"):
        certified_level(read_certificate(path), index.manifest, path)
    with tamis.Index.create(tmp_path / "other") as other, pytest.raises(SpaceMismatchError, match="made for the index"):
        certified_level(read_certificate(path), other.manifest, path)
    path.write_text("[]", "utf-8")
    with pytest.raises(DataError, match="is no pruning certificate"):
        read_certificate(path)
    with pytest.raises(MissingResourceError, match="cannot read"):
        read_certificate(tmp_path / "nowhere.json")
