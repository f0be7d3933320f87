"""How the kernel's speed and size grow with the collection, beside a floor that exhaustive evaluation cannot go below.

    python -m benchmarks.growth --sizes 100000,1000000,4000000,8800000
    python -m benchmarks.growth --kind splade --sizes 100000,1000000,4000000,8800000

The floor is measured here, by a loop of C that does nothing else: a scattered add for every posting that a query's lists hold,
their bytes streamed from memory (`sums[offset] += table[code]` over a window of 65,536 floats), and one scan of the window's
sums for every window. One thread, batches of queries, medians of rounds.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kernel_bm25 import make_data
from benchmarks.measure import machine, markdown, median, report
from benchmarks.splade_like import BLOCK, Block, draw_blocks
from tamis.indexer.sparse.runs import Run, RunEntry, build_run
from tamis.indexer.sparse.storage import CODES, SparseRows, write_rows
from tamis.kernels import Postings, Queries, build_postings, search

CODE = """
#include <stdint.h>
__attribute__((optimize("no-tree-vectorize"))) /* scatters in vectors are slower */
void add(const uint16_t *offsets, const CODE_TYPE *codes, const float *table, float *sums, int64_t run, int64_t n) {
    for (int64_t at = 0; at < n; at += run)
        for (int64_t i = at; i < at + run && i < n; i++) sums[offsets[i]] += table[codes[i]];
}
int64_t scan(float *sums, float bar, int64_t times) {
    int64_t found = 0;
    for (int64_t t = 0; t < times; t++)
        for (int64_t block = 0; block < 65536; block += 64) {
            int32_t any = 0;
            for (int i = 0; i < 64; i++) any |= sums[block + i] > bar;
            found += any;
            for (int i = 0; i < 64; i++) sums[block + i] = 0;
        }
    return found;
}
"""
MAX_QUERIES = 200
SHARD = 1_000_000


def floor_times(postings: Postings) -> tuple[float, float]:
    """Seconds of a scattered add, and of the scan of a window, on this collection's own postings."""
    assert postings.codes is not None
    kind = "uint8_t" if postings.codes.dtype == np.uint8 else "uint16_t"
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "floor.c", Path(folder) / "floor.so"
        source.write_text(CODE.replace("CODE_TYPE", kind), "ascii")
        subprocess.run(["cc", "-O3", "-march=native", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
        loaded = ctypes.CDLL(str(library))
    table, sums = np.ones(postings.n_codes, np.float32), np.zeros(1 << 16, np.float32)
    count = min(postings.n_postings, 50_000_000)

    def pointer(array: np.ndarray[Any, Any]) -> ctypes.c_void_p:
        return ctypes.c_void_p(array.ctypes.data)

    def add() -> None:
        arrays = (postings.offsets, postings.codes, table, sums)
        loaded.add(*map(pointer, arrays), ctypes.c_int64(4096), ctypes.c_int64(count))  # type: ignore[arg-type]

    times = 2000
    adds = [seconds(add) / count for _ in range(3)]
    scans = [
        seconds(lambda: loaded.scan(pointer(sums), ctypes.c_float(1e30), ctypes.c_int64(times))) / times
        for _ in range(3)
    ]
    return min(adds), min(scans)


def time_of(postings: Postings, queries: Queries, k: int, rounds: int) -> float:
    """Median seconds of a batch."""
    search(postings, queries, k)
    return median([seconds(lambda: search(postings, queries, k)) for _ in range(rounds)])


def seconds(work: Any) -> float:
    """Wall-clock seconds of a call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def make_vectors(size: int, seed: int, folder: Path) -> tuple[Postings, Queries]:
    """Build a run of a sparse part, shard by shard and mapped, as an index has it: more than memory holds; and queries."""
    shards, queries, held = list[Path](), [], list[Block]()

    def close() -> None:
        shard = folder / f"shard-{len(shards)}"
        shard.mkdir()
        offsets = np.cumsum(np.concatenate([[0], *(block.lengths for block in held)]))
        terms, weights = (np.concatenate([getattr(block, name) for block in held]) for name in ("terms", "weights"))
        write_rows(shard, SparseRows(offsets, terms, weights), CODES)
        shards.append(shard)
        held.clear()

    for block in draw_blocks(size, seed):
        queries += block.queries
        held.append(block)
        if len(held) * BLOCK >= SHARD:
            close()
    if held:
        close()
    build_run(shards, folder / "run", binary=False)
    run = Run(folder / "run", RunEntry("run", 0, len(shards), size, 256))
    offsets = np.cumsum([0, *(len(terms) for terms, _ in queries)])
    terms = run.terms(np.concatenate([terms for terms, _ in queries]).astype(np.int64))
    weights = np.concatenate([weights for _, weights in queries]).astype(np.float32)
    values = np.arange(256, dtype=np.float32)[None]
    return run.postings, Queries(offsets, terms, weights, values, np.zeros(len(terms), np.int32))


def make_text(size: int) -> tuple[Postings, Queries]:
    """Postings of words, codes of (frequency, length), and a batch of queries."""
    terms, docs, codes, values, offsets, wanted = make_data(size)
    offsets = offsets[: MAX_QUERIES + 1]
    postings = build_postings(terms, docs, codes, n_docs=size, n_terms=int(terms.max()) + 1, n_codes=len(values))
    wanted = wanted[: offsets[-1]].astype(np.int64)
    frequencies = postings.frequencies(wanted)
    weights = np.log(1 + (size - frequencies + 0.5) / (frequencies + 0.5)).astype(np.float32)
    return postings, Queries(offsets, wanted, weights, values[None], np.zeros(len(wanted), np.int32))


def main() -> None:
    made = argparse.ArgumentParser(description="Growth of the kernel with the collection.")
    made.add_argument("--kind", choices=("bm25", "splade"), default="bm25")
    made.add_argument("--sizes", default="100000,1000000,4000000,8800000")
    made.add_argument("--seed", type=int, default=7)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--work", type=Path, help="where a folder is made for vectors: 1 KB a document")
    made.add_argument("--json", type=Path)
    given = made.parse_args()
    rows = []
    for size in map(int, given.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="tamis-benchmarks-", dir=given.work) as folder:
            rows.append(measure(given, size, Path(folder)))
    columns = ["documents", "queries/s, k=10", "k=1000", "postings", "µs a query", "floor µs", "time / floor", "MiB"]
    text = f"{given.kind}: one thread, batch\n\n{markdown(columns, rows)}\n\n{machine()}"
    report(text, {"rows": rows}, given.json)


def measure(given: argparse.Namespace, size: int, folder: Path) -> list[Any]:
    """Return a row of the table."""
    begun = time.perf_counter()
    postings, queries = make_vectors(size, given.seed, folder) if given.kind == "splade" else make_text(size)
    print(f"{size:,} made in {time.perf_counter() - begun:.0f} s", flush=True)
    touched = float(postings.frequencies(queries.terms).sum()) / len(queries)
    add, scan = floor_times(postings)
    floor = touched * add + postings.n_windows * scan
    taken = {k: time_of(postings, queries, k, given.rounds) for k in (10, 1000)}
    arrays = (postings.offsets, postings.codes, postings.directory, postings.starts, postings.directory_starts)
    size_mib = sum(array.nbytes for array in arrays if array is not None) / (1 << 20)
    each = taken[10] / len(queries)
    rates = [len(queries) / taken[10], len(queries) / taken[1000]]
    return [
        f"{size:,}",
        *rates,
        f"{touched:,.0f}",
        f"{each * 1e6:,.0f}",
        f"{floor * 1e6:,.0f}",
        each / floor,
        size_mib,
    ]


if __name__ == "__main__":
    main()
