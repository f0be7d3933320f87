"""Tamis: a neural retrieval and reranking search engine.

    import tamis

    with tamis.open("my-index") as index:
        for hit in index.search("how do I read a csv file", k=10):
            print(hit.rank, hit.id, hit.title)

Names load what they need when they are first used; importing the package loads none of the heavy libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tamis._version import __version__

if TYPE_CHECKING:
    from tamis.data import open_corpus, read_qrels, read_run, read_runs, read_topics, write_run
    from tamis.data.document import Document
    from tamis.engine import Index, SearchHit
    from tamis.errors import TamisError
    from tamis.eval import compare, evaluate
    from tamis.pipeline import Pipeline, interleave, rrf, wsum
    from tamis.ranking import Hit, Queries, Ranking, State

    open = Index.open  # noqa: A001 - `tamis.open` is the name users expect

_HOMES = {
    "Document": "tamis.data.document",
    "Hit": "tamis.ranking",
    "Index": "tamis.engine",
    "Pipeline": "tamis.pipeline",
    "Queries": "tamis.ranking",
    "Ranking": "tamis.ranking",
    "SearchHit": "tamis.engine",
    "State": "tamis.ranking",
    "TamisError": "tamis.errors",
    "compare": "tamis.eval",
    "evaluate": "tamis.eval",
    "interleave": "tamis.pipeline",
    "open_corpus": "tamis.data",
    "read_qrels": "tamis.data",
    "read_run": "tamis.data",
    "read_runs": "tamis.data",
    "read_topics": "tamis.data",
    "rrf": "tamis.pipeline",
    "write_run": "tamis.data",
    "wsum": "tamis.pipeline",
}

__all__ = [
    "Document",
    "Hit",
    "Index",
    "Pipeline",
    "Queries",
    "Ranking",
    "SearchHit",
    "State",
    "TamisError",
    "__version__",
    "compare",
    "evaluate",
    "interleave",
    "open",
    "open_corpus",
    "read_qrels",
    "read_run",
    "read_runs",
    "read_topics",
    "rrf",
    "write_run",
    "wsum",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "open":
        value = import_module("tamis.engine").Index.open
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'tamis' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
