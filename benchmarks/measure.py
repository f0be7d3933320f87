"""What the benchmarks share: running a process under the clock, medians, tables, the description of the machine."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.zipf import SEED, SIZE

REPOSITORY = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process took: wall-clock and processor seconds, and the peak of its resident memory in MiB.

    Resident memory counts the pages of memory-mapped files too, so it is an upper bound of what the process asked for.
    """

    seconds: float
    cpu: float
    peak_mib: float


def run(command: Sequence[str | Path]) -> Usage:
    """Run a command to its end, from a cold process.

    Raises:
        SystemExit: it failed; its output is shown.
    """
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=output, env=environment())
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(map(str, command))}\nfailed:\n{output.read().decode(errors='replace')[-3000:]}")
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB on Linux
    return Usage(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * unit / _MIB)


def environment() -> dict[str, str]:
    """The environment of the processes: this one's, with the package on the path."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def tamis() -> list[str]:
    """The command line of the `tamis` program of this environment."""
    script = Path(PYTHON).with_name("tamis")
    return [str(script)] if script.exists() else [PYTHON, "-m", "tamis.cli"]


def java() -> list[str]:
    """The command line of the Java that Tamis uses, with the same jar."""
    from tamis.indexer.lucene.jvm import find_jar, find_jvm

    program = find_jvm().parents[2] / "bin" / "java"
    return [str(program), "-cp", str(find_jar())]


def size_mib(path: Path) -> float:
    """Size of the files below a folder in MiB."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / _MIB


median = statistics.median


def markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    lines = ["| " + " | ".join(columns) + " |", "|---" + "|---:" * (len(columns) - 1) + "|"]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, float) and 0 < value < 1:
        return f"{value:.3f}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return str(value)


def machine() -> str:
    """Describe the machine and the versions in one line."""
    from tamis.errors import MissingResourceError, PrerequisiteError
    from tamis.indexer.lucene.jvm import find_jar

    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = [f"Python {platform.python_version()}"]
    with contextlib.suppress(PrerequisiteError, MissingResourceError):  # some need no Java
        versions.append(find_jar().stem.removesuffix("-fatjar"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{model}, {cores} cores, {memory:.0f} GiB, {platform.system()}; {', '.join(versions)}; "
        f"load average {os.getloadavg()[0]:.1f} at the end"
    )


def parser(description: str, *, rounds: int) -> argparse.ArgumentParser:
    """The options that the benchmarks share."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--size", type=int, default=SIZE, help="passages of the synthetic corpus (default %(default)s)")
    made.add_argument("--seed", type=int, default=SEED, help="its seed (default %(default)s)")
    made.add_argument("--rounds", type=int, default=rounds, help="rounds; medians are shown (default %(default)s)")
    made.add_argument("--threads", type=int, default=2, help="threads of both sides (default %(default)s)")
    made.add_argument("--work", type=Path, help="folder for corpus and indexes, kept and reused (default: temporary)")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    return made


@contextlib.contextmanager
def work_folder(given: Path | None) -> Iterator[Path]:
    """The folder that the user named, or a temporary one that goes away."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="tamis-benchmarks-") as folder:
        yield Path(folder)


def collection(work: Path, size: int, seed: int) -> Path:
    """Make the synthetic collection in a process of its own, unless it is there, and return its folder."""
    folder = work / f"zipf-{size}-{seed}"
    if not (folder / "queries.tsv").exists():
        run(["rm", "-rf", folder])
        run([PYTHON, "-m", "benchmarks.zipf", folder, "--size", str(size), "--seed", str(seed)])
    return folder


def index_of(work: Path, collected: Path, threads: int) -> Path:
    """Make a Tamis index of the collection, unless it is there, and return its folder."""
    folder = work / f"{collected.name}-index"
    run([*tamis(), "index", collected / "corpus", "-o", folder, "--threads", str(threads)])
    return folder


def report(text: str, figures: Mapping[str, Any], file: Path | None) -> None:
    """Print a benchmark's text, and write its figures where they were asked for."""
    print(text, flush=True)
    if file is not None:
        file.write_text(json.dumps({"machine": machine(), **figures}, indent=1) + "\n", encoding="utf-8")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the wall-clock seconds of a call, and what it returned."""
    begun = time.perf_counter()
    found = work()
    return time.perf_counter() - begun, found


def in_turns(sides: Mapping[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Let sides take turns, another first in every round; return the seconds of each round and the last results by name."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    results: dict[str, Any] = {}
    names = list(sides)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            spent, results[name] = timed(sides[name])
            seconds[name].append(spent)
    return seconds, results
