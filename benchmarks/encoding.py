"""Encoding with MiniLM against `SentenceTransformer.encode` at its defaults: same texts, one run, in turns.

    python -m benchmarks.encoding CORPUS [--texts 256] [--rounds 3]
    python -m benchmarks.encoding CORPUS --encoder tct-colbert:FOLDER    # backends of another encoder, against its own torch

CORPUS is anything that `tamis index` reads. Texts are taken evenly over it. Both sides use all processors. Backends that cannot
run here are left out.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import machine, markdown, median, parser, report
from tamis.data import open_corpus
from tamis.encoders.base import Passage
from tamis.encoders.checkpoints import find_checkpoint
from tamis.encoders.registry import open_encoder
from tamis.encoders.runners import PRECISIONS
from tamis.errors import PrerequisiteError

PEER, OURS = "SentenceTransformer.encode", "dense:minilm"


def sample(name: str, count: int) -> list[Passage]:
    """Passages spread evenly over a corpus."""
    every = [Passage(document.title, document.text) for document in open_corpus(name)]
    step = max(1, len(every) // count)
    return list(itertools.islice(every, 0, None, step))[:count]


def rate(encode: Callable[[], Any], count: int) -> float:
    """Texts a second."""
    begun = time.perf_counter()
    encode()
    return count / (time.perf_counter() - begun)


def table_of(found: Any, dimensions: int) -> np.ndarray[Any, Any]:
    """Vectors of any kind as a table; those of tokens have a row each."""
    if hasattr(found, "indices"):
        table = np.zeros((len(found.offsets) - 1, dimensions), np.float32)
        table[np.repeat(np.arange(len(table)), np.diff(found.offsets)), found.indices] = found.values
        return table
    return np.asarray(getattr(found, "vectors", found))


def encoders(address: str) -> dict[str, Any]:
    """Ours, by what runs them; torch in float32 first."""
    found = {
        f"tamis, {dtype}": open_encoder(f"{address}?dtype={dtype}&device=cpu") for dtype in ("float32", "bfloat16")
    }
    for backend in ("onnx", "openvino"):
        for dtype in PRECISIONS[backend]:
            try:
                found[f"tamis, {dtype}, {backend}"] = open_encoder(f"{address}?dtype={dtype}&backend={backend}")
            except PrerequisiteError as error:
                print(f"left out: {error}")
    return found


def main() -> None:
    made = parser("Encoding against sentence-transformers.", rounds=3)
    made.add_argument("corpus")
    made.add_argument("--texts", type=int, default=256)
    made.add_argument("--encoder", default=OURS, help="address without options")
    given = made.parse_args()
    passages = sample(given.corpus, given.texts)
    ours = encoders(given.encoder)
    ways: dict[str, Callable[[], Any]] = {
        name: (lambda encoder=encoder: encoder.encode_passages(passages)) for name, encoder in ours.items()
    }
    if given.encoder == OURS:
        from sentence_transformers import SentenceTransformer

        peer, texts = SentenceTransformer(str(find_checkpoint("minilm")), device="cpu"), [p.joined for p in passages]
        ways = {PEER: lambda: peer.encode(texts), **ways}
    base = next(iter(ways))
    dimensions = next(iter(ours.values())).dimensions
    want = table_of(ways[base](), dimensions)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, encode in ways.items():
            rates[name].append(rate(encode, len(passages)))
    rows = []
    for name, found in rates.items():
        ratio = median([a / b for a, b in zip(found, rates[base], strict=True)])
        rows.append([name, median(found), ratio, f"{np.abs(table_of(ways[name](), dimensions) - want).max():.1e}"])
    table = markdown(["", "texts/s", "ratio", "largest difference"], rows)
    report(f"{len(passages)} texts of {given.corpus}\n\n{table}\n\n{machine()}", {"rows": rows}, given.json)


if __name__ == "__main__":
    main()
