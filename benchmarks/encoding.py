"""Encoding with MiniLM against `SentenceTransformer.encode` at its defaults: same texts, one run, in turns.

    python -m benchmarks.encoding CORPUS [--texts 256] [--rounds 3]

CORPUS is anything that `tamis index` reads. Texts are taken evenly over it. Both sides use all processors.
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


def main() -> None:
    made = parser("Encoding against sentence-transformers.", rounds=3)
    made.add_argument("corpus")
    made.add_argument("--texts", type=int, default=256)
    given = made.parse_args()
    from sentence_transformers import SentenceTransformer

    passages = sample(given.corpus, given.texts)
    texts = [passage.joined for passage in passages]
    peer = SentenceTransformer(str(find_checkpoint("minilm")), device="cpu")
    ours = {dtype: open_encoder(f"dense:minilm?dtype={dtype}&device=cpu") for dtype in ("float32", "bfloat16")}
    want = peer.encode(texts)
    rates: dict[str, list[float]] = {"SentenceTransformer.encode": [], **{f"tamis, {dtype}": [] for dtype in ours}}
    for _ in range(given.rounds):
        rates["SentenceTransformer.encode"].append(rate(lambda: peer.encode(texts), len(texts)))
        for dtype, encoder in ours.items():
            rates[f"tamis, {dtype}"].append(rate(lambda e=encoder: e.encode_passages(passages), len(texts)))
    rows = []
    for name, found in rates.items():
        ratio = median([a / b for a, b in zip(found, rates["SentenceTransformer.encode"], strict=True)])
        difference = (
            ""
            if "," not in name
            else f"{np.abs(ours[name.split()[1]].encode_passages(passages).vectors - want).max():.1e}"
        )
        rows.append([name, median(found), ratio, difference])
    table = markdown(["", "texts/s", "ratio", "largest difference"], rows)
    report(f"{len(texts)} texts of {given.corpus}\n\n{table}\n\n{machine()}", {"rows": rows}, given.json)


if __name__ == "__main__":
    main()
