"""SPAR: the joined vector's inner product is the weighted sum of both scores, and the weight is the query's alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tamis
from tamis.encoders.base import DenseVectors, Passage
from tamis.encoders.exported import can_export
from tamis.encoders.registry import open_encoder
from tamis.encoders.spar import _joined
from tamis.errors import UsageError

PASSAGES = [Passage("drum", "a drum sieve"), Passage("", "potato soup"), Passage("rank", "query term weight")]
QUERIES = ["what is a drum sieve", "weight of a term"]
Save = Callable[..., Path]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny: Save, sentence_model: Save) -> tuple[str, Path, Path]:
    base = tmp_path_factory.mktemp("spar")
    lexical = tiny(base / "lex-context-encoder", seed=3), tiny(base / "lex-query-encoder", seed=4)
    return f"spar:{lexical[0]}?base=dense:{sentence_model(base / 'base')}&max_length=40", *lexical


def cls_state(folder: Path, text: str) -> np.ndarray:
    import torch
    from transformers import AutoModel, AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    inputs = {"input_ids": inputs["input_ids"], "token_type_ids": torch.zeros_like(inputs["input_ids"])}
    with torch.inference_mode():
        return AutoModel.from_pretrained(folder).eval()(**inputs).last_hidden_state[0, 0].numpy()


def test_the_golden_case() -> None:
    """Both scores are 5 and 8: with weight .5 on the query's half, 9."""
    query = _joined(
        DenseVectors(np.array([[1, 2]], np.float32), 0), DenseVectors(np.array([[4, 0]], np.float32), 0), 0.5
    )
    passage = _joined(
        DenseVectors(np.array([[3, 1]], np.float32), 0), DenseVectors(np.array([[2, 5]], np.float32), 0), 1.0
    )
    assert query.vectors.tolist() == [[1, 2, 2, 0]]
    assert float(query.vectors[0] @ passage.vectors[0]) == 9


def test_the_lexical_half_is_worked_out_by_hand(models: tuple[str, Path, Path]) -> None:
    encoder = open_encoder(models[0])
    assert encoder.dimensions == 64
    found = encoder.encode_passages(PASSAGES).vectors
    written = ["drum [SEP] a drum sieve", "potato soup", "rank [SEP] query term weight"]
    for row, text in enumerate(written):
        np.testing.assert_allclose(found[row, 32:], cls_state(models[1], text), atol=1e-4)
    np.testing.assert_allclose(
        encoder.encode_queries(QUERIES).vectors[1, 32:], cls_state(models[2], QUERIES[1]), atol=1e-4
    )


def test_the_weight_is_free_at_search(models: tuple[str, Path, Path], tmp_path: Path) -> None:
    address = models[0]
    encoder = open_encoder(address)
    documents, queries = encoder.encode_passages(PASSAGES).vectors, encoder.encode_queries(QUERIES).vectors
    with tamis.Index.create(tmp_path / "index") as index:
        index.add([{"id": str(i), "title": p.title, "text": p.text} for i, p in enumerate(PASSAGES)])
        index.add_part(address)
        for weight in (0.0, 0.5, 3.0):
            ranking = index.rank(dict(enumerate_texts()), 3, pipeline=f"{address}&weight={weight}")
            for q, query in enumerate(queries):
                want = documents[:, :32] @ query[:32] + weight * (documents[:, 32:] @ query[32:])
                have = {hit.id: hit.score for hit in ranking[str(q)]}
                np.testing.assert_allclose([have[str(i)] for i in range(3)], want, atol=1e-4)


def enumerate_texts() -> list[tuple[str, str]]:
    return [(str(i), text) for i, text in enumerate(QUERIES)]


def test_a_base_must_be_named(models: tuple[str, Path, Path]) -> None:
    with pytest.raises(UsageError, match="base="):
        open_encoder(f"spar:{models[1]}")


def test_its_query_encoder_is_not_exported(models: tuple[str, Path, Path], tmp_path: Path) -> None:
    """Two models make a query, and a weight that is free at search: one graph would hold neither."""
    encoder = open_encoder(models[0])
    assert can_export(encoder.base)
    assert not can_export(encoder)
    assert not can_export(encoder.lexical)
    with tamis.Index.create(tmp_path / "index") as index:
        index.add([{"id": "1", "text": "drum"}])
        name = index.add_part(models[0])
        assert index.part(name).query_encoder() is None


def test_what_either_cuts_is_counted(models: tuple[str, Path, Path]) -> None:
    encoder = open_encoder(models[0])  # the base reads 20 tokens, the lexical model 40
    lengths = [5, 30, 50]
    found = encoder.encode_passages([Passage("", "the " * length) for length in lengths])
    assert (encoder.base.encode_queries(["the " * 30]).truncated, found.truncated) == (1, 2)


def test_exported_graphs_give_the_same(models: tuple[str, Path, Path], runs_alike: Callable[[str], None]) -> None:
    runs_alike(models[0])
