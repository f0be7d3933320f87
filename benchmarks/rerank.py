"""Cross-encoding against `CrossEncoder.predict` of sentence-transformers at its defaults: same pairs, same weights, in turns.

    python -m benchmarks.rerank CORPUS --topics TOPICS [--run RUN] [--queries 5] [--depth 100] [--rounds 3] [--work FOLDER]
                                [--device cpu] [--model FOLDER] [--rerankers FOLDER]

CORPUS and TOPICS are anything that `tamis index` and `tamis search` read; without RUN the pairs are those of BM25. The model is
MiniLM with a classification head, trained for `STEPS` steps, from a seed, to tell the passage that a span of words comes from:
its scores mean little, but differ as a trained model's do, so that it can be told what a reduced precision does to an order.
All sides use `--threads` threads, or a device. Beside the rates stands their share of the rate at which this machine, or
the device, multiplies float32 matrices; bfloat16 may go beyond.

The package `rerankers` is a second peer where `--rerankers` names a folder that holds it, and its pins are left alone:

    pip install --no-deps --target FOLDER rerankers==0.10.0
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import in_turns, machine, markdown, median, parser, report, run, tamis, timed, work_folder
from tamis.data.corpus import open_corpus
from tamis.data.runs import read_run
from tamis.data.selection import SelectedDocuments
from tamis.data.topics import read_topics
from tamis.encoders.base import Passage
from tamis.encoders.checkpoints import find_checkpoint
from tamis.encoders.runners import PRECISIONS, require_backend
from tamis.errors import PrerequisiteError
from tamis.rerankers.registry import open_reranker

SEED, STEPS, BATCH, WORDS, LENGTH = 7, 60, 16, 6, 96
PEER = "CrossEncoder.predict"
LOOKED_AT = 15


def make_model(folder: Path, texts: list[str]) -> Path:
    """MiniLM with a trained head, unless it is there."""
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification

    if (folder / "config.json").exists():
        return folder
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    base = find_checkpoint("minilm")
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = BertForSequenceClassification.from_pretrained(base, num_labels=1).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-4)
    long = [text for text in texts if len(text.split()) > 2 * WORDS]
    for _ in range(STEPS):
        right, wrong = (random.choice(long, BATCH) for _ in range(2))
        queries = []
        for text in right:
            words = text.split()
            first = int(random.integers(0, len(words) - WORDS))
            queries.append(" ".join(words[first : first + WORDS]))
        given = tokenizer(
            queries * 2, [*right, *wrong], truncation=True, max_length=LENGTH, padding=True, return_tensors="pt"
        )
        logits = model(**given).logits[:, 0]
        labels = torch.cat([torch.ones(BATCH), torch.zeros(BATCH)])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(folder)
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)
    print(f"trained: loss {loss.item():.3f} after {STEPS} steps", flush=True)
    return folder


def make_pairs(given: Any, work: Path) -> tuple[list[tuple[str, Passage]], list[int]]:
    """The pairs of the first queries that have `depth` candidates, query by query, and how many each query has."""
    topics = read_topics(given.topics)
    found = given.run or work / "bm25.run.gz"
    if not found.exists():
        run([*tamis(), "index", given.corpus, "-o", work / "index"])
        run([*tamis(), "search", work / "index", "--topics", given.topics, "-k", str(given.depth), "-o", found])
    ranking = read_run(found).cut(given.depth)
    texts = dict(zip(topics.ids, topics.texts, strict=True))
    full = [i for i, q in enumerate(ranking.query_ids) if q in texts and len(ranking.at(i)[0]) == given.depth]
    ranking = ranking.take(full[: given.queries])
    documents = SelectedDocuments(ranking.space.ids(ranking.rows), open_corpus(given.corpus))
    pairs = []
    for query, rows, _ in ranking.lists():
        own = documents.rows(ranking.space.ids(rows))
        pairs += [
            (texts[query], Passage(*both)) for both in zip(documents.titles(own), documents.bodies(own), strict=True)
        ]
    return pairs, [given.depth] * len(ranking)


def multiplications(config: Any, lengths: np.ndarray[Any, Any]) -> float:
    """Floating-point operations of the encoder over sequences of these lengths, padding not counted."""
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    dense = 2 * (4 * width * width + 2 * width * inner)
    return float(layers * (dense * lengths + 4 * width * lengths.astype(float) ** 2).sum())


def matrix_rate(dtype: str = "float32") -> float:
    """Operations a second of large matrix products here, the best of many: neighbours only slow them."""
    import torch

    a, b = (torch.rand(rows, 1536, dtype=getattr(torch, dtype)) for rows in (1024, 1536))
    a @ b
    seconds = [timed(lambda: a @ b)[0] for _ in range(100)]
    return 2 * a.numel() * b.shape[1] / min(seconds)


def device_rate(device: str) -> float:
    """Float32 operations a second of large matrix products on a device, the best of many."""
    import torch

    if device == "cpu":
        return matrix_rate()
    a = torch.rand(8192, 8192, device=device)

    def multiply() -> None:
        a @ a
        torch.cuda.synchronize()

    multiply()
    return 2 * 8192**3 / min(timed(multiply)[0] for _ in range(10))


def agreement(want: np.ndarray[Any, Any], have: np.ndarray[Any, Any], counts: list[int]) -> tuple[float, float]:
    """Mean overlap of the first ten, and mean Kendall tau, over queries."""
    from scipy.stats import kendalltau

    overlaps, taus, first = [], [], 0
    for count in counts:
        a, b = want[first : first + count], have[first : first + count]
        best = [set(np.argsort(-scores, kind="stable")[:10].tolist()) for scores in (a, b)]
        overlaps.append(len(best[0] & best[1]) / 10)
        taus.append(kendalltau(a, b).statistic)
        first += count
    return float(np.mean(overlaps)), float(np.mean(taus))


def table_of(
    seconds: dict[str, list[float]], scores: dict[str, Any], counts: list[int], operations: float, peak: float
) -> tuple[list[str], list[list[Any]], dict[str, Any]]:
    """Columns, rows and figures of a comparison whose first side is the peer.

    Args:
        seconds: of every round, by side.
        scores: of all pairs, by side.
        counts: pairs of each query.
        operations: floating-point operations of one round.
        peak: operations a second that the machine or device can do.
    """
    rows: list[list[Any]] = []
    figures: dict[str, Any] = {}
    peer = next(iter(seconds))
    for name, found in seconds.items():
        rate, reached = sum(counts) / median(found), operations / median(found)
        ratio = median([a / b for a, b in zip(seconds[peer], found, strict=True)])
        overlap, tau = agreement(scores[peer], scores[name], counts)
        figures[name] = {
            "pairs_per_second": rate,
            "ratio": ratio,
            "overlap": overlap,
            "tau": tau,
            "gflops": reached / 1e9,
        }
        shares = [f"{reached / 1e9:.0f}", f"{reached / peak:.0%}"]
        rows.append([name, rate, f"{ratio:.2f}", f"{overlap:.3f}", f"{tau:.4f}", *shares])
    return ["", "pairs/s", "ratio", "top-10 overlap", "Kendall tau", "GFLOP/s", "of matrix rate"], rows, figures


def modes_of(device: str) -> dict[str, str]:
    """What runs the model here: name → options of its address."""
    if device != "cpu":
        return {"float32": "backend=torch", "bfloat16": "dtype=bfloat16", "float16": "dtype=float16"}
    modes = {"float32, torch": "backend=torch", "bfloat16, torch": "dtype=bfloat16"}
    for backend, title in (("onnx", "ONNX Runtime"), ("openvino", "OpenVINO")):
        for dtype in PRECISIONS[backend]:
            try:
                require_backend(backend, dtype)
            except PrerequisiteError as error:
                print(f"left out: {error}", flush=True)
            else:
                modes[f"{dtype}, {title}"] = f"backend={backend}&dtype={dtype}"
    return dict(sorted(modes.items(), key=lambda mode: mode[0].startswith("bfloat16")))


def second_look(
    first: Any, second: Any, queries: list[str], passages: list[Passage], counts: list[int]
) -> Callable[[], np.ndarray[Any, Any]]:
    """A model over all pairs and another over the first `LOOKED_AT` of each query, as ``first >> second?depth=15`` does it."""

    def score() -> np.ndarray[Any, Any]:
        found = first.score_pairs(queries, passages).scores.astype(np.float64)
        parts = np.split(np.arange(len(found)), np.cumsum(counts)[:-1])
        best = [own[np.argsort(-found[own], kind="stable")[:LOOKED_AT]] for own in parts]
        chosen = np.concatenate(best).tolist()
        again = second.score_pairs([queries[i] for i in chosen], [passages[i] for i in chosen]).scores
        looked = np.zeros(len(found), np.bool_)
        looked[chosen] = True
        found[chosen] = again
        for own in parts:
            rest, top = own[~looked[own]], own[looked[own]]
            if len(rest):
                found[rest] += found[top].min() - 1 - found[rest].max()
        return found

    return score


def rerankers_side(
    place: Path, model: Path, device: str, joined: list[tuple[str, str]], counts: list[int]
) -> Callable[[], np.ndarray[Any, Any]]:
    """The package `rerankers`, which is given a query's passages at a time, at its defaults but for the device."""
    sys.path.insert(0, str(place))
    from rerankers import Reranker

    ranker = Reranker(str(model), model_type="cross-encoder", verbose=0, device=device)
    if ranker is None:
        raise SystemExit(f"{place} holds a package rerankers that cannot load a cross-encoder")

    def score() -> np.ndarray[Any, Any]:
        scores, first = np.empty(len(joined), np.float32), 0
        for count in counts:
            own = joined[first : first + count]
            found = ranker.rank(own[0][0], [text for _, text in own], doc_ids=list(range(count)))
            for result in found.results:
                scores[first + result.document.doc_id] = result.score
            first += count
        return scores

    return score


