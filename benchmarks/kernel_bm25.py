"""The sparse kernel on BM25: queries a second, bytes, build time, nanoseconds a posting; beside NumPy and a prototype.

The data are those of `benchmarks.zipf` (passages of 55 tokens over 500,000 terms, queries of about six terms), as term numbers.
A code is a distinct (term frequency, length byte) pair, the byte being Lucene's, so that scores are Lucene's BM25.

    python -m benchmarks.kernel_bm25 --size 200000 [--prototype ../shared/prototypes] [--kernels avx512,avx2,baseline]

Analysis is not measured: text does not reach the kernel. Medians of `REPEATS` runs; queries one by one include Python's share
of a call. With --prototype, the throw-away prototype's kernel.c is compiled (-march=native
-ffast-math) and run between two runs of ours.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import zipf
from tamis.kernels import Postings, Queries, build_postings, kernel_name, search
from tamis.kernels.backend import VARIABLE

K1, B = np.float32(0.9), np.float32(0.4)
REPEATS, QUERIES = 5, 1000


def length_bytes(lengths: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Lengths as Lucene's norms keep them: exact below 40, then four significant bits."""
    above = lengths - 24
    bits = np.floor(np.log2(np.maximum(above, 1))).astype(np.int64) + 1
    shift = np.maximum(bits - 4, 0)
    return np.where(above >= 16, 24 + (above >> shift << shift), lengths)


