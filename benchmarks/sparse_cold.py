"""A cold `tamis search` with SPLADE: by the exported query encoder, by a table of token weights, and by the model in torch.

    python -m benchmarks.sparse_cold CORPUS

The model has BERT-base's shape, MiniLM's vocabulary and random weights: what it finds is nothing, but what it costs is not. A
few passages are indexed, whole processes are timed from nothing to their answer, in turns, files in memory; the model in torch is
what a part without an exported encoder uses.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from unittest import mock

import tamis
from benchmarks.measure import machine, markdown, median, report, run, work_folder
from benchmarks.measure import tamis as program
from tamis.indexer.sparse import kind

QUESTION = "which of the finer sieves would a cook pass potatoes through"


def make_model(folder: Path, layers: int) -> None:
    """Write a masked language model of BERT-base's width with random weights."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    from tamis.encoders.checkpoints import find_checkpoint

    folder.mkdir()
    source = find_checkpoint("minilm")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        if (source / name).exists():
            shutil.copy(source / name, folder / name)
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(num_hidden_layers=layers)).save_pretrained(folder)


def make_index(folder: Path, corpus: Path, count: int, address: str, *, export: bool = True) -> Path:
    """Index the first passages of a corpus with a part by the model, with or without an exported query encoder."""
    documents = []
    for document in tamis.open_corpus(str(corpus)):
        documents.append({"id": document.id, "text": document.text})
        if len(documents) == count:
            break
    exports = kind.can_export_sparse if export else lambda encoder: False
    with tamis.Index.create(folder) as index, mock.patch.object(kind, "can_export_sparse", exports):
        index.add(documents)
        name = index.add_part(address)
        reason = index.manifest.parts[name]["facts"].get("not_exported")
        if reason:
            raise SystemExit(f"{address} was not exported: {reason}")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description="Cold searches with SPLADE.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--passages", type=int, default=100)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with work_folder(given.work) as work:
        make_model(work / "model", given.layers)
        address, table = f"splade:{work / 'model'}", f"splade:{work / 'model'}?query_weights=ones"
        first = make_index(work / "model-index", given.corpus, given.passages, address)
        second = make_index(work / "table-index", given.corpus, given.passages, table)
        third = make_index(work / "torch-index", given.corpus, given.passages, address, export=False)
        ways = {
            "exported query encoder": (first, address),
            "table of token weights": (second, table),
            "BM25": (first, "bm25"),
            "the model in torch": (third, address),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(given.rounds + 1):
            for name, (index, pipeline) in ways.items():
                used = run([*program(), "search", index, QUESTION, "--pipeline", pipeline])
                if number:
                    seconds[name].append(used.seconds)
    rows = [[name, f"{median(used):.2f}", f"{min(used):.2f}"] for name, used in seconds.items()]
    text = markdown([f"`tamis search`, {given.layers} layers", "median s", "best s"], rows)
    report(f"{text}\n\n{machine()}", {"seconds": seconds}, given.json)


if __name__ == "__main__":
    main()
