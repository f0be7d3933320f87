"""monoT5 against a plain loop over transformers: same pairs, same weights, in turns.

    python -m benchmarks.t5 CORPUS --topics TOPICS [--run RUN] [--geometry small] [--queries 2] [--depth 100] [--device cpu]

CORPUS and TOPICS are anything that `tamis index` and `tamis search` read; without RUN the pairs are those of BM25. The weights
are random, from a seed, in the sizes of t5-small or t5-base, and the vocabulary has T5's size and is made of the words of the
corpus: what is measured does not depend on either, but their rankings are no one's. The loop is what one writes first: batches of
32 prompts in the order they come, padded to their longest, one forward pass of the whole model with the start token for the
decoder, the logits of two words out of all; in float32. All sides use `--threads` threads, or a device. Beside the rates stands
what share the encoder's operations reach of the rate at which it multiplies large float32 matrices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import machine, markdown, median, parser, report, work_folder
from benchmarks.rerank import agreement, device_rate, make_pairs, timed
from tamis.rerankers.monot5 import TEMPLATE
from tamis.rerankers.registry import open_reranker
from tamis.rerankers.t5 import MAX_LENGTH, T5_TARGETS

SEED, BATCH, VOCABULARY = 7, 32, 32128
GEOMETRIES = {
    "small": {"d_model": 512, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
    "base": {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
}
PEER = "plain loop, float32"


def make_model(folder: Path, texts: list[str], geometry: str) -> Path:
    """A T5 of random weights over the words of texts, unless it is there."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    if (folder / "config.json").exists():
        return folder
    torch.manual_seed(SEED)
    words = Counter(word for text in texts for word in text.split())
    letters = Counter("".join(words))
    found = iter(
        ["▁", *(f"▁{word}" for word, _ in words.most_common(20000)), *(letter for letter, _ in letters.most_common())]
    )
    fixed = {0: "<pad>", 1: "</s>", 2: "<unk>"} | {place: f"▁{word}" for word, place in T5_TARGETS.items()}
    taken = set(fixed.values())
    free = (token for token in dict.fromkeys(found) if token not in taken)
    tokens = [fixed.get(i) or next(free, f"<unused {i}>") for i in range(VOCABULARY)]
    raw = Tokenizer(models.Unigram([(token, -5.0 if len(token) > 1 else -9.0) for token in tokens], unk_id=2))
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    config = T5Config(vocab_size=VOCABULARY, decoder_start_token_id=0, **GEOMETRIES[geometry])
    T5ForConditionalGeneration(config).save_pretrained(folder)
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=MAX_LENGTH, **names).save_pretrained(folder)
    return folder


def plain_loop(folder: Path, device: str) -> Callable[[list[str]], np.ndarray[Any, Any]]:
    """The peer: log P(true) of each prompt."""
    import torch
    from transformers import AutoTokenizer, T5ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = T5ForConditionalGeneration.from_pretrained(folder).eval().to(device)
    targets = [T5_TARGETS["false"], T5_TARGETS["true"]]

    def score(prompts: list[str]) -> np.ndarray[Any, Any]:
        found = []
        for first in range(0, len(prompts), BATCH):
            some = prompts[first : first + BATCH]
            given = tokenizer(some, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
            given = given.to(device)
            start = torch.full((len(some), 1), model.config.decoder_start_token_id, device=device)
            with torch.no_grad():
                logits = model(**given, decoder_input_ids=start).logits[:, 0, targets]
            found.append(torch.log_softmax(logits, -1)[:, 1].cpu().numpy())
        return np.concatenate(found)

    return score


def multiplications(geometry: dict[str, int], lengths: np.ndarray[Any, Any]) -> float:
    """Floating-point operations of the encoder over prompts of these lengths, padding not counted."""
    width, inner, layers = geometry["d_model"], geometry["d_ff"], geometry["num_layers"]
    dense = 2 * (4 * width * width + 2 * width * inner)
    return float(layers * (dense * lengths + 4 * width * lengths.astype(float) ** 2).sum())


def main() -> None:
    made = parser("monoT5 against a plain loop over transformers.", rounds=3)
    made.add_argument("corpus")
    made.add_argument("--topics", required=True)
    made.add_argument("--run", type=Path)
    made.add_argument("--geometry", choices=sorted(GEOMETRIES), default="small")
    made.add_argument("--queries", type=int, default=2)
    made.add_argument("--depth", type=int, default=100)
    made.add_argument("--device", default="cpu", help="cpu, or cuda (default %(default)s)")
    given = made.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    geometry = GEOMETRIES[given.geometry]
    with work_folder(given.work) as work:
        pairs, counts = make_pairs(given, work)
        folder = make_model(work / f"t5-{given.geometry}", [p.joined for _, p in pairs], given.geometry)
        queries, passages = [query for query, _ in pairs], [passage for _, passage in pairs]
        prompts = [TEMPLATE.format(query=query, document=passage.joined) for query, passage in pairs]
        loop = plain_loop(folder, given.device)
        ours = {
            name: open_reranker(f"monot5:{folder}?device={given.device}&dtype={name}")
            for name in ("float32", "bfloat16", *(["float16"] if given.device != "cpu" else []))
        }
        sides: dict[str, Callable[[], Any]] = {
            PEER: lambda: loop(prompts),
            **{
                f"tamis, {name}": lambda model=model: model.score_pairs(queries, passages).scores
                for name, model in ours.items()
            },
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        scores: dict[str, Any] = {}
        names = list(sides)
        for model in ours.values():
            model.score_pairs(queries[:BATCH], passages[:BATCH])
        loop(prompts[:BATCH])
        for number in range(given.rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                spent, scores[name] = timed(sides[name])
                seconds[name].append(spent)
        template = ours["float32"].template
        inputs = template.inputs({"query": queries, "document": [p.joined for p in passages]})
        lengths = np.array([len(ids) for ids in inputs.ids])
        operations, peak = multiplications(geometry, lengths), device_rate(given.device)
    rows, figures = [], {}
    for name, found in seconds.items():
        ratio = median([a / b for a, b in zip(seconds[PEER], found, strict=True)])
        overlap, tau = agreement(scores[PEER], scores[name], counts)
        reached = operations / median(found)
        figures[name] = {
            "pairs_per_second": len(pairs) / median(found),
            "ratio": ratio,
            "overlap": overlap,
            "tau": tau,
            "gflops": reached / 1e9,
        }
        rows.append(
            [name, len(pairs) / median(found), f"{ratio:.2f}", f"{overlap:.3f}", f"{tau:.4f}", f"{reached / peak:.0%}"]
        )
    columns = ["", "pairs/s", "ratio", "top-10 overlap", "Kendall tau", "of matrix rate"]
    text = (
        f"t5-{given.geometry}: {len(pairs)} pairs of {len(counts)} queries, {lengths.mean():.0f} tokens on average (the longest "
        f"{lengths.max()}), {given.device}, {given.threads} threads, medians of {given.rounds} rounds; "
        f"matrices: {peak / 1e9:.0f} GFLOP/s\n\n"
        f"{markdown(columns, rows)}\n\n{machine()}"
    )
    report(text, {"pairs": len(pairs), "matrix_gflops": peak / 1e9, **figures}, given.json)


if __name__ == "__main__":
    main()
