"""Encoding and exact dense search on a CUDA device, beside SentenceTransformer and the device's own memory.

    python -m benchmarks.gpu --model FOLDER --texts corpus.jsonl.gz --rows 8800000
    python -m benchmarks.gpu --rows 0 --ann-rows 1000000     # needs faiss-gpu

Encoding: `SentenceTransformer.encode` at its defaults on the device, and ours in three numeric modes, in turns, medians.
Exact search: 8.8 million random bfloat16 vectors of 384 dimensions in the device's memory; the floor is the time that reading
them once takes at the rate of a copy on the device, measured in the same run. Approximate search: faiss indexes of the synthetic
vectors of `benchmarks.dense`, on the processor with all its cores and on the device, by the same call.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch


def read_texts(path: Path) -> list[tuple[str, str]]:
    """Title and text of every line of a corpus file."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [(d.get("title", ""), d["text"]) for d in map(json.loads, lines)]


def seconds(work: Callable[[], Any]) -> float:
    """Wall-clock seconds of a call, the device's work included."""
    torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - begun


def encoding(model: str, path: Path, rounds: int) -> None:
    """Compare encoding."""
    from sentence_transformers import SentenceTransformer

    from tamis.encoders.base import Passage
    from tamis.encoders.registry import open_encoder

    passages = [Passage(title, text) for title, text in read_texts(path)]
    texts = [passage.joined for passage in passages]
    theirs = SentenceTransformer(model, device="cuda")
    ours = {
        name: open_encoder(f"dense:{model}?device=cuda&dtype={name}") for name in ("float32", "bfloat16", "float16")
    }
    works: dict[str, Callable[[], Any]] = {"SentenceTransformer": lambda: theirs.encode(texts, show_progress_bar=False)}
    for name, encoder in ours.items():
        works[name] = lambda encoder=encoder: encoder.encode_passages(passages).vectors
    results = {name: work() for name, work in works.items()}
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(seconds(work))
    base = statistics.median(taken["SentenceTransformer"])
    reference = theirs.encode(texts, show_progress_bar=False)
    for name, times in taken.items():
        median = statistics.median(times)
        off = float(np.abs(results[name] - reference).max())
        rate = len(texts) / median
        print(f"{path.name}: {len(texts)} texts  {name:20} {rate:8.0f} texts/s  {base / median:5.2f}  off by {off:.1e}")


def copy_rate() -> float:
    """Bytes a second of a copy on the device, read and written ones both counted."""
    source = torch.empty(2 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * len(source) / min(seconds(lambda: target.copy_(source)) for _ in range(10))


def searching(rows: int, dimensions: int, rounds: int) -> None:
    """Exact search, one by one and in batches."""
    from tamis.indexer.dense.device import DeviceScan

    generator = torch.Generator("cuda").manual_seed(7)
    host = torch.empty((rows, dimensions), dtype=torch.bfloat16)
    for first in range(0, rows, 1 << 20):
        count = min(1 << 20, rows - first)
        drawn = torch.randn((count, dimensions), generator=generator, device="cuda")
        host[first : first + count] = torch.nn.functional.normalize(drawn).bfloat16().cpu()
    vectors = host.view(torch.uint16).numpy()
    begun = time.perf_counter()
    scan = DeviceScan([vectors], "bfloat16", "cuda")
    print(
        f"{rows:,} x {dimensions} bfloat16: {vectors.nbytes / 1e9:.2f} GB, loaded in {time.perf_counter() - begun:.1f} s"
    )
    queries = torch.nn.functional.normalize(torch.randn((256, dimensions), generator=generator, device="cuda"))
    asked = queries.cpu().numpy()
    rate = copy_rate()
    floor = vectors.nbytes / rate
    print(f"copy on the device: {rate / 1e12:.2f} TB/s; reading all vectors once: {floor * 1e3:.2f} ms")
    wanted = _plain(scan._vectors, queries[:16], 10)
    found = scan.search(asked[:16], 10, None)
    same = np.mean([len(set(found[i][0].tolist()) & set(wanted[i])) / 10 for i in range(16)])
    print(f"first ten as a float32 product's: {same:.4f}")
    for name, size in (("one by one", 1), ("batches of 64", 64), ("all 256 at once", 256)):

        def go(size: int = size) -> None:
            for first in range(0, len(asked) if size > 1 else 32, size):
                scan.search(asked[first : first + size], 10, None)

        go()
        count = len(asked) if size > 1 else 32
        taken = statistics.median(seconds(go) for _ in range(rounds))
        each = taken / count
        reads = floor / min(size, 64)
        print(
            f"{name:16} {1 / each:8.0f} queries/s  {each * 1e3:7.3f} ms a query  floor {reads * 1e3:7.3f} ms  {each / reads:5.2f}"
        )


def approximate(rows: int, factories: str, rounds: int) -> None:
    """Faiss indexes on the processor and on the device."""
    from benchmarks.dense import rates, synthetic
    from tamis.indexer.dense.ann import Ann, build_ann, open_ann
    from tamis.indexer.dense.recall import recall_of

    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="tamis-benchmarks-") as folder:
        vectors, queries = synthetic(Path(folder), rows)
        for factory in factories.split(";"):
            path = Path(folder) / "ann.faiss"
            build_ann(vectors, path, factory=factory, threads=cores)
            index = open_ann(path)
            for name, device in ((f"{cores} cores", None), ("cuda", "cuda")):
                ann = Ann([index], [vectors], device)

                def search(asked: Any, k: int, ann: Ann = ann) -> Any:
                    return ann.search(asked, k, nprobe=64, oversample=4, threads=cores)

                recall = recall_of(search, [vectors], queries, threads=cores)
                single = rates({name: search}, queries[:200], 10, rounds)[name]
                batch = len(queries) / statistics.median(
                    seconds(lambda s=search: s(queries, 10)) for _ in range(rounds)
                )
                figures = f"recall {recall}  one by one {single:8.0f} queries/s  {len(queries)} at once {batch:8.0f}"
                print(f"{rows:,} x {vectors.shape[1]}  {factory:14} {name:9} {figures}", flush=True)


def _plain(vectors: torch.Tensor, queries: torch.Tensor, k: int) -> list[list[int]]:
    best = [
        (torch.empty(len(queries), 0, device="cuda"), torch.empty(len(queries), 0, dtype=torch.int64, device="cuda"))
    ]
    for first in range(0, len(vectors), 1 << 20):
        top = (queries @ vectors[first : first + (1 << 20)].float().T).topk(k)
        best.append((top.values, top.indices + first))
    scores, places = (torch.cat(parts, 1) for parts in zip(*best, strict=True))
    found: list[list[int]] = places.gather(1, scores.topk(k).indices).tolist()
    return found


def main() -> None:
    made = argparse.ArgumentParser(description="On a CUDA device.")
    made.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    made.add_argument("--texts", type=Path, action="append", default=[])
    made.add_argument("--rows", type=int, default=8_800_000)
    made.add_argument("--ann-rows", type=int, default=0)
    made.add_argument("--factories", default="IVF1024,Flat;IVF1024,SQ8;IVF1024,PQ48")
    made.add_argument("--dimensions", type=int, default=384)
    made.add_argument("--rounds", type=int, default=5)
    given = made.parse_args()
    print(f"{torch.cuda.get_device_name()}; torch {torch.__version__}; Python {platform.python_version()}")
    for path in given.texts:
        encoding(given.model, path, given.rounds)
    if given.rows:
        searching(given.rows, given.dimensions, given.rounds)
    if given.ann_rows:
        approximate(given.ann_rows, given.factories, given.rounds)


if __name__ == "__main__":
    main()
