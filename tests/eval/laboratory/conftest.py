"""A tiny collection with an index, a model of pairs, and a cache that no test shares."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import pytest

from tamis.engine import Index

_PLACE = Path(__file__).resolve().parents[2] / "rerankers" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("rerankers_conftest", _PLACE)
assert _SPEC is not None
assert _SPEC.loader is not None
MODELS = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(MODELS)

DOCUMENTS = [
    {"id": "sieve", "title": "Drum sieves", "text": "A tamis is a drum sieve used for sieving flour.", "year": 1999},
    {"id": "rank", "title": "Ranking", "text": "BM25 ranks documents by term frequency and length.", "year": 2009},
    {"id": "cat", "title": "Cats", "text": "The cat sieved nothing, ranked nothing, drum or not.", "year": 2020},
    {"id": "soup", "title": "", "text": "Soup passes through a finer sieve, then a finer drum still.", "year": 2021},
    {"id": "cook", "title": "Cooks", "text": "The cook ranks soup above butter and milk documents.", "year": 2022},
]
TOPICS = "q1\tdrum sieve\nq2\tranking documents\nq3\tfiner soup\nq4\tmilk sieve\nq5\tnobody judged this soup\n"
QRELS = "q1 0 sieve 2\nq1 0 soup 1\nq2 0 rank 1\nq3 0 soup 1\nq3 0 cat 0\nq4 0 cook 1\nq9 0 cat 1\n"


@dataclass(frozen=True)
class Bench:
    """A folder with an index, topics, judgements and a model of pairs."""

    folder: Path
    model: str

    def write(self, systems: dict[str, str], more: str = "", name: str = "some", topics: str = "topics.tsv") -> Path:
        """Write an experiment over the collection."""
        path = self.folder / f"{name}.toml"
        lines = "".join(f"\"{system}\" = '{pipeline}'\n" for system, pipeline in systems.items())
        collection = f'[collections.tiny]\nindex = "index"\ntopics = "{topics}"\nqrels = "qrels.txt"\n'
        path.write_text(f"{more}\n{collection}[systems]\n{lines}[cost]\ntopics = 0\n")
        return path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"cross:{MODELS.save_cross(tmp_path_factory.mktemp('model') / 'tiny')}"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> Bench:
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "bench"
    folder.mkdir()
    (folder / "topics.tsv").write_text(TOPICS)
    (folder / "qrels.txt").write_text(QRELS)
    with Index.create(folder / "index", filterable=["year"]) as index:
        index.add(DOCUMENTS)
    return Bench(folder, model)
