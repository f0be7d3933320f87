"""Real re-ranking: TREC DL19's judged queries over the pool, BM25's candidates re-ranked by what needs no download.

    python -m benchmarks.dl19 FOLDER/msmarco-dl19-pool

MiniLM re-ranks as it is, one vector a text; and by late interaction, as ColBERT does, over its token states, which nobody
trained for that: an identity in place of ColBERT's projection, no markers, no filling. The last rows are ceilings: the best
order of the same candidates by the judgements, and of all judged passages. Scored with all official judgements
(``qrels/test.full.tsv``), over the 43 judged queries.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.measure import Usage, machine, markdown, parser, report, run, tamis, work_folder
from tamis.data.qrels import read_qrels
from tamis.data.runs import read_run
from tamis.encoders.checkpoints import find_checkpoint
from tamis.eval.evaluate import evaluate

DEPTH = 100
MEASURES = ("nDCG@10", "RR@10", "AP")
MODELS = {
    "`dense:minilm`": "dense:minilm",
    "`dense:minilm`, bfloat16": "dense:minilm?dtype=bfloat16",
    "late interaction over MiniLM's token states": "colbert:{folder}",
    "the same, bfloat16": "colbert:{folder}?dtype=bfloat16",
}


def make_late(folder: Path) -> Path:
    """MiniLM as a late-interaction checkpoint in PyLate's layout: its states as they are, normalised."""
    import torch
    from safetensors.torch import save_file

    if (folder / "modules.json").exists():
        return folder
    shutil.copytree(find_checkpoint("minilm"), folder, dirs_exist_ok=True)
    width = int(json.loads((folder / "config.json").read_text())["hidden_size"])
    for stale in ("modules.json", "1_Pooling", "2_Normalize"):
        path = folder / stale
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    dense = folder / "1_Dense"
    dense.mkdir()
    save_file({"linear.weight": torch.eye(width)}, dense / "model.safetensors", {"format": "pt"})
    card = {"in_features": width, "out_features": width, "bias": False}
    card["activation_function"] = "torch.nn.modules.linear.Identity"
    (dense / "config.json").write_text(json.dumps(card))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 256, "do_lower_case": False}))
    stated = {"query_prefix": "", "document_prefix": "", "query_length": 64, "document_length": 256}
    stated |= {"do_query_expansion": False, "skiplist_words": []}
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"model_type": "ColBERT", **stated}))
    listed = [("", "sentence_transformers.models.Transformer"), ("1_Dense", "pylate.models.Dense.Dense")]
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(listed)]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def write_best(qrels: Path, candidates: Path | None, out: Path) -> None:
    """Write the best run there can be of some candidates, or of everything that is judged."""
    judged: dict[str, dict[str, int]] = {}
    for line in qrels.read_text("utf-8").splitlines()[1:]:
        query, doc, grade = line.split("\t")
        judged.setdefault(query, {})[doc] = int(grade)
    pools: dict[str, list[str]] = {query: list(docs) for query, docs in judged.items()}
    if candidates is not None:
        ranking = read_run(candidates).cut(DEPTH)
        pools = {query: ranking.space.ids(rows) for query, rows, _ in ranking.lists()}
    with out.open("w", encoding="utf-8") as lines:
        for query, docs in pools.items():
            known = judged.get(query, {})
            best = sorted(docs, key=lambda doc: -known.get(doc, -1))
            lines.writelines(f"{query} Q0 {doc} {at} {len(best) - at} best\n" for at, doc in enumerate(best, 1))


def main() -> None:
    made = parser("Real re-ranking on TREC DL19.", rounds=1)
    made.add_argument("pool", type=Path, help="the collection's folder")
    given = made.parse_args()
    qrels, first = given.pool / "qrels" / "test.full.tsv", given.pool / "runs" / "bm25.top100.trec.gz"
    with work_folder(given.work) as work:
        late = make_late(work / "late")
        runs: dict[str, tuple[Path, Usage | None]] = {"BM25": (first, None)}
        for number, (name, address) in enumerate(MODELS.items()):
            out = work / f"{number}.run"
            out.unlink(missing_ok=True)
            model = address.format(folder=late)
            command = [*tamis(), "rerank", given.pool, first, "--topics", given.pool / "queries.jsonl"]
            runs[name] = (out, run([*command, "--model", model, "--depth", str(DEPTH), "-o", out]))
        for name, candidates in (("best order of BM25's 100", first), ("best order of all judged", None)):
            out = work / f"{name.replace(' ', '-')}.run"
            write_best(qrels, candidates, out)
            runs[name] = (out, None)
        rankings = {name: read_run(path) for name, (path, _) in runs.items()}
        found = evaluate(read_qrels(qrels), rankings, profile="trec-dl-2019", measures=MEASURES)
    rows: list[list[Any]] = []
    for name, (_, seconds) in runs.items():
        values = [f"{found.mean(name, str(measure)):.4f}" for measure in found.measures]
        rows.append([name, *values, "–" if seconds is None else f"{seconds.seconds:.0f}"])
    columns = ["", *map(str, found.measures), "seconds"]
    text = f"{len(found.query_ids)} queries, {DEPTH} candidates each\n\n{markdown(columns, rows)}\n\n{machine()}"
    report(text, found.to_dict(), given.json)


if __name__ == "__main__":
    main()
