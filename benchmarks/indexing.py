"""Indexing: `tamis index` against Anserini's IndexCollection, with equal flags, in turn, each in a cold process.

Both store positions and document vectors and end with one merged segment, on the same corpus, Java, jar and number of threads.
Tamis also stores the documents themselves, checks ids for duplicates, and hashes and flushes every file; Anserini stores
none of the texts, unless ``--store-raw`` asks it to.

    python -m benchmarks.indexing --size 1000000
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from benchmarks.measure import (
    Usage,
    collection,
    java,
    machine,
    markdown,
    median,
    parser,
    report,
    run,
    size_mib,
    tamis,
    work_folder,
)

PEAK_LIMIT_MIB = 1536


def anserini_command(corpus: Path, index: Path, threads: int, *, store_raw: bool = False) -> list[str]:
    """Anserini's indexer with the flags that equal what Tamis does."""
    flags = ["-storePositions", "-storeDocvectors", "-optimize", *(["-storeRaw"] if store_raw else [])]
    program = [*java(), "io.anserini.index.IndexCollection", "-collection", "JsonCollection"]
    places = ["-input", str(corpus), "-index", str(index), "-generator", "DefaultLuceneDocumentGenerator"]
    return [*program, *places, "-threads", str(threads), *flags]


def tamis_command(corpus: Path, index: Path, threads: int) -> list[str]:
    """Our own indexer."""
    return [*tamis(), "index", str(corpus), "-o", str(index), "--threads", str(threads)]


def compare(work: Path, collected: Path, *, rounds: int, threads: int, store_raw: bool = False) -> dict[str, Any]:
    """Run both indexers in turn, the order changing with every round, and return the figures."""
    corpus = collected / "corpus"
    folders = {"tamis": work / "indexing-tamis", "anserini": work / "indexing-anserini"}
    commands = {
        "tamis": tamis_command(corpus, folders["tamis"], threads),
        "anserini": anserini_command(corpus, folders["anserini"], threads, store_raw=store_raw),
    }
    runs: dict[str, list[Usage]] = {name: [] for name in commands}
    sizes: dict[str, float] = {}
    for number in range(rounds):
        for name in sorted(commands, reverse=number % 2 == 0):
            shutil.rmtree(folders[name], ignore_errors=True)
            runs[name].append(run(commands[name]))
    sizes["anserini"], sizes["tamis"] = size_mib(folders["anserini"]), size_mib(folders["tamis"])
    sizes["tamis, Lucene"] = size_mib(folders["tamis"] / "lucene")
    for folder in folders.values():
        shutil.rmtree(folder)
    pairs = list(zip(runs["tamis"], runs["anserini"], strict=True))
    return {
        "commands": {name: " ".join(command) for name, command in commands.items()},
        "seconds": {name: [usage.seconds for usage in used] for name, used in runs.items()},
        "cpu": {name: [usage.cpu for usage in used] for name, used in runs.items()},
        "peak_mib": {name: [usage.peak_mib for usage in used] for name, used in runs.items()},
        "size_mib": sizes,
        "ratio": median([theirs.seconds / ours.seconds for ours, theirs in pairs]),
        "cpu_ratio": median([theirs.cpu / ours.cpu for ours, theirs in pairs]),
    }


def describe(figures: dict[str, Any], size: int) -> str:
    """The figures as Markdown."""
    rows = [
        [
            label,
            median(figures["seconds"][name]),
            size / median(figures["seconds"][name]),
            median(figures["cpu"][name]),
            max(figures["peak_mib"][name]),
            figures["size_mib"][name],
        ]
        for name, label in (("tamis", "`tamis index`"), ("anserini", "Anserini `IndexCollection`"))
    ]
    table = markdown(["", "seconds", "passages/s", "CPU seconds", "peak MiB", "index MiB"], rows)
    peak = max(figures["peak_mib"]["tamis"])
    return (
        f"{table}\n\n"
        f"Anserini / Tamis, median over paired runs: {figures['ratio']:.2f} in wall time, {figures['cpu_ratio']:.2f} in CPU "
        f"time. Wanted: at least 1.\n"
        f"Peak memory of Tamis {peak:.0f} MiB. Wanted: below {PEAK_LIMIT_MIB}. "
        f"Of its index, {figures['size_mib']['tamis, Lucene']:.0f} MiB are Lucene's, the rest are the documents."
    )


def main() -> None:
    options = parser("Indexing speed, memory and size against Anserini.", rounds=3)
    options.add_argument("--store-raw", action="store_true", help="let Anserini store the documents too")
    given = options.parse_args()
    with work_folder(given.work) as work:
        collected = collection(work, given.size, given.seed)
        figures = compare(work, collected, rounds=given.rounds, threads=given.threads, store_raw=given.store_raw)
    report(f"{machine()}\n\n{describe(figures, given.size)}", figures, given.json)


if __name__ == "__main__":
    main()
