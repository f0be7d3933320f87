"""The first re-ranking of a fresh process: from nothing to the scores of 1 and of 100 pairs, by backend.

    python -m benchmarks.rerank_cold CORPUS --topics TOPICS [--run RUN] [--model FOLDER] [--rounds 5] [--work FOLDER]

Pairs and model are those of `benchmarks.rerank`. The graph was exported by an earlier process, and files are in memory; whole
processes are timed, Python's own start included, in turns. `CrossEncoder.predict` in a process of its own is the peer.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from benchmarks.measure import PYTHON, machine, markdown, median, parser, report, run, work_folder
from benchmarks.rerank import PEER, make_model, make_pairs, modes_of

COUNTS = (1, 100)
OURS = """
import json, sys
from tamis.encoders.base import Passage
from tamis.rerankers.registry import open_reranker
address, file, count = sys.argv[1:]
pairs = json.load(open(file))[:int(count)]
model = open_reranker(address)
model.score_pairs([query for query, _ in pairs], [Passage("", text) for _, text in pairs])
"""
THEIRS = """
import json, sys
from sentence_transformers import CrossEncoder
folder, file, count = sys.argv[1:]
CrossEncoder(folder, device="cpu").predict(json.load(open(file))[:int(count)])
"""


def main() -> None:
    made = parser("First re-rankings of fresh processes.", rounds=5)
    made.add_argument("corpus")
    made.add_argument("--topics", required=True)
    made.add_argument("--run", type=Path)
    made.add_argument("--model", type=Path, help="a cross-encoder's folder, in place of the one that is trained here")
    given = made.parse_args()
    given.queries, given.depth = 1, max(COUNTS)
    with work_folder(given.work) as work:
        pairs, _ = make_pairs(given, work)
        folder = given.model or make_model(work / "model", [passage.joined for _, passage in pairs])
        file = work / "pairs.json"
        file.write_text(json.dumps([(query, passage.joined) for query, passage in pairs]))
        os.environ |= {"OMP_NUM_THREADS": str(given.threads), "TAMIS_CACHE": str(work / "cache")}
        commands = {PEER: (THEIRS, str(folder))}
        commands |= {
            f"tamis, {name}": (OURS, f"cross:{folder}?device=cpu&{options}")
            for name, options in modes_of("cpu").items()
        }
        seconds: dict[str, list[list[float]]] = {name: [[] for _ in COUNTS] for name in commands}
        for number in range(given.rounds + 1):
            for name, (script, model) in commands.items():
                for count, found in zip(COUNTS, seconds[name], strict=True):
                    used = run([PYTHON, "-c", script, model, str(file), str(count)])
                    if number:  # the first round exports, and brings files to memory
                        found.append(used.seconds)
    rows = [
        [name, *(f"{figure(found):.2f}" for found in each for figure in (median, min))]
        for name, each in seconds.items()
    ]
    columns = ["whole process, seconds", *(f"{count} pairs, {what}" for count in COUNTS for what in ("median", "best"))]
    report(f"{markdown(columns, rows)}\n\n{machine()}", {"seconds": seconds}, given.json)


if __name__ == "__main__":
    main()
