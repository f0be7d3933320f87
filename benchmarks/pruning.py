"""How deep quality models let an index be cut: the deepest certified level of each, by collection and pipeline.

    python -m benchmarks.pruning FOLDER/nfcorpus FOLDER/scifact --work work
    python -m benchmarks.pruning FOLDER/nfcorpus --dense --models random,length,itn,cdd,stopwords,centroid:dense:minilm

Each collection is a BEIR folder with test judgements. A model's ladder is climbed once for all pipelines; a column certifies
one pipeline alone, the last one all together. ``--dense`` encodes the collection with MiniLM once, and adds dense retrieval and
its fusion with BM25. With ``--work``, finished ladders are remembered.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import tamis
from benchmarks.measure import machine, markdown, report
from tamis.data import open_corpus, read_qrels, read_topics
from tamis.eval.equivalence import Bound
from tamis.eval.measures import parse_measures
from tamis.pruning.certificate import DEFAULT_LEVELS, Certificate, Rules, certify, judge, make_field
from tamis.pruning.scoring import quality_part, score_index, spread

MODELS = ("random", "random?seed=1", "length", "itn", "stopwords", "cdd")
DENSE_MODELS = ("centroid:dense:minilm", "magnitude:dense:minilm")
PIPELINES, DENSE_PIPELINES = ("bm25",), ("dense:minilm", "rrf(bm25, dense:minilm)")


def open_index(folder: Path, work: Path, *, dense: bool) -> tamis.Index:
    """Build the index of a collection, or find it."""
    place = work / folder.name
    if not place.exists():
        corpus = open_corpus(str(folder))
        with tamis.Index.create(place) as made:
            made.add(corpus, fingerprint=corpus.fingerprint())
    index = tamis.open(place)
    if dense:
        index.add_part("dense:minilm")
    return index


def part_name(model: str) -> str:
    """A name of its own for every model, options and all."""
    return "q:" + "".join(c if c not in "?&=" else "-" for c in model)


def only(found: Certificate, pipelines: tuple[str, ...]) -> Certificate:
    """What the same ladder shows for some of the pipelines."""
    rungs = [replace(rung, trials={name: rung.trials[name] for name in pipelines}) for rung in found.rungs]
    return judge(found.inputs, found.rules, sorted([*found.halves[0], *found.halves[1]]), rungs)


def measure(folder: Path, work: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Climb the ladder of every model over one collection."""
    measures = parse_measures([given.measure])
    rules = Rules(measures, bound=Bound.parse(given.bound), correction=given.correction)
    pipelines = PIPELINES + (DENSE_PIPELINES if given.dense else ())
    models = given.models.split(",") if given.models else MODELS + (DENSE_MODELS if given.dense else ())
    levels = [level for level in DEFAULT_LEVELS if level <= given.deepest]
    rows = []
    with open_index(folder, work, dense=given.dense) as index:
        field = make_field(read_topics(folder), read_qrels(f"{folder}#test"), pipelines, measures)
        scoring = {}
        for model in models:  # all before the first ladder, which is remembered for the generation
            began = time.perf_counter()
            score_index(index, model, part_name(model))
            scoring[model] = time.perf_counter() - began
        for model in models:
            name = part_name(model)
            found = certify(index, name, field, rules, work / f"{folder.name}-ladders", levels=levels)
            alone = {pipeline: only(found, (pipeline,)) for pipeline in field.pipelines}
            half = next((rung for rung in found.rungs if rung.level == 0.3), found.rungs[-1])
            rows.append(
                {
                    "collection": folder.name,
                    "model": model,
                    "scoring_seconds": scoring[model],
                    "distinct": spread(quality_part(index, name)).distinct,
                    "topics": len(field.queries),
                    "certified": {pipeline: one.certified for pipeline, one in alone.items()}
                    | {"all": found.certified},
                    "chosen": {pipeline: one.chosen for pipeline, one in alone.items()} | {"all": found.chosen},
                    "curves": {
                        pipeline: [[r.level, float(r.values(pipeline, measures[0].name).mean())] for r in found.rungs]
                        for pipeline in field.pipelines
                    },
                    "size_at_30": half.bytes["total"] / found.rungs[0].bytes["total"],
                }
            )
            print(f"{folder.name} {model}: {rows[-1]['certified']}", flush=True)
    return rows


def describe(rows: list[dict[str, Any]]) -> str:
    """Tables: what was certified, and what is left of the measure at a few depths."""
    names = list(rows[0]["certified"])
    shown = [name for name in names if name != "all" or len(names) > 2]
    header = ["collection", "quality model", *shown]
    body = [[r["collection"], r["model"], *(f"{r['certified'][name]:.0%}" for name in shown)] for r in rows]
    text = f"Deepest certified level:\n\n{markdown(header, body)}\n\n"
    depths = (0.1, 0.3, 0.5)
    for pipeline in [name for name in names if name != "all"]:
        body = []
        for row in rows:
            curve = dict(row["curves"][pipeline])
            body.append(
                [
                    row["collection"],
                    row["model"],
                    *(f"{curve[d] / curve[0]:.3f}" if d in curve else "-" for d in depths),
                ]
            )
        header = ["collection", "quality model", *(f"{depth:.0%} dropped" for depth in depths)]
        text += f"{pipeline}, relative to the whole index:\n\n{markdown(header, body)}\n\n"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description="Deepest certified pruning level of quality models.")
    parser.add_argument("collections", nargs="+", type=Path, metavar="BEIR_FOLDER")
    parser.add_argument("--models", help="quality models, with commas between them")
    parser.add_argument("--dense", action="store_true", help="MiniLM too: encodes the collection once")
    parser.add_argument("--measure", default="nDCG@10")
    parser.add_argument("--bound", default="5%")
    parser.add_argument("--correction", default="holm")
    parser.add_argument("--deepest", type=float, default=0.95)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        rows = [row for folder in given.collections for row in measure(folder, work, given)]
    asked = f"{given.measure}, bound {given.bound}, correction {given.correction}."
    report(f"{describe(rows)}{asked}\n\n{machine()}", {"rows": rows}, given.json)


if __name__ == "__main__":
    main()