def make_data(size: int) -> tuple[np.ndarray[Any, Any], ...]:
    """Triples in document order, the value of each code without idf, and the queries' terms."""
    text = zipf.Text(zipf.SEED)
    terms, docs, counts, lengths, queries = [], [], [], [], []
    block, vocabulary = 50_000, zipf.VOCABULARY
    for first in range(0, size, block):
        tokens, offsets = text.passages(min(block, size - first))
        local = np.diff(offsets)
        keys = np.repeat(np.arange(len(local)), local) * vocabulary + tokens
        keys.sort()
        begin = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        counts.append(np.diff(np.append(begin, len(keys))).astype(np.int32))
        terms.append((keys[begin] % vocabulary).astype(np.int32))
        docs.append((keys[begin] // vocabulary + first).astype(np.int32))
        lengths.append(local)
        wanted = -(-QUERIES * block // size) if size > block else QUERIES
        some = text.random.integers(0, len(local), wanted)
        queries += [text.query(tokens[offsets[i] : offsets[i + 1]]) for i in some]
    all_terms, all_docs, all_counts = np.concatenate(terms), np.concatenate(docs), np.concatenate(counts)
    all_lengths = np.concatenate(lengths)
    widest = int(length_bytes(all_lengths).max()) + 1  # pairs are few and small: numbered by a table, not by sorting
    pairs = all_counts * np.int32(widest) + length_bytes(all_lengths).astype(np.int32)[all_docs]
    distinct = np.flatnonzero(np.bincount(pairs))
    numbers = np.zeros(int(distinct[-1]) + 1, np.uint16)
    numbers[distinct] = np.arange(len(distinct))
    codes = numbers[pairs]
    tf, length = (distinct // widest).astype(np.float32), (distinct % widest).astype(np.float32)
    values = tf / (tf + K1 * (1 - B + B * length / np.float32(all_lengths.mean())))
    order = text.random.permutation(len(queries))[:QUERIES]
    chosen = [queries[i] for i in order]
    offsets = np.concatenate([[0], np.cumsum([len(query) for query in chosen])])
    return all_terms, all_docs, codes, values.astype(np.float32), offsets, np.concatenate(chosen)


def queries_per_second(task: Any, count: int) -> float:
    """Median rate of `task`, which runs `count` queries."""
    task()
    rates = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        task()
        rates.append(count / (time.perf_counter() - begin))
    return statistics.median(rates)


def measure(postings: Postings, queries: Queries, singles: list[Queries], touched: int) -> None:
    for k in (10, 1000):
        found = search(postings, queries, k)
        for i in range(0, len(singles), 97):
            assert found[i][0].tobytes() == search(postings, singles[i], k).docs.tobytes()
        rates = {
            "one by one": queries_per_second(
                lambda k=k: [search(postings, query, k) for query in singles], len(singles)
            )
        }
        for threads in (1, 2):
            rates[f"batch {threads}t"] = queries_per_second(
                lambda k=k, t=threads: search(postings, queries, k, threads=t), len(queries)
            )
        nanoseconds = 1e9 * len(queries) / rates["batch 1t"] / touched
        print(
            f"{kernel_name():9} k={k:<5}"
            + "".join(f" {name} {rate:7.0f}/s " for name, rate in rates.items())
            + f" {nanoseconds:.2f} ns/posting",
            flush=True,
        )


def measure_prototype(folder: Path, postings: Postings, queries: Queries, values: np.ndarray[Any, Any]) -> None:
    """The prototype in the same process: batch and one by one, exhaustive and pruned."""
    os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp()
    sys.path.insert(0, str(folder))
    import kernel as prototype  # type: ignore[import-not-found]

    index = prototype.Index(
        postings.starts, postings.documents(0, postings.n_terms), postings.codes, values, postings.n_docs
    )
    bounds = queries.offsets
    batch = [(queries.terms[a:b].astype(np.int32), queries.weights[a:b]) for a, b in pairwise(bounds)]
    print(f"prototype {index.mib():.0f} MiB")
    for k in (10, 1000):
        same = np.mean(
            [
                set(index.search(*batch[i], k, 0)[0].tolist())
                == set(search(postings, one(queries, i), k).docs.tolist())
                for i in range(50)
            ]
        )
        for prune in (0, 1):
            single = queries_per_second(
                lambda k=k, p=prune: [index.search(*query, k, p) for query in batch], len(batch)
            )
            many = queries_per_second(lambda k=k, p=prune: index.batch(batch, k, p), len(batch))
            print(
                f"prototype k={k:<5} one by one {single:7.0f}/s  batch 1t {many:7.0f}/s  pruned={prune} same sets {same:.2f}",
                flush=True,
            )


def one(queries: Queries, i: int) -> Queries:
    part = slice(queries.offsets[i], queries.offsets[i + 1])
    return Queries(
        np.array([0, part.stop - part.start]),
        queries.terms[part],
        queries.weights[part],
        queries.tables,
        queries.rows[part],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=200_000)
    parser.add_argument("--cache", type=Path, help="folder that keeps the generated data between runs")
    parser.add_argument("--prototype", type=Path, help="folder of the prototype's kernel.py")
    parser.add_argument("--kernels", default="", help="also measure these, each in its own process")
    parser.add_argument("--numpy", action="store_true", help="also measure NumPy, on a few queries")
    arguments = parser.parse_args()
    file = arguments.cache / f"kernel-{arguments.size}.npz" if arguments.cache else None
    if file and file.exists():
        loaded = np.load(file)
        terms, docs, codes, values, offsets, wanted = (loaded[name] for name in loaded.files)
    else:
        terms, docs, codes, values, offsets, wanted = make_data(arguments.size)
        if file:
            np.savez(file, *(terms, docs, codes, values, offsets, wanted))
    begin = time.perf_counter()
    postings = build_postings(terms, docs, codes, n_docs=arguments.size, n_terms=zipf.VOCABULARY, n_codes=len(values))
    built = time.perf_counter()
    postings.validate()
    checked = time.perf_counter()
    frequencies = postings.frequencies(wanted).astype(np.float64)
    idf = np.log(1 + (arguments.size - frequencies + 0.5) / (frequencies + 0.5)).astype(np.float32)
    queries = Queries(offsets, wanted, idf, values[None], np.zeros(len(wanted), np.int32))
    singles = [one(queries, i) for i in range(len(queries))]
    touched = int(frequencies.sum())
    mebibytes = postings.nbytes / 2**20
    directory = (postings.directory.nbytes + postings.directory_starts.nbytes + postings.starts.nbytes) / 2**20
    print(
        f"{arguments.size} passages, {postings.n_postings} postings, {len(values)} codes\n"
        f"{len(queries)} queries of {touched / len(queries):.0f} postings\n"
        f"build {built - begin:.2f} s, check {checked - built:.2f} s\n"
        f"{mebibytes:.1f} MiB, of which directory and pointers {directory:.1f} MiB; "
        f"{postings.nbytes / postings.n_postings:.2f} bytes a posting"
    )
    measure(postings, queries, singles, touched)
    if arguments.prototype:
        measure_prototype(arguments.prototype, postings, queries, values)
        measure(postings, queries, singles, touched)
    if arguments.numpy:
        from tamis.kernels.numpy_backend import search_batch

        few = [one(queries, i) for i in range(30)]
        for k in (10, 1000):
            rate = queries_per_second(
                lambda k=k: [search_batch(postings, query, k, None, None) for query in few], len(few)
            )
            print(f"numpy     k={k:<5} one by one {rate:7.0f}/s")
    for name in filter(None, arguments.kernels.split(",")):
        command = [sys.executable, "-m", "benchmarks.kernel_bm25", "--size", str(arguments.size)]
        command += ["--cache", str(arguments.cache)] if arguments.cache else []
        subprocess.run(command, env=os.environ | {VARIABLE: name}, check=True)


if __name__ == "__main__":
    main()
