"""Dense search: exact scans, short codes and faiss indexes, beside direct use of faiss, in one run.

    python -m benchmarks.dense --size 1000000 --factories ""
    python -m benchmarks.dense --real FOLDER      # of a vectors.npy

The synthetic vectors are labelled so: a mixture on the sphere of low intrinsic dimension (32 of 384, a component for 200
vectors), which resembles text embeddings more than isotropic ones do, and is no substitute for them. Of real vectors the last
500 (in a seeded order) are taken out of the store and are the queries: document against document. One-by-one rates are medians
of rounds in which the variants take turns, so that other work on the machine meets all alike.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import machine, markdown, median, work_folder
from tamis.indexer.dense.ann import Ann, build_ann, open_ann
from tamis.indexer.dense.quantise import build_codes, open_codes
from tamis.indexer.dense.recall import recall_of
from tamis.kernels import Hits, kernel_name
from tamis.kernels.codes import KINDS
from tamis.kernels.dense import OVERSAMPLE, search_codes, search_flat

DIM, SEED, QUERIES = 384, 3, 500
SHARES = (0.5, 0.1, 0.01, 0.001)
Array = np.ndarray[Any, Any]
Search = Callable[[Array, int], Any]


def synthetic(work: Path, size: int) -> tuple[Array, Array]:
    """The mixture, memory-mapped, and queries of the same distribution."""
    random = np.random.default_rng(SEED)
    basis = random.standard_normal((32, DIM), np.float32) / np.sqrt(np.float32(DIM))
    centres = random.standard_normal((max(1, size // 200), 32), np.float32)

    def draw(n: int) -> Array:
        near = centres[random.integers(0, len(centres), n)] + np.float32(0.6) * random.standard_normal(
            (n, 32), np.float32
        )
        rows = near @ basis + np.float32(0.04) * random.standard_normal((n, DIM), np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    made = np.lib.format.open_memmap(work / "vectors.npy", "w+", np.float32, (size, DIM))
    for first in range(0, size, 50_000):
        made[first : first + 50_000] = draw(min(50_000, size - first))
    made.flush()
    return np.load(work / "vectors.npy", mmap_mode="r"), draw(QUERIES)


def real(work: Path, folder: Path) -> tuple[Array, Array]:
    """The vectors of a store, in a seeded order, without those that serve as queries."""
    rows = np.asarray(np.load(folder / "vectors.npy", mmap_mode="r"), np.float32)
    rows = rows[np.random.default_rng(SEED).permutation(len(rows))]
    np.save(work / "vectors.npy", rows[:-QUERIES])
    return np.load(work / "vectors.npy", mmap_mode="r"), np.ascontiguousarray(rows[-QUERIES:])


def rates(searches: dict[str, Search], queries: Array, k: int, rounds: int) -> dict[str, float]:
    """Queries a second one by one, medians of rounds in which all take turns."""
    seen: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(rounds):
        for name, search in searches.items():
            search(queries[:1], k)
            begin = time.perf_counter()
            for i in range(len(queries)):
                search(queries[i : i + 1], k)
            seen[name].append(len(queries) / (time.perf_counter() - begin))
    return {name: median(each) for name, each in seen.items()}


def batch_rate(search: Search, queries: Array, k: int) -> float:
    begin = time.perf_counter()
    search(queries, k)
    return len(queries) / (time.perf_counter() - begin)


def hits_of(search: Search) -> Callable[[Array, int], Hits]:
    """What faiss returns, as hits."""

    def run(queries: Array, k: int) -> Hits:
        scores, numbers = search(queries, k)
        return Hits.of([(n[n >= 0], s[n >= 0]) for s, n in zip(scores, numbers, strict=True)])

    return run


def exact(vectors: Array, queries: Array, work: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Scans and short codes."""
    import faiss

    faiss.omp_set_num_threads(given.threads)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    begin = time.perf_counter()
    flat.add(np.asarray(vectors))
    searches: dict[str, Search] = {"faiss Flat": flat.search}
    rows = {"faiss Flat": {"build s": time.perf_counter() - begin, "bytes": 4 * vectors.shape[1]}}
    searches["flat float32"] = lambda q, k: search_flat([vectors], q, k, threads=given.threads)
    rows["flat float32"] = {"build s": 0.0, "bytes": 4 * vectors.shape[1]}
    for kind in KINDS:
        begin = time.perf_counter()
        files = build_codes(vectors, kind, work)
        codes = open_codes(kind, work, *vectors.shape)
        name = f"{kind} first pass, {OVERSAMPLE[kind][0]} k (at least {OVERSAMPLE[kind][1]}) scored again"
        rows[name] = {
            "build s": time.perf_counter() - begin,
            "bytes": 4 * vectors.shape[1] + sum(file.stat().st_size for file in files) / len(vectors),
        }
        searches[name] = lambda q, k, codes=codes: search_codes([vectors], [codes], q, k, threads=given.threads)
    speeds = rates(searches, queries[: given.queries], 10, given.rounds)
    table = []
    for name, search in searches.items():
        hits = hits_of(search) if name == "faiss Flat" else search
        recall = recall_of(hits, [vectors], queries, threads=given.threads)
        table.append(
            {"variant": name, **recall, **rows[name], "1 by 1": speeds[name], "batch": batch_rate(search, queries, 10)}
        )
    for row in table:
        row["times Flat"] = row["1 by 1"] / speeds["faiss Flat"]
    return table


