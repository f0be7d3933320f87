"""Pairs of checkpoints: how the query encoder is found, and at which revision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tamis.encoders.base import Passage
from tamis.encoders.registry import open_encoder
from tamis.encoders.sides import find_pair
from tamis.errors import MissingResourceError, ModelError, UsageError

Put = Callable[..., None]
Save = Callable[..., Path]
PATTERNS = (("ctx_encoder", "question_encoder"), ("context", "question"))


@pytest.fixture
def models(tmp_path: Path, tiny: Save, hub: Put) -> None:
    """Two encoders at two revisions each, all with weights of their own; one of the questions' has a third."""
    for side in ("ctx_encoder", "question_encoder"):
        for seed, revision in enumerate(("main", "v1")):
            hub(f"org/my-{side}", tiny(tmp_path / side / revision, seed=seed + 2 * (side == "ctx_encoder")), revision)
    hub("org/my-question_encoder", tiny(tmp_path / "v2", seed=9), "v2")


def vectors(address: str) -> tuple[np.ndarray, np.ndarray]:
    encoder = open_encoder(f"{address}max_length=40")
    return encoder.encode_passages([Passage("", "drum")]).vectors, encoder.encode_queries(["drum"]).vectors


@pytest.mark.usefixtures("models")
def test_a_revision_is_of_both_sides() -> None:
    newest, tagged = vectors("dpr:org/my-ctx_encoder?"), vectors("dpr:org/my-ctx_encoder@v1?")
    assert np.abs(newest[0] - tagged[0]).max() > 0.1
    assert np.abs(newest[1] - tagged[1]).max() > 0.1
    same = vectors("dpr:org/my-ctx_encoder@v1?query=org/my-question_encoder&")
    np.testing.assert_array_equal(same, tagged)
    mixed = vectors("dpr:org/my-ctx_encoder@v1?query=org/my-question_encoder@main&")
    np.testing.assert_array_equal(mixed, (tagged[0], newest[1]))


@pytest.mark.usefixtures("models")
def test_spar_s_revision_is_of_the_lexical_model(tmp_path: Path, tiny: Save, hub: Put, sentence_model: Save) -> None:
    for side in ("context", "query"):
        for seed, revision in enumerate(("main", "v1")):
            hub(f"org/lex-{side}-encoder", tiny(tmp_path / side / revision, seed=seed + 5), revision)
    base = sentence_model(tmp_path / "base")
    newest = vectors(f"spar:org/lex-context-encoder?base=dense:{base}&")
    tagged = vectors(f"spar:org/lex-context-encoder@v1?base=dense:{base}&")
    for one, other in zip(newest, tagged, strict=True):
        np.testing.assert_array_equal(one[:, :32], other[:, :32])  # the base
        assert np.abs(one[:, 32:] - other[:, 32:]).max() > 0.1


@pytest.mark.usefixtures("models")
def test_a_revision_that_one_side_lacks_is_an_error() -> None:
    with pytest.raises(MissingResourceError, match="my-ctx_encoder"):
        find_pair("org/my-ctx_encoder", "v2", None, PATTERNS)
    with pytest.raises(MissingResourceError, match=r"org/other.*\?query=org/other@REVISION"):
        find_pair("org/my-ctx_encoder", "v1", "org/other", PATTERNS)


def test_names_tell_the_query_encoder(tmp_path: Path) -> None:
    for name in (
        "a-ctx_encoder",
        "a-question_encoder",
        "context-ctx_encoder-b",
        "context-question_encoder-b",
        "x",
        "o@v1",
    ):
        (tmp_path / name).mkdir()

    def found(name: str, query: str | None = None) -> str:
        return find_pair(str(tmp_path / name), None, query, PATTERNS)[1].name

    assert found("a-ctx_encoder") == "a-question_encoder"
    assert found("context-ctx_encoder-b") == "context-question_encoder-b"
    assert found("x", str(tmp_path / "x")) == "x"
    assert found("x", str(tmp_path / "o@v1")) == "o@v1"  # a folder may be called so
    with pytest.raises(UsageError, match="'ctx_encoder' or 'context'"):
        found("x")


def test_both_sides_have_one_length(tmp_path: Path, tiny: Save) -> None:
    document = tiny(tmp_path / "a-ctx_encoder")
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    narrow = tiny(tmp_path / "a-question_encoder")
    config = BertConfig.from_pretrained(narrow)
    config.hidden_size = 16
    BertModel(config).save_pretrained(narrow)
    with pytest.raises(ModelError, match="different lengths"):
        open_encoder(f"dpr:{document}?max_length=40")