def main() -> None:
    made = parser("Cross-encoding against sentence-transformers.", rounds=3)
    made.add_argument("corpus")
    made.add_argument("--topics", required=True)
    made.add_argument("--run", type=Path)
    made.add_argument("--queries", type=int, default=5)
    made.add_argument("--depth", type=int, default=100)
    made.add_argument("--device", default="cpu", help="cpu, or cuda (default %(default)s)")
    made.add_argument("--model", type=Path, help="a cross-encoder's folder, in place of the one that is trained here")
    made.add_argument("--rerankers", type=Path, help="folder that holds the package rerankers")
    given = made.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    import torch
    from sentence_transformers import CrossEncoder

    torch.set_num_threads(given.threads)
    with work_folder(given.work) as work:
        pairs, counts = make_pairs(given, work)
        folder = given.model or make_model(work / "model", [passage.joined for _, passage in pairs])
        queries, passages = [query for query, _ in pairs], [passage for _, passage in pairs]
        joined = [(query, passage.joined) for query, passage in pairs]
        peer = CrossEncoder(str(folder), device=given.device)
        ours = {
            name: open_reranker(f"cross:{folder}?device={given.device}&{options}")
            for name, options in modes_of(given.device).items()
        }
        sides: dict[str, Callable[[], Any]] = {PEER: lambda: peer.predict(joined, activation_fn=torch.nn.Identity())}
        if given.rerankers is not None:
            sides["rerankers"] = rerankers_side(given.rerankers, folder, given.device, joined, counts)
        sides |= {
            f"tamis, {name}": lambda model=model: model.score_pairs(queries, passages).scores
            for name, model in ours.items()
        }
        quick, exact = (ours.get(f"{dtype}, OpenVINO") for dtype in ("bfloat16", "float32"))
        if quick is not None and exact is not None:
            name = f"tamis, bfloat16, OpenVINO, then float32 for the first {LOOKED_AT}"
            sides[name] = second_look(quick, exact, queries, passages, counts)
        for score in sides.values():
            score()
        seconds, scores = in_turns(sides, given.rounds)
        how = next(iter(ours.values())).format
        lengths = np.array([len(ids) for ids in how.inputs(queries, [p.joined for p in passages]).ids])
        operations, peak = multiplications(peer.config, lengths), device_rate(given.device)
        half = f", {matrix_rate('bfloat16') / 1e9:.0f} in bfloat16" if given.device == "cpu" else ""
    columns, rows, figures = table_of(seconds, scores, counts, operations, peak)
    text = (
        f"{len(pairs)} pairs of {len(counts)} queries, {lengths.mean():.0f} tokens on average, {given.device}, "
        f"{given.threads} threads, "
        f"medians of {given.rounds} rounds; matrices: {peak / 1e9:.0f} GFLOP/s{half}\n\n{markdown(columns, rows)}\n\n{machine()}"
    )
    report(text, {"pairs": len(pairs), "matrix_gflops": peak / 1e9, **figures}, given.json)


if __name__ == "__main__":
    main()