def approximate(vectors: Array, queries: Array, work: Path, given: argparse.Namespace) -> tuple[list[Any], list[Any]]:
    """Faiss indexes: through us and directly, and under masks."""
    table, filtered = [], []
    random = np.random.default_rng(SEED)
    masks = {share: [np.packbits(random.random(len(vectors)) < share, bitorder="little")] for share in SHARES}
    for factory in filter(None, given.factories.split(";")):
        path, took = built(vectors, factory, work, given.build_threads or given.threads)
        index = open_ann(path)
        ann = Ann([index], [vectors])
        _set_parameters(index, given.ef, given.nprobe)
        options = {"ef": given.ef, "nprobe": given.nprobe, "threads": given.threads}
        searches: dict[str, Search] = {
            "faiss itself": index.search,
            "ours": lambda q, k, ann=ann, o=options: ann.search(q, k, rescore=False, **o),
            "ours, 4 k scored again": lambda q, k, ann=ann, o=options: ann.search(q, k, oversample=4, **o),
        }
        speeds = rates(searches, queries, 10, given.rounds)
        for name, search in searches.items():
            recall = recall_of(
                hits_of(search) if name == "faiss itself" else search, [vectors], queries, threads=given.threads
            )
            size = path.stat().st_size / len(vectors)
            more = 4 * vectors.shape[1] if "again" in name else 0
            table.append(
                {
                    "variant": f"{factory}: {name}",
                    **recall,
                    "bytes": size + more,
                    "1 by 1": speeds[name],
                    "build s": took,
                }
                | {"batch": batch_rate(search, queries, 10), "times Flat": speeds[name] / speeds["faiss itself"]}
            )
        for share, mask in masks.items():
            for name, limit in (("through the index", 0.0), ("as by default", None)):
                more_options = {"mask": mask, **options} | ({} if limit is None else {"selectivity": limit})

                def search(q: Array, k: int, ann: Ann = ann, o: Any = more_options) -> Hits:
                    return ann.search(q, k, **o)

                recall = recall_of(search, [vectors], queries[:100], mask=mask, threads=given.threads)
                speed = rates({"": search}, queries[:100], 10, 1)[""]
                filtered.append({"variant": f"{factory}, {name}", "share": share, **recall, "1 by 1": speed})
    return table, filtered


def built(vectors: Array, factory: str, work: Path, threads: int) -> tuple[Path, float]:
    """Return the index of a kept folder, or build it; and the seconds that it took."""
    path = work / f"{len(vectors)}-{factory.replace(',', '-')}.faiss"
    card = path.with_suffix(".seconds")
    if not card.exists():
        begin = time.perf_counter()
        build_ann(vectors, path, factory=factory, sample=10, threads=threads)
        card.write_text(repr(time.perf_counter() - begin), "ascii")
    return path, float(card.read_text("ascii"))


def _set_parameters(index: Any, ef: int, nprobe: int) -> None:
    from tamis.indexer.dense.ann import _inner

    inner = _inner(index)
    if hasattr(inner, "hnsw"):
        inner.hnsw.efSearch = ef
    elif hasattr(inner, "nprobe"):
        inner.nprobe = min(nprobe, inner.nlist)


def show(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    def cell(row: dict[str, Any], key: str) -> object:
        return f"{row[key]:.4f}" if key.startswith("recall") else str(row[key]) if key == "share" else row[key]

    return markdown(list(columns.values()), [[cell(row, key) for key in columns] for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=200_000, help="synthetic vectors (default %(default)s)")
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="measure on FOLDER/vectors.npy instead")
    parser.add_argument(
        "--factories", default="HNSW32;IVF1024,Flat;IVF1024,SQ8", help="separated by ; (default %(default)s)"
    )
    parser.add_argument("--ef", type=int, default=128)
    parser.add_argument("--nprobe", type=int, default=64)
    parser.add_argument(
        "--queries", type=int, default=100, help="queries of the one-by-one rates of scans (default %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of both sides (default %(default)s)")
    parser.add_argument("--build-threads", type=int, help="for building faiss indexes (default: as --threads)")
    parser.add_argument(
        "--work",
        type=Path,
        help="folder for vectors and indexes, kept and reused with the same vectors (default: temporary)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    with work_folder(given.work) as work:
        vectors, queries = real(work, given.real) if given.real else synthetic(work, given.size)
        what = f"real vectors of {given.real.name}" if given.real else "synthetic vectors (clustered; no text)"
        print(
            f"# Dense search: {len(vectors):,} x {vectors.shape[1]} {what}, kernel {kernel_name()}, {given.threads} threads\n"
        )
        columns = {
            "variant": "Exact scores",
            "recall@10": "recall@10",
            "recall@100": "recall@100",
            "bytes": "bytes/document",
        }
        columns |= {
            "1 by 1": "queries/s one by one",
            "times Flat": "times faiss Flat",
            "batch": f"queries/s, {QUERIES} at once",
        }
        columns |= {"build s": "build s"}
        scans = exact(vectors, queries, work, given)
        print(show(scans, columns) + "\n", flush=True)
        table, filtered = approximate(vectors, queries, work, given)
        if table:
            columns |= {"variant": "Approximate", "times Flat": "times faiss itself"}
            print(show(table, columns) + "\n", flush=True)
            columns = {
                "variant": "Under a mask",
                "share": "share allowed",
                "recall@10": "recall@10",
                "recall@100": "recall@100",
            }
            print(show(filtered, columns | {"1 by 1": "queries/s one by one"}) + "\n", flush=True)
    print(machine() + f"; OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}")
    if given.json:
        figures = {"machine": machine(), "exact": scans, "approximate": table, "filtered": filtered}
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
