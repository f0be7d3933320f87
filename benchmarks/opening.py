"""Opening an index with many vectors, and the memory that making its part takes.

    python -m benchmarks.opening --size 1000000 [--smaller 250000] [--dimensions 384] [--work FOLDER]

An index of the synthetic collection gets a part of random vectors of one's own (`vectors:`), in a process of its own whose peak
memory is told, beside that for a smaller collection: if it does not grow, it does not hold the corpus. Then fresh processes open
the index, and search it by a vector; what is resident afterwards is what was read, since the vectors are mapped.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import (
    PYTHON,
    collection,
    environment,
    index_of,
    machine,
    markdown,
    median,
    parser,
    report,
    run,
    tamis,
    work_folder,
)

PROBE = """
import json, resource, sys, time
begun = time.perf_counter()
import numpy as np, tamis
from tamis.ranking import Queries
loaded = time.perf_counter()
index = tamis.open(sys.argv[1])
pipeline = sys.argv[2]
index.prepare(pipeline)
opened = time.perf_counter()
def resident():
    lines = open("/proc/self/status").read().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith(("RssAnon", "RssFile"))}
before = resident()
vector = np.random.default_rng(1).standard_normal((1, int(sys.argv[3]))).astype(np.float32)
found = index.rank(Queries(("1",), ("",), vectors=vector), 10, pipeline=pipeline)
print(json.dumps({"load": loaded - begun, "open": opened - loaded, "search": time.perf_counter() - opened,
                  "found": len(found.rows), **before}))
"""


def make_vectors(folder: Path, rows: int, dimensions: int, names: list[str]) -> Path:
    """Write random vectors and their ids, unless they are there."""
    path = folder / f"vectors-{rows}.npy"
    if not path.with_suffix(".ids").exists():
        made = np.lib.format.open_memmap(path, "w+", np.float32, (rows, dimensions))
        random = np.random.default_rng(0)
        for first in range(0, rows, 50_000):
            made[first : first + 50_000] = random.standard_normal((min(50_000, rows - first), dimensions), np.float32)
        made.flush()
        path.with_suffix(".ids").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return path


def probe(index: Path, address: str, dimensions: int) -> dict[str, Any]:
    """Open an index in a fresh process."""
    done = subprocess.run(
        [PYTHON, "-c", PROBE, str(index), address, str(dimensions)],
        capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    made = parser("Opening an index with many vectors.", rounds=5)
    made.add_argument(
        "--smaller", type=int, default=250_000, help="documents of the other collection (default %(default)s)"
    )
    made.add_argument("--dimensions", type=int, default=384)
    given = made.parse_args()
    rows: list[list[Any]] = []
    figures: dict[str, Any] = {}
    with work_folder(given.work) as work:
        for size in (given.smaller, given.size):
            collected = collection(work, size, given.seed)
            index = index_of(work, collected, given.threads)
            import tamis as library

            with library.open(index) as opened:
                names = opened.documents.ids(np.arange(len(opened)))
                there = dict(opened.models())
            address = f"vectors:{make_vectors(work, size, given.dimensions, names)}"
            used = None if there else run([*tamis(), "add-part", index, address, "--quiet", "--no-progress"])
            probes = [probe(index, address, given.dimensions) for _ in range(given.rounds)]
            typical = {name: median([one[name] for one in probes]) for name in probes[0]}
            figures[str(size)] = {"peak_mib": None if used is None else used.peak_mib, **typical}
            peak = "–" if used is None else f"{used.peak_mib:,.0f}"
            times = [f"{typical[name]:.3f}" for name in ("load", "open", "search")]
            rows.append([f"{size:,}", peak, *times, f"{typical['RssAnon']:.0f}", f"{typical['RssFile']:.0f}"])
    columns = [
        "documents", "peak MiB, making the part", "import s", "open s", "first search s", "own MiB, opened", "mapped MiB, opened"
    ]  # fmt: skip
    report(f"{markdown(columns, rows)}\n\n{machine()}", figures, given.json)


if __name__ == "__main__":
    main()
