"""Opening an index with many vectors, and the memory that making its part takes.

    python -m benchmarks.opening --size 1000000 [--smaller 250000] [--dimensions 384] [--work FOLDER]

An index of the synthetic collection gets a part of random vectors of one's own (`vectors:`), in a process whose peak of memory of
its own (sampled, pages of mapped files left out) is told, beside that for a smaller collection: what grows with the collection it
holds. Then fresh processes open the index, and search it by a vector; what is resident afterwards is what was read, since the
vectors are mapped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
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


def own_peak(command: list[str | Path]) -> float:
    """Run a command, and return the most MiB of its own that it was seen to have."""
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    ) as process:
        status, peak = Path(f"/proc/{process.pid}/status"), 0
        while process.poll() is None:
            lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
            peak = max([peak, *(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))])
            time.sleep(0.02)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed")
    return peak / 1024


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
                there = list(opened.models())
            address = f"vectors:{make_vectors(work, size, given.dimensions, names)}"
            for name in there:
                run([*tamis(), "drop-part", index, name, "--quiet"])
            peak = own_peak([*tamis(), "add-part", index, address, "--quiet", "--no-progress"])
            probes = [probe(index, address, given.dimensions) for _ in range(given.rounds)]
            typical = {name: median([one[name] for one in probes]) for name in probes[0]}
            figures[str(size)] = {"own_peak_mib": peak, **typical}
            times = [f"{typical[name]:.3f}" for name in ("load", "open", "search")]
            rows.append([f"{size:,}", f"{peak:,.0f}", *times, f"{typical['RssAnon']:.0f}", f"{typical['RssFile']:.0f}"])
    columns = [
        "documents", "own MiB at most, making the part", "import s", "open s", "first search s", "own MiB, opened",
        "mapped MiB, opened",
    ]  # fmt: skip
    report(f"{markdown(columns, rows)}\n\n{machine()}", figures, given.json)


if __name__ == "__main__":
    main()
