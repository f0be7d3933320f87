"""All benchmarks on one synthetic collection, as a Markdown report: what ``make bench`` runs.

The full size takes about fifteen minutes on two cores; ``--size 100000 --rounds 1`` gives a quick look.
"""

from __future__ import annotations

import sys

from benchmarks import indexing, searching, startup
from benchmarks.measure import collection, index_of, machine, parser, report, work_folder


def main() -> None:
    given = parser("All benchmarks; a Markdown report on standard output.", rounds=3).parse_args()
    print(f"# Benchmarks: {given.size:,} passages, `python -m benchmarks {' '.join(sys.argv[1:])}`\n", flush=True)
    with work_folder(given.work) as work:
        collected = collection(work, given.size, given.seed)
        index = index_of(work, collected, given.threads)
        queries = collected / "queries.tsv"
        every = {"startup": startup.measure(index, queries, rounds=9)}
        print(f"## Start-up\n\n{startup.describe(every['startup'])}\n", flush=True)
        every["searching"] = searching.compare(index, queries, rounds=given.rounds)
        print(f"## Searching\n\n{searching.describe(every['searching'])}\n", flush=True)
        every["indexing"] = indexing.compare(work, collected, rounds=given.rounds, threads=given.threads)
    text = f"## Indexing\n\n{indexing.describe(every['indexing'], given.size)}\n\n{machine()}"
    report(text, {"size": given.size, **every}, given.json)


if __name__ == "__main__":
    main()
