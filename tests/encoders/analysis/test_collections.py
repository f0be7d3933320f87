"""Analyses of real text. Every text of the collections was compared once; here one in four is."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tamis.encoders.analysis import ANALYZERS, analyze

EVERY = 4
KNOWN = (
    "cacm", "cranfield", "dbpedia14-entities", "medquad", "msmarco-dl19-pool", "nfcorpus", "qmsum-long", "scifact", "time",
    "trec-dl", "wikiqa",
)  # fmt: skip


def texts_of(folder: Path) -> Iterator[str]:
    """Every string in the JSON lines and topics below `folder`."""
    for path in sorted([*folder.rglob("*.jsonl*"), *folder.glob("topics*")]):
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for line in lines:
                if ".jsonl" not in path.name:
                    yield line
                else:
                    yield from (value for value in json.loads(line).values() if isinstance(value, str))


@pytest.mark.real
@pytest.mark.parametrize("name", KNOWN)
def test_collection_equals_lucene(lucene: Any, collections: Path, name: str) -> None:
    compared = 0
    for number, text in enumerate(texts_of(collections / name)):
        if number % EVERY == 0:
            analyzer = ANALYZERS[number // EVERY % 8 == 0]  # one in eight of them without the stemmer
            assert analyze(text, analyzer) == lucene.analyze(text, analyzer), f"text {number}: {text[:80]!r}"
            compared += 1
    assert compared > 200
