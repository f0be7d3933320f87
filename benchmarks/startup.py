"""Start-up: whole processes from nothing to their answer, with an empty Python as the floor.

The page cache is warm.

    python -m benchmarks.startup --size 100000
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.measure import (
    PYTHON,
    collection,
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


def commands(index: Path, query: str) -> dict[str, tuple[list[str], float | None]]:
    """What is timed: label → command, limit in seconds."""
    return {
        "python -c pass": ([PYTHON, "-c", "pass"], None),
        "import tamis": ([PYTHON, "-c", "import tamis"], 0.2),
        "tamis --help": ([*tamis(), "--help"], 0.3),
        "tamis search INDEX QUERY": ([*tamis(), "search", str(index), query], 2.0),
    }


def measure(index: Path, queries: Path, *, rounds: int) -> dict[str, Any]:
    """Time every command once a round, in turn, after a round that does not count."""
    query = queries.read_text(encoding="utf-8").splitlines()[0].split("\t")[1]
    wanted = commands(index, query)
    seconds: dict[str, list[float]] = {label: [] for label in wanted}
    for number in range(rounds + 1):
        for label, (command, _) in wanted.items():
            used = run(command)
            if number:
                seconds[label].append(used.seconds)
    return {"seconds": seconds, "limits": {label: limit for label, (_, limit) in wanted.items()}}


def describe(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows = [
        [f"`{label}`", f"{median(times):.3f}", f"{min(times):.3f}", figures["limits"][label] or "–"]
        for label, times in figures["seconds"].items()
    ]
    return markdown(["whole process, seconds", "median", "best", "wanted below"], rows)


def main() -> None:
    given = parser("Start-up times of whole processes.", rounds=9).parse_args()
    with work_folder(given.work) as work:
        collected = collection(work, given.size, given.seed)
        index = index_of(work, collected, given.threads)
        figures = measure(index, collected / "queries.tsv", rounds=given.rounds)
    report(f"{machine()}\n\n{describe(figures)}", figures, given.json)


if __name__ == "__main__":
    main()
