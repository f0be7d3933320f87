"""The export is Anserini's form: what it says, its rounding, and that Anserini's impact index ranks as the part does."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

import tamis
from tamis.errors import DataError, OutputExistsError, UsageError
from tamis.indexer.sparse.export import export_vectors

TOKENS = [f"t{i}" for i in range(40)]


def vectors(count: int, seed: int, *, whole: bool) -> dict[str, dict[str, float]]:
    draw = random.Random(seed)
    weigh = (lambda: draw.randint(1, 300)) if whole else (lambda: round(draw.uniform(0.001, 4.0), 4))
    return {f"d{i:03}": {t: weigh() for t in draw.sample(TOKENS, draw.randint(1, 12))} for i in range(count)}


def build(folder: Path, held: dict[str, dict[str, float]], options: str = "") -> tamis.Index:
    source = folder / "vectors.jsonl"
    source.write_text("".join(json.dumps({"id": k, "vector": v}) + "\n" for k, v in held.items()), "utf-8")
    index = tamis.Index.create(folder / "index")
    names = list(held)
    index.add([{"id": name, "title": "Drüm", "text": f"text of {name}"} for name in names[:30]])
    index.add_part(f"impacts:{source}{options}", "vectors")
    index.add([{"id": name, "text": f"text of {name}"} for name in names[30:]])
    index.delete([names[2]])
    return index


def read(path: Path) -> dict[str, dict[str, Any]]:
    return {record["id"]: record for record in map(json.loads, path.read_text("utf-8").splitlines())}


def test_whole_weights_stay(tmp_path: Path) -> None:
    held = vectors(50, 1, whole=True)
    with build(tmp_path, held) as index:
        told = export_vectors(index.part("vectors"), tmp_path / "out.jsonl")
        with pytest.raises(OutputExistsError):
            export_vectors(index.part("vectors"), tmp_path / "out.jsonl")
        with pytest.raises(UsageError, match="above 0"):
            export_vectors(index.part("vectors"), tmp_path / "other.jsonl", factor=0)
        with pytest.raises(UsageError, match="half-even"):
            export_vectors(index.part("vectors"), tmp_path / "other.jsonl", rounding="up")
        export_vectors(index.part("vectors"), tmp_path / "cut.jsonl", factor=0.5, rounding="down")
    found = read(tmp_path / "out.jsonl")
    del held["d002"]
    assert {name: record["vector"] for name, record in found.items()} == held
    assert found["d003"]["contents"] == "Drüm text of d003"
    cut = {
        name: {token: weight // 2 for token, weight in vector.items() if weight > 1} for name, vector in held.items()
    }
    assert {name: record["vector"] for name, record in read(tmp_path / "cut.jsonl").items()} == cut
    assert told == {"rows": 49, "weights": sum(map(len, held.values())), "lost": 0}


def test_other_weights_are_made_whole(tmp_path: Path) -> None:
    held = vectors(50, 2, whole=False)
    with build(tmp_path, held, "?bits=16") as index:
        told = export_vectors(index.part("vectors"), tmp_path / "out.jsonl")
        coarse = export_vectors(index.part("vectors"), tmp_path / "coarse.jsonl", factor=2)
    del held["d002"]
    found = read(tmp_path / "out.jsonl")
    for name, vector in held.items():
        for token, weight in vector.items():
            assert abs(found[name]["vector"].get(token, 0) - weight * 51.2) <= 0.51
    assert told["weights"] + told["lost"] == sum(map(len, held.values()))
    assert coarse["lost"] > told["lost"]
    assert min(v for record in read(tmp_path / "coarse.jsonl").values() for v in record["vector"].values()) >= 1


def test_names_that_anserini_could_not_tell_apart(tmp_path: Path) -> None:
    held = {name: {"x y": 1, "x  y": 2} for name in vectors(40, 5, whole=True)}
    with build(tmp_path, held) as index, pytest.raises(DataError, match="x_y"):
        export_vectors(index.part("vectors"), tmp_path / "out.jsonl")


def test_anserini_ranks_the_same(tmp_path: Path) -> None:
    from tamis.indexer.lucene.jvm import java, start

    held = vectors(120, 3, whole=True)
    (tmp_path / "json").mkdir()
    draw = random.Random(4)
    queries = {str(i): {t: draw.randint(1, 9) for t in draw.sample(TOKENS, 5)} for i in range(12)}
    texts = {name: " ".join(t for t, n in own.items() for _ in range(n)) for name, own in queries.items()}
    with build(tmp_path, held) as index:
        export_vectors(index.part("vectors"), tmp_path / "json" / "vectors.jsonl")
        source = f"impacts:{tmp_path}/vectors.jsonl"
        ours = index.rank(texts, 20, pipeline=source)
        start()
        options = "-collection JsonVectorCollection -generator DefaultLuceneDocumentGenerator -threads 1 -impact -pretokenized"
        places = ["-input", str(tmp_path / "json"), "-index", str(tmp_path / "lucene")]
        java("io.anserini.index.IndexCollection").main([*options.split(), *places])
        searcher = java("io.anserini.search.SimpleImpactSearcher")(str(tmp_path / "lucene"))
        for name, own in queries.items():
            query = java("java.util.HashMap")()
            for token, weight in own.items():
                query.put(token, java("java.lang.Integer")(weight))
            theirs = [(str(hit.docid), float(hit.score)) for hit in searcher.search(query, 20)]
            assert [hit.id for hit in ours[name]] == [doc for doc, _ in theirs]
            assert [hit.score for hit in ours[name]] == pytest.approx([score for _, score in theirs], abs=2e-4)
