"""Readers and writers: corpora, topics, qrels and runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tamis.data.corpus import Corpus, ReadReport, open_corpus
    from tamis.data.document import Document
    from tamis.data.fields import Field, parse_fields
    from tamis.data.passages import Chunker
    from tamis.data.qrels import Qrels, read_qrels
    from tamis.data.runs import read_run, read_runs, write_run
    from tamis.data.sidecar import Sidecar, read_sidecar, sidecar_path
    from tamis.data.topics import read_topics

_HOMES = {
    "Chunker": "passages",
    "Corpus": "corpus",
    "Document": "document",
    "Field": "fields",
    "Qrels": "qrels",
    "ReadReport": "corpus",
    "Sidecar": "sidecar",
    "open_corpus": "corpus",
    "parse_fields": "fields",
    "read_qrels": "qrels",
    "read_run": "runs",
    "read_runs": "runs",
    "read_sidecar": "sidecar",
    "read_topics": "topics",
    "sidecar_path": "sidecar",
    "write_run": "runs",
}

__all__ = [
    "Chunker",
    "Corpus",
    "Document",
    "Field",
    "Qrels",
    "ReadReport",
    "Sidecar",
    "open_corpus",
    "parse_fields",
    "read_qrels",
    "read_run",
    "read_runs",
    "read_sidecar",
    "read_topics",
    "sidecar_path",
    "write_run",
]


def __getattr__(name: str) -> Any:
    """Import a public name's module when it is first used."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
