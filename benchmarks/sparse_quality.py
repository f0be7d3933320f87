"""What fewer bits and fewer postings cost: nDCG@10, and which results stay, on real SPLADE-v3 vectors.

    python -m benchmarks.sparse_quality FOLDER/nfcorpus

FOLDER/nfcorpus is a BEIR folder with test judgements, and below it splade-v3/docs.jsonl.gz and queries.test.*.tsv.gz, impacts
and pre-tokenised queries in Anserini's form. Each row is a part of one index, made and searched as users make and search it. The
overlap is the share of the first ten results that stay as they are with all weights; what the manifest states of the loss, from a
sample and without topics, stands beside.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tamis
from benchmarks.measure import machine, markdown, report, size_mib, work_folder

BITS = ("", "bits=8", "bits=6", "bits=5", "bits=4", "bits=3", "bits=2", "bits=1")
CUTS = (
    "top=192",
    "top=128",
    "top=96",
    "top=64",
    "top=32",
    "min_weight=10",
    "min_weight=20",
    "min_weight=40",
    "min_weight=80",
    "bits=4&top=128",
    "bits=4&top=64",
)
MEASURE, DEPTH = "nDCG@10", 10


def read_queries(path: Path) -> dict[str, str]:
    """Read pre-tokenised topics."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return dict(line.rstrip("\n").split("\t", 1) for line in lines)


def overlap(run: Any, whole: Any, queries: Sequence[str]) -> float:
    """Return the mean share of the first results of `whole` that `run` has among its first."""
    shares = []
    for query in queries:
        wanted = {hit.id for hit in whole[query][:DEPTH]}
        if wanted:
            shares.append(len(wanted & {hit.id for hit in run[query][:DEPTH]}) / len(wanted))
    return float(np.mean(shares))


def measure(index: tamis.Index, folder: Path, variants: Sequence[str]) -> list[dict[str, Any]]:
    """Make a part of each variant, and evaluate it."""
    address = f"impacts:{folder}/splade-v3/docs.jsonl.gz"
    qrels = tamis.read_qrels(f"{folder}#test")
    topics = {
        path.name.split(".")[2]: read_queries(path) for path in sorted((folder / "splade-v3").glob("queries.test.*"))
    }
    whole, rows = dict[str, Any](), list[dict[str, Any]]()
    for number, variant in enumerate(variants):
        name = f"v{number}"
        index.add_part(f"{address}?{variant}" if variant else address, name)
        facts, part = index.manifest.parts[name]["facts"], index.part(name)
        row: dict[str, Any] = {
            "variant": variant or "all, whole numbers",
            "mean": facts["statistics"]["mean_dimensions"],
            "mib": sum(size_mib(run.folder) for run in part.runs),
            **{key: facts["loss"][key] for key in ("coding_error", "dropped_weight", "overlap@10")},
            MEASURE: {},
            "overlap": {},
        }
        for asked, queries in topics.items():
            run = index.rank(queries, 1000, pipeline=f"{address}?part={name}")
            whole.setdefault(asked, run)
            row[MEASURE][asked] = tamis.evaluate(qrels, {"run": run}, [MEASURE]).mean("run", MEASURE)
            row["overlap"][asked] = overlap(run, whole[asked], list(queries))
        rows.append(row)
        print(row, flush=True)
    return rows


def describe(rows: Sequence[dict[str, Any]]) -> str:
    """The table."""
    names = list(rows[0][MEASURE])
    columns = ["", "weights a document", "postings, MiB"]
    for name in names:
        columns += [f"{MEASURE}, {name}", "overlap@10"]
    columns += ["sample: weight dropped", "coding error", "overlap@10"]
    body = []
    for row in rows:
        cells: list[object] = [
            f"`{row['variant']}`" if "=" in row["variant"] else row["variant"],
            row["mean"],
            row["mib"],
        ]
        for name in names:
            cells += [f"{row[MEASURE][name]:.4f}", f"{row['overlap'][name]:.3f}"]
        cells += [f"{row['dropped_weight']:.3f}", f"{row['coding_error']:.3f}", f"{row['overlap@10']:.3f}"]
        body.append(cells)
    return markdown(columns, body)


def main() -> None:
    parser = argparse.ArgumentParser(description="The loss of quantised and pruned sparse parts.")
    parser.add_argument("collection", type=Path, metavar="BEIR_FOLDER")
    parser.add_argument(
        "--variants", help="part options, with commas between them; a table of bits and cuts if not given"
    )
    parser.add_argument("--work", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    variants = ["", *given.variants.split(",")] if given.variants else [*BITS, *CUTS]
    with work_folder(given.work) as work, tamis.Index.create(work / "sparse-quality") as index:
        index.add(tamis.open_corpus(str(given.collection)))
        rows = measure(index, given.collection, variants)
    report(f"{describe(rows)}\n\n{machine()}", {"rows": rows}, given.json)


if __name__ == "__main__":
    main()
