"""QualT5 against a plain loop over transformers: same passages, same weights, in turns.

    python -m benchmarks.qualt5 CORPUS [--passages 200] [--geometry small] [--device cpu]

CORPUS is anything that `tamis index` reads; its first passages are scored. Weights and loop are those of `benchmarks.t5`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import machine, markdown, median, parser, report, work_folder
from benchmarks.rerank import device_rate, timed
from benchmarks.t5 import BATCH, GEOMETRIES, PEER, make_model, multiplications, plain_loop
from tamis.data.corpus import open_corpus
from tamis.encoders.base import Passage
from tamis.pruning.qualt5 import TEMPLATE
from tamis.pruning.registry import open_quality


def main() -> None:
    made = parser("QualT5 against a plain loop over transformers.", rounds=3)
    made.add_argument("corpus")
    made.add_argument("--passages", type=int, default=200)
    made.add_argument("--geometry", choices=sorted(GEOMETRIES), default="small")
    made.add_argument("--device", default="cpu", help="cpu, or cuda (default %(default)s)")
    given = made.parse_args()
    import torch
    from scipy.stats import kendalltau

    torch.set_num_threads(given.threads)
    documents = itertools.islice(open_corpus(given.corpus), given.passages)
    passages = [Passage(document.title, document.text) for document in documents]
    geometry = GEOMETRIES[given.geometry]
    with work_folder(given.work) as work:
        folder = make_model(work / f"t5-{given.geometry}", [p.joined for p in passages], given.geometry)
        prompts = [TEMPLATE.format(document=passage.joined) for passage in passages]
        loop = plain_loop(folder, given.device)
        ours = {
            name: open_quality(f"qualt5:{folder}?device={given.device}&dtype={name}")
            for name in ("float32", "bfloat16", *(["float16"] if given.device != "cpu" else []))
        }
        sides: dict[str, Callable[[], Any]] = {
            PEER: lambda: loop(prompts),
            **{f"tamis, {name}": lambda model=model: model.score_passages(passages) for name, model in ours.items()},
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        scores: dict[str, Any] = {}
        names = list(sides)
        for model in ours.values():
            model.score_passages(passages[:BATCH])
        loop(prompts[:BATCH])
        for number in range(given.rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                spent, scores[name] = timed(sides[name])
                seconds[name].append(spent)
        inputs = ours["float32"].template.inputs({"document": [passage.joined for passage in passages]})
        lengths = np.array([len(ids) for ids in inputs.ids])
        operations, peak = multiplications(geometry, lengths), device_rate(given.device)
    rows, figures = [], {}
    for name, found in seconds.items():
        ratio = median([a / b for a, b in zip(seconds[PEER], found, strict=True)])
        apart = float(np.abs(scores[PEER] - scores[name]).max())
        tau = float(kendalltau(scores[PEER], scores[name]).statistic)
        rate = len(passages) / median(found)
        figures[name] = {"passages_per_second": rate, "ratio": ratio, "largest_difference": apart, "tau": tau}
        share = operations / median(found) / peak
        rows.append([name, rate, f"{ratio:.2f}", f"{apart:.1e}", f"{tau:.4f}", f"{share:.0%}"])
    columns = ["", "passages/s", "ratio", "largest difference", "Kendall tau", "of matrix rate"]
    text = (
        f"t5-{given.geometry}: {len(passages)} passages, {lengths.mean():.0f} tokens on average, {given.device}, "
        f"{given.threads} threads, medians of {given.rounds} rounds; matrices: {peak / 1e9:.0f} GFLOP/s\n\n"
        f"{markdown(columns, rows)}\n\n{machine()}"
    )
    report(text, {"passages": len(passages), **figures}, given.json)


if __name__ == "__main__":
    main()
