"""TCT-ColBERT: its input worked out token by token, and the mean over what is behind the prefix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tamis.encoders.base import Passage
from tamis.encoders.registry import open_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Path]) -> Path:
    return tiny(tmp_path_factory.mktemp("tct") / "model", pooler=True)


def mean_behind_prefix(folder: Path, tokens: list[str]) -> np.ndarray:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([tokenizer.convert_tokens_to_ids(tokens)])
    assert tokenizer.unk_token_id not in ids
    with torch.inference_mode():
        states = AutoModel.from_pretrained(folder).eval()(ids).last_hidden_state[0]
    return states[4:].mean(0).numpy()


def test_a_query_is_filled_with_masks_to_36(folder: Path) -> None:
    encoder = open_encoder(f"tct-colbert:{folder}")
    tokens = ["[CLS]", "[", "q", "]", "drum", "sieve", *["[MASK]"] * 30]
    assert len(encoder.query_inputs(["drum sieve"]).ids[0]) == 36
    np.testing.assert_allclose(
        encoder.encode_queries(["drum sieve"]).vectors[0], mean_behind_prefix(folder, tokens), atol=1e-5
    )
    long = encoder.encode_queries(["term " * 50])
    np.testing.assert_allclose(
        long.vectors[0], mean_behind_prefix(folder, ["[CLS]", "[", "q", "]", *["term"] * 32]), atol=1e-5
    )
    assert long.truncated == 1


def test_a_document_has_title_and_text_and_no_end(folder: Path) -> None:
    encoder = open_encoder(f"tct-colbert:{folder}")
    passages = [Passage("drum", "sieve of a cook"), Passage("", "soup"), Passage("", "milk " * 80), Passage("", "")]
    found = encoder.encode_passages(passages)
    prefix = ["[CLS]", "[", "d", "]"]
    for row, tokens in enumerate((["drum", "sieve", "of", "a", "cook"], ["soup"], ["milk"] * 60)):
        np.testing.assert_allclose(found.vectors[row], mean_behind_prefix(folder, prefix + tokens), atol=1e-5)
    assert found.truncated == 1
    assert np.isfinite(found.vectors[3]).all()
    assert np.linalg.norm(found.vectors[0]) != pytest.approx(1)  # not normalised
    assert encoder.similarity == "dot"


def test_an_exported_graph_gives_the_same(folder: Path, runs_alike: Callable[[str], None]) -> None:
    runs_alike(f"tct-colbert:{folder}")
